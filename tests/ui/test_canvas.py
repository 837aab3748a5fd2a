"""The picture area and the mask controls: which widgets exist, and what the canvas's scripts may depend on."""

import re
from typing import Any

import pytest

from modules.base.fields import params
from modules.schema.catalog import Catalog
from modules.schema.request import Img2ImgRequest
from modules.schema.settings import Settings
from modules.ui import assets
from modules.ui.app import Page, build_page
from tests.ui.fake_server import in_a_loop

SCRIPTS = sorted((assets.FOLDER / "canvas").glob("*.js"))
MASK_CONTROLS = (
    "mask_blur", "inpainting_mask_invert", "inpainting_fill", "inpaint_full_res", "inpaint_full_res_padding",
    "inpaint_color_match", "mask_strength_by_grey", "soft_inpainting", "mask_blend_power", "mask_blend_scale",
    "inpaint_detail_preservation", "composite_mask_influence", "composite_difference_threshold",
    "composite_difference_contrast",
)  # fmt: skip


@pytest.fixture(scope="module")
def page() -> Page:
    return in_a_loop(lambda: build_page(Catalog(()), Settings()))


def test_the_controls_of_a_mask_follow_the_picture_in_a1111s_order(page: Page) -> None:
    names = [field["name"] for field in page.config["tabs"]["img2img"]]
    first = names.index("mask_blur")
    assert tuple(names[first : first + len(MASK_CONTROLS)]) == MASK_CONTROLS


@pytest.mark.parametrize(
    ("elem", "label", "value"),
    [
        ("img2img_mask_blur", "Mask blur", 4),
        ("img2img_mask_mode", "Mask mode", 0),
        ("img2img_inpainting_fill", "Masked content", 1),
        ("img2img_inpaint_full_res", "Inpaint area", 0),
        ("img2img_inpaint_full_res_padding", "Only masked padding, pixels", 32),
        ("img2img_soft_inpainting_enabled", "Soft inpainting", False),
    ],
)
def test_labels_ids_and_defaults_are_those_people_know(page: Page, elem: str, label: str, value: object) -> None:
    found: list[dict[str, Any]] = [part["props"] for part in page.blocks.get_config_file()["components"]]
    widget = next(props for props in found if props.get("elem_id") == elem)
    assert (widget["label"], widget["value"]) == (label, value)


def test_without_a_mask_no_field_about_masks_is_sent() -> None:
    source = (assets.FOLDER / "canvas" / "wire.js").read_text(encoding="utf-8")
    listed = re.search(r"MASK_FIELDS = \[([^]]+)\]", source)
    assert listed
    assert set(re.findall(r'"(\w+)"', listed[1])) == set(MASK_CONTROLS)
    assert set(MASK_CONTROLS) <= set(params(Img2ImgRequest))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_canvas_knows_nothing_of_gradio(script: Any) -> None:
    assert "gradio" not in script.read_text(encoding="utf-8").lower()
