"""What A1111's own test suite checks on a running server, and one thing it leaves out: that the pictures are there.

29 requests: 10 functions on txt2img (one with three samplers), 4 on img2img, 3 on extras, 10 on lists and options.
"""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.clients.conftest import as_text, masked, opened, picture

Post = Callable[..., dict[str, Any]]

# Every field that its requests set, with its values.
COMMON = {
    "batch_size": 1, "cfg_scale": 7, "eta": 0, "height": 64, "n_iter": 1, "negative_prompt": "",
    "prompt": "example prompt", "restore_faces": False, "s_churn": 0, "s_noise": 1, "s_tmax": 0, "s_tmin": 0,
    "sampler_index": "Euler a", "seed": -1, "seed_resize_from_h": -1, "seed_resize_from_w": -1, "steps": 3,
    "styles": [], "subseed": -1, "subseed_strength": 0, "tiling": False, "width": 64,
}  # fmt: skip
TXT2IMG = {
    **COMMON, "denoising_strength": 0, "enable_hr": False, "firstphase_height": 0, "firstphase_width": 0,
}  # fmt: skip
IMG2IMG = {
    **COMMON, "denoising_strength": 0.75, "include_init_images": False, "inpaint_full_res": False,
    "inpaint_full_res_padding": 0, "inpainting_fill": 0, "inpainting_mask_invert": False, "mask": None, "mask_blur": 4,
    "override_settings": {}, "resize_mode": 0,
}  # fmt: skip
COMPLEX = "((emphasis)), (emphasis1:1.1), [to:1], [from::2], [from:to:0.3], [alt|alt1]"


@pytest.mark.parametrize(
    ("fields", "sizes"),
    [
        pytest.param({}, [(64, 64)], id="simple"),
        pytest.param({"negative_prompt": "example negative prompt"}, [(64, 64)], id="negative"),
        pytest.param({"prompt": COMPLEX}, [(64, 64)], id="complex"),
        pytest.param({"width": 64, "height": 128}, [(64, 128)], id="not square"),
        pytest.param({"enable_hr": True, "denoising_strength": 0}, [(128, 128)], id="hires fix"),
        pytest.param({"tiling": True}, [(64, 64)], id="tiling"),
        pytest.param({"restore_faces": True}, [(64, 64)], id="faces"),
        pytest.param({"sampler_index": "PLMS"}, [(64, 64)], id="PLMS"),
        pytest.param({"sampler_index": "DDIM"}, [(64, 64)], id="DDIM"),
        pytest.param({"sampler_index": "UniPC"}, [(64, 64)], id="UniPC"),
        pytest.param({"n_iter": 2}, [(64, 64)] * 2, id="two batches"),
        pytest.param({"batch_size": 2}, [(64, 64)] * 2, id="batch of two"),
    ],
)
def test_txt2img(post: Post, fields: dict[str, Any], sizes: list[tuple[int, int]]) -> None:
    answer = post("txt2img", {**TXT2IMG, **fields})
    assert [opened(image).size for image in answer["images"]] == sizes
    assert len(json.loads(answer["info"])["infotexts"]) == len(sizes)


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        pytest.param({}, (64, 64), id="simple"),
        pytest.param({"mask": as_text(masked())}, (64, 64), id="mask"),
        pytest.param({"mask": as_text(masked()), "inpainting_mask_invert": True}, (64, 64), id="mask inverted"),
    ],
)
def test_img2img(post: Post, fields: dict[str, Any], size: tuple[int, int]) -> None:
    answer = post("img2img", {**IMG2IMG, "init_images": [as_text(picture())], **fields})
    assert [opened(image).size for image in answer["images"]] == [size]


def test_img2img_by_the_script_sd_upscale(client: httpx.Client) -> None:
    script = {"script_name": "sd upscale", "script_args": ["", 8, "Lanczos", 2.0]}
    answer = client.post("/sdapi/v1/img2img", json={**IMG2IMG, "init_images": [as_text(picture())], **script})
    assert answer.status_code == 200, answer.text
    assert opened(answer.json()["images"][-1]).size == (128, 128)


@pytest.mark.parametrize("upscaler", ["Lanczos", "Nearest", "None"])
def test_extras(post: Post, upscaler: str) -> None:
    body = {
        "resize_mode": 0, "show_extras_results": True, "gfpgan_visibility": 0, "codeformer_visibility": 0,
        "codeformer_weight": 0, "upscaling_resize": 2, "upscaling_resize_w": 128, "upscaling_resize_h": 128,
        "upscaling_crop": True, "upscaler_1": upscaler, "upscaler_2": "None", "extras_upscaler_2_visibility": 0,
        "image": as_text(picture()),
    }  # fmt: skip
    size = (64, 64) if upscaler == "None" else (128, 128)
    assert opened(post("extra-single-image", body)["image"]).size == size


def test_an_option_is_turned_and_read_back(client: httpx.Client, post: Post) -> None:
    before = client.get("/sdapi/v1/options").json()["send_seed"]
    post("options", {"send_seed": not before})
    assert client.get("/sdapi/v1/options").json()["send_seed"] is not before
    post("options", {"send_seed": before})


@pytest.mark.parametrize(
    "route",
    [
        "cmd-flags", "samplers", "upscalers", "sd-models", "hypernetworks", "face-restorers", "realesrgan-models",
        "prompt-styles", "embeddings",
    ],
)  # fmt: skip
def test_lists(client: httpx.Client, route: str) -> None:
    assert client.get(f"/sdapi/v1/{route}").status_code == 200
