"""Control units in infotexts: what we write can be read again, and so can what others write."""

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from modules.base.errors import WebuiError
from modules.base.picture import Picture
from modules.infotext.control import picture_hashes, read_unit, unit_text
from modules.infotext.parse import parse
from modules.infotext.read import to_fields
from modules.infotext.recipe import recipe
from modules.schema.catalog import Catalog, Checkpoint
from modules.schema.control import CONTROL, FILL, SECOND, ControlUnit

UNIT = ControlUnit(
    module="canny", model="lines [0123abcd]", weight=0.55, resize_mode=FILL, processor_res=768, threshold_a=90,
    threshold_b=180, guidance_start=0.1, guidance_end=0.8, pixel_perfect=True, control_mode=CONTROL, hr_option=SECOND,
)  # fmt: skip
WRITTEN = unit_text(UNIT, 768, 90.0, 180.0)
# As written by the extension: newer and older versions.
THEIRS = {
    "Module: canny, Model: control_v11p_sd15_canny [d14c016b], Weight: 1.0, Resize Mode: Crop and Resize, "
    "Processor Res: 512, Threshold A: 100.0, Threshold B: 200.0, Guidance Start: 0.0, Guidance End: 1.0, "
    "Pixel Perfect: False, Control Mode: Balanced": ControlUnit(
        module="canny", model="control_v11p_sd15_canny [d14c016b]", processor_res=512, threshold_a=100, threshold_b=200
    ),
    "Module: none, Model: x, Weight: 1, Resize Mode: Crop and Resize, Low Vram: False, Guidance Start: 0, "
    "Guidance End: 1, Pixel Perfect: True, Control Mode: My prompt is more important, Hr Option: Both, "
    "Save Detected Map: True": ControlUnit(model="x", pixel_perfect=True, control_mode="My prompt is more important"),
}


def test_what_is_written_is_read_again() -> None:
    assert read_unit(WRITTEN) == UNIT


@pytest.mark.parametrize("text", THEIRS)
def test_the_extensions_texts_are_read(text: str) -> None:
    assert read_unit(text) == THEIRS[text]


@pytest.mark.parametrize("text", ["", "canny", "Module: canny", "Model: x, Weight: many", "Model: x, Weight: 9"])
def test_what_is_no_unit_is_none(text: str) -> None:
    assert read_unit(text) is None


def whole(*units: str, pictures: str = "") -> str:
    pairs = "".join(f', ControlNet {number}: "{unit}"' for number, unit in enumerate(units))
    hashes = f', Control pictures: "{pictures}"' if pictures else ""
    return f"a cat\nSteps: 2, Sampler: Euler, CFG scale: 7.0, Seed: 1, Size: 64x64{pairs}{hashes}, Version: x"


def test_pasting_says_that_a_units_picture_is_not_in_the_text() -> None:
    read = to_fields(parse(whole(WRITTEN, "nonsense")))
    assert (read.units, "controlnet" in read.fields, read.ignored) == ((UNIT,), False, {})
    assert read.notes == (
        "ControlNet 0 (lines [0123abcd]) was left out: a text does not hold its picture.",
        "ControlNet 1: 'nonsense' cannot be read.",
    )


def test_hashes_belong_to_units_by_their_order() -> None:
    assert picture_hashes("a, source", 3) == ["a", "source", ""]
    assert picture_hashes("", 1) == [""]
    read = to_fields(parse(whole(WRITTEN, "nonsense", WRITTEN, pictures="aa, bb, source")))
    assert read.unit_pictures == ("aa", "source")  # also if a unit between them cannot be read


def test_a_picture_is_made_again_with_the_stored_pictures_of_its_units() -> None:
    stored = Picture.from_image(Image.new("RGB", (64, 64), "white"))
    catalog = Catalog((Checkpoint("tiny", Path("tiny.safetensors")),))
    text = whole(WRITTEN, WRITTEN, pictures=f"{stored.sha256}, {stored.sha256}")
    made = recipe(stored, text, catalog, {stored.sha256: stored}.get)
    assert [unit.image for unit in made.request.controlnet] == [0, 1]
    assert made.request.control_images == (stored, stored)
    assert not any("ControlNet" in cause for cause in made.causes)
    lost = whole(WRITTEN, pictures=hashlib.sha256(b"gone").hexdigest())
    with pytest.raises(WebuiError, match=r"picture of the control unit 'lines \[0123abcd\]' is missing"):
        recipe(stored, lost, catalog, {}.get)
