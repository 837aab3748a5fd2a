"""How A1111 v1.10 transforms masks before and after sampling; whole jobs are in `test_cases.py`.

`data/latent_masks.npz` holds for each inpainting case the latent's mask, (h, w), 1 where it may change.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from modules.a1111.request import translated
from modules.images.geometry import Size
from modules.infotext.grammar import compose
from modules.infotext.parse import parse
from modules.infotext.write import declared_pairs
from modules.processing.masked.latents import latent_mask
from modules.processing.masked.prepare import Prepared, prepare
from modules.processing.plan import Plan, make_plan
from modules.schema.request import Img2ImgRequest
from modules.schema.settings import Settings
from modules.schema.sizes import SD1_SIZES
from tests.parity.conftest import recorded_cases, with_inputs

A1111 = Settings(randn_source="GPU")
MASKS = np.load(Path(__file__).parent / "data" / "latent_masks.npz")
CASES = [case for case in recorded_cases() if case["name"] in MASKS.files]


def requested(case: dict[str, Any]) -> Img2ImgRequest:
    request = translated("img2img", with_inputs(case["request"]), A1111).request
    assert isinstance(request, Img2ImgRequest)
    return request


def prepared(case: dict[str, Any]) -> tuple[Plan, Prepared]:
    plan = make_plan(requested(case), A1111, SD1_SIZES)
    assert plan.source is not None
    assert plan.canvas is not None
    pictures = prepare(plan.source, plan.canvas, plan.requested, "#ffffff", SD1_SIZES)
    assert pictures is not None
    return plan, pictures


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_latents_mask_is_a1111s_to_the_last_bit(case: dict[str, Any]) -> None:
    expected = MASKS[case["name"]]
    plan, pictures = prepared(case)
    assert plan.canvas is not None
    mask = latent_mask(pictures.latent_mask, Size(*expected.shape[::-1]), plan.canvas.is_rounded)[0, 0]
    # It was recorded as 1 - mask, which loses the last bit of values other than 0 and 1.
    np.testing.assert_allclose(mask.numpy(), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_where_our_overlay_is_opaque_a1111s_picture_is_the_source(
    case: dict[str, Any], arrays: dict[str, NDArray[Any]]
) -> None:
    _, pictures = prepared(case)
    overlay = np.asarray(pictures.overlay)
    opaque = overlay[..., 3] == 255
    picture = arrays[f"{case['name']}.image0"]
    assert picture.shape[:2] == opaque.shape
    if "soft" not in case["name"]:  # there, changed pixels decide, too
        np.testing.assert_array_equal(picture[opaque], overlay[opaque][:, :3])
    # Where the mask is full, only the result is visible: the overlay reaches no further than A1111's.
    hidden = overlay[..., 3] == 0
    assert hidden.any()
    assert (picture[hidden] != np.asarray(pictures.whole)[hidden]).any(axis=1).mean() > 0.9


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_masks_keys_are_a1111s(case: dict[str, Any]) -> None:
    request = requested(case)
    pairs = declared_pairs(request, A1111.overridden(request.override_settings))
    facts = {"Seed": "1234", "Model hash": "58564d6acf", "Model": "tiny", "Version": "v1.10.0"}
    text = compose(request.prompt, request.negative_prompt, pairs | facts)
    assert parse(text) == parse(case["infotexts"][0])
