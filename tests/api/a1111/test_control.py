"""The routes of A1111's ControlNet extension."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from modules.api.app import create_api
from modules.images.preprocessors import PREPROCESSORS
from modules.schema.catalog import ControlModel
from tests.api.a1111_client import png
from tests.api.conftest import BASE, services_in


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    names = {"control_v11p_sd15_canny": "d14c016b", "t2iadapter_color": "", "diffusers_xl_canny_full": "2b69fca4"}
    models = tuple(ControlModel(name, Path(f"{name}.pth"), digits) for name, digits in names.items())
    with (
        services_in(tmp_path_factory.mktemp("data"), control_models=models) as services,
        TestClient(create_api(services), base_url=BASE) as client,
    ):
        yield client


def test_lists_are_those_of_the_extension(client: TestClient) -> None:
    def ask(route: str) -> Any:
        return client.get(f"/controlnet/{route}").json()

    assert ask("version") == {"version": 2}
    assert ask("settings") == {"control_net_unit_count": 10}
    assert ask("model_list")["model_list"] == [
        "control_v11p_sd15_canny [d14c016b]", "t2iadapter_color", "diffusers_xl_canny_full [2b69fca4]",
    ]  # fmt: skip
    modules = ask("module_list")
    assert modules["module_list"] == list(modules["module_detail"]) == [row.name for row in PREPROCESSORS]
    assert modules["module_detail"]["canny"]["sliders"] == [
        {"name": "Resolution", "value": 512, "min": 64, "max": 2048, "step": 8},
        {"name": "Canny Low Threshold", "value": 100, "min": 1, "max": 255, "step": 1},
        {"name": "Canny High Threshold", "value": 200, "min": 1, "max": 255, "step": 1},
    ]
    assert "invert (from white bg & black line)" in ask("module_list?alias_names=true")["module_list"]
    types = ask("control_types")["control_types"]
    assert types["Canny"] == {
        "module_list": ["none", "canny", "invert", "threshold"],
        "model_list": ["None", "control_v11p_sd15_canny [d14c016b]", "diffusers_xl_canny_full [2b69fca4]"],
        "default_option": "canny",
        "default_model": "control_v11p_sd15_canny [d14c016b]",
    }
    assert types["All"]["default_model"] == "None"
    assert len(types["All"]["module_list"]) == len(PREPROCESSORS)


@pytest.mark.parametrize("field", ["controlnet_input_images", "controlnet_images"])
def test_a_preprocessor_draws_its_map(client: TestClient, field: str) -> None:
    body = {"controlnet_module": "canny", field: [png(64, 48)], "controlnet_processor_res": 96}
    told = client.post("/controlnet/detect", json=body).json()
    assert told["info"] == "Success"
    [drawn] = told["images"]
    assert Image.open(io.BytesIO(base64.b64decode(drawn))).size == (128, 96)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"controlnet_module": "canny"}, "No image selected"),
        ({"controlnet_module": "openpose_full", "controlnet_input_images": [png()]}, "there is no preprocessor"),
        ({"controlnet_module": "canny", "controlnet_input_images": ["@@"]}, "controlnet_input_images"),
        ({"controlnet_module": "canny", "controlnet_input_images": [png()] * 17}, "at most 16 are allowed"),
        ({"controlnet_module": "canny", "controlnet_input_images": [png()], "controlnet_threshold_a": "x"}, "number"),
    ],
)
def test_bad_input_is_one_sentence(client: TestClient, body: dict[str, Any], sentence: str) -> None:
    answer = client.post("/controlnet/detect", json=body)
    assert answer.status_code in (400, 422)
    assert sentence in answer.json()["detail"]


@pytest.mark.parametrize(("mode", "size"), [("Just Resize", (512, 384)), ("Resize and Fill", (171, 128))])
def test_a_map_can_be_drawn_at_the_resolution_of_a_result(client: TestClient, mode: str, size: tuple[int, int]) -> None:
    body = {"controlnet_module": "canny", "controlnet_input_images": [png(64, 48)], "pixel_perfect": True}
    body |= {"resize_mode": mode, "width": 171, "height": 384}
    [drawn] = client.post("/controlnet/detect", json=body).json()["images"]
    assert Image.open(io.BytesIO(base64.b64decode(drawn))).size == size


def test_a_stored_picture_is_named_by_its_id(client: TestClient) -> None:
    stored = client.post("/v1/pictures", content=base64.b64decode(png(64, 48))).json()["id"]
    body = {"controlnet_module": "invert", "controlnet_input_images": [stored]}
    assert client.post("/controlnet/detect", json=body).json()["info"] == "Success"
    body = {"controlnet_module": "invert", "controlnet_input_images": ["0" * 64]}
    assert client.post("/controlnet/detect", json=body).status_code == 404


def test_a_preprocessors_sliders_name_their_fields(client: TestClient) -> None:
    details = client.get("/controlnet/module_list").json()["module_detail"]
    assert details["canny"]["fields"] == ["processor_res", "threshold_a", "threshold_b"]
    assert details["tile_resample"]["fields"] == ["threshold_a"]
    assert all(len(detail["fields"]) == len(detail["sliders"]) for detail in details.values())
