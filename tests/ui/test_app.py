"""What the page's server side promises: widgets as declared, small private events, nothing from outside."""

import json
import re
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from modules.base.fields import params
from modules.schema.catalog import Catalog, Checkpoint
from modules.schema.request import Img2ImgRequest, Txt2ImgRequest
from modules.schema.settings import Settings
from modules.ui.app import Page, build_page, mount
from tests.ui.fake_server import in_a_loop

MOST_INPUTS = 60  # above that, a click costs a second (measured with Gradio 6.31)
REQUESTS = {"txt2img": Txt2ImgRequest, "img2img": Img2ImgRequest}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("models")
    catalog = Catalog((Checkpoint("one", folder / "one.safetensors"),))
    return in_a_loop(lambda: build_page(catalog, Settings()))


@pytest.fixture(scope="module")
def parts(page: Page) -> dict[str, dict[str, Any]]:
    """Properties of each component with an elem_id."""
    found = page.blocks.get_config_file()["components"]
    return {
        part["props"]["elem_id"]: {**part["props"], "type": part["type"]}
        for part in found
        if part["props"].get("elem_id")
    }


@pytest.mark.parametrize("tab", REQUESTS)
def test_widgets_are_as_declared(tab: str, page: Page, parts: dict[str, dict[str, Any]]) -> None:
    for param in (params(REQUESTS[tab])[field["name"]] for field in page.config["tabs"][tab]):
        widget = parts[f"{tab}_{param.control.elem}"]
        assert widget["label"] == param.control.label
        if widget["type"] == "slider":
            assert (widget["minimum"], widget["maximum"], widget["step"]) == (
                param.widget_minimum,
                param.widget_maximum,
                param.control.step,
            )


@pytest.mark.parametrize(
    ("elem", "kind", "label", "value"),
    [
        ("img2img_prompt", "textbox", "Prompt", ""),
        ("img2img_neg_prompt", "textbox", "Negative prompt", ""),
        ("img2img_resize_mode", "radio", "Resize mode", 0),
        ("img2img_sampling", "dropdown", "Sampling method", "DPM++ 2M"),
        ("img2img_scheduler", "dropdown", "Schedule type", "Automatic"),
        ("img2img_steps", "slider", "Sampling steps", 20),
        ("img2img_width", "slider", "Width", 512),
        ("img2img_scale", "slider", "Scale", 1.0),
        ("img2img_batch_count", "slider", "Batch count", 1),
        ("img2img_cfg_scale", "slider", "CFG Scale", 7.0),
        ("img2img_denoising_strength", "slider", "Denoising strength", 0.75),
        ("img2img_seed", "number", "Seed", -1),
        ("txt2img_steps", "slider", "Sampling steps", 20),
        ("txt2img_enable_hr", "checkbox", "Hires. fix", False),
        ("txt2img_hr_upscaler", "dropdown", "Upscaler", "Latent"),
        ("txt2img_hires_steps", "slider", "Hires steps", 0),
        ("txt2img_hr_scale", "slider", "Upscale by", 2.0),
        ("txt2img_hr_checkpoint", "dropdown", "Hires checkpoint", ""),
        ("txt2img_hr_sampler", "dropdown", "Hires sampling method", ""),
        ("txt2img_hires_prompt", "textbox", "Hires prompt", ""),
        ("img2img_enable", "checkbox", "Refiner", False),
        ("img2img_checkpoint", "dropdown", "Refiner checkpoint", ""),
        ("img2img_switch_at", "slider", "Switch at", 0.8),
        ("setting_sd_model_checkpoint", "dropdown", "Stable Diffusion checkpoint", "one"),
        ("setting_jpeg_quality", "slider", "Quality for saved jpeg and webp images", 90),
    ],
)
def test_labels_ids_and_defaults_are_those_people_know(
    parts: dict[str, dict[str, Any]], elem: str, kind: str, label: str, value: object
) -> None:
    assert {name: parts[elem].get(name) for name in ("type", "label", "value")} == {
        "type": kind,
        "label": label,
        "value": value,
    }


def test_a_radio_of_an_integer_field_counts_its_choices(parts: dict[str, dict[str, Any]]) -> None:
    assert [list(choice) for choice in parts["img2img_resize_mode"]["choices"]] == [
        ["Just resize", 0],
        ["Crop and resize", 1],
        ["Resize and fill", 2],
        ["Just resize (latent upscale)", 3],
    ]


def test_what_may_be_left_out_is_a_choice_of_its_own(parts: dict[str, dict[str, Any]]) -> None:
    def choices(elem: str) -> list[list[Any]]:
        return [list(choice) for choice in parts[elem]["choices"]]

    assert choices("txt2img_checkpoint") == [["None", ""], ["one", "one"]]
    assert choices("txt2img_hr_checkpoint") == [["Use same checkpoint", ""], ["one", "one"]]
    assert choices("txt2img_hr_sampler")[:2] == [["Use same sampler", ""], ["DPM++ 2M", "DPM++ 2M"]]


def test_every_setting_but_the_checkpoint_is_on_its_tab(page: Page) -> None:
    assert {field["name"] for field in page.config["settings"]} == set(params(Settings)) - {"sd_model_checkpoint"}


def test_no_event_is_public_large_or_answered_by_gradios_server(page: Page) -> None:
    events = page.blocks.get_config_file().get("dependencies", [])
    assert events
    for event in events:
        assert event["api_visibility"] == "private"
        assert event["backend_fn"] is False
        assert len(event["inputs"]) <= MOST_INPUTS


def test_the_scripts_know_the_fields_in_the_order_of_the_events_inputs(page: Page) -> None:
    config = page.blocks.get_config_file()
    ids = {part["id"]: part["props"].get("elem_id") for part in config["components"]}
    generate = {
        tab: next(e for e in config.get("dependencies", []) if f'.generate("{tab}"' in str(e["js"])) for tab in REQUESTS
    }
    for tab, event in generate.items():
        fields = [field["elem"] for field in page.config["tabs"][tab]]
        assert [ids[part] for part in event["inputs"]] == [*fields, f"{tab}_subseed_show", f"{tab}_enable"]


def test_the_page_names_no_address_outside(page: Page) -> None:
    text = json.dumps(page.blocks.get_config_file())
    assert set(re.findall(r"https?://([\w.]+)", text)) <= {"127.0.0.1"}


@pytest.mark.parametrize(
    "path", ["/nothing", "/assets/" + "a" * 5000 + ".js", "/static/" + "a" * 300, "/assets/" + "a/" * 600 + "b.js"]
)
def test_what_is_not_there_is_told_as_a1111_does(page: Page, path: str) -> None:
    app = in_a_loop(lambda: mount(FastAPI(), page))
    answer = TestClient(app, raise_server_exceptions=False).get(path)
    assert (answer.status_code, answer.json()["detail"]) == (404, "Not Found")
    assert len(answer.text) < 400
