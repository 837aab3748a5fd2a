"""Scripts and style sheets: where they are served, and what they may not contain."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from modules.ui import assets

SCRIPTS = sorted([*(assets.FOLDER / "js").glob("*.js"), *(assets.FOLDER / "canvas").glob("*.js")])
MOST_LINES = 300  # the formatter gives each argument of a long call a line of its own


def get(path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body as the ASGI application sends them for a path below the mount."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(dict(message))

    root = assets.base_url()
    asyncio.run(assets.serve({"path": root + path, "root_path": root, "method": method}, None, send))
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, sent[1]["body"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/js/main.js", "text/javascript"), ("/css/tokens.css", "text/css"), ("/icon.svg", "image/svg+xml")],
)
def test_files_are_served_for_ever_under_their_type(path: str, kind: str) -> None:
    status, headers, body = get(path)
    assert (status, body) == (200, (assets.FOLDER / path.lstrip("/")).read_bytes())
    assert headers == {
        "content-type": f"{kind}; charset=utf-8",
        "content-length": str(len(body)),
        "cache-control": "public, max-age=31536000, immutable",
        "x-content-type-options": "nosniff",
    }


def test_head_sends_no_body() -> None:
    assert get("/js/main.js", "HEAD")[0::2] == (200, b"")


@pytest.mark.parametrize(
    "path", ["", "/", "/js", "/js/none.js", "/../assets.py", "/js/../../assets.py", "/%2e%2e/app.py"]
)
def test_nothing_else_is_there(path: str) -> None:
    assert get(path)[0] == 404


def test_names_in_the_configuration_cannot_end_the_script() -> None:
    assert "</script><b>" not in assets.head('{"name": "</script><b>"}')


def test_every_style_sheet_is_on_the_page() -> None:
    assert set(assets.STYLES) == {path.stem for path in (assets.FOLDER / "css").glob("*.css")}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_says_what_it_is_and_stays_small(script: Path) -> None:
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("// ")
    assert len(lines) <= MOST_LINES


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_imports_names_that_are_exported(script: Path) -> None:
    for names, target in re.findall(r'import \{ ([^}]+) \} from "(\.[^"]+)"', script.read_text(encoding="utf-8")):
        exported = (script.parent / target).read_text(encoding="utf-8")
        for name in names.split(", "):
            assert re.search(rf"export (async )?(const|function|class) {name}\b", exported), f"{name} of {target}"


@pytest.mark.parametrize("file", [*SCRIPTS, *sorted((assets.FOLDER / "css").glob("*.css"))], ids=lambda path: path.name)
def test_no_file_names_an_address_outside(file: Path) -> None:
    found = re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}", file.read_text(encoding="utf-8"))
    assert [address for address in found if "www.w3.org" not in address] == []
