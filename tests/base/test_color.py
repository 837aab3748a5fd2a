"""Pictures in other color spaces are converted to sRGB on input; sRGB pictures keep their values."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from modules.base import icc
from modules.base.color import SAME, SRGB_PROFILE
from modules.base.picture import Picture
from modules.store.metadata import Format, encoded

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8))
COLOR = (200, 100, 50)
PATCH = Image.new("RGB", (16, 8), COLOR)
P3 = icc.profile("Display P3", icc.DISPLAY_P3)
ADOBE = icc.profile("Adobe RGB (1998)", icc.ADOBE_RGB, icc.ADOBE_GAMMA)
UNUSABLE = "The picture's color profile is unusable; its colors are treated as sRGB."


def srgb_of(color: tuple[int, ...], primaries: icc.Primaries, gamma: float | None = None) -> list[int]:
    """The closed form: linear light, one matrix, sRGB's curve."""
    values = np.array(color) / 255
    curve = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear = curve if gamma is None else values**gamma
    out = (np.linalg.inv(icc.colorants(icc.SRGB)) @ icc.colorants(primaries) @ linear).clip(0, 1)
    return (
        (np.where(out <= 0.0031308, out * 12.92, 1.055 * out ** (1 / 2.4) - 0.055) * 255).round().astype(int).tolist()
    )


def file_of(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def first_pixel(picture: Picture) -> list[int]:
    return np.asarray(picture.open())[4, 8].tolist()


def chunks(**known: bytes) -> PngInfo:
    info = PngInfo()
    for name, data in known.items():
        info.add(name.encode(), data)
    return info


def camera(space: int | None, index: str | None) -> Image.Exif:
    """EXIF as a camera writes it: color space and interoperability index."""
    exif = Image.Exif()
    private: dict[int, Any] = {} if space is None else {0xA001: space}
    if index is not None:
        private[0xA005] = {1: index}
    exif[0x8769] = private
    return exif


@pytest.mark.parametrize(
    ("primaries", "known"),
    [
        (icc.SRGB, [[0.43607, 0.38515, 0.14307], [0.22249, 0.71689, 0.06062], [0.01392, 0.09708, 0.71410]]),
        (icc.ADOBE_RGB, [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]),
        (icc.DISPLAY_P3, [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]),
    ],
    ids=["sRGB", "Adobe RGB", "Display P3"],
)
def test_colorants_are_those_of_the_makers_profiles(primaries: icc.Primaries, known: list[list[float]]) -> None:
    np.testing.assert_allclose(icc.colorants(primaries), known, atol=2e-4)


def test_a_profile_is_the_same_bytes_each_time_and_littlecms_reads_it() -> None:
    assert icc.profile("sRGB", icc.SRGB) == SRGB_PROFILE
    read = ImageCms.ImageCmsProfile(io.BytesIO(SRGB_PROFILE))
    assert (ImageCms.getProfileDescription(read).strip(), len(SRGB_PROFILE)) == ("sRGB", 480)


@pytest.mark.parametrize(
    ("data", "expected", "name"),
    [
        (file_of(PATCH, "PNG", icc_profile=P3), srgb_of(COLOR, icc.DISPLAY_P3), "'Display P3'"),
        (file_of(PATCH, "WEBP", lossless=True, icc_profile=ADOBE), srgb_of(COLOR, icc.ADOBE_RGB, icc.ADOBE_GAMMA),
         "'Adobe RGB (1998)'"),
        (file_of(PATCH, "TIFF", icc_profile=P3), srgb_of(COLOR, icc.DISPLAY_P3), "'Display P3'"),
        (file_of(PATCH, "JPEG", quality=100, subsampling=0, icc_profile=ADOBE),
         srgb_of(COLOR, icc.ADOBE_RGB, icc.ADOBE_GAMMA), "'Adobe RGB (1998)'"),
        (file_of(PATCH, "AVIF", quality=100, subsampling="4:4:4", icc_profile=P3), srgb_of(COLOR, icc.DISPLAY_P3),
         "'Display P3'"),
        (file_of(PATCH, "JPEG", quality=100, subsampling=0, exif=camera(0xFFFF, "R03")),
         srgb_of(COLOR, icc.ADOBE_RGB, icc.ADOBE_GAMMA), "Adobe RGB"),
        (file_of(PATCH, "WEBP", lossless=True, exif=camera(None, "R03")),
         srgb_of(COLOR, icc.ADOBE_RGB, icc.ADOBE_GAMMA), "Adobe RGB"),
        (file_of(PATCH, "JPEG", quality=100, subsampling=0, exif=camera(2, None)),
         srgb_of(COLOR, icc.ADOBE_RGB, icc.ADOBE_GAMMA), "Adobe RGB"),
        (file_of(PATCH, "PNG", pnginfo=chunks(cICP=bytes([12, 13, 0, 1]))), srgb_of(COLOR, icc.DISPLAY_P3),
         "Display P3"),
        (file_of(PATCH, "PNG", pnginfo=chunks(cICP=bytes([9, 14, 0, 1]))), srgb_of(COLOR, icc.BT2020), "BT.2020"),
        (file_of(PATCH, "AVIF", quality=100, subsampling="4:4:4").replace(b"colrnclx\0\1", b"colrnclx\0\x0c"),
         srgb_of(COLOR, icc.DISPLAY_P3), "Display P3"),
        (file_of(PATCH, "PNG", pnginfo=chunks(gAMA=struct.pack(">I", 100_000))), srgb_of(COLOR, icc.SRGB, 1.0),
         "described by its gAMA and cHRM chunks"),
        (file_of(PATCH, "PNG", pnginfo=chunks(cHRM=struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000,
                                                               6000), gAMA=struct.pack(">I", 45470))),
         srgb_of(COLOR, icc.ADOBE_RGB, 1 / 0.4547), "described by its gAMA and cHRM chunks"),
    ],
    ids=[
        "PNG", "WebP", "TIFF", "JPEG", "AVIF", "camera", "index alone", "space 2", "cICP P3", "cICP 2020",
        "nclx", "gAMA", "cHRM",
    ],
)  # fmt: skip
def test_other_colors_become_srgb_and_say_so(data: bytes, expected: list[int], name: str) -> None:
    picture = Picture.from_bytes(data)
    assert picture.notes == (f"The picture's colors are {name}; they are converted to sRGB.",)
    np.testing.assert_allclose(first_pixel(picture), expected, atol=2)
    assert np.abs(np.array(first_pixel(picture)) - COLOR).max() > 6  # otherwise the case shows nothing
    assert Picture.checked_before(data, picture.sha256).notes == picture.notes


@pytest.mark.parametrize(
    "data",
    [
        file_of(NOISE, "PNG"),
        file_of(NOISE, "PNG", icc_profile=SRGB_PROFILE),
        file_of(NOISE, "PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
        file_of(NOISE, "WEBP", lossless=True, icc_profile=SRGB_PROFILE),
        file_of(NOISE, "PNG", pnginfo=chunks(sRGB=b"\0")),
        file_of(NOISE, "PNG", pnginfo=chunks(sRGB=b"\0", gAMA=struct.pack(">I", 100_000))),
        file_of(NOISE, "PNG", pnginfo=chunks(gAMA=struct.pack(">I", 45455))),
        file_of(NOISE, "PNG", pnginfo=chunks(cICP=bytes([1, 13, 0, 1]), gAMA=struct.pack(">I", 100_000))),
        file_of(NOISE, "WEBP", lossless=True, exif=camera(1, "R98")),
        file_of(NOISE, "WEBP", lossless=True, exif=camera(0xFFFF, None)),
        file_of(NOISE, "TIFF"),
        file_of(NOISE, "BMP"),
        file_of(NOISE, "PNG", icc_profile=b""),
    ],
    ids=[
        "plain", "our profile", "littlecms' profile", "WebP", "sRGB", "sRGB before gAMA", "gAMA 1/2.2",
        "cICP before gAMA", "camera", "uncalibrated", "TIFF", "BMP", "empty",
    ],
)  # fmt: skip
def test_srgb_keeps_every_bit(data: bytes) -> None:
    picture = Picture.from_bytes(data)
    assert (picture.notes, picture.open().tobytes()) == ((), NOISE.tobytes())


def test_a_profile_that_differs_from_srgb_by_its_table_alone_is_srgb() -> None:
    """HP's and others' curves are tables: littlecms' result differs by a step in places."""
    values = np.arange(1024) / 1023
    table = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    curve = b"curv\0\0\0\0" + struct.pack(">I1024H", 1024, *(table * 65535).round().astype(int))
    tagged = icc.assembled([
        (b"desc", icc.text("HP")), (b"wtpt", icc.xyz(icc.D50)),
        *((name, icc.xyz(column))
          for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), icc.colorants(icc.SRGB).T, strict=True)),
        *((name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")),
    ])  # fmt: skip
    picture = Picture.from_bytes(file_of(NOISE, "PNG", icc_profile=tagged))
    assert (picture.notes, picture.open().tobytes()) == ((), NOISE.tobytes())
    assert SAME < 9  # what gamma 2.2 would change


def test_gamma_2_2_is_not_srgb() -> None:
    data = file_of(Image.new("RGB", (8, 8), (12, 12, 12)), "PNG", icc_profile=icc.profile("2.2", icc.SRGB, 2.2))
    np.testing.assert_allclose(first_pixel_of_8(data), srgb_of((12, 12, 12), icc.SRGB, 2.2), atol=1)


def first_pixel_of_8(data: bytes) -> list[int]:
    return np.asarray(Picture.from_bytes(data).open())[0, 0].tolist()


def test_transparency_stays_where_colors_are_converted() -> None:
    image = Image.new("RGBA", (16, 8), (*COLOR, 255))
    image.paste((*COLOR, 70), (0, 0, 4, 8))
    opened = Picture.from_bytes(file_of(image, "PNG", icc_profile=P3)).open()
    expected = srgb_of(COLOR, icc.DISPLAY_P3)
    assert opened.mode == "RGBA"
    np.testing.assert_allclose(np.asarray(opened)[0, [0, 9]], [[*expected, 70], [*expected, 255]], atol=2)


@pytest.mark.parametrize("mode", ["L", "P"])
def test_gray_and_palettes_take_a_profile_of_rgb(mode: str) -> None:
    gray = Image.new("L", (16, 8), 40)
    data = file_of(gray if mode == "L" else gray.convert("P"), "PNG", icc_profile=icc.profile("1.8", icc.SRGB, 1.8))
    np.testing.assert_allclose(first_pixel(Picture.from_bytes(data)), srgb_of((40, 40, 40), icc.SRGB, 1.8), atol=2)


def gray_profile(gamma: float) -> bytes:
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    made = bytearray(icc.assembled([(b"desc", icc.text("Gray")), (b"wtpt", icc.xyz(icc.D50)), (b"kTRC", curve)]))
    made[16:20] = b"GRAY"
    return bytes(made)


@pytest.mark.parametrize("sixteen", [False, True])
def test_a_gray_profile(sixteen: bool) -> None:
    image = Image.new("I;16", (16, 8), 40 * 257) if sixteen else Image.new("L", (16, 8), 40)
    picture = Picture.from_bytes(file_of(image, "PNG", icc_profile=gray_profile(1.8)))
    assert picture.notes[-1] == "The picture's colors are 'Gray'; they are converted to sRGB."
    np.testing.assert_allclose(first_pixel(picture), srgb_of((40, 40, 40), icc.SRGB, 1.8), atol=2)


def press_profile() -> bytes:
    """A press with textbook inks, except a dark cyan: A2B0 with two steps per channel."""
    lab = []
    for c, m, y, k in np.ndindex(2, 2, 2, 2):
        color = Image.new("RGB", (1, 1), tuple(int(255 * (1 - ink) * (1 - k)) for ink in (0.8 * c, m, y)))
        to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        lab.append(ImageCms.applyTransform(color, to_lab).getpixel((0, 0)))  # pyright: ignore
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0])
    table += b"".join(struct.pack(">i", round(v * 65536)) for v in np.eye(3).flat)
    table += bytes(range(256)) * 4 + b"".join(bytes(v) for v in lab) + bytes(range(256)) * 3
    made = bytearray(icc.assembled([(b"desc", icc.text("Press")), (b"wtpt", icc.xyz(icc.D50)), (b"A2B0", table)]))
    made[12:24] = b"prtrCMYKLab "
    return bytes(made)


@pytest.mark.parametrize(
    ("inks", "expected"),
    [((255, 0, 0, 0), (51, 255, 255)), ((0, 255, 255, 0), (255, 0, 0)), ((0, 0, 0, 0), (255, 255, 255))],
)
def test_cmyk_follows_its_profile(inks: tuple[int, ...], expected: tuple[int, ...]) -> None:
    data = file_of(Image.new("CMYK", (16, 8), inks), "JPEG", quality=100, icc_profile=press_profile())
    picture = Picture.from_bytes(data)
    assert picture.notes == (
        "The picture is in CMYK mode; it is converted to RGB.",
        "The picture's colors are 'Press'; they are converted to sRGB.",
    )
    np.testing.assert_allclose(first_pixel(picture), expected, atol=9)  # Lab of 8 bits, and JPEG


def test_lab_is_converted() -> None:
    image = Image.new("LAB", (16, 8))
    image.putdata([(137, 208, 195)] * 128)  # sRGB's red: L 53.7, a 80, b 67
    picture = Picture.from_bytes(file_of(image, "TIFF"))
    assert picture.notes == ("The picture is in LAB mode; it is converted to RGB.",)
    np.testing.assert_allclose(first_pixel(picture), (255, 0, 0), atol=16)  # slightly outside sRGB


@pytest.mark.parametrize(
    "profile",
    [b"no profile", P3[:200], bytes(480), gray_profile(1.8), press_profile(), P3[:12] + b"link" + P3[16:]],
    ids=["text", "cut off", "zeros", "of gray", "of CMYK", "of two devices"],
)
@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_a_profile_that_cannot_be_used_is_told(profile: bytes, format: str) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    picture = Picture.from_bytes(file_of(NOISE, format, icc_profile=profile, **options))
    assert (picture.notes, picture.open().tobytes()) == ((UNUSABLE,), NOISE.tobytes())


def test_a_profile_packed_wrongly_or_too_large_is_told() -> None:
    for packed in (b"\0not packed", b"\0" + zlib.compress(bytes(20 << 20)), b"\7" + zlib.compress(P3), b""):
        picture = Picture.from_bytes(
            file_of(NOISE, "PNG", pnginfo=None, icc_profile=None)[:33]
            + png_chunk(b"iCCP", b"x\0" + packed)
            + file_of(NOISE, "PNG")[33:]
        )
        assert (picture.notes, picture.open().tobytes()) == ((UNUSABLE,), NOISE.tobytes())


def test_a_large_profile_is_used() -> None:
    """Pillow refuses a PNG whose profile is larger than its limit for texts; a printer's profile is."""
    large = icc.assembled(
        [
            (b"desc", icc.text("Large")),
            (b"wtpt", icc.xyz(icc.D50)),
            (b"more", bytes(2 << 20)),
            *((name, data) for name, data in tags_of(P3) if name[1:] in (b"XYZ", b"TRC")),
        ]
    )
    whole = file_of(PATCH, "PNG")
    picture = Picture.from_bytes(whole[:33] + png_chunk(b"iCCP", b"x\0\0" + zlib.compress(large)) + whole[33:])
    assert picture.notes == ("The picture's colors are 'Large'; they are converted to sRGB.",)
    np.testing.assert_allclose(first_pixel(picture), srgb_of(COLOR, icc.DISPLAY_P3), atol=2)


def tags_of(profile: bytes) -> list[tuple[bytes, bytes]]:
    count = int.from_bytes(profile[128:132], "big")
    rows = [struct.unpack_from(">4sII", profile, 132 + 12 * number) for number in range(count)]
    return [(name, profile[start : start + size]) for name, start, size in rows]


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@pytest.mark.parametrize(
    ("gamma", "xy"),
    [(0, None), (1, None), (2**31, None), (45455, (0,) * 8), (45455, (31270, 32900, 1, 1, 1, 1, 1, 1))],
    ids=["0", "tiny", "huge", "no colors", "one point"],
)
def test_chunks_that_mean_no_colors_are_told_or_passed_over(gamma: int, xy: tuple[int, ...] | None) -> None:
    info = chunks(gAMA=struct.pack(">I", gamma), **({"cHRM": struct.pack(">8I", *xy)} if xy else {}))
    picture = Picture.from_bytes(file_of(NOISE, "PNG", pnginfo=info))
    assert picture.notes in ((), (UNUSABLE,))
    assert picture.open().tobytes() == NOISE.tobytes()


@pytest.mark.parametrize("format", ["png", "jpg", "webp"])
def test_a_source_that_was_converted_is_written_as_srgb(format: Format) -> None:
    opened = Picture.from_bytes(file_of(PATCH, "PNG", icc_profile=P3)).open()
    again = Picture.from_bytes(encoded(opened, format, "", lossless=True).data)
    assert again.notes == ()
    np.testing.assert_allclose(first_pixel(again), srgb_of(COLOR, icc.DISPLAY_P3), atol=3)


def test_hdr_is_told() -> None:
    picture = Picture.from_bytes(file_of(NOISE, "PNG", pnginfo=chunks(cICP=bytes([9, 16, 0, 1]))))
    assert picture.notes == ("The picture is HDR (PQ); its brightness is not adjusted.",)


@pytest.mark.parametrize("format", ["png", "jpg", "webp"])
def test_what_is_written_says_that_it_is_srgb(format: Format) -> None:
    file = encoded(NOISE, format, "a cat", lossless=True)
    info = Image.open(io.BytesIO(file.data)).info
    assert info["srgb"] == 0 if format == "png" else info["icc_profile"] == SRGB_PROFILE
    assert Picture.from_bytes(file.data).notes == ()
    assert encoded(NOISE, format, "a cat", lossless=True) == file
