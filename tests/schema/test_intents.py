"""The five intents: complete presets over existing fields."""

import pytest
from PIL import Image

from modules.base.errors import WebuiError
from modules.base.picture import Picture
from modules.schema.intents import INTENTS, PLAIN, Intent, intent
from modules.schema.request import Img2ImgRequest

PICTURE = Picture.from_image(Image.new("RGB", (64, 64)))


def test_there_are_the_five_that_artists_name() -> None:
    assert [found.name for found in INTENTS] == ["fill", "expand", "add", "remove", "replace_background"]


@pytest.mark.parametrize("wanted", INTENTS, ids=lambda wanted: wanted.name)
def test_its_values_are_a_requests(wanted: Intent) -> None:
    request = Img2ImgRequest.parse({"init_images": PICTURE, "mask": PICTURE, **wanted.values})
    assert {name: getattr(request, name) for name in wanted.values} == dict(wanted.values)
    assert set(PLAIN) <= set(wanted.values)  # nothing of the previous one remains


def test_it_says_in_the_forms_words_what_it_sets() -> None:
    assert {found.name: found.sentence for found in INTENTS} == {
        "fill": "Masked content: fill, Denoising strength: 0.65",
        "expand": "Denoising strength: 0.6, Outpaint fill: stretched edges, Outpaint feather: 64",
        "add": "Masked content: fill, Mask blur: 8, Denoising strength: 0.8",
        "remove": "Masked content: fill, Denoising strength: 0.65",
        "replace_background": "Mask mode: Inpaint not masked, Denoising strength: 1.0",
    }


def test_another_name_is_answered_with_those_there_are() -> None:
    assert intent("add").label == "Add"
    with pytest.raises(WebuiError, match="there is no such intent") as caught:
        intent("paint")
    assert caught.value.hint == "Choose fill, expand, add, remove, replace_background."


def test_it_is_described_whole() -> None:
    assert intent("expand").described() == {
        "name": "expand",
        "label": "Expand",
        "description": "Extend the picture beyond its edges; the original stays unchanged.",
        "needs": "frame",
        "ask": "First drag the frame beyond the picture's edges (Frame).",
        "words": "what is beyond the edges, without the subject",
        "sentence": "Denoising strength: 0.6, Outpaint fill: stretched edges, Outpaint feather: 64",
        "values": {
            "inpainting_mask_invert": 0,
            "inpainting_fill": 1,
            "inpaint_full_res": 0,
            "mask_blur": 4,
            "mask_strength_by_grey": False,
            "soft_inpainting": False,
            "inpaint_color_match": 0.0,
            "denoising_strength": 0.6,
            "outpaint_fill": 0,
            "outpaint_feather": 64,
        },
    }
