"""Ancillary chunks of a PNG are examined before the decoder meets them."""

import io
import struct
import zlib
from collections.abc import Sequence

import pytest
from PIL import Image

from modules.base.png_side import MOST_NOTES, MOST_TEXT, SIGNATURE, looked_through

DAMAGED = "Part of the file's metadata is damaged and was ignored."
HEADER = struct.pack(">IIBBBBB", 2, 1, 8, 2, 0, 0, 0)  # 2 x 1, RGB
PIXELS = zlib.compress(b"\0" + b"\xff\0\0" + b"\0\xff\0")


def chunk(name: bytes, data: bytes, checksum: int | None = None) -> bytes:
    number = zlib.crc32(name + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", number)


def png(before: Sequence[bytes] = (), after: Sequence[bytes] = ()) -> bytes:
    """A small PNG with chunks before and after its pixels."""
    pixels = chunk(b"IDAT", PIXELS)
    return b"".join([SIGNATURE, chunk(b"IHDR", HEADER), *before, pixels, *after, chunk(b"IEND", b"")])


def text(key: bytes, value: bytes) -> bytes:
    return chunk(b"tEXt", key + b"\0" + value)


def packed_text(key: bytes, value: bytes) -> bytes:
    return chunk(b"zTXt", key + b"\0\0" + zlib.compress(value))


def texts(data: bytes) -> dict[str, str]:
    """As Pillow reads them without decoding the pixels; the pixels are checked too."""
    picture = Image.open(io.BytesIO(data))
    found = {str(key): str(value) for key, value in picture.info.items()}
    assert [picture.convert("RGB").getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0), (0, 255, 0)]
    return found


def test_a_sound_file_is_the_same_object() -> None:
    file = png([text(b"parameters", b"a cat")])
    side = looked_through(file)
    assert side.data is file
    assert side.notes == ()


def test_another_format_is_not_touched() -> None:
    file = b"\xff\xd8\xff\xe0 no PNG"
    assert looked_through(file).data is file


def test_texts_behind_the_pixels_are_moved_before_them() -> None:
    side = looked_through(png(after=[text(b"parameters", b"a cat")]))
    assert side.data == png([text(b"parameters", b"a cat")])
    assert side.notes == ()
    assert texts(side.data) == {"parameters": "a cat"}


@pytest.mark.parametrize(
    "bad",
    [
        chunk(b"tEXt", b"parameters\0a dog", checksum=1),
        chunk(b"gAMA", b"\0\0\0"),  # four bytes are fixed
        chunk(b"pHYs", b"\0" * 10),
        chunk(b"t3Xt", b"parameters\0a dog"),  # letters only
    ],
)
def test_a_damaged_chunk_is_left_out_with_one_note(bad: bytes) -> None:
    side = looked_through(png([text(b"parameters", b"a cat"), bad, bad]))
    assert side.data == png([text(b"parameters", b"a cat")])
    assert side.notes == (DAMAGED,)


LONG = b"x" * (MOST_TEXT + 1)
INTERNATIONAL = b"long\0\1\0\0\0" + zlib.compress(LONG)


@pytest.mark.parametrize(
    "bad",
    [text(b"long", LONG), packed_text(b"long", LONG), chunk(b"iTXt", INTERNATIONAL), chunk(b"zTXt", b"long\0\7data")],
)
def test_a_text_that_unpacks_to_more_than_the_limit_is_left_out_by_name(bad: bytes) -> None:
    side = looked_through(png([bad, text(b"parameters", b"a cat")]))
    assert texts(side.data) == {"parameters": "a cat"}
    assert side.notes == ("The text 'long' in the file is longer than 1 MB and was ignored.",)


def test_a_text_at_the_limit_is_kept() -> None:
    side = looked_through(png([packed_text(b"full", LONG[:-1])]))
    assert side.notes == ()
    assert len(texts(side.data)["full"]) == MOST_TEXT


def test_texts_are_limited_together_and_notes_are_few() -> None:
    many = [packed_text(b"t%02d" % number, LONG[:-1]) for number in range(21)]
    side = looked_through(png(many))
    assert sorted(texts(side.data)) == [f"t{number:02}" for number in range(16)]
    assert len(side.notes) == MOST_NOTES
    assert side.notes[0] == "The text 't16' in the file is longer than 1 MB and was ignored."


def test_a_name_that_cannot_be_shown_is_written_with_question_marks() -> None:
    side = looked_through(png([text(b"a\x07\x1bb", LONG)]))
    assert side.notes == ("The text 'a??b' in the file is longer than 1 MB and was ignored.",)


def test_a_color_profile_within_the_limit_stays_in_the_file() -> None:
    file = png([chunk(b"iCCP", b"name\0\0" + zlib.compress(b"p" * 100))])
    assert looked_through(file) == (file, (), None, None)


@pytest.mark.parametrize(("size", "is_usable"), [(2 << 20, True), (9 << 20, False)])
def test_a_large_color_profile_is_handed_over_beside_the_file(size: int, is_usable: bool) -> None:
    profile = b"p" * size
    side = looked_through(png([chunk(b"iCCP", b"name\0\0" + zlib.compress(profile))]))
    assert side.data == png()
    assert side.profile == (profile if is_usable else b"")


def test_color_code_points_are_read() -> None:
    assert looked_through(png([chunk(b"cICP", bytes([9, 16, 0, 1]))])).cicp == (9, 16, 0, 1)
    assert looked_through(png()).cicp is None


def test_frames_of_an_animation_are_kept_however_large() -> None:
    file = png(after=[chunk(b"fdAT", LONG)])
    assert looked_through(file).data is file


def test_a_truncated_last_chunk_is_kept_for_the_pixels_in_it() -> None:
    whole = png([text(b"long", LONG)])
    cut = whole[: whole.index(b"IDAT") + 10]
    assert looked_through(cut).data == png()[: png().index(b"IDAT") + 10]
