"""Rows of upscalers and resize modes: found by any of their names, each with the function that does its work."""

import pickle

import pytest
import torch
from PIL import Image

from modules.base.errors import WebuiError
from modules.base.picture import Picture
from modules.images import enlarge, resize
from modules.images.geometry import Size
from modules.processing.kinds.extras import EXTRAS
from modules.schema.catalog import Catalog
from modules.schema.request.extras import ExtrasRequest
from modules.schema.resize_modes import RESIZE_MODES
from modules.schema.settings import Settings
from modules.schema.upscalers import UPSCALERS, Upscaler, find, named, of_latents, of_pictures


def fourfold(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Like a network: always four times as large, whatever the requested size."""
    return image.resize((image.width * 4, image.height * 4), Image.Resampling.BOX)


FOURFOLD = Upscaler("Fourfold 4x", aliases=("4x",), function=fourfold, factor=4)
ROWS = (*UPSCALERS, FOURFOLD)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Lanczos", "Lanczos"), (" lanczos ", "Lanczos"), ("", "None"), ("latent (bicubic)", "Latent (bicubic)"),
        ("4X", "Fourfold 4x"), ("fourfold 4x", "Fourfold 4x"),
    ],
)  # fmt: skip
def test_by_name_or_alias_in_any_letter_case(name: str, found: str) -> None:
    row = find(name, ROWS)
    assert row is not None
    assert row.name == found


def test_an_unknown_one_gets_the_nearest_name_and_the_field() -> None:
    with pytest.raises(WebuiError, match=r"hr_upscaler='Lanczoz': .*did you mean 'Lanczos'") as caught:
        named("Lanczoz", UPSCALERS, "hr_upscaler")
    assert caught.value.field == "hr_upscaler"
    with pytest.raises(WebuiError, match="did you mean 'Fourfold 4x'"):
        named("4x+", ROWS, "upscaler_1")


@pytest.mark.parametrize("row", of_pictures(UPSCALERS), ids=lambda row: row.name)
def test_what_enlarges_pictures_has_a_function_and_only_none_leaves_them(row: Upscaler) -> None:
    image = Image.linear_gradient("L").convert("RGB").resize((20, 12))
    expected = (20, 12) if row.name == "None" else (40, 24)
    assert enlarge.enlarged(image, row, 2).size == expected


@pytest.mark.parametrize("row", of_latents(UPSCALERS), ids=lambda row: row.name)
def test_what_enlarges_latents_is_known_to_torch(row: Upscaler) -> None:
    assert row.interpolation is not None
    how = {"mode": row.interpolation.mode, "antialias": row.interpolation.antialias}
    assert torch.nn.functional.interpolate(torch.zeros(1, 4, 2, 2), size=(4, 6), **how).shape == (1, 4, 4, 6)


@pytest.mark.parametrize("scale", [2, 4, 5.5])
def test_one_with_a_factor_of_its_own_is_brought_to_the_size_asked_for(scale: float) -> None:
    image = Image.new("RGB", (20, 12), "red")
    made = enlarge.enlarged(image, FOURFOLD, scale)
    assert made.size == enlarge.scaled(Size(20, 12), scale)
    assert made.getpixel((0, 0)) == (255, 0, 0)


def test_the_catalog_lists_what_is_installed() -> None:
    catalog = Catalog(upscalers=ROWS)
    assert catalog.names("upscalers") == ("None", "Lanczos", "Nearest", "Fourfold 4x")
    assert set(catalog.names("hr_upscalers")) == {row.name for row in ROWS}


def test_a_job_carries_the_names_alone() -> None:
    own = Upscaler("Own", function=lambda image, size: image)  # which cannot be pickled
    carried = pickle.loads(pickle.dumps(Catalog(upscalers=(*UPSCALERS, own)).without_notes))
    assert carried.names("hr_upscalers")[-1] == "Own"
    assert carried.upscalers[:-1] == UPSCALERS


class Names:
    catalog = Catalog(upscalers=ROWS)


def test_extras_take_any_upscaler_of_pictures_and_none_of_latents() -> None:
    image = Picture.from_image(Image.new("RGB", (8, 8)))
    request, _ = EXTRAS.admitted(ExtrasRequest(image=image, upscaler_1="4X"), Settings(), Names())  # type: ignore[arg-type]
    assert (request.upscaler_1, request.upscaler_2) == ("Fourfold 4x", "None")
    with pytest.raises(WebuiError) as caught:
        EXTRAS.admitted(ExtrasRequest(image=image, upscaler_2="Latent"), Settings(), Names())  # type: ignore[arg-type]
    assert caught.value.field == "upscaler_2"


@pytest.mark.parametrize("mode", range(len(RESIZE_MODES)))
def test_each_resize_mode_has_a_function_or_an_interpolation(mode: int) -> None:
    row = RESIZE_MODES[mode]
    assert (row.function in resize.FUNCTIONS) != (row.interpolation is not None)
    made = resize.resized(Image.new("RGB", (20, 12)), mode, Size(16, 16))
    assert made.size == ((20, 12) if resize.resizes_latents(mode) else (16, 16))
    assert RESIZE_MODES[mode if row.mask_mode is None else row.mask_mode].function  # masks are pictures
