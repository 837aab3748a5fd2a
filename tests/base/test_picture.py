"""Pictures from outside: which are accepted, how they become pixels, and the single sentence for refused ones."""

import base64
import io
import pickle
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import BaseModel

from modules.base import picture as codec
from modules.base.errors import WebuiError
from modules.base.picture import FORMATS, Picture, flattened

RNG = np.random.default_rng(0)
NOISE = Image.fromarray(RNG.integers(0, 255, (24, 32, 3), dtype=np.uint8))
NO_PICTURE = "init_images: the file is not a readable picture. Choose a PNG, JPEG or WebP picture."
DAMAGED = "Open it in an image editor and save it again."


def file_of(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_header(width: int, height: int, depth: int = 8, colors: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colors, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)


def png_start(width: int, height: int) -> bytes:
    """A PNG that states its size and then ends: nothing in it can be decoded."""
    return png_header(width, height) + png_chunk(b"IDAT", b"")


def png_of(values: np.ndarray, depth: int, colors: int) -> bytes:
    """A PNG without filters, for the kinds that Pillow does not write. Values as big-endian samples, rows first."""
    rows = b"".join(b"\0" + row.tobytes() for row in values.astype(">u2" if depth == 16 else "u1"))
    height, width = values.shape[:2]
    return png_header(width, height, depth, colors) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def refusal(data: bytes) -> WebuiError:
    with pytest.raises(WebuiError) as caught:
        Picture.from_bytes(data, "init_images")
    assert caught.value.field == "init_images"
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "init_images: the file is empty (0 bytes). Choose a PNG, JPEG or WebP picture."),
        (b"Dear diary,\n" * 50, NO_PICTURE),
        (b"\x89PNG\r\n\x1a\n", NO_PICTURE),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", NO_PICTURE),
        (png_start(20_000, 20_000), "init_images: the picture has more than 100 megapixels. Scale it down first."),
        (png_start(12_000, 10_000),
         "init_images: the picture is 12000x10000, more than the limit of 100 megapixels. Scale it down first."),
    ],
    ids=["empty", "text", "signature alone", "svg", "20000x20000", "120 megapixels"],
)  # fmt: skip
def test_what_is_no_usable_picture_gets_one_sentence(data: bytes, sentence: str) -> None:
    assert str(refusal(data)) == sentence


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_file_that_is_cut_off_is_called_so(format: str, share: float) -> None:
    data = file_of(NOISE.resize((320, 240)), format)
    error = refusal(data[: int(len(data) * share)])
    assert error.message.startswith("init_images: the file is")
    assert error.hint in (DAMAGED, "Choose a PNG, JPEG or WebP picture.")  # without its header, a file is not one


def test_a_truncated_photo_is_damaged_and_not_gray_below() -> None:
    data = file_of(NOISE.resize((320, 240)), "JPEG")
    assert str(refusal(data[: len(data) // 2])).startswith("init_images: the file is damaged or cut off (")


def test_a_file_that_unpacks_to_gigabytes_is_refused_before_it_is_unpacked() -> None:
    bomb = png_header(60_000, 60_000, 1, 0) + png_chunk(b"IDAT", zlib.compress(b"\0" * 10_000_000))
    assert refusal(bomb).message == "init_images: the picture has more than 100 megapixels."


@pytest.mark.parametrize(("size", "format"), [((1, 1), "PNG"), ((300, 7), "JPEG"), ((1, 20), "GIF")])
def test_a_tiny_picture_is_a_picture(size: tuple[int, int], format: str) -> None:
    picture = Picture.from_bytes(file_of(Image.new("RGB", size, "red"), format))
    assert (picture.width, picture.height) == picture.open().size == size


def with_chunks(*chunks: bytes, behind: bool = False) -> bytes:
    """NOISE as a PNG with these chunks before or after its pixels."""
    whole = file_of(NOISE, "PNG")
    place = len(whole) - 12 if behind else 33
    return whole[:place] + b"".join(chunks) + whole[place:]


def packed_text(key: bytes, length: int, name: bytes = b"zTXt") -> bytes:
    packed = zlib.compress(b"a" * length)
    return png_chunk(name, key + (b"\0\0" if name == b"zTXt" else b"\0\1\0\0\0") + packed)


@pytest.mark.parametrize(
    ("chunk", "key"),
    [
        (packed_text(b"workflow", 2_000_000), "workflow"),
        (packed_text(b"parameters", 80_000_000), "parameters"),
        (packed_text(b"prompt", 2_000_000, b"iTXt"), "prompt"),
        (png_chunk(b"tEXt", b"Comment\0" + b"a" * 2_000_000), "Comment"),
        (png_chunk(b"zTXt", b"odd\0\7xyz"), "odd"),
    ],
    ids=["zTXt", "a bomb", "iTXt", "tEXt", "packed otherwise"],
)
@pytest.mark.parametrize("behind", [False, True])
def test_a_text_too_long_is_left_out_and_told(chunk: bytes, key: str, behind: bool) -> None:
    picture = Picture.from_bytes(with_chunks(packed_text(b"kept", 9), chunk, behind=behind))
    assert picture.open().tobytes() == NOISE.tobytes()
    assert picture.notes == (f"The text {key!r} in the file is longer than 1 MB and was ignored.",)
    assert (picture.text()["kept"], key in picture.text()) == ("a" * 9, False)
    assert Picture.checked_before(picture.data, picture.sha256).notes == picture.notes


def test_many_texts_have_one_limit() -> None:
    picture = Picture.from_bytes(with_chunks(*(packed_text(b"t%d" % number, 1_000_000) for number in range(70))))
    assert picture.open().tobytes() == NOISE.tobytes()
    assert len(picture.notes) == 3
    assert sum(len(str(text)) for text in picture.text().values()) < 17_000_000


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"gAMA", b"\0"), png_chunk(b"pHYs", b"\0\0"), png_chunk(b"sRGB", b""),
        png_chunk(b"tEXt", b"parameters\0a cat")[:-1] + b"?",
    ],
    ids=["gAMA", "pHYs", "sRGB", "checksum"],
)  # fmt: skip
def test_damage_beside_the_pixels_is_left_out_and_told(chunk: bytes) -> None:
    picture = Picture.from_bytes(with_chunks(chunk))
    assert picture.open().tobytes() == NOISE.tobytes()
    assert picture.notes == ("Part of the file's metadata is damaged and was ignored.",)


def test_exif_behind_the_pixels_turns_the_picture_as_well() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Picture.from_bytes(with_chunks(png_chunk(b"eXIf", exif.tobytes()[6:]), behind=True))
    assert (picture.width, picture.height) == picture.open().size == (24, 32)
    assert Picture.checked_before(picture.data, picture.sha256) == picture


def test_a_png_of_chunks_without_end_is_refused_soon() -> None:
    assert str(refusal(with_chunks(png_chunk(b"heRe", b"") * 200_000))) == NO_PICTURE


def test_a_file_too_large_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modules.base.picture.MAX_BYTES", 1000)
    assert "more than the" in refusal(b"\0" * 1001).message


def test_a_picture_that_no_memory_is_there_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", full)
    assert refusal(file_of(NOISE, "JPEG")).message == "init_images: not enough memory to decode the picture."


@pytest.mark.parametrize(
    ("image", "format", "options", "pixels", "notes"),
    [
        (Image.new("CMYK", (16, 8), (0, 255, 255, 0)), "JPEG", {"quality": 100}, (255, 0, 0),
         ("The picture is in CMYK mode; it is converted to RGB.",)),
        (Image.new("L", (16, 8), 77), "PNG", {}, (77, 77, 77), ()),
        (Image.new("1", (16, 8), 1), "PNG", {}, (255, 255, 255), ()),
        (Image.new("P", (16, 8), 0), "PNG", {}, (0, 0, 0), ()),
        (Image.new("RGBA", (16, 8), (9, 8, 7, 255)), "WEBP", {"lossless": True}, (9, 8, 7), ()),
        (Image.new("I;16", (16, 8), 257 * 100), "PNG", {}, (100, 100, 100),
         ("The picture has more than 8 bits per channel; it is reduced to 8.",)),
        (Image.new("F", (16, 8), 99.6), "TIFF", {}, (100, 100, 100),
         ("The picture has more than 8 bits per channel; it is reduced to 8.",)),
        (Image.new("F", (16, 8), 0.6), "TIFF", {}, (153, 153, 153),
         ("The picture has more than 8 bits per channel; it is reduced to 8.",)),
        (Image.new("F", (16, 8), 1.3), "TIFF", {}, (255, 255, 255),
         ("The picture has more than 8 bits per channel; it is reduced to 8.",)),
        (Image.new("F", (16, 8), 257 * 90.0), "TIFF", {}, (90, 90, 90),
         ("The picture has more than 8 bits per channel; it is reduced to 8.",)),
        (Image.new("I", (16, 8), 80), "TIFF", {}, (80, 80, 80),
         ("The picture has more than 8 bits per channel; it is reduced to 8.",)),
        (Image.new("I", (16, 8), 2**30), "TIFF", {}, (128, 128, 128),
         ("The picture has more than 8 bits per channel; it is reduced to 8.",)),
    ],
    ids=[
        "CMYK", "gray", "bilevel", "palette", "opaque alpha", "16 bit", "float", "float to 1", "highlights",
        "float of 16 bits", "bytes as integers", "32 bits",
    ],
)  # fmt: skip
def test_every_kind_of_pixel_becomes_rgb(
    image: Image.Image, format: str, options: dict[str, Any], pixels: tuple[int, ...], notes: tuple[str, ...]
) -> None:
    picture = Picture.from_bytes(file_of(image, format, **options))
    opened = picture.open()
    assert (opened.mode, opened.size, picture.notes) == ("RGB", (16, 8), notes)
    np.testing.assert_allclose(np.asarray(opened)[0, 0], pixels, atol=2)  # JPEG changes a color slightly


def test_a_16_bit_color_png_is_reduced_and_says_so() -> None:
    ramp = np.broadcast_to((np.arange(16) * 4369).reshape(1, 16, 1), (8, 16, 3))  # 0 … 65535
    picture = Picture.from_bytes(png_of(ramp, 16, 2))
    assert picture.notes == ("The picture has more than 8 bits per channel; it is reduced to 8.",)
    np.testing.assert_array_equal(np.asarray(picture.open())[0, :, 0], np.arange(16) * 17)


def test_a_16_bit_gray_png_keeps_its_shades() -> None:
    ramp = np.broadcast_to(np.arange(16) * 4369, (8, 16))
    picture = Picture.from_bytes(png_of(ramp, 16, 0))
    np.testing.assert_array_equal(np.asarray(picture.open())[0, :, 0], np.arange(16) * 17)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_shows_the_background(mode: str) -> None:
    image = Image.new("RGBA", (16, 8), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (8, 0, 16, 8))
    if mode == "P":
        image = image.quantize()
    picture = Picture.from_bytes(file_of(image if mode == "P" else image.convert(mode), "PNG"))
    assert picture.open().mode == "RGBA"
    row = np.asarray(picture.rgb("#ff8000"))[0]
    assert [tuple(row[0]), tuple(row[15])] == [(0, 0, 0), (255, 128, 0)]


def test_a_palette_with_one_transparent_entry() -> None:
    image = Image.new("P", (16, 8), 3)
    image.putpalette([10 * i for i in range(12)])
    picture = Picture.from_bytes(file_of(image, "PNG", transparency=3))
    assert np.asarray(picture.rgb("#010203")).reshape(-1, 3)[0].tolist() == [1, 2, 3]


def test_half_transparent_pixels_mix_with_the_background() -> None:
    assert flattened(Image.new("RGBA", (1, 1), (255, 0, 0, 128)), "#ffffff").getpixel((0, 0)) == (255, 127, 127)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_its_first_frame(format: str) -> None:
    frames = [Image.new("RGB", (16, 8), color) for color in ("red", "lime", "blue")]
    picture = Picture.from_bytes(file_of(frames[0], format, save_all=True, append_images=frames[1:]))
    assert picture.notes == ("The picture is animated; its first frame is used.",)
    assert np.asarray(picture.rgb())[4, 8].argmax() == 0


def test_a_camera_s_two_pictures_in_one_are_a_photo() -> None:
    picture = Picture.from_bytes(file_of(NOISE, "MPO", save_all=True, append_images=[NOISE.resize((8, 8))]))
    assert (picture.format, picture.notes, picture.open().size) == ("JPEG", (), (32, 24))


def test_a_document_is_its_first_page() -> None:
    picture = Picture.from_bytes(file_of(NOISE, "TIFF", save_all=True, append_images=[NOISE]))
    assert picture.notes == ("The file has several pages; the first is used.",)


CORNERS = {  # EXIF orientation -> position of the corner that is red in the file
    1: "top left", 2: "top right", 3: "bottom right", 4: "bottom left",
    5: "top left", 6: "top right", 7: "bottom right", 8: "bottom left",
}  # fmt: skip


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pixels_and_size_are_upright(format: str, orientation: int) -> None:
    image = Image.new("RGB", (32, 16), "black")
    image.paste("red", (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Picture.from_bytes(file_of(image, format, exif=exif))
    opened = picture.open()
    assert opened.size == (picture.width, picture.height) == ((16, 32) if orientation > 4 else (32, 16))
    vertical, horizontal = CORNERS[orientation].split()
    corner = (3 if horizontal == "left" else opened.width - 4, 3 if vertical == "top" else opened.height - 4)
    assert np.asarray(opened)[corner[1], corner[0], 0] > 128


@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"\xff" * 300]
)
def test_damaged_exif_does_not_matter(exif: bytes) -> None:
    picture = Picture.from_bytes(file_of(NOISE, "JPEG", exif=exif) if exif else file_of(NOISE, "JPEG"))
    assert picture.open().size == (32, 24)


def test_damaged_files_of_all_kinds_give_sentences_or_pictures() -> None:
    chunks = PngInfo()
    chunks.add_itxt("parameters", "ü" * 40, zip=True)
    files = [file_of(NOISE, format) for format in FORMATS]
    files += [
        file_of(NOISE, "PNG", pnginfo=chunks), file_of(NOISE.convert("CMYK"), "JPEG"), file_of(NOISE.quantize(), "PNG"),
        file_of(NOISE.quantize(), "GIF", save_all=True, append_images=[NOISE.rotate(90).quantize()]),
        file_of(NOISE, "PNG", save_all=True, append_images=[NOISE.rotate(90)]),
    ]  # fmt: skip
    draw = random.Random(0)
    for _ in range(1500):
        damaged = bytearray(draw.choice(files))
        for _ in range(draw.choice([1, 2, 8])):
            damaged[draw.randrange(min(len(damaged), 200) if draw.random() < 0.7 else len(damaged))] = draw.randrange(
                256
            )
        try:
            picture = Picture.from_bytes(bytes(damaged))
        except WebuiError as error:
            assert error.hint  # noqa: PT017  # which of the files are refused is not the claim
        else:
            assert picture.open().size == (picture.width, picture.height)


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_pictures_come_as_base64(prefix: str) -> None:
    data = file_of(NOISE, "PNG")
    assert Picture.from_text(prefix + base64.b64encode(data).decode()).data == data


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_base64_may_be_of_the_alphabet_for_urls_and_without_padding(prefix: str, padding: int) -> None:
    noise = Image.effect_noise((64, 64), 100)
    data = Picture.from_image(noise).data
    data += b"\0" * (-len(data) % 3) + b"\0" * (3 - padding)  # after its end, which readers ignore
    text = base64.urlsafe_b64encode(data).decode()
    assert {"-", "_"} <= set(text)
    assert len(text) - len(text.rstrip("=")) == padding % 3
    assert Picture.from_text(prefix + text).data == data
    assert Picture.from_text(prefix + text.rstrip("=")).data == data


@pytest.mark.parametrize("text", ["", "data:image/png;base64,", "C:\\pictures\\cat.png", "a/b", "漢字", "A"])
def test_text_that_is_no_picture_gets_a_sentence(text: str) -> None:
    with pytest.raises(WebuiError, match=r"^init_images: the (file|text) is"):
        Picture.from_text(text, "init_images")


def test_a_picture_is_named_by_its_bytes_and_travels_between_processes() -> None:
    picture = Picture.from_image(NOISE)
    assert picture == Picture.from_bytes(picture.data)
    assert pickle.loads(pickle.dumps(picture)).open().tobytes() == NOISE.tobytes()
    assert Picture.checked_before(picture.data, picture.sha256) == picture


class Holder(BaseModel):
    image: Picture


def test_a_picture_is_a_pydantic_field() -> None:
    picture = Picture.from_image(NOISE)
    text = Holder(image=picture).model_dump_json()
    assert Holder.model_validate_json(text).image == picture
    assert Holder.model_json_schema()["properties"]["image"]["type"] == "string"


def test_floats_that_are_no_numbers_do_not_matter() -> None:
    values = np.full((8, 16), 0.5, np.float32)
    values[0, :3] = [np.nan, np.inf, -np.inf]
    opened = np.asarray(Picture.from_bytes(file_of(Image.fromarray(values), "TIFF")).open())
    assert opened[0, :4, 0].tolist() == [0, 255, 0, 128]


def test_a_picture_whose_bytes_lie_on_the_disk_keeps_none_in_memory(tmp_path: Path) -> None:
    picture = Picture.from_image(NOISE)
    path = tmp_path / "source.png"
    path.write_bytes(picture.data)
    lying = picture.lying_at(path)
    assert (lying, lying.content, lying.open().tobytes()) == (picture, path, NOISE.tobytes())
    assert pickle.loads(pickle.dumps(lying)).content == picture.data
    path.write_bytes(b"another")
    with pytest.raises(WebuiError, match="the file has changed"):
        lying.open()
    path.unlink()
    with pytest.raises(WebuiError, match=r"can no longer be read \(No such file"):
        lying.open()


def test_a_png_is_unpacked_in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a piece is unpacked no other thread runs, and a kilobyte may contain a megabyte."""
    sizes: list[int] = []
    decoder = Image._getdecoder

    class Watched:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def decode(self, data: bytes) -> Any:
            sizes.append(len(data))
            return self._inner.decode(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    monkeypatch.setattr(Image, "_getdecoder", lambda *args: Watched(decoder(*args)))
    large = NOISE.resize((640, 480))
    assert Picture.from_bytes(file_of(large, "PNG")).open().tobytes() == large.tobytes()
    assert sum(sizes) > 100_000
    assert max(sizes) < 3 * 4096  # the rest of a piece goes with the next


@pytest.mark.parametrize("spoilt", ["", "\n", "\r\n", " "])
def test_a_long_text_is_the_same_in_pieces_and_as_a_whole(monkeypatch: pytest.MonkeyPatch, spoilt: str) -> None:
    monkeypatch.setattr(codec, "PIECE_OF_BASE64", 16)
    for length in range(64):
        data = bytes(range(200, 200 + min(length, 56))) + bytes(max(length - 56, 0))
        for written in (base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode().rstrip("=")):
            lines = spoilt.join(written[start : start + 5] for start in range(0, len(written), 5))
            assert codec.bytes_of_text(lines) == data
