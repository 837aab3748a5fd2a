"""Odd pictures in Extras: each result is correct, or the picture is refused in one sentence and the next one is
made.
"""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from modules.api.app import create_api
from tests.api.conftest import BASE, services_in

ALPHA = Image.merge("RGBA", [Image.linear_gradient("L").resize((16, 12))] * 4)


def file(image: Image.Image, format: str = "png", **options: Any) -> bytes:
    content = BytesIO()
    image.save(content, format, **options)
    return content.getvalue()


def palette() -> Image.Image:
    image = Image.new("P", (16, 12), 1)
    image.putpalette([0, 0, 0, 250, 10, 20])
    return image


PICTURES = {
    "1x1": (file(Image.new("RGB", (1, 1), (9, 200, 30))), (8, 8), "RGB", (9, 200, 30)),
    "a strip": (file(Image.new("RGB", (30_000, 2), "teal")), (60_000, 8), "RGB", (0, 128, 128)),
    "alpha": (file(ALPHA), (32, 24), "RGBA", None),
    "16 bit": (file(Image.fromarray(np.full((12, 16), 0x8000, np.uint16))), (32, 24), "RGB", (128, 128, 128)),
    "CMYK": (file(Image.new("CMYK", (16, 12), (0, 0, 0, 255)), "jpeg"), (32, 24), "RGB", (0, 0, 0)),
    "palette": (file(palette()), (32, 24), "RGB", (250, 10, 20)),
    "gray": (file(Image.new("L", (16, 12), 77)), (32, 24), "RGB", (77, 77, 77)),
    "animated": (
        file(Image.new("RGB", (16, 12), "red"), "gif", save_all=True, append_images=[Image.new("RGB", (16, 12))]),
        (32, 24), "RGB", (254, 0, 0),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("data")
    with services_in(folder) as services, TestClient(create_api(services), base_url=BASE) as client:
        yield client


def made(client: TestClient, photo: bytes, **request: Any) -> Image.Image:
    picture = client.post("/v1/pictures", content=photo)
    assert picture.status_code == 201, picture.text
    body = {"upscaler_1": "Lanczos", **request, "image": picture.json()["id"]}
    job = client.post("/v1/jobs", json={"kind": "extras", "request": body})
    assert job.status_code == 201, job.text
    client.get(f"{job.json()['url']}/events")  # ends with the job
    ended = client.get(job.json()["url"]).json()
    assert ended["status"] == "finished", ended
    return Image.open(BytesIO(client.get(ended["images"][0]["url"]).content))


@pytest.mark.parametrize("name", PICTURES)
def test_odd_pictures_come_out_right(client: TestClient, name: str) -> None:
    photo, size, mode, color = PICTURES[name]
    result = made(client, photo, sharpen=0.5, color_fix="Wavelet", denoise=0.2)
    assert (result.size, result.mode) == (size, mode)
    if color is not None:
        middle: Any = result.getpixel((size[0] // 2, size[1] // 2))
        assert np.abs(np.subtract(middle, color)).max() <= 3


def test_a_picture_that_would_be_too_large_is_refused_in_one_sentence(client: TestClient) -> None:
    photo = client.post("/v1/pictures", content=file(Image.new("1", (9_000, 9_000)))).json()["id"]
    request = {"image": photo, "upscaling_resize": 4}
    refused = client.post("/v1/jobs", json={"kind": "extras", "request": request})
    assert (refused.status_code, refused.json()["field"]) == (422, "upscaling_resize")
    assert "9000x9000 would become 36000x36000" in refused.json()["detail"]


def test_a_strip_that_would_be_too_large_before_it_is_cropped_fails_in_one_sentence(client: TestClient) -> None:
    photo = client.post("/v1/pictures", content=file(Image.new("1", (30_000, 2)))).json()["id"]
    request = {"image": photo, "resize_mode": 1, "upscaling_resize_w": 512, "upscaling_resize_h": 512}
    job = client.post("/v1/jobs", json={"kind": "extras", "request": request}).json()
    assert "more than 100 megapixels" in client.get(f"{job['url']}/events").text
    assert client.get(job["url"]).json()["status"] == "failed"
    assert made(client, PICTURES["gray"][0]).size == (32, 24)


def test_what_is_no_picture_is_refused_in_one_sentence(client: TestClient) -> None:
    refused = client.post("/v1/pictures", content=b"no picture")
    assert refused.status_code == 422
    assert refused.json()["detail"].count(". ") == 0
