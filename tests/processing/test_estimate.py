"""An estimate matches what the job will do."""

from typing import Any

import pytest

from modules.base.picture import Picture
from modules.processing.estimate import SecondPass, estimate
from modules.schema.families import SD1_TRAITS, SDXL_TRAITS
from modules.schema.request import Img2ImgRequest, Txt2ImgRequest
from modules.schema.settings import Settings
from modules.schema.sizes import SD1_SIZES, ModelSizes, Resolution, SizeRule

STARTER = ModelSizes(SD1_SIZES, (Resolution(256, 256),))
WIDE = ModelSizes(SD1_SIZES, (Resolution(768, 512),))
SD1 = ModelSizes(SD1_SIZES, SD1_TRAITS.trained_on)
SDXL = ModelSizes(SDXL_TRAITS.sizes, SDXL_TRAITS.trained_on)


def sized(width: int, height: int) -> tuple[Picture]:
    return (Picture(b"", "", width, height, ""),)


@pytest.mark.parametrize(
    ("strength", "exact", "walked"),
    [(0.75, False, 16), (0.0, False, 1), (0.0, True, 0), (0.3, True, 20), (1.0, False, 20)],
)
def test_steps_are_those_that_are_walked(strength: float, exact: bool, walked: int) -> None:
    request = Img2ImgRequest(init_images=sized(256, 256), denoising_strength=strength)
    found = estimate(request, Settings(img2img_fix_steps=exact), None)
    assert (found.steps, found.effective_steps) == (20, walked)


@pytest.mark.parametrize(
    ("fields", "settings", "first", "second"),
    [
        ({"hr_scale": 2, "denoising_strength": 0.3}, {}, (256, 192), SecondPass(512, 384, 20)),
        ({"hr_resize_x": 400, "hr_resize_y": 200, "hr_second_pass_steps": 7}, {}, (256, 192), SecondPass(400, 200, 7)),
        ({"hr_scale": 2, "denoising_strength": 0}, {}, (256, 192), SecondPass(512, 384, 0)),
        ({}, {"use_old_hires_fix_width_height": True}, (640, 448), SecondPass(256, 192, 20)),
    ],
)
def test_hires_fix_is_told_as_it_is_made(
    fields: dict[str, float], settings: dict[str, Any], first: tuple[int, int], second: SecondPass
) -> None:
    request = Txt2ImgRequest.parse({"width": 256, "height": 192, "enable_hr": True, **fields})
    found = estimate(request, Settings(**settings), None)
    assert ((found.width, found.height), found.second) == (first, second)


@pytest.mark.parametrize(
    ("size", "model", "warned"),
    [
        ((256, 256), STARTER, False), ((376, 376), STARTER, False), ((384, 384), STARTER, True),
        ((512, 512), STARTER, True), ((256, 384), STARTER, True), ((384, 192), STARTER, True),
        ((512, 512), SD1, False), ((760, 512), SD1, False), ((768, 512), SD1, True),
        ((1024, 1024), WIDE, True), ((2048, 2048), None, False),
        ((1536, 640), SDXL, False), ((1536, 648), SDXL, True),  # its training size
    ],
)  # fmt: skip
def test_from_one_and_a_half_times_the_models_side_on_it_warns(
    size: tuple[int, int], model: ModelSizes | None, warned: bool
) -> None:
    request = Txt2ImgRequest(width=size[0], height=size[1])
    found = estimate(request, Settings(), model)
    assert (bool(found.warning), found.native) == (warned, model and model.native)


def test_a_scale_that_makes_a_small_source_too_large_warns_too() -> None:
    request = Img2ImgRequest(init_images=sized(200, 100), resize_by=2)
    assert estimate(request, Settings(), STARTER).warning.startswith("400 × 200 is much larger")


@pytest.mark.parametrize(
    ("size", "model", "warned"),
    [
        ((512, 512), SDXL, True), ((680, 680), SDXL, True), ((688, 688), SDXL, False), ((640, 1536), SDXL, False),
        ((256, 256), SD1, True), ((384, 320), SD1, False), ((128, 192), STARTER, True), ((64, 64), None, False),
    ],
)  # fmt: skip
def test_a_size_of_less_than_half_the_models_pixels_is_warned_of(
    size: tuple[int, int], model: ModelSizes | None, warned: bool
) -> None:
    warning = estimate(Txt2ImgRequest(width=size[0], height=size[1]), Settings(), model).warning
    assert ("much smaller" in warning) == warned == bool(warning)


@pytest.mark.parametrize(("multiple_of", "made"), [(8, (1000, 600)), (16, (992, 592)), (64, (960, 576))])
def test_sides_are_cut_by_the_rule_of_the_checkpoints_family(multiple_of: int, made: tuple[int, int]) -> None:
    rule = SizeRule(cell=8, multiple_of=multiple_of, native=1024)
    found = estimate(
        Txt2ImgRequest(width=1000, height=600, enable_hr=True, hr_scale=2),
        Settings(),
        ModelSizes(rule, (Resolution(1024, 1024),)),
    )
    assert (found.width, found.height) == made
    assert found.second is not None
    assert (found.second.width, found.second.height) == (rule.floor(2000), rule.floor(1200))


@pytest.mark.parametrize(
    ("source", "fields", "shrinks", "is_large"),
    [
        ((2200, 3000), {}, True, True),
        ((2200, 3000), {"resize_by": 0.5}, True, True),
        ((2200, 3000), {"resize_by": 0.75}, True, False),
        ((2200, 3000), {"resize_by": 1}, False, False),
        ((384, 100), {}, True, True),
        ((376, 256), {}, True, False),
        ((263, 256), {}, False, False),  # incomplete cells are cut off in any case
        ((128, 128), {}, False, False),
        ((2200, 3000), {"outpaint_left": 64}, False, False),
        ((2200, 3000), {"outpaint_left": 64, "resize_by": 0.5}, True, True),
    ],
)
def test_a_source_that_becomes_smaller_is_told(
    source: tuple[int, int], fields: dict[str, float], shrinks: bool, is_large: bool
) -> None:
    request = Img2ImgRequest.model_validate({"init_images": sized(*source), "width": 256, "height": 256, **fields})
    found = estimate(request, Settings(), None)
    assert (found.shrinks_source, found.is_source_large) == (shrinks, is_large)
