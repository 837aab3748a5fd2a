"""Requests: what they accept, what they refuse and with which sentence."""

import math
import pickle
import random
from typing import Any

import pytest
from PIL import Image

from modules.base.errors import WebuiError
from modules.base.picture import Picture
from modules.schema.request import MAX_PROMPT, MAX_SEED, SEED_RANGE, Img2ImgRequest, Txt2ImgRequest

SOURCE = Picture.from_image(Image.new("RGB", (16, 16)))


def refusal(model: type[Txt2ImgRequest | Img2ImgRequest], values: dict[str, Any]) -> WebuiError:
    with pytest.raises(WebuiError) as caught:
        model.parse(values)
    return caught.value


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"width": 0}, "Width (width) = 0: expected a whole number from 64 to 4096."),
        ({"height": 10**30}, f"Height (height) = {10**30}: expected a whole number from 64 to 4096."),
        ({"width": True}, "Width (width) = True: expected a whole number from 64 to 4096."),
        ({"width": "wide"}, "Width (width) = 'wide': expected a whole number from 64 to 4096."),
        ({"width": None}, "Width (width) = None: expected a whole number from 64 to 4096."),
        ({"steps": True}, "Sampling steps (steps) = True: expected a whole number from 1 to 150."),
        ({"steps": 20.5}, "Sampling steps (steps) = 20.5: expected a whole number from 1 to 150."),
        ({"steps": math.inf}, "Sampling steps (steps) = inf: expected a whole number from 1 to 150."),
        ({"cfg_scale": math.nan}, "CFG Scale (cfg_scale) = nan: expected a number from 0 to 30."),
        ({"cfg_scale": -1}, "CFG Scale (cfg_scale) = -1: expected a number from 0 to 30."),
        ({"seed": -2}, f"Seed (seed) = -2: expected a whole number from -1 to {MAX_SEED}."),
        ({"seed": 2**64}, f"Seed (seed) = {2**64}: expected a whole number from -1 to {MAX_SEED}."),
        ({"n_iter": 0}, "Batch count (n_iter) = 0: expected a whole number from 1 to 100."),
        ({"prompt": 7}, "Prompt (prompt) = 7: input should be a valid string."),
        ({"prompt": "a" * 100_000},
         f"Prompt (prompt): has 100000 characters, at most {MAX_PROMPT} are allowed; shorten it."),
        ({"negative_prompt": "a" * 100_000},
         f"Negative prompt (negative_prompt): has 100000 characters, at most {MAX_PROMPT} are allowed; shorten it."),
        ({"foo": 1}, "foo = 1: there is no such field."),
        ({"override_settings": 5}, "override_settings = 5: input should be a valid dictionary."),
        ({"sampler_name": "x" * 101}, "Sampling method (sampler_name): string should have at most 100 characters."),
    ],
)  # fmt: skip
def test_a_wrong_value_gets_one_sentence(values: dict[str, Any], sentence: str) -> None:
    error = refusal(Txt2ImgRequest, values)
    assert (str(error), error.field) == (sentence, next(iter(values)))


@pytest.mark.parametrize(
    ("values", "field", "near"),
    [
        ({"sampler_name": "Eular a"}, "sampler_name", "'Euler a'"),
        ({"sampler_name": "dpm++2m"}, "sampler_name", "'DPM++ 2M'"),
        ({"scheduler": "Karas"}, "scheduler", "'Karras'"),
    ],
)
def test_an_unknown_name_gets_the_nearest(values: dict[str, str], field: str, near: str) -> None:
    error = refusal(Txt2ImgRequest, values)
    assert error.field == field
    assert repr(values[field]) in error.message
    assert near in error.message


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "There is no source picture. Drop, paste or choose one in the img2img tab."),
        ({"init_images": []}, "There is no source picture. Drop, paste or choose one in the img2img tab."),
        ({"init_images": None}, "There is no source picture. Drop, paste or choose one in the img2img tab."),
        ({"mask": SOURCE},
         "There is a mask but no source picture. Drop, paste or choose one in the img2img tab."),
        ({"init_images": [SOURCE, SOURCE]},
         "init_images: got 2 pictures, expected one. Send one job per picture."),
        ({"init_images": [5]}, "init_images = 5: expected a picture as base64 text."),
        ({"init_images": [""]}, "init_images: the file is empty (0 bytes). Choose a PNG, JPEG or WebP picture."),
        ({"init_images": [SOURCE.base64()[:40]]},
         "init_images: the file is not a readable picture. Choose a PNG, JPEG or WebP picture."),
    ],
)  # fmt: skip
def test_img2img_needs_one_picture(values: dict[str, Any], sentence: str) -> None:
    error = refusal(Img2ImgRequest, values)
    assert (str(error), error.field) == (sentence, "init_images")


@pytest.mark.parametrize("images", [[SOURCE], (SOURCE,), SOURCE, SOURCE.base64(), [SOURCE.data]])
def test_a_source_picture_comes_in_many_forms(images: Any) -> None:
    assert Img2ImgRequest.parse({"init_images": images}).init_images == (SOURCE,)


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ("20", "steps", 20),
        (20.0, "steps", 20),
        ("7.5", "cfg_scale", 7.5),
        (7, "cfg_scale", 7.0),
        ("512", "width", 512),
        ("-1", "seed", -1),
        ("euler A", "sampler_name", "Euler a"),
        ("k_euler_a", "sampler_name", "Euler a"),
        ("karras", "scheduler", "Karras"),
        ("", "prompt", ""),
        ("a\0b\ud83e\udd8a\ud800", "prompt", "ab🦊\ufffd"),
    ],
)
def test_loose_values_become_exact_ones(given: Any, field: str, value: object) -> None:
    found = getattr(Txt2ImgRequest.parse({field: given}), field)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"inpaint_full_res": True}, "inpaint_full_res", 1),
        ({"inpainting_mask_invert": False}, "inpainting_mask_invert", 0),
        ({"mask_blur": 6.0}, "blur", (6, 6)),
        ({"mask_blur": 6, "mask_blur_x": 0}, "blur", (0, 6)),
        ({"mask_blur_x": 2, "mask_blur_y": 8}, "blur", (2, 8)),
        ({"mask_blend_power": 1}, "mask_blend_power", 1),
        ({"mask": None}, "mask", None),
    ],
)
def test_masks_are_described_as_clients_of_a1111_do(given: dict[str, Any], field: str, value: object) -> None:
    found = getattr(Img2ImgRequest.parse({"init_images": [SOURCE], **given}), field)
    assert (found, type(found)) == (value, type(value))


def test_a_drawn_seed_is_written_down_and_a_given_one_stays() -> None:
    request = Txt2ImgRequest(seed=-1, subseed=7).resolved(random.Random(0))
    assert 0 <= request.seed < SEED_RANGE
    assert request.subseed == 7
    assert Txt2ImgRequest(seed=-1, subseed=7).resolved(random.Random(0)) == request
    assert request.resolved(random.Random(1)) == request


def test_a_request_travels_to_the_engine_unchanged() -> None:
    request = Img2ImgRequest.parse(
        {"prompt": "a cat", "init_images": [SOURCE], "mask": SOURCE, "n_iter": 2, "batch_size": 3}
    )
    back = pickle.loads(pickle.dumps(request))
    assert back == request
    assert back.init_images[0].data == SOURCE.data
    assert back.images == 6
    assert Img2ImgRequest.model_validate_json(request.model_dump_json()) == request


@pytest.mark.parametrize(
    ("values", "field", "near"),
    [
        ({"hr_sampler_name": "Eular a"}, "hr_sampler_name", "'Euler a'"),
        ({"hr_scheduler": "Karas"}, "hr_scheduler", "'Karras'"),
    ],
)
def test_names_of_the_second_pass_are_looked_up_when_there_is_one(
    values: dict[str, str], field: str, near: str
) -> None:
    with pytest.raises(WebuiError, match=near) as caught:
        Txt2ImgRequest.parse({"enable_hr": True, **values})
    assert (caught.value.field, field in caught.value.message) == (field, True)
    assert Txt2ImgRequest.parse(values) == Txt2ImgRequest.parse({})
