"""File names as people and programs write them: how to show one, and which of several files it refers to."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeVar

Thing = TypeVar("Thing")

FEWEST_DIGITS: Final = 8  # fewest digits of a model hash
DIGITS: Final = re.compile(r"[0-9a-f]{8,64}")
TITLE: Final = re.compile(r"(?P<name>.*\S)\s*\[(?P<digits>[0-9a-f]{8,64})\]", re.DOTALL | re.IGNORECASE)
_SIGNS_OF_TAGS: Final = re.compile(r"[:<>=#\x00-\x1f\x7f]")
_BYTE: Final = re.compile("%([89A-F][0-9A-F])")
_FIRST_ESCAPE: Final = 0xDC00  # Python represents a byte n of a file's name that is not UTF-8 as this plus n


def shown(name: str) -> str:
    """A file's name as text that can be sent and stored: a byte that is not UTF-8 becomes `%FF`.

    >>> shown("caf\\udce9.png")
    'caf%E9.png'
    """
    if name.isascii():
        return name
    return "".join(_shown(letter) for letter in name)


def as_on_disk(name: str) -> str:
    """The file's name on disk for a `name` from `shown`, if it has bytes that are not UTF-8.

    >>> shown(as_on_disk("caf%E9.png"))
    'caf%E9.png'
    """
    return _BYTE.sub(lambda match: chr(_FIRST_ESCAPE + int(match[1], 16)), name)


def name_in_tag(name: str) -> str:
    """A LoRA's name with the characters escaped that mean something in `<lora:name:1>`, such as `:` as `%3A`.

    >>> name_in_tag("ink: v2")
    'ink%3A v2'
    """
    return _SIGNS_OF_TAGS.sub(lambda match: f"%{ord(match[0]):02X}", name)


def normal(name: str) -> str:
    """`name` in Unicode's composed form (NFC), with forward slashes, without spaces around it.

    A Mac writes é as e and an accent, Windows writes folders with backslashes; both mean the same file.
    """
    return unicodedata.normalize("NFC", name).replace("\\", "/").strip()


def folded(name: str) -> str:
    """`normal`, in lower case."""
    return normal(normal(name).casefold())


def name_in(text: str) -> str:
    """The name in a title such as `fox.safetensors [0123456789]`; any other text is returned as it is."""
    title = TITLE.fullmatch(text.strip())
    return title["name"] if title else text


def digits_in(text: str) -> str:
    """The hash in a title, or the text itself if it is a hash, in lower case; else ""."""
    title = TITLE.fullmatch(text.strip())
    digits = (title["digits"] if title else text.strip()).lower()
    return digits if DIGITS.fullmatch(digits) else ""


_READINGS: Final[tuple[Callable[[str], str], ...]] = (str, normal, folded)


def best_match(text: str, things: Sequence[Thing], *called: Callable[[Thing], str]) -> Thing | None:
    """The one of `things` that is called `text`; None if there is none.

    Exact matches come first, then the same `normal` form, then any letter case; among equals the first name of
    `called`, then the first thing.
    """
    for read in _READINGS:
        form = read(text)
        for name_of in called:
            for thing in things:
                name = name_of(thing)
                if name and read(name) == form:
                    return thing
    return None


def distinct_names(files: Iterable[tuple[Path, str]]) -> list[str]:
    """Distinct names for files (path, name): folders are put before a name that is already taken.

    >>> distinct_names([(Path("a/x.pt"), "x.pt"), (Path("b/x.pt"), "x.pt")])
    ['x.pt', 'b/x.pt']
    """
    names: list[str] = []
    taken: set[str] = set()
    for path, short in files:
        name = shown(short)
        parents = list(path.parts[: -1 - short.count("/")])
        while name in taken and parents:
            name = f"{shown(parents.pop()).strip('/')}/{name}"
        while name in taken:
            name += "'"
        taken.add(name)
        names.append(name)
    return names


def _shown(letter: str) -> str:
    code = ord(letter)
    if not 0xD800 <= code <= 0xDFFF:
        return letter
    return f"%{code - _FIRST_ESCAPE:02X}" if 0xDC80 <= code <= 0xDCFF else f"%u{code:04X}"
