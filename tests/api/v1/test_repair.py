"""Repairing a source picture over HTTP: scratches as a mask, and a picture in which a mask is filled."""

import io

import numpy as np
from PIL import Image, ImageDraw
from starlette.testclient import TestClient


def put(client: TestClient, image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return client.post("/v1/pictures", content=file.getvalue()).json()["id"]


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def with_a_line() -> Image.Image:
    picture = Image.linear_gradient("L").resize((240, 160)).convert("RGB")
    ImageDraw.Draw(picture).line((20, 20, 200, 130), fill="white", width=2)
    return picture


def test_scratches_come_as_a_mask_and_are_filled(client: TestClient) -> None:
    source = put(client, with_a_line())
    mask = client.get(f"/v1/pictures/{source}/scratches", params={"sensitivity": 0.5})
    assert mask.headers["content-type"] == "image/png"
    found = np.asarray(opened(mask.content))
    assert (found.shape, found[75, 110], found[10, 200]) == ((160, 240), 255, 0)
    mask_id = client.post("/v1/pictures", content=mask.content).json()["id"]
    filled = client.post(f"/v1/pictures/{source}/fill", json={"mask": mask_id})
    assert (filled.status_code, filled.json()["width"], filled.json()["height"]) == (201, 240, 160)
    before, after = np.asarray(with_a_line()), np.asarray(opened(client.get(filled.json()["url"]).content))
    assert np.array_equal(before[found == 0], after[found == 0])
    assert np.abs(after[75, 110].astype(int) - after[75, 60].astype(int)).max() < 12


def test_what_cannot_be_repaired(client: TestClient) -> None:
    source, small = put(client, with_a_line()), put(client, Image.new("L", (8, 8)))
    refused = client.post(f"/v1/pictures/{source}/fill", json={"mask": small})
    assert (refused.status_code, refused.json()["field"]) == (422, "mask")
    assert refused.json()["detail"] == "mask: it is 8x8, the picture is 240x160."
    assert client.post(f"/v1/pictures/{source}/fill", json={"mask": "0" * 64}).status_code == 404
    assert client.get(f"/v1/pictures/{'0' * 64}/scratches").status_code == 404
    assert client.get(f"/v1/pictures/{source}/scratches", params={"sensitivity": 2}).status_code == 422
