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
LONGEST_PATH = 1024  # bytes of a whole path; macOS accepts no more
LONGEST_NAME = 400  # characters of an uploaded file's name
LONGEST_FOLDER = 200  # letters
ROOM = 55  # bytes of LONGEST_PART that are left for a number and a suffix
FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f\\:"*?<>|/]')  # forbidden in a name on some system
# Windows treats these as devices, with any suffix, and with spaces before it.
DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE)
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
SURROGATES = re.compile(r"[\ud800-\udfff]")  # halves of pairs; Python has them for bytes that are not UTF-8
DRIVE = re.compile(r"[A-Za-z]:(/|$)")


def could_be(path: str) -> bool:
    """Whether `path`, with forward slashes, could be a file's name. Does not access the disk.

    >>> could_be("a/b.png"), could_be("a" * 300), could_be("a\\0b"), could_be("\\ud800")
    (True, False, False, False)
    """
    if CONTROLS.search(path) or SURROGATES.search(path):
        return False
    lengths = [len(part.encode("utf-8")) for part in path.split("/")]
    return sum(lengths) + len(lengths) <= LONGEST_PATH and max(lengths) <= LONGEST_PART


def below(root: Path, relative: str, strict: bool = False) -> Path | None:
    """The path of `relative` below `root`, links resolved; None if it leads out of `root` or is not a valid path.

    With `strict` it must exist. A name with bytes that are not UTF-8 is written as `names.shown` shows it, unless
    another file has that very name.
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
        is_circle = any(each.is_symlink() for each in inner)  # Python 3.13 does not resolve circular links
    except (OSError, RuntimeError, ValueError):  # missing, circular links, or too long
        return None
    return path if path.is_relative_to(home) and not is_circle else None


def checked_name(name: str, within: str = "") -> str:
    """The name of an uploaded file, with forward slashes. Raises WebuiError if it leads out of its folder."""
    plain = name.replace("\\", "/")
    is_bad = (
        len(plain) > LONGEST_NAME  # characters: a part of another system's name may take more bytes here
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
    """The name of a folder in outputs, with forward slashes. Raises WebuiError if it is invalid or leads elsewhere."""
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
    """The name of an existing file as text, with ? for bytes that are not UTF-8 and for control characters."""
    return SURROGATES.sub("?", CONTROLS.sub("?", name))


def plain_part(part: str) -> str:
    """`text` as part of a file name that every system accepts, with room for a number and a suffix."""
    data = SURROGATES.sub("_", FORBIDDEN.sub("_", part)).encode("utf-8")[: LONGEST_PART - ROOM]
    plain = data.decode("utf-8", "ignore").strip(" .")
    return f"_{plain}" if not plain or DEVICES.fullmatch(plain) else plain


def printable(text: str) -> str:
    """`text` with line breaks, control characters and lone surrogates escaped: clients may send any.

    >>> printable("a\\nb\\x1b[31m")
    'a\\\\nb\\\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
