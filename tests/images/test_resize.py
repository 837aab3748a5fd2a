"""Resize modes: geometry by tables, pixels against A1111's recorded ones."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modules.images.geometry import Placement, Size, covering, fitting, scaled
from modules.images.resize import CROP_AND_RESIZE, JUST_RESIZE, RESIZE_AND_FILL, resized
from modules.schema.upscalers import Upscaler

RECORDED = np.load(Path(__file__).parents[1] / "parity" / "data" / "images.npz")


@pytest.mark.parametrize(
    ("source", "target", "crop", "fill"),
    [
        ((640, 480), (512, 512), (682, 512, -85, 0), (512, 384, 0, 64)),
        ((480, 640), (512, 512), (512, 682, 0, -85), (384, 512, 64, 0)),
        ((1000, 667), (768, 512), (768, 512, 0, 0), (767, 512, 1, 0)),
        ((512, 512), (768, 512), (768, 768, 0, -128), (512, 512, 128, 0)),
        ((333, 501), (512, 512), (512, 770, 0, -129), (340, 512, 86, 0)),
        ((64, 64), (64, 64), (64, 64, 0, 0), (64, 64, 0, 0)),
        ((10000, 8), (512, 512), (640000, 512, -319744, 0), (512, 1, 0, 256)),
    ],
)
def test_where_a_picture_lies_in_its_target(
    source: tuple[int, int], target: tuple[int, int], crop: tuple[int, ...], fill: tuple[int, ...]
) -> None:
    assert covering(Size(*source), Size(*target)) == Placement(Size(*crop[:2]), *crop[2:])
    assert fitting(Size(*source), Size(*target)) == Placement(Size(*fill[:2]), *fill[2:])


@pytest.mark.parametrize(
    ("source", "factor", "size"),
    [
        ((160, 120), 1.05, (168, 126)),
        ((511, 65), 1.0, (511, 65)),
        ((100, 10), 0.05, (5, 1)),
        ((333, 501), 2, (666, 1002)),
    ],
)
def test_resize_by_cuts_to_whole_pixels(source: tuple[int, int], factor: float, size: tuple[int, int]) -> None:
    assert scaled(Size(*source), factor) == size


@pytest.mark.parity
@pytest.mark.parametrize("name", [name for name in RECORDED.files if name.startswith("resize_image_")])
def test_pixels_are_a1111s_to_the_last_bit(name: str) -> None:
    mode, size = name.removeprefix("resize_image_").split("_")
    result = resized(Image.fromarray(RECORDED["source"]), int(mode), Size(*map(int, size.split("x"))))
    np.testing.assert_array_equal(np.asarray(result), RECORDED[name])


def test_latent_upscale_leaves_the_picture_as_it_is() -> None:
    source = Image.fromarray(RECORDED["source"])
    assert resized(source, 3, Size(64, 64)) is source


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_masks_and_transparent_pictures_keep_their_color_mode(mode: str) -> None:
    source = Image.fromarray(RECORDED["source"]).convert(mode)
    for resize_mode in (JUST_RESIZE, CROP_AND_RESIZE, RESIZE_AND_FILL):
        result = resized(source, resize_mode, Size(64, 96))
        assert (result.mode, result.size) == (mode, (64, 96))


@pytest.mark.parametrize("target", [(513, 64), (64, 513), (96, 97), (75, 44)])
def test_resize_and_fill_leaves_no_pixel_black(target: tuple[int, int]) -> None:
    """A1111 leaves the last column or row black if an odd target meets an even picture."""
    result = resized(Image.new("RGB", (200, 120), "white"), RESIZE_AND_FILL, Size(*target))
    assert np.asarray(result).min() == 255


def test_a_thin_strip_is_cropped_before_it_grows_to_gigabytes() -> None:
    strip = Image.new("L", (50_000, 8))
    strip.paste(255, (25_000, 0, 50_000, 8))
    result = np.asarray(resized(strip, CROP_AND_RESIZE, Size(64, 512)))  # via 3 200 000 x 512
    assert result.shape == (512, 64)
    assert (result[:, 0] < 128).all()
    assert (result[:, -1] > 128).all()


def doubled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Stands in for a network: twice as large, in one color that resizing cannot produce."""
    return Image.new(image.mode, (image.width * 2, image.height * 2), "lime")


def test_what_gets_larger_goes_through_the_upscaler_and_masks_do_not() -> None:
    upscaler = Upscaler("Double", function=doubled)
    small, mask = Image.new("RGB", (20, 10), "red"), Image.new("L", (20, 10), 200)
    for mode in (JUST_RESIZE, CROP_AND_RESIZE, RESIZE_AND_FILL):
        assert resized(small, mode, Size(40, 30), upscaler).getpixel((20, 15)) == (0, 255, 0)
        assert resized(small, mode, Size(10, 5), upscaler).getpixel((5, 2)) == (255, 0, 0)
        assert resized(mask, mode, Size(40, 30), upscaler).getpixel((20, 15)) == 200
        assert resized(small, mode, Size(20, 10), upscaler) is small


def test_an_upscaler_for_img2img_is_asked_for_eights_and_brought_to_the_last_pixel_with_lanczos() -> None:
    asked: list[tuple[int, int]] = []

    def enlarge(image: Image.Image, size: tuple[int, int]) -> Image.Image:
        asked.append(size)
        return image.resize(size, Image.Resampling.NEAREST)

    source = Image.linear_gradient("L").resize((100, 50)).convert("RGB")
    result = resized(source, JUST_RESIZE, Size(150, 90), Upscaler("Own", function=enlarge))
    assert asked == [(176, 88)]  # 1.8 times, cut to multiples of eight
    expected = source.resize((176, 88), Image.Resampling.NEAREST).resize((150, 90), Image.Resampling.LANCZOS)
    assert result.tobytes() == expected.tobytes()
