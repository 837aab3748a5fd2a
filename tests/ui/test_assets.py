"""Scripts and style sheets: where they are served, and what they must not contain."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from modules.ui import assets

SCRIPTS = sorted(assets.FOLDER.rglob("*.js"))
LONGEST_LINE = 120  # letters; the formatter breaks everything but strings and comments
MOST_LINES = 300  # the formatter puts each argument of a long call on its own line


def name(path: Path) -> str:
    """A file's path below the assets folder, as the name of a test."""
    return path.relative_to(assets.FOLDER).as_posix()


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
    [("/js/core/dom.js", "text/javascript"), ("/css/tokens.css", "text/css"), ("/icon.svg", "image/svg+xml")],
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


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_a_script_says_what_it_is_and_stays_small(script: Path) -> None:
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("// ")
    assert len(lines) <= MOST_LINES
    assert [number for number, line in enumerate(lines, 1) if len(line) > LONGEST_LINE] == []


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_a_script_imports_names_that_are_exported(script: Path) -> None:
    found = re.findall(r'import \{([^}]+)\} from "(\.[^"]+)"', script.read_text(encoding="utf-8"))
    for names, target in found:
        exported = (script.parent / target).read_text(encoding="utf-8")
        for each in filter(None, (part.split(" as ")[0].strip() for part in names.split(","))):
            assert re.search(rf"export (async )?(const|let|function|class) {each}\b", exported), f"{each} of {target}"


@pytest.mark.parametrize("script", [path for path in SCRIPTS if path.parent.name == "core"], ids=name)
def test_the_core_knows_no_other_room(script: Path) -> None:
    targets = re.findall(r'from "(\.[^"]+)"', script.read_text(encoding="utf-8"))
    assert [target for target in targets if not re.fullmatch(r"\./\w+\.js", target)] == []


def test_each_script_of_the_page_lies_in_a_room() -> None:
    assert [path.name for path in (assets.FOLDER / "js").glob("*.js")] == ["main.js"]


@pytest.mark.parametrize("file", [*SCRIPTS, *sorted((assets.FOLDER / "css").glob("*.css"))], ids=name)
def test_no_file_names_an_address_outside(file: Path) -> None:
    found = re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}", file.read_text(encoding="utf-8"))
    assert [address for address in found if "www.w3.org" not in address] == []
