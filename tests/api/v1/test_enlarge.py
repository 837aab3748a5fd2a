"""What Enlarge offers for a picture, and that a finished job improves the next forecast."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from modules.api.app import create_api
from modules.base.picture import Picture
from tests.api.conftest import BASE, services_in

INFOTEXT = "a cat\nNegative prompt: fog\nSteps: 12, Sampler: Euler, CFG scale: 5, Seed: 4, Size: 64x64"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with (
        services_in(tmp_path_factory.mktemp("data")) as services,
        TestClient(create_api(services), base_url=BASE) as client,
    ):
        yield client


def offered(client: TestClient, width: int = 1000, height: int = 500, **values: Any) -> dict[str, Any]:
    body = {"width": width, "height": height, "upscaler": "Lanczos", **values}
    answer = client.post("/v1/enlarge", json=body)
    assert answer.status_code == 200, answer.text
    return {target["label"]: target for target in answer.json()["targets"]}


def test_sizes_and_what_makes_them(client: TestClient) -> None:
    found = offered(client)
    assert {label: (each["width"], each["height"]) for label, each in found.items()} == {
        "2×": (2000, 1000), "4×": (4000, 2000), "8×": (8000, 4000),
        "4K": (4096, 2048), "8K": (8192, 4096), "16K": (16384, 8192), "32K": (32768, 16384),
    }  # fmt: skip
    request = found["4K"]["faithful"]["request"]
    assert (request["upscaling_resize"], request["max_side_length"]) == (4.1, 4096)
    assert found["2×"]["faithful"]["reason"] == ""
    assert found["2×"]["faithful"]["seconds"] is None


def test_a_target_that_is_smaller_than_the_picture_is_left_out(client: TestClient) -> None:
    assert "4K" not in offered(client, 5000, 40)
    assert "32K" not in offered(client, 100, 100)  # more than 64 times


def test_a_redraw_takes_the_pictures_own_parameters(client: TestClient) -> None:
    request = offered(client, infotext=INFOTEXT, denoising_strength=0.25)["2×"]["detail"]["request"]
    assert (request["prompt"], request["steps"], request["denoising_strength"]) == ("a cat", 12, 0.25)
    assert request["script_name"] == "Ultimate SD upscale"
    assert request["script_args"][8] == "Lanczos"
    assert request["script_args"][14:17] == [1, 2000, 1000]


def test_an_unknown_upscaler_is_a_sentence(client: TestClient) -> None:
    refused = client.post("/v1/enlarge", json={"width": 8, "height": 8, "upscaler": "Lanzos"})
    assert refused.status_code == 422
    assert "did you mean 'Lanczos'?" in refused.json()["detail"]


def test_a_finished_job_teaches_the_next_forecast(client: TestClient) -> None:
    photo = client.post("/v1/pictures", content=Picture.from_image(Image.new("RGB", (64, 32))).data).json()["id"]
    request = {"image": photo, "upscaler_1": "Nearest", "upscaling_resize": 2}
    job = client.post("/v1/jobs", json={"kind": "extras", "request": request}).json()
    client.get(f"{job['url']}/events")  # ends with the job
    end = time.monotonic() + 300
    while not offered(client, 64, 32, upscaler="Nearest")["2×"]["faithful"]["runs"]:
        assert time.monotonic() < end
        time.sleep(0.01)
    found = offered(client, 64, 32, upscaler="Nearest")["2×"]["faithful"]
    assert found["runs"] == 1
    assert found["seconds"] > 0
    assert found["disk_bytes"] > 0
    assert offered(client, 64, 32)["2×"]["faithful"]["runs"] == 0
