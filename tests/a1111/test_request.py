"""Requests of A1111's API in terms of ours."""

from typing import Any

import pytest
from PIL import Image

from modules.a1111.request import translated
from modules.base.errors import WebuiError
from modules.base.picture import Picture
from modules.schema.request import Img2ImgRequest, Txt2ImgRequest
from modules.schema.settings import EXACT, Settings

PICTURE = Picture.from_image(Image.new("RGB", (64, 64)))


def txt2img(**body: Any) -> Txt2ImgRequest:
    request = translated("txt2img", body).request
    assert isinstance(request, Txt2ImgRequest)
    return request


def img2img(**body: Any) -> Img2ImgRequest:
    request = translated("img2img", {"init_images": [PICTURE], **body}).request
    assert isinstance(request, Img2ImgRequest)
    return request


def test_its_defaults_are_its_own() -> None:
    request = txt2img()
    assert (request.steps, request.sampler_name, request.scheduler) == (50, "Euler", "Automatic")
    assert request.override_settings == {"compatibility": EXACT}
    inpainting = img2img()
    assert (inpainting.inpainting_fill, inpainting.inpaint_full_res, inpainting.inpaint_full_res_padding) == (0, 1, 0)


def test_nothing_is_what_was_not_said() -> None:
    assert txt2img(sampler_name=None, styles=None, eta=None, denoising_strength=None, hr_upscaler=None) == txt2img()


@pytest.mark.parametrize(
    ("body", "sampler", "scheduler"),
    [
        ({"sampler_index": "DPM++ 2M"}, "DPM++ 2M", "Automatic"),
        ({"sampler_index": "Euler", "sampler_name": "LMS"}, "LMS", "Automatic"),
        ({"sampler_name": "DPM++ 2M Karras"}, "DPM++ 2M", "Automatic"),
        ({"sampler_name": "k_euler_a", "scheduler": "karras"}, "Euler a", "Karras"),
    ],
)
def test_samplers_come_under_several_names(body: dict[str, Any], sampler: str, scheduler: str) -> None:
    request = txt2img(**body)
    assert (request.sampler_name, request.scheduler) == (sampler, scheduler)


def test_an_unknown_sampler_is_refused_and_not_replaced() -> None:
    with pytest.raises(WebuiError, match="did you mean 'Euler a'"):
        txt2img(sampler_name="euler ax")


def test_one_blur_goes_before_the_two() -> None:
    assert img2img(mask_blur_x=2, mask_blur_y=8).blur == (2, 8)
    assert img2img(mask_blur=3, mask_blur_x=2).blur == (3, 3)


def test_soft_inpainting_is_a_script_there() -> None:
    request = img2img(alwayson_scripts={"Soft Inpainting": {"args": [True, 2, 0.75, 5, 0.1, 0.6, 3]}})
    assert (request.soft_inpainting, request.mask_blend_power, request.composite_difference_contrast) == (True, 2, 3)


@pytest.mark.parametrize(
    ("body", "checkpoint", "at"),
    [
        ({"args": [True, "sharp", 0.6]}, "sharp", 0.6),
        ({"args": [True, "sharp"]}, "sharp", None),
        ({"args": [False, "sharp", 0.6]}, "", None),
        ({"args": [True, "None", 0.6]}, "", None),
        ({"args": []}, "", None),
    ],
)
def test_the_refiner_is_a_script_there(body: dict[str, Any], checkpoint: str, at: float | None) -> None:
    for made in (txt2img, img2img):
        request = made(alwayson_scripts={"Refiner": body})
        assert (request.refiner_checkpoint, request.refiner_switch_at) == (checkpoint, at)
    own = txt2img(alwayson_scripts={"refiner": body}, refiner_checkpoint="own", refiner_switch_at=0.2)
    assert (own.refiner_checkpoint, own.refiner_switch_at) == ("own", 0.2)


def test_settings_that_are_not_here_are_named() -> None:
    body = {"override_settings": {"CLIP_stop_at_last_layers": 2, "samples_save": False}, "restore_faces": True}
    made = translated("txt2img", body)
    assert made.request.override_settings == {"CLIP_stop_at_last_layers": 2, "compatibility": EXACT}
    assert made.ignored == ("restore_faces", "override_settings.samples_save")


def test_a_noise_multiplier_among_the_overrides_comes_too_late_as_in_a1111() -> None:
    request = img2img(override_settings={"initial_noise_multiplier": 1.2})
    assert request.override_settings == {"compatibility": EXACT}
    assert img2img(initial_noise_multiplier=1.2).initial_noise_multiplier == 1.2


def test_a_text_fills_in_what_the_body_leaves_out() -> None:
    text = (
        "a wolf\nNegative prompt: ugly\nSteps: 5, Sampler: Euler a, CFG scale: 5, Seed: 99, Size: 96x64, Clip skip: 2"
    )
    request = translated("txt2img", {"infotext": text, "seed": 3}, Settings(randn_source="GPU")).request
    assert (request.prompt, request.steps, request.seed, request.width) == ("a wolf", 5, 3, 96)
    assert request.override_settings == {"CLIP_stop_at_last_layers": 2, "compatibility": EXACT}


def test_fractions_of_whole_numbers_are_cut_as_in_a1111() -> None:
    given = {
        "steps": 20.9,
        "enable_hr": True,
        "hr_second_pass_steps": 12.5,
        "hr_resize_x": 128.7,
        "seed": -1.5,
        "width": 96.25,
    }
    request = txt2img(**given, cfg_scale=7.5, override_settings={"CLIP_stop_at_last_layers": 2.7})
    assert isinstance(request, Txt2ImgRequest)
    assert (request.steps, request.hr_second_pass_steps, request.hr_resize_x) == (20, 12, 128)
    assert (request.seed, request.width, request.cfg_scale) == (-1, 96, 7.5)
    assert request.override_settings["CLIP_stop_at_last_layers"] == 2


def test_fractions_of_pixels_and_choices_are_cut_too() -> None:
    request = img2img(mask_blur_x=3.9, inpainting_fill=1.5, resize_mode=2.2, inpaint_full_res_padding=32.99)
    assert (request.mask_blur_x, request.inpainting_fill) == (3, 1)
    assert (request.resize_mode, request.inpaint_full_res_padding) == (2, 32)


def test_a_text_with_a_size_beyond_all_bounds_is_refused_unless_the_body_has_its_own() -> None:
    text = "a cat\nSteps: 20, Sampler: Euler, Size: 99999999x99999999, Seed: 3"
    with pytest.raises(WebuiError, match="infotext: Width: 99999999 is more than 4096") as refusal:
        translated("txt2img", {"infotext": text})
    assert refusal.value.field == "infotext"
    request = translated("txt2img", {"infotext": text, "width": 64, "height": 128}).request
    assert (request.width, request.height) == (64, 128)
