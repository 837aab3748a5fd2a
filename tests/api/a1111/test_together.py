"""Many pictures in one request, and clients that disconnect while these are checked."""

import base64
import io
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from starlette.requests import ClientDisconnect

from modules.api.a1111 import pictures
from modules.api.a1111.pictures import with_pictures
from modules.base.picture import Picture
from tests.api.a1111_client import opened, png


def flat(side: int) -> str:
    """A picture of a few kilobytes but many pixels."""
    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("pixels were decoded"))


@pytest.mark.parametrize(
    ("path", "field", "body"),
    [
        ("extra-batch-images", "imageList", lambda texts: {"imageList": [{"data": text} for text in texts]}),
        ("img2img", "init_images", lambda texts: {"init_images": texts}),
    ],
)
def test_pixels_of_all_pictures_are_counted_before_any_are_decoded(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str, field: str, body: Any
) -> None:
    undecoded(monkeypatch)
    answer = client.post(f"/sdapi/v1/{path}", json=body([flat(10_000)] * 6))
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert answer.json()["detail"] == (
        f"{field}: the first 5 pictures have 500 megapixels together; at most 400 are allowed at once."
    )
    assert answer.json()["hint"] == "Send them in several requests."


def test_files_of_all_pictures_have_a_bound_together(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_BYTES", 3 * len(base64.b64decode(png())))
    body = {"imageList": [{"data": png()}] * 4}
    assert "the first 4 pictures" in client.post("/sdapi/v1/extra-batch-images", json=body).json()["detail"]
    assert client.post("/sdapi/v1/extra-batch-images", json={"imageList": [{"data": png()}] * 3}).status_code == 200


@pytest.mark.parametrize(
    "size", [{"upscaling_resize": 64}, {"resize_mode": 1, "upscaling_resize_w": 4096, "upscaling_resize_h": 4096}]
)
def test_results_are_counted_before_any_picture_is_decoded(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, size: dict[str, Any]
) -> None:
    undecoded(monkeypatch)
    body = {"imageList": [{"data": png(64, 64)}] * 30, "upscaler_1": "Lanczos", **size}
    answer = client.post("/sdapi/v1/extra-batch-images", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, "imageList")
    assert "503 megapixels together; at most 400 are allowed at once" in answer.json()["detail"]


def test_too_many_pictures_are_told_with_their_number(client: TestClient) -> None:
    answer = client.post("/sdapi/v1/extra-batch-images", json={"imageList": [{"data": "no picture"}] * 300})
    assert answer.json()["detail"] == "imageList: got 300 pictures, at most 256 are allowed."


def test_a_damaged_picture_of_several_is_named(client: TestClient) -> None:
    cut = base64.b64encode(base64.b64decode(png(64, 64))[:-30]).decode()
    answer = client.post("/sdapi/v1/extra-batch-images", json={"imageList": [{"data": png()}, {"data": cut}]})
    assert (answer.status_code, answer.json()["field"]) == (422, "imageList.1")
    whole = client.post("/sdapi/v1/extra-single-image", json={"image": png(8, 8), "upscaler_1": "Nearest"}).json()
    assert opened(whole["image"]).size == (16, 16)


def test_no_further_source_is_decoded_for_a_client_that_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    whole = Picture.from_bytes

    def from_bytes(data: bytes, field: str = "image") -> Picture:
        decoded.append(field)
        return whole(data, field)

    monkeypatch.setattr(Picture, "from_bytes", from_bytes)
    with pytest.raises(ClientDisconnect):
        with_pictures({"init_images": [png()] * 5}, is_disconnected=lambda: len(decoded) == 2)
    assert decoded == ["init_images"] * 2
