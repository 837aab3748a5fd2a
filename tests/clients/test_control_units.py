"""Control units in the shapes in which third-party clients of A1111's ControlNet extension send them.

Each shape is the set of fields, spellings and types of one client or kind of client; values are ours.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.testclient import TestClient

from modules.a1111.loose import strict
from modules.api.a1111.pictures import picture_from
from modules.api.app import create_api
from modules.api.services import Services
from modules.schema.catalog import ControlModel
from modules.schema.control import BALANCED, CONTROL, CROP, FILL, PROMPT, STRETCH, ControlUnit
from modules.schema.request import GenerationRequest
from tests.api.a1111_client import png
from tests.api.conftest import BASE, services_in

CANNY, DEPTH = "control_v11p_sd15_canny [d14c016b]", "control_v11f1p_sd15_depth [cfd03158]"
PICTURE = png(32, 32)
URI = f"data:image/png;base64,{PICTURE}"
OTHER = png(8, 8)  # one that is not used

Shape = tuple[str, dict[str, Any], list[dict[str, Any]]]

# name -> (key among the scripts, that key's value, the units that are meant)
SHAPES: dict[str, Shape] = {
    "AUTOMATIC1111's wiki": (
        "controlnet",
        {"args": [{"input_image": PICTURE, "module": "canny", "model": CANNY}]},
        [{"image": 0, "module": "canny"}],
    ),
    "webuiapi 0.9": (
        "ControlNet",
        {"args": [{
            "image": PICTURE, "mask": None, "module": "none", "model": CANNY, "weight": 1.0,
            "resize_mode": "Resize and Fill", "low_vram": False, "processor_res": 512, "threshold_a": 64,
            "threshold_b": 64, "guidance_start": 0.0, "guidance_end": 1.0, "control_mode": 0, "pixel_perfect": False,
            "hr_option": "Both", "enabled": True,
        }]},
        [{"image": 0, "resize_mode": FILL, "processor_res": 512, "threshold_a": 64, "threshold_b": 64}],
    ),
    "a Photoshop plug-in, all slots, most of them off": (
        "controlnet",
        {"args": [
            {
                "enabled": True, "input_image": PICTURE, "mask": "", "module": "canny", "model": CANNY, "weight": 0.8,
                "resize_mode": "Scale to Fit (Inner Fit)", "lowvram": True, "processor_res": 512, "threshold_a": 100,
                "threshold_b": 200, "guidance_start": 0, "guidance_end": 0.9, "guessmode": False, "control_mode":
                "My prompt is more important", "pixel_perfect": True,
            },
            {"enabled": False, "input_image": "", "mask": "", "module": "", "model": "", "weight": 1},
            {"enabled": False, "input_image": "", "mask": "", "module": "", "model": "", "weight": 1},
        ]},
        [{
            "image": 0, "module": "canny", "weight": 0.8, "resize_mode": CROP, "processor_res": 512, "threshold_a": 100,
            "threshold_b": 200, "guidance_end": 0.9, "control_mode": PROMPT, "pixel_perfect": True,
        }],
    ),
    "a Krita plug-in, by position": (
        "controlnet",
        {"args": [
            True, "canny", CANNY, 0.7, {"image": URI, "mask": URI[:0]}, "Just Resize", False, 512, 80, 160, 0.1, 0.6,
            False, "ControlNet is more important",
        ]},
        [{
            "image": 0, "module": "canny", "weight": 0.7, "resize_mode": STRETCH, "processor_res": 512,
            "threshold_a": 80, "threshold_b": 160, "guidance_start": 0.1, "guidance_end": 0.6, "control_mode": CONTROL,
        }],
    ),
    "a script for videos, two units": (
        "ControlNet",
        {"args": [
            {
                "input_image": URI, "module": "none", "model": DEPTH, "weight": 0.65, "resize_mode": "Just Resize",
                "lowvram": False, "processor_res": 512, "guidance_start": 0, "guidance_end": 0.65, "guessmode": False,
            },
            {"input_image": URI, "module": "color", "model": CANNY, "weight": "0.65", "guessmode": True},
        ]},
        [
            {"image": 0, "model": DEPTH, "weight": 0.65, "resize_mode": STRETCH, "processor_res": 512,
             "guidance_end": 0.65},
            {"image": 1, "module": "color_grid", "weight": 0.65, "control_mode": CONTROL},
        ],
    ),
    "a QR-code bot, from the first versions": (
        "controlnet",
        {"args": [{
            "mask": "", "input_image": PICTURE, "module": "invert", "model": "control_v11p_sd15_canny", "weight": 1.25,
            "resize_mode": "Envelope (Outer Fit)", "lowvram": False, "processor_res": 64, "threshold_a": 64,
            "threshold_b": 64, "guidance": 0.9, "guidance_start": 0.19, "guessmode": False,
        }]},
        [{"image": 0, "module": "invert", "weight": 1.25, "resize_mode": FILL, "processor_res": 64, "threshold_a": 64,
          "threshold_b": 64, "guidance_start": 0.19, "guidance_end": 0.9}],
    ),
    "a desktop program, numbers for choices": (
        "controlnet",
        {"args": [{
            "control_mode": 2, "enabled": True, "guidance_end": 1, "guidance_start": 0, "low_vram": False, "model":
            CANNY, "module": "canny", "pixel_perfect": True, "processor_res": 512, "resize_mode": 1, "threshold_a": 64,
            "threshold_b": 64, "weight": 1, "image": PICTURE,
        }]},
        [{"image": 0, "module": "canny", "processor_res": 512, "threshold_a": 64, "threshold_b": 64, "pixel_perfect":
          True, "control_mode": CONTROL}],
    ),
    "a client of Forge, with its state of the page": (
        "ControlNet",
        {"args": [{
            "advanced_weighting": None, "animatediff_batch": False, "batch_image_files": [], "batch_images": "",
            "batch_keyframe_idx": None, "control_mode": "Balanced", "effective_region_mask": None, "enabled": True,
            "generated_image": None, "guidance_end": 1.0, "guidance_start": 0.0, "hr_option": "Low res only",
            "image": PICTURE, "image_fg": None, "inpaint_crop_input_image": False, "input_mode": "simple",
            "ipadapter_input": None, "is_ui": True, "loopback": False, "low_vram": False, "mask": None, "mask_image":
            None, "mask_image_fg": None, "model": CANNY, "module": "None", "output_dir": "", "pixel_perfect": False,
            "processor_res": -1, "pulid_mode": "Fidelity", "resize_mode": "Crop and Resize", "save_detected_map": True,
            "threshold_a": -1, "threshold_b": -1, "union_control_type": "Unknown", "use_preview_as_input": False,
            "weight": 1,
        }]},
        [{"image": 0, "hr_option": "Low res only"}],
    ),
    "a client of reForge, a map of its own": (
        "controlNet",
        {"args": [{
            "use_preview_as_input": True, "generated_image": URI, "enabled": True, "pixel_perfect": False, "low_vram":
            False, "module": "canny", "model": CANNY, "weight": 1.0, "image": OTHER, "resize_mode": "Just Resize",
            "guidance_start": 0.0, "guidance_end": 1.0, "control_mode": "Prefer Prompt",
        }]},
        [{"image": 0, "module": "none", "resize_mode": STRETCH, "control_mode": PROMPT}],
    ),
    "a chat bot, one unit as an object, no picture": (
        "controlnet",
        {"args": {"module": "canny", "model": "canny", "enabled": "true", "weight": 0.5}},
        [{"module": "canny", "weight": 0.5}],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    names = [label.removesuffix("]").partition(" [") for label in (CANNY, DEPTH)]
    models = tuple(ControlModel(name, Path(f"{name}.pth"), digits) for name, _, digits in names)
    with services_in(tmp_path_factory.mktemp("data"), control_models=models) as services:
        yield services


@pytest.fixture(scope="module")
def client(services: Services) -> Iterator[TestClient]:
    with TestClient(create_api(services), base_url=BASE) as client:
        yield client


@pytest.mark.parametrize("shape", SHAPES)
def test_units_are_understood_as_the_extension_understands_them(
    client: TestClient, services: Services, shape: str
) -> None:
    script, value, meant = SHAPES[shape]
    body = {"init_images": [PICTURE], "prompt": "a cat", "steps": 1, "alwayson_scripts": {script: value}}
    answer = client.post("/sdapi/v1/img2img", json=body)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert len(told["images"]) == 1
    assert json.loads(told["info"])["ignored"] == []
    request = cast(GenerationRequest, services.queue.jobs()[0].request)
    assert list(request.controlnet) == [ControlUnit.model_validate({"model": CANNY, **unit}) for unit in meant]
    values, _ = strict("img2img", body)  # a finished job has forgotten its pictures
    pictures = [picture_from(text, "control_images") for text in values["control_images"]]
    assert len(pictures) == len([unit for unit in meant if "image" in unit])
    assert all((picture.width, picture.height) == (32, 32) for picture in pictures)


def test_the_shapes_are_of_at_least_eight_clients_and_all_modes_occur() -> None:
    units = [ControlUnit.model_validate(unit) for _, _, meant in SHAPES.values() for unit in meant]
    assert len(SHAPES) >= 8
    assert {unit.control_mode for unit in units} == {BALANCED, PROMPT, CONTROL}
    assert {unit.resize_mode for unit in units} == {STRETCH, CROP, FILL}
