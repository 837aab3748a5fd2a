"""Parameters inside picture files: ours and other people's."""

import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import piexif
import piexif.helper
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from modules.base.picture import Picture
from modules.store.metadata import Format, Metadata, encoded, read

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8))
TEXT = "a cat\nNegative prompt: flat\nSteps: 20, Sampler: Euler, Seed: 1"


def picture_of(image: Image.Image, format: str, **options: Any) -> Picture:
    file = io.BytesIO()
    image.save(file, format, **options)
    return Picture.from_bytes(file.getvalue())


def chunks(**texts: str) -> PngInfo:
    info = PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    return info


def comment(text: str) -> bytes:
    stored = piexif.helper.UserComment.dump(text, encoding="unicode")
    return piexif.dump({"Exif": {piexif.ExifIFD.UserComment: stored}})


@pytest.mark.parametrize("format", ["png", "jpg", "webp"])
@pytest.mark.parametrize("text", [TEXT, "Grüße", "漢字 🦊\n" * 99 + "end", "x" * 20_000, ""])
def test_text_comes_back(format: Format, text: str) -> None:
    file = encoded(IMAGE, format, text)
    assert file.format == format
    picture = Picture.from_bytes(file.data)
    assert picture.format == {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[format]
    assert read(picture) == Metadata(text, {})


@pytest.mark.parametrize("format", ["jpg", "webp"])
def test_a1111_reads_our_files(format: Format) -> None:
    """With A1111's method: piexif reads Pillow's EXIF block."""
    exif = Image.open(io.BytesIO(encoded(IMAGE, format, "Grüße 漢字").data)).info["exif"]
    assert piexif.helper.UserComment.load(piexif.load(exif)["Exif"][piexif.ExifIFD.UserComment]) == "Grüße 漢字"


@pytest.mark.parametrize(("format", "lossless"), [("png", False), ("webp", True)])
def test_lossless_formats_keep_every_byte(format: Format, lossless: bool) -> None:
    file = encoded(IMAGE, format, TEXT, lossless=lossless)
    assert Picture.from_bytes(file.data).open().tobytes() == IMAGE.tobytes()


def test_text_in_latin_1_is_a_plain_chunk() -> None:
    assert b"tEXtparameters\0Gr\xfc\xdfe" in encoded(IMAGE, "png", "Grüße").data
    assert b"iTXtparameters\0" in encoded(IMAGE, "png", "漢字").data


@pytest.mark.parametrize(
    ("size", "text", "requested", "given"),
    [
        ((16, 16), "漢" * 33_000, "jpg", "png"),  # an EXIF block of a JPEG holds at most 64 kB
        ((65_536, 8), TEXT, "jpg", "png"),
        ((16_384, 8), TEXT, "webp", "png"),
        ((16_383, 8), TEXT, "webp", "webp"),
    ],
)
def test_what_a_format_cannot_hold_becomes_a_png(
    size: tuple[int, int], text: str, requested: Format, given: Format
) -> None:
    file = encoded(Image.new("RGB", size), requested, text)
    assert file.format == given
    assert read(Picture.from_bytes(file.data)).infotext == text


def test_what_no_file_can_hold_is_left_out() -> None:
    assert read(Picture.from_bytes(encoded(IMAGE, "png", "a\0b\ud800c").data)).infotext == "ab?c"


@pytest.mark.parametrize(
    ("picture", "infotext", "items"),
    [
        (picture_of(IMAGE, "PNG"), "", {}),
        (picture_of(IMAGE, "PNG", pnginfo=chunks(parameters=TEXT, postprocessing="Upscale: 2")), TEXT,
         {"postprocessing": "Upscale: 2"}),
        (picture_of(IMAGE, "PNG", pnginfo=chunks(workflow="{}")), "", {"workflow": "{}"}),
        (picture_of(IMAGE, "PNG", pnginfo=chunks(parameters="old"), exif=comment(TEXT)), TEXT, {}),
        (picture_of(IMAGE, "PNG", pnginfo=chunks(parameters=TEXT), exif=piexif.dump({})), TEXT, {}),
        (picture_of(IMAGE, "JPEG", exif=comment(TEXT)), TEXT, {}),
        (picture_of(IMAGE, "JPEG", comment=TEXT.encode()), TEXT, {}),
        (picture_of(IMAGE, "WEBP", exif=comment(TEXT)), TEXT, {}),
        (picture_of(IMAGE, "AVIF", exif=comment(TEXT)), TEXT, {}),
        (picture_of(IMAGE.quantize(), "GIF", comment=TEXT.encode()), TEXT, {}),
        (picture_of(IMAGE, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff"), "", {}),
    ],
    ids=["nothing", "png", "others", "exif wins", "empty exif", "jpeg", "jpeg comment", "webp", "avif", "gif",
         "damaged"],
)  # fmt: skip
def test_other_people_s_files(picture: Picture, infotext: str, items: dict[str, str]) -> None:
    assert read(picture) == Metadata(infotext, items)


def test_text_behind_the_pixels_is_found() -> None:
    data = picture_of(IMAGE, "PNG", pnginfo=chunks(parameters=TEXT)).data
    start = data.index(b"tEXt") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    moved = data[:start] + data[end:-12] + data[start:end] + data[-12:]
    assert read(Picture.from_bytes(moved)).infotext == TEXT


def test_a_novelai_picture_is_translated() -> None:
    told = {"steps": 28, "sampler": "k_euler_ancestral", "seed": 5, "scale": 11.0, "uc": "flat"}
    info = chunks(Software="NovelAI", Description="a cat", Comment=json.dumps(told))
    assert read(picture_of(IMAGE, "PNG", pnginfo=info)).infotext == (
        "a cat\nNegative prompt: flat\nSteps: 28, Sampler: Euler a, CFG scale: 11.0, Seed: 5, Size: 32x24, "
        "Clip skip: 2, ENSD: 31337"
    )


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("テスト, 狐".encode(), "テスト, 狐"),  # UTF-8 where PNG expects Latin-1
        ("café".encode(), "café"),
        ("café".encode("latin-1"), "café"),
        (b"plain", "plain"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_text_chunk_in_utf_8_is_read_as_such(written: bytes, read_as: str, packed: bool) -> None:
    info = PngInfo()
    info.add(b"zTXt" if packed else b"tEXt", b"parameters\0" + (b"\0" + zlib.compress(written) if packed else written))
    assert read(picture_of(IMAGE, "PNG", pnginfo=info)).infotext == read_as


def test_letters_that_look_like_utf_8_come_back_from_our_own_files() -> None:
    assert read(Picture.from_bytes(encoded(IMAGE, "png", "Ã©").data)).infotext == "Ã©"


def test_an_exif_comment_in_utf_8_is_read_as_such() -> None:
    block = piexif.dump({"Exif": {piexif.ExifIFD.UserComment: b"UNICODE\0" + "狐, Steps: 20".encode()}})
    assert read(picture_of(IMAGE, "JPEG", exif=block)).infotext == "狐, Steps: 20"


@pytest.mark.parametrize("told", ["", "{", "[]", "[" * 100_000, '{"steps": {}}', '{"uc": null}'])
def test_a_broken_novelai_comment_does_not_matter(told: str) -> None:
    info = chunks(Software="NovelAI", Description="a cat", Comment=told)
    assert isinstance(read(picture_of(IMAGE, "PNG", pnginfo=info)).infotext, str)


@pytest.mark.parity
def test_a_picture_that_a1111_wrote() -> None:
    path = Path(__file__).parents[1] / "parity" / "data" / "a1111.png"
    assert read(Picture.from_bytes(path.read_bytes())) == Metadata(
        "a red fox in the snow, oil painting\nNegative prompt: blurry, low quality\n"
        "Steps: 8, Sampler: Euler, Schedule type: Automatic, CFG scale: 7.0, Seed: 1234, Size: 128x96, "
        "Model hash: 58564d6acf, Model: tiny, Denoising strength: 0.6, Version: v1.10.0",
        {},
    )
