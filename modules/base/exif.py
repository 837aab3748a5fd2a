"""The EXIF entries that are used here: orientation, color space, and the comment with the parameters.

Forty lines of our own, because existing readers raise a dozen kinds of errors on hostile bytes. EXIF is a TIFF file
without a picture (CIPA DC-008-2019, 4.5 and 4.6): byte order, then directories of 12-byte entries.
"""

import struct

HEAD = b"Exif\0\0"
ORIENTATION = 0x0112
EXIF_DIRECTORY = 0x8769
USER_COMMENT = 0x9286
COLOR_SPACE = 0xA001
INTEROPERABILITY_DIRECTORY = 0xA005
INTEROPERABILITY_INDEX = 0x0001

BYTE, ASCII, SHORT, LONG, UNDEFINED = 1, 2, 3, 4, 7
UNIT = {BYTE: 1, ASCII: 1, SHORT: 2, LONG: 4, UNDEFINED: 1}  # bytes of one value
SRGB, ADOBE_RGB = 1, 2  # values of COLOR_SPACE
UNICODE = b"UNICODE\0"
PARAMETERS_IN_UTF_8 = (b"Steps: ", b'": ')  # A1111's text, or JSON
CHARACTER_SET = 8  # length of the character code before the comment


def orientation(exif: bytes) -> int:
    """The orientation, 1 (upright) to 8 as in the standard; 1 if it is missing or the bytes are damaged."""
    order, tiff = _opened(exif)
    entry = _directory(order, tiff, _number(order, tiff[4:8])).get(ORIENTATION)
    number = _number(order, entry[:2]) if entry else 1
    return number if 1 <= number <= 8 else 1


def is_adobe_rgb(exif: bytes) -> bool:
    """Whether the bytes declare the colors as Adobe RGB (1998).

    Cameras say "uncalibrated" and give the interoperability index R03 (DCF 2.0); some programs write color space 2.
    """
    order, tiff = _opened(exif)
    private = _linked(order, tiff, _directory(order, tiff, _number(order, tiff[4:8])), EXIF_DIRECTORY)
    space = _number(order, private.get(COLOR_SPACE, b"")[:2])
    index = _linked(order, tiff, private, INTEROPERABILITY_DIRECTORY).get(INTEROPERABILITY_INDEX, b"")
    return space == ADOBE_RGB or (space != SRGB and index.startswith(b"R03"))


def user_comment(exif: bytes) -> str:
    """The comment, "" if there is none or the bytes are damaged.

    UTF-16 is read in either byte order: A1111 writes big-endian whatever the file's own order is.
    """
    order, tiff = _opened(exif)
    first = _directory(order, tiff, _number(order, tiff[4:8]))
    entry = _linked(order, tiff, first, EXIF_DIRECTORY).get(USER_COMMENT)
    if entry is None:
        return ""
    character_set, text = entry[:CHARACTER_SET], entry[CHARACTER_SET:]
    if character_set == UNICODE:
        decoded = _utf_8(text) or _utf_16(text)
    elif character_set.rstrip(b"\0 ") in (b"ASCII", b""):
        decoded = text.decode("utf-8", "replace")
    elif character_set.startswith(b"JIS"):
        decoded = text.decode("shift_jis", "replace")
    else:  # written without a character set
        decoded = entry.decode("utf-8", "replace")
    return decoded.rstrip("\0").strip()


def with_comment(comment: str) -> bytes:
    """EXIF bytes, "Exif" head included, that hold `comment` alone, in the form A1111 writes: UNICODE, big-endian."""
    value = UNICODE + comment.encode("utf-16-be", "replace")
    first, second = 8, 8 + 2 + 12 + 4  # where the directories begin; each is a count, an entry and an empty link
    tiff = struct.pack(">2sHI", b"MM", 42, first)
    tiff += struct.pack(">HHHIII", 1, EXIF_DIRECTORY, LONG, 1, second, 0)
    tiff += struct.pack(">HHHIII", 1, USER_COMMENT, UNDEFINED, len(value), second + 2 + 12 + 4, 0)
    return HEAD + tiff + value


def _opened(exif: bytes) -> tuple[str, bytes]:
    """struct's sign of the byte order, and the bytes from the TIFF header on."""
    tiff = exif.removeprefix(HEAD)
    return (">" if tiff[:2] == b"MM" else "<"), tiff if tiff[:2] in (b"MM", b"II") else b""


def _directory(order: str, tiff: bytes, offset: int) -> dict[int, bytes]:
    """The values of the directory at `offset`, by tag; what lies outside of `tiff` is left out."""
    count = _number(order, tiff[offset : offset + 2])
    entries: dict[int, bytes] = {}
    for start in range(offset + 2, min(offset + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind, values = struct.unpack_from(f"{order}HHI", tiff, start)
        size = values * UNIT.get(kind, 0)
        where = start + 8 if size <= 4 else _number(order, tiff[start + 8 : start + 12])
        if size and where + size <= len(tiff):
            entries[tag] = tiff[where : where + size]
    return entries


def _linked(order: str, tiff: bytes, directory: dict[int, bytes], tag: int) -> dict[int, bytes]:
    """The directory that the entry `tag` of another points at; empty if there is none."""
    pointer = directory.get(tag)
    return _directory(order, tiff, _number(order, pointer[:4])) if pointer else {}


def _number(order: str, raw: bytes) -> int:
    return int.from_bytes(raw, "big" if order == ">" else "little")


def _utf_8(text: bytes) -> str:
    """The comment of a program that declares UNICODE but writes UTF-8; "" if it is UTF-16."""
    is_likely = any(sign in text for sign in PARAMETERS_IN_UTF_8)
    return text.decode("utf-8", "replace") if is_likely else ""


def _utf_16(text: bytes) -> str:
    if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return text.decode("utf-16", "replace")
    # Most letters of a prompt are below U+0100, so that the upper byte of each pair is zero.
    big_endian = text[0::2].count(0) >= text[1::2].count(0)
    return text.decode("utf-16-be" if big_endian else "utf-16-le", "replace")
