"""The EXIF reader and writer, against piexif and Pillow."""

import piexif
import piexif.helper
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from modules.base.exif import orientation, user_comment, with_comment

TEXTS = ["a cat", "Grüße\n漢字 🦊, Steps: 20", "x" * 20_000, "漢字"]


@pytest.mark.parametrize("text", TEXTS)
def test_piexif_reads_our_comment(text: str) -> None:
    read = piexif.load(with_comment(text))["Exif"][piexif.ExifIFD.UserComment]
    assert piexif.helper.UserComment.load(read) == text


@pytest.mark.parametrize("text", TEXTS)
def test_we_read_piexifs_comment(text: str) -> None:
    comment = piexif.helper.UserComment.dump(text, encoding="unicode")
    block = piexif.dump({"0th": {piexif.ImageIFD.Make: b"a camera"}, "Exif": {piexif.ExifIFD.UserComment: comment}})
    assert user_comment(block) == text


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("stored", "text"),
    [
        (b"UNICODE\0" + "a cat".encode("utf-16-be"), "a cat"),
        (b"UNICODE\0" + "a cat".encode("utf-16-le"), "a cat"),
        (b"UNICODE\0" + "漢字".encode("utf-16"), "漢字"),  # with a byte order mark
        (b"ASCII\0\0\0a cat\0\0", "a cat"),
        (b"ASCII\0\0\0" + "Grüße".encode(), "Grüße"),
        (b"JIS\0\0\0\0\0" + "猫".encode("shift_jis"), "猫"),
        (b"\0" * 8 + b"a cat  ", "a cat"),
        (b"a cat without a character set", "a cat without a character set"),
        (b"UNICODE\0", ""),
        (b"", ""),
    ],
)
def test_comments_of_other_writers(order: str, stored: bytes, text: str) -> None:
    exif = Image.Exif()
    exif.endian = order
    exif.get_ifd(0x8769)[0x9286] = stored
    assert user_comment(exif.tobytes()) == text


@pytest.mark.parametrize("number", range(1, 9))
def test_orientation(number: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = number
    assert orientation(exif.tobytes()) == number
    assert orientation(piexif.dump({"0th": {0x0112: number}})) == number


@pytest.mark.parametrize("block", [b"", b"Exif\0\0", b"MM", b"II*\0\xff\xff\xff\xff", with_comment("a cat")])
def test_without_orientation_a_picture_is_upright(block: bytes) -> None:
    assert orientation(block) == 1


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(block: bytes) -> None:
    assert 1 <= orientation(block) <= 8
    assert isinstance(user_comment(b"Exif\0\0MM" + block), str)


@given(st.integers(0, 60), st.integers(0, 255))
def test_a_damaged_block_is_read_without_an_error(where: int, value: int) -> None:
    block = bytearray(with_comment("a cat"))
    block[where % len(block)] = value
    assert isinstance(user_comment(bytes(block)), str)
    assert isinstance(user_comment(bytes(block[:where])), str)
