"""Names and paths from outside: what they may look like, and where they may lead.

Every name or path that a client sends, or that an archive or a batch contains, is checked here before it is used. A
name must be a valid file name (UTF-8, no control characters, no part too long), and a path must stay inside its folder
after links are resolved.
"""

import re
from pathlib import Path

from modules.base.errors import WebuiError
from modules.base.names import as_on_disk

LONGEST_PART = 255  # bytes of the name of one file or folder, on all common systems
LONGEST_PATH = 1024  # bytes of all of it; macOS takes no more
LONGEST_NAME = 400  # letters of a file that is brought
LONGEST_FOLDER = 200  # letters
ROOM = 55  # bytes of LONGEST_PART that are left for a number and a suffix
FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f\\:"*?<>|/]')  # in a name, on one system or another
# What Windows takes for devices, with any suffix, and with spaces before it.
DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE)
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
SURROGATES = re.compile(r"[\ud800-\udfff]")  # halves of pairs; Python has them for bytes that are not UTF-8
DRIVE = re.compile(r"[A-Za-z]:(/|$)")


def could_be(path: str) -> bool:
    """Whether a file could be called `path`, with forward slashes between its parts. Asks no disk.

    >>> could_be("a/b.png"), could_be("a" * 300), could_be("a\\0b"), could_be("\\ud800")
    (True, False, False, False)
    """
    if CONTROLS.search(path) or SURROGATES.search(path):
        return False
    lengths = [len(part.encode("utf-8")) for part in path.split("/")]
    return sum(lengths) + len(lengths) <= LONGEST_PATH and max(lengths) <= LONGEST_PART


def below(root: Path, relative: str, strict: bool = False) -> Path | None:
    """The path `relative` names below `root`, links followed; None if it leads out of `root`, or could be no path.

    `strict` asks that it is there. A name with bytes that are not UTF-8 is meant by the text that `names.shown` gives
    for it, unless another one is called so.
    """
    if not could_be(relative):
        return None
    on_disk = as_on_disk(relative)
    if on_disk != relative and _within(root, relative, strict=True) is None:
        return _within(root, on_disk, strict=True) or _within(root, relative, strict)
    return _within(root, relative, strict)


def _within(root: Path, relative: str, strict: bool) -> Path | None:
    try:
        home = root.resolve()
        path = (home / relative).resolve(strict=strict)
        inner = [path, *path.parents][: len(path.parts) - len(home.parts)]
        is_circle = any(each.is_symlink() for each in inner)  # Python 3.13 leaves links in a circle as they are
    except (OSError, RuntimeError, ValueError):  # not there, links in a circle, too long in all
        return None
    return path if path.is_relative_to(home) and not is_circle else None


def checked_name(name: str, within: str = "") -> str:
    """The name of a file that is brought, with forward slashes. Raises WebuiError if it leads out of its folder."""
    plain = name.replace("\\", "/")
    is_bad = (
        len(plain) > LONGEST_NAME  # letters: of other systems' names one part may take more bytes than here
        or CONTROLS.search(plain) is not None
        or SURROGATES.search(plain) is not None
        or any(part in ("", ".", "..") for part in plain.split("/"))
        or DRIVE.match(plain) is not None
    )
    if is_bad:
        of = f"{within}: " if within else ""
        raise WebuiError(
            f"{of}the file name {name[:200]!r} is not allowed: expected a plain name without '..' or controls.",
            "Rename the file.",
            "files",
        )
    return plain


def checked_folder(folder: str) -> str:
    """The name of a folder in outputs, with forward slashes. Raises WebuiError if it is none, or leads elsewhere."""
    plain = folder.strip().replace("\\", "/").strip("/")
    is_bad = (
        len(folder) > LONGEST_FOLDER
        or not could_be(plain)
        or any(
            not part or part != part.strip() or part.startswith(".") or part.endswith(".") or FORBIDDEN.search(part)
            or DEVICES.fullmatch(part) for part in plain.split("/")
        )
    )  # fmt: skip
    if is_bad:
        raise WebuiError(
            f"output = {folder[:200]!r}: expected the name of a folder inside outputs, such as 'batch/cats'.",
            'Do not start with a dot or use : * ? " < > |.',
            "output",
        )
    return plain


def legible(name: str) -> str:
    """The name of a file that is there, as text: other bytes than UTF-8, and control characters, as question marks."""
    return SURROGATES.sub("?", CONTROLS.sub("?", name))


def plain_part(part: str) -> str:
    """A part of a file's name as every system takes it, with room for a number and a suffix."""
    data = SURROGATES.sub("_", FORBIDDEN.sub("_", part)).encode("utf-8")[: LONGEST_PART - ROOM]
    plain = data.decode("utf-8", "ignore").strip(" .")
    return f"_{plain}" if not plain or DEVICES.fullmatch(plain) else plain


def printable(text: str) -> str:
    """`text` with escapes for line breaks, controls and halves of surrogate pairs: names of clients may hold any.

    >>> printable("a\\nb\\x1b[31m")
    'a\\\\nb\\\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
