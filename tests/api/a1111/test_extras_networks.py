"""extra-single-image and extra-batch-images with an upscaler that is a network: jobs of the queue."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from starlette.testclient import TestClient

from modules.api.app import create_api
from modules.api.services import CatalogHolder
from modules.schema.catalog import Catalog, Checkpoint
from modules.schema.upscalers import UPSCALERS, Upscaler
from tests.api.a1111_client import opened, png
from tests.api.conftest import BASE, services_in

NETWORKS = (
    Upscaler("Tiny 4x", factor=4, path=Path("tiny.pth")),
    Upscaler("R-ESRGAN 4x+", factor=4, path=Path("real.bin")),
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with services_in(tmp_path_factory.mktemp("data")) as services:
        catalog = Catalog((Checkpoint("good", Path("good.safetensors")),), upscalers=(*UPSCALERS, *NETWORKS))
        changed = replace(services, catalog=CatalogHolder(lambda: catalog))
        with TestClient(create_api(changed), base_url=BASE) as client:
            yield client


def test_one_picture(client: TestClient) -> None:
    answer = client.post(
        "/sdapi/v1/extra-single-image", json={"image": png(24, 16), "upscaler_1": "tiny 4X", "upscaling_resize": 3}
    )
    assert answer.status_code == 200, answer.text
    assert opened(answer.json()["image"]).size == (72, 48)
    assert "Postprocess upscaler: Tiny 4x" in answer.json()["html_info"]
    assert client.get("/v1/jobs").json()[0]["kind"] == "extras"


def test_its_own_texts_stay_and_what_was_done_is_added(client: TestClient) -> None:
    info = PngInfo()
    info.add_text("parameters", "a cat\nSteps: 20, Sampler: Euler, Seed: 1, Size: 8x8")
    info.add_text("other", "kept")
    file = BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "png", pnginfo=info)
    image = base64.b64encode(file.getvalue()).decode()
    answer = client.post("/sdapi/v1/extra-single-image", json={"image": image, "upscaler_1": "Tiny 4x"})
    text: dict[Any, Any] = opened(answer.json()["image"]).info
    assert text["parameters"] == "a cat\nSteps: 20, Sampler: Euler, Seed: 1, Size: 8x8"
    assert text["other"] == "kept"
    assert text["postprocessing"] == "Postprocess upscale by: 2.0, Postprocess upscaler: Tiny 4x"


def test_several_pictures_to_a_size_with_a_second_upscaler(client: TestClient) -> None:
    body = {
        "imageList": [{"data": png(8, 8)}, {"data": png(16, 8)}],
        "resize_mode": 1, "upscaling_resize_w": 32, "upscaling_resize_h": 32,
        "upscaler_1": "Lanczos", "upscaler_2": "Tiny 4x", "extras_upscaler_2_visibility": 0.5,
    }  # fmt: skip
    answer = client.post("/sdapi/v1/extra-batch-images", json=body)
    assert answer.status_code == 200, answer.text
    assert [opened(image).size for image in answer.json()["images"]] == [(32, 32), (32, 32)]
    assert "Postprocess upscaler 2: Tiny 4x" in answer.json()["html_info"]


def test_lists_name_them(client: TestClient) -> None:
    rows = {row["name"]: row for row in client.get("/sdapi/v1/upscalers").json()}
    assert (rows["Tiny 4x"]["scale"], rows["Tiny 4x"]["model_name"]) == (4, "tiny")
    assert client.get("/sdapi/v1/realesrgan-models").json() == [
        {"name": "R-ESRGAN 4x+", "path": "real.bin", "scale": 4}
    ]
