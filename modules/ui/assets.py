"""Style sheets and scripts of the page, served under a URL that changes whenever one of them does."""

import hashlib
from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "assets"
# In cascade order.
STYLES = (
    "tokens",
    "gradio",
    "layout",
    "parts",
    "result",
    "viewer",
    "canvas",
    "staging",
    "batch",
    "script",
    "control",
    "history",
    "merge",
    "extras",
    "cards",
)
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
NOT_FOUND = 404

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


@cache
def files() -> dict[str, bytes]:
    """Content by path below the assets folder. Read once and served from memory (some 100 kB)."""
    found = (path for path in sorted(FOLDER.rglob("*")) if path.suffix in TYPES)
    return {path.relative_to(FOLDER).as_posix(): path.read_bytes() for path in found}


@cache
def base_url() -> str:
    """The URL of the assets. It contains one hash over all files, so that modules that import each other match."""
    digest = hashlib.sha256()
    for name, content in files().items():
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return f"/assets/{digest.hexdigest()[:16]}"


async def serve(scope: Message, _receive: object, send: Send) -> None:
    """An ASGI application for the files, to be mounted at `base_url()`; browsers may cache them forever."""
    name = str(scope["path"]).removeprefix(str(scope.get("root_path", ""))).lstrip("/")
    content = files().get(name)
    headers = [(b"x-content-type-options", b"nosniff")]
    if content is not None:
        kind = TYPES[Path(name).suffix]
        headers += [
            (b"content-type", f"{kind}; charset=utf-8".encode()),
            (b"content-length", str(len(content)).encode()),
            (b"cache-control", b"public, max-age=31536000, immutable"),
        ]
    status = NOT_FOUND if content is None else 200
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content or b""})


def head(config: str) -> str:
    """What the page's <head> contains: style sheets, the script, and `config` (JSON), which the script reads."""
    base = base_url()
    styles = "".join(f'<link rel="stylesheet" href="{base}/css/{name}.css">' for name in STYLES)
    safe = config.replace("<", "\\u003c")  # a "</script>" in a name must not end the element
    return (
        f'{styles}<link rel="icon" href="{base}/icon.svg" type="image/svg+xml">'
        f'<script type="application/json" id="palimpsest-config">{safe}</script>'
        f'<script type="module" src="{base}/js/main.js"></script>'
    )
