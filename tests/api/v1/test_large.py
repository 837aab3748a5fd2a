"""Pictures too large to be decoded: the history lists them, and pages get small copies."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from modules.api.app import create_api
from modules.images.geometry import Size
from modules.images.large.draft import Draft
from modules.images.large.formats import LargeSpec
from modules.store import large
from tests.api.conftest import BASE, services_in

TEXT = "a fjord\nSteps: 5, Sampler: Euler, Seed: 77, Size: 60x40"


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server whose limit of pixels a small file exceeds, with one such file of each format."""
    monkeypatch.setattr(large, "MAX_PIXELS", 1000)
    with services_in(tmp_path) as services:
        pixels = np.random.default_rng(3).integers(0, 256, (40, 60, 3), np.uint8)
        for format in ("png", "jpg", "tiff"):
            spec = LargeSpec(format, Size(60, 40), 3, TEXT, {"parameters": TEXT})
            draft = Draft(tmp_path / "draft" / format, spec, "")
            draft.append(pixels)
            path = draft.finished().path
            services.outputs.publish([f"extras-images/{format}"], path, format)
        with TestClient(create_api(services), base_url=BASE) as client:
            yield client


def test_the_history_lists_large_files_with_their_parameters_and_small_copies(client: TestClient) -> None:
    rows = client.get("/v1/history").json()["pictures"]
    assert sorted(row["path"] for row in rows) == [f"extras-images/{name}.{name}" for name in ("jpg", "png", "tiff")]
    for row in rows:
        assert (row["width"], row["height"], row["seed"], row["infotext"]) == (60, 40, "77", TEXT)
        assert row["reduced"] == row["thumbnail"]
        copy = client.get(row["reduced"])
        assert copy.headers["content-type"] == "image/webp"
        with Image.open(io.BytesIO(copy.content)) as image:
            assert image.size == (60, 40)
        assert client.get(row["url"]).status_code == 200


@pytest.mark.parametrize("name", ["png", "jpg", "tiff"])
def test_a_page_gets_a_small_copy_of_a_result(client: TestClient, name: str) -> None:
    copy = client.get(f"/v1/outputs/extras-images/{name}.{name}", params={"reduced": True})
    assert (copy.status_code, copy.headers["content-type"]) == (200, "image/webp")
    assert client.get("/v1/outputs/extras-images/none.png", params={"reduced": True}).status_code == 404


def test_enlarge_offers_32k_by_an_upscaler_alone(client: TestClient) -> None:
    body = {"width": 1024, "height": 1024, "upscaler": "Lanczos", "infotext": ""}
    targets = client.post("/v1/enlarge", json=body).json()["targets"]
    [faithful] = [target["faithful"] for target in targets if target["label"] == "32K"]
    assert faithful["reason"] == ""
    assert faithful["memory_bytes"] < 2_000_000_000
