"""The ancillary chunks of a PNG, within our own limits.

Pillow rejects a whole picture because of one long text, and reads chunks after the pixels only once those are decoded.
Here the ancillary chunks are examined first: those that are too large or damaged are removed and reported, and texts
and EXIF are moved before the pixels, so that they can be read without decoding.
"""

import struct
import zlib
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_TEXT = 1 << 20  # bytes of one text, unpacked; as many as Pillow takes
MOST_TEXTS = 16 << 20  # of all texts of a file
MOST_PROFILE = 8 << 20  # bytes of a color profile, unpacked; a printer's has 1 to 3 MB
MOST_CHUNKS = 100_000  # a picture of 256 MB in pieces of 8 kB has 33 000
MOST_NOTES = 3

OF_THE_PIXELS = (b"tRNS", b"acTL", b"fcTL", b"fdAT")  # ancillary by name, but they change how the picture looks
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
MOVED = (*TEXTS, b"eXIf")
SIZES = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4, b"pHYs": 9, b"tIME": 7}  # bytes, if fixed
FRAME = 12  # bytes around a chunk's data: length, name, checksum


class Chunk(NamedTuple):
    name: bytes
    start: int  # of its length field
    end: int  # behind its checksum

    def data(self, file: bytes) -> memoryview:
        return memoryview(file)[self.start + 8 : self.end - 4]


class Side(NamedTuple):
    """A file that Pillow can read, and more of it. `cicp`: color code points (ITU-T H.273), or None."""

    data: bytes
    notes: tuple[str, ...] = ()
    profile: bytes | None = None
    cicp: tuple[int, ...] | None = None


def looked_through(file: bytes) -> Side:
    """`file` without the ancillary chunks that Pillow rejects; the same object if nothing had to be removed."""
    if not file.startswith(SIGNATURE):
        return Side(file)
    chunks = _chunks(file)
    side = _Sieve(file)
    kept = [chunk for chunk in chunks if side.keeps(chunk)]
    pixels = next((number for number, chunk in enumerate(kept) if chunk.name == b"IDAT"), len(kept))
    late = [chunk for chunk in kept[pixels:] if chunk.name in MOVED]
    if not late and len(kept) == len(chunks) < MOST_CHUNKS:
        return Side(file, cicp=side.cicp)
    early = [*kept[:pixels], *late]
    ordered = [*early, *(chunk for chunk in kept[pixels:] if chunk.name not in MOVED)]
    view = memoryview(file)
    rebuilt = b"".join([SIGNATURE, *(view[chunk.start : chunk.end] for chunk in ordered), *_rest(view, chunks)])
    return Side(rebuilt, tuple(side.notes[:MOST_NOTES]), side.profile, side.cicp)


def _chunks(file: bytes) -> list[Chunk]:
    """The complete chunks, up to the end or to where the file is truncated."""
    found: list[Chunk] = []
    start = len(SIGNATURE)
    while start + FRAME <= len(file) and len(found) < MOST_CHUNKS:
        length, name = struct.unpack_from(">I4s", file, start)
        end = start + FRAME + length
        if end > len(file):
            break
        found.append(Chunk(name, start, end))
        if name == b"IEND":
            break
        start = end
    return found


def _rest(file: memoryview, chunks: list[Chunk]) -> list[memoryview]:
    """A truncated last chunk, which may hold pixels; empty if the file has too many chunks."""
    return [file[chunks[-1].end :]] if chunks and len(chunks) < MOST_CHUNKS else []


class _Sieve:
    """Decides which chunks stay, and keeps the reasons for removing others."""

    def __init__(self, file: bytes) -> None:
        self.notes: list[str] = []
        self.profile: bytes | None = None
        self.cicp: tuple[int, ...] | None = None
        self._file = file
        self._texts = 0

    def keeps(self, chunk: Chunk) -> bool:
        if chunk.name[:1].isupper() or chunk.name in OF_THE_PIXELS:
            return True
        data = chunk.data(self._file)
        expected = int.from_bytes(self._file[chunk.end - 4 : chunk.end], "big")
        is_whole = chunk.name.isalpha() and zlib.crc32(data, zlib.crc32(chunk.name)) == expected
        if not is_whole or len(data) != SIZES.get(chunk.name, len(data)):
            self._leave_out("Part of the file's metadata is damaged and was ignored.")
            return False
        if chunk.name in TEXTS:
            return self._keeps_text(chunk.name, data)
        if chunk.name == b"iCCP":
            return self._keeps_profile(bytes(data[:MOST_PROFILE]))
        if chunk.name == b"cICP":
            self.cicp = tuple(data)
        return len(data) <= MOST_TEXT

    def _keeps_text(self, name: bytes, data: memoryview) -> bool:
        key = bytes(data[:80]).partition(b"\0")[0].decode("latin-1")
        # Beyond the limit nothing more is unpacked: one kilobyte may expand to a megabyte, and there may be many.
        size = _unpacked_size(name, bytes(data)) if len(data) <= MOST_TEXT and self._texts <= MOST_TEXTS else len(data)
        self._texts += size
        if size <= MOST_TEXT and self._texts <= MOST_TEXTS:
            return True
        shown = "".join(letter if letter.isprintable() else "?" for letter in key)
        self._leave_out(f"The text {shown!r} in the file is longer than 1 MB and was ignored.")
        return False

    def _keeps_profile(self, data: bytes) -> bool:
        """Pillow rejects a picture whose profile is larger than its limit for texts."""
        _, _, packed = data.partition(b"\0")
        unpacker = zlib.decompressobj()
        try:
            profile = unpacker.decompress(packed[1:], MOST_PROFILE) if packed[:1] == b"\0" else b""
        except zlib.error:
            profile = b""
        if profile and len(profile) <= MOST_TEXT and not unpacker.unconsumed_tail:
            return True
        self.profile = b"" if unpacker.unconsumed_tail else profile  # empty: there is a profile, but it is unusable
        return False

    def _leave_out(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)


def _unpacked_size(name: bytes, data: bytes) -> int:
    """Bytes of a text; the limit plus one if it is compressed and larger than that."""
    _, _, rest = data.partition(b"\0")
    if name == b"tEXt":
        return len(rest)
    if name == b"zTXt":
        packed = rest[1:]
        if rest[:1] not in (b"", b"\0"):  # an unknown compression method
            return MOST_TEXT + 1
    else:  # iTXt: flag, method, language, translated key
        if rest[:1] != b"\1":
            return len(rest)
        packed = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(packed, MOST_TEXT)
    except zlib.error:
        return 0  # Pillow reads it as empty
    return len(text) + bool(unpacker.unconsumed_tail)
