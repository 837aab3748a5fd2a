"""Infotexts and token counts over HTTP."""

import pytest
from PIL import Image
from starlette.testclient import TestClient

from modules.base.picture import Picture


def test_an_infotext_becomes_fields_and_notes(client: TestClient) -> None:
    text = "a cat\nSteps: 30, Sampler: Warp 9, CFG scale: 7, Seed: 5, Size: 512x512, Hypernet: x, Clip skip: 2"
    read = client.post("/v1/infotext", json={"text": text}).json()

    assert read["kind"] == "txt2img"
    assert (read["fields"]["prompt"], read["fields"]["steps"], read["fields"]["width"]) == ("a cat", 30, 512)
    assert "sampler_name" not in read["fields"]
    assert read["settings"]["CLIP_stop_at_last_layers"] == 2
    assert "Hypernet" in read["ignored"]
    assert any("Warp 9" in note for note in read["notes"])


def test_any_text_is_an_infotext_but_not_any_length(client: TestClient) -> None:
    assert client.post("/v1/infotext", json={"text": "a cat"}).json()["fields"] == {"prompt": "a cat"}
    refused = client.post("/v1/infotext", json={"text": "a" * 1_000_001})
    assert (refused.status_code, refused.json()["field"]) == (422, "text")
    assert len(refused.json()["detail"]) < 200


@pytest.mark.parametrize(
    ("text", "count", "capacity"),
    [
        ("", 0, 75),
        ("a photo of a cat", 5, 75),
        ("a photo of a (cat:1.3)", 5, 75),  # weights are not words
        ("a photo of a cat <lora:style:0.8>", 5, 75),  # nor are networks
        ("a [cat:photo of a cat:0.5]", 5, 75),  # the longest of its versions
        ("a cat AND a photo of a cat", 5, 75),
        ("a BREAK cat", 76, 150),
        ("cat " * 80, 80, 150),
    ],
)
def test_tokens_are_counted_as_the_text_encoder_reads_them(
    client: TestClient, text: str, count: int, capacity: int
) -> None:
    assert client.post("/v1/tokens", json={"text": text}).json() == {"count": count, "capacity": capacity}


def test_without_emphasis_brackets_are_tokens(client: TestClient) -> None:
    client.post("/v1/settings", json={"emphasis": "None"})
    assert client.post("/v1/tokens", json={"text": "a photo of a (cat:1.3)"}).json()["count"] > 5


UNIT = "Module: canny, Model: lines [0123abcd], Weight: 0.5"


def test_units_come_with_their_stored_pictures_and_are_switched_off_without(client: TestClient) -> None:
    stored = client.post("/v1/pictures", content=Picture.from_image(Image.new("RGB", (64, 48))).data).json()
    units = ", ".join(f'ControlNet {number}: "{UNIT}"' for number in range(3))
    pictures = f'Control pictures: "{stored["id"]}, source, {"0" * 64}"'
    text = f"a cat\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64, {units}, {pictures}, Version: x"
    read = client.post("/v1/infotext", json={"text": text}).json()
    assert [unit["picture"] for unit in read["units"]] == [stored, None, None]
    assert [unit["enabled"] for unit in read["units"]] == [True, True, False]
    assert [(unit["module"], unit["weight"]) for unit in read["units"]] == [("canny", 0.5)] * 3
    assert [note for note in read["notes"] if "ControlNet" in note] == [
        "ControlNet 2 (canny, lines [0123abcd]) is switched off: its picture is not stored. Drop it there again."
    ]


def test_a_text_without_units_says_so_and_a_prompt_says_nothing(client: TestClient) -> None:
    assert client.post("/v1/infotext", json={"text": "a cat"}).json()["units"] is None
    assert (
        client.post("/v1/infotext", json={"text": "a cat\nSteps: 2, Sampler: Euler, CFG scale: 7"}).json()["units"]
        == []
    )
