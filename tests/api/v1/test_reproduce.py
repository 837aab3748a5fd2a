"""POST /v1/reproduce: a job, and the comparison of its picture."""

import io
from typing import Any

import pytest
from PIL import Image, PngImagePlugin
from starlette.testclient import TestClient

TEXT = "a fox\nSteps: 4, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 64x64, Model: good, RNG: CPU"


def brought(client: TestClient, color: str, text: str) -> str:
    """The id of an uploaded 8x8 picture that contains `text`."""
    info = PngImagePlugin.PngInfo()
    if text:
        info.add_text("parameters", text)
    file = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(file, "PNG", pnginfo=info)
    return client.post("/v1/pictures", content=file.getvalue()).json()["id"]


def reproduced(client: TestClient, picture: str) -> dict[str, Any]:
    answer = client.post("/v1/reproduce", json={"picture": picture})
    assert answer.status_code == 201, answer.text
    client.get(f"{answer.json()['url']}/events")  # ends with the job
    return client.get(answer.json()["report"], params={"picture": picture}).json()


def test_the_same_picture_is_called_identical(client: TestClient) -> None:
    assert reproduced(client, brought(client, "black", TEXT)) == {
        "identical": True,
        "pixels": 64,
        "differing": 0,
        "largest": 0,
        "psnr": None,
        "sentences": ["identical"],
    }


def test_another_one_is_measured_and_explained(client: TestClient) -> None:
    report = reproduced(client, brought(client, "#000003", TEXT.replace("Model: good", "Model: gone")))
    assert (report["identical"], report["differing"], report["largest"]) == (False, 64, 3)
    assert report["sentences"][0].startswith("64 of 64 pixels differ (1e+02 %), by 3 of 255 at most; PSNR 43.4 dB.")
    assert "The checkpoint 'gone' is not installed; 'good' was used." in report["sentences"]


@pytest.mark.parametrize(
    ("text", "field", "detail"),
    [
        ("", "picture", "The picture has no parameters."),
        (
            f"{TEXT}, Denoising strength: 0.5, Source hash: {'ab' * 32}",
            "source",
            "The source it was made from is missing (sha256 ababababab…).",
        ),
    ],
)
def test_what_is_missing_is_asked_for_in_words(client: TestClient, text: str, field: str, detail: str) -> None:
    answer = client.post("/v1/reproduce", json={"picture": brought(client, "black", text)})
    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert answer.json()["detail"].startswith(detail)
