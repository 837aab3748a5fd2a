"""Cards over HTTP: listed after a scan of the folders, shown with thumbnails, edited as in A1111."""

import base64
import io
import json
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image
from starlette.testclient import TestClient

from modules.api import card_index
from modules.api.app import create_api
from modules.api.services import CatalogHolder, Services
from modules.api.v1.tokens import TokenCounter
from modules.app import words_of
from modules.base.picture import Picture
from modules.flags.flags import Flags
from modules.networks.files.cards import CardFiles
from modules.server.folders import ModelFolders
from modules.server.model_files import ModelFiles
from modules.store.thumbnails import small
from tests.api.conftest import BASE, services_in


def png(width: int = 40, height: int = 60, color: str = "#a5372a") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), color).save(file, "PNG")
    return file.getvalue()


def model(path: Path, metadata: Mapping[str, str] | None = None) -> Path:
    """A safetensors file with one empty tensor."""
    header: dict[str, Any] = {"x": {"dtype": "F32", "shape": [1, 768], "data_offsets": [0, 3072]}}
    data = json.dumps(header | ({"__metadata__": metadata} if metadata else {})).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(data)) + data + bytes(3072))
    return path


class Studio(NamedTuple):
    client: TestClient
    services: Services
    folder: Path  # of models


def opened(services: Services, folders: ModelFolders) -> Services:
    """`services` with the models in `folders`."""
    files = ModelFiles(folders)
    holder = CatalogHolder(files.scan)
    counter = TokenCounter(services.settings, lambda: words_of(holder.current, 768))
    return replace(services, catalog=holder, card_files=files.card_files(), count_tokens=counter)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """One engine process for all tests."""
    with services_in(tmp_path_factory.mktemp("services")) as services:
        yield services


@pytest.fixture
def studio(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    """With models of each kind."""
    monkeypatch.setattr(card_index, "PATIENCE", 60.0)
    monkeypatch.setattr(card_index, "FRESH", 0.0)
    models = tmp_path / "models"
    model(models / "Lora" / "styles" / "ink.safetensors", {"ss_output_name": "India", "ss_v2": "False"})
    (models / "Lora" / "styles" / "ink.json").write_text('{"activation text": "ink wash", "preferred weight": 0.8}')
    (models / "Lora" / "styles" / "ink.preview.png").write_bytes(png())
    model(models / "embeddings" / "dusk.safetensors")
    model(models / "VAE" / "soft.safetensors")
    (models / "hypernetworks").mkdir()
    (models / "hypernetworks" / "haze.pt").write_bytes(b"\x80\x02}.")
    (models / "hypernetworks" / "haze.json").write_text('{"preferred weight": 0.5, "activation text": "hazy"}')
    flags = Flags(data_dir=tmp_path, models_dir=models)
    services = opened(replace(services, flags=flags), ModelFolders.of(flags))
    with TestClient(create_api(services), base_url=BASE) as client:
        yield Studio(client, services, models)


def cards(studio: Studio, kind: str = "loras") -> list[dict[str, Any]]:
    answer = studio.client.get(f"/v1/cards/{kind}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["more"] is False
    return answer.json()["cards"]


def test_a_card_tells_what_is_known_and_what_a_click_writes(studio: Studio) -> None:
    (card,) = cards(studio)
    assert card | {"changed": 0, "size": 0, "thumbnail": ""} == {
        "name": "ink", "label": "ink", "alias": "India", "title": "", "folder": "styles", "file": "ink.safetensors",
        "thumbnail": "", "changed": 0, "size": 0, "base": "SD 1", "family": "SD 1", "tags": [], "words": "ink wash",
        "negative": "", "about": "", "notes": "", "text": "<lora:ink:0.8>", "reason": "",
    }  # fmt: skip
    (word,) = cards(studio, "embeddings")
    assert (word["name"], word["text"], word["family"], word["reason"]) == ("dusk", "dusk", "SD 1", "")
    assert [card["name"] for card in cards(studio, "vaes")] == ["soft.safetensors"]
    (haze,) = cards(studio, "hypernetworks")
    assert (haze["text"], haze["words"], haze["reason"]) == ("<hypernet:haze:0.5>", "hazy", "")
    assert studio.client.get("/v1/cards/wishes").status_code == 422


def test_new_changed_and_deleted_files_are_found_without_being_told(studio: Studio) -> None:
    path = model(studio.folder / "Lora" / "wash.safetensors")
    assert [card["name"] for card in cards(studio)] == ["ink", "wash"]
    path.with_suffix(".civitai.info").write_text('{"trainedWords": ["wet"], "baseModel": "Pony"}')
    assert [(card["words"], card["base"]) for card in cards(studio)] == [("ink wash", "SD 1"), ("wet", "Pony")]
    path.unlink()
    assert [card["name"] for card in cards(studio)] == ["ink"]


def test_a_look_that_has_just_ended_counts_unless_another_is_asked_for(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card_index, "FRESH", 3600.0)
    assert len(cards(studio)) == 1
    model(studio.folder / "Lora" / "wash.safetensors")
    assert len(cards(studio)) == 1
    assert len(studio.client.get("/v1/cards/loras?anew=true").json()["cards"]) == 2


def test_a_list_is_made_again_only_when_something_has_changed(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr("modules.api.v1.cards._row", lambda card, catalog, services: made.append(card.name) or {})
    for _ in range(3):
        cards(studio)
    assert made == ["ink"]
    model(studio.folder / "Lora" / "wash.safetensors")
    cards(studio)
    assert made == ["ink", "ink", "wash"]


def test_a_list_is_answered_at_once_while_a_look_takes_long(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card_index, "PATIENCE", 0.05)
    goes_on = threading.Event()
    look = studio.services.cards.files.found
    monkeypatch.setattr(CardFiles, "found", lambda files, models: goes_on.wait(60) and look(models))
    answer = studio.client.get("/v1/cards/loras").json()
    assert ([card["name"] for card in answer["cards"]], answer["more"]) == (["ink"], True)
    goes_on.set()
    monkeypatch.setattr(card_index, "PATIENCE", 60.0)
    assert cards(studio)[0]["words"] == "ink wash"


def test_a_thumbnail_is_small_kept_and_another_one_when_the_picture_changes(studio: Studio) -> None:
    path = studio.folder / "Lora" / "styles" / "ink.preview.png"
    path.write_bytes(png(1000, 2000))
    url = cards(studio)[0]["thumbnail"]
    answer = studio.client.get(url)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    assert "immutable" in answer.headers["cache-control"]
    assert Image.open(io.BytesIO(answer.content)).size == (160, 320)
    (kept,) = (studio.services.flags.data_dir / "cache" / "thumbnails").iterdir()
    other = small(Picture.from_bytes(png()), 320)
    kept.write_bytes(other)
    assert studio.client.get(url).content == other
    path.write_bytes(png(30, 30))
    assert cards(studio)[0]["thumbnail"] != url


@pytest.mark.parametrize("key", ["modelspec.thumbnail", "ssmd_cover_images"])
@pytest.mark.parametrize(("kind", "folder"), [("loras", "Lora"), ("vaes", "VAE"), ("checkpoints", "Stable-diffusion")])
def test_a_picture_inside_of_a_model_is_shown(studio: Studio, key: str, kind: str, folder: str) -> None:
    text = base64.b64encode(png()).decode()
    value = f"data:image/png;base64,{text}" if key.startswith("modelspec") else json.dumps(["", text])
    model(studio.folder / folder / "own.safetensors", {key: value})
    card = next(card for card in cards(studio, kind) if card["label"] == "own")
    answer = studio.client.get(card["thumbnail"])
    assert Image.open(io.BytesIO(answer.content)).size == (40, 60)
    assert key not in studio.client.get("/sdapi/v1/loras").text, "pictures are no text to be read"


@pytest.mark.parametrize(
    ("content", "status", "sentence"),
    [
        (b"", 422, "the file is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), 422, "name: the file is"),
        (b"<svg/>", 422, "name: the file is not a readable picture."),
        (png(1)[:50], 422, "the file is damaged or cut off"),
    ],
    ids=["empty", "no PNG", "SVG", "cut off"],
)
def test_a_picture_that_is_none_costs_that_card_alone(
    studio: Studio, content: bytes, status: int, sentence: str
) -> None:
    (studio.folder / "Lora" / "styles" / "ink.preview.png").write_bytes(content)
    answer = studio.client.get(cards(studio)[0]["thumbnail"])
    assert answer.status_code == status
    assert sentence in answer.json()["detail"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "nobody", "ink.safetensors", "a\0b", ""])
def test_models_are_named_as_in_the_list_and_never_by_a_path(studio: Studio, name: str) -> None:
    cards(studio)
    for what in ("thumbnail", "card"):
        answer = studio.client.get(f"/v1/cards/loras/{what}", params={"name": name})
        assert (answer.status_code, answer.json()["field"]) == (404, "name")


def test_odd_names_are_shown_without_what_a_screen_would_obey(studio: Studio) -> None:
    model(studio.folder / "Lora" / "a\nb" / "x\x1b[31m\u202e..safetensors")
    card = next(card for card in cards(studio) if card["name"] != "ink")
    assert (card["label"], card["folder"], card["text"]) == ("x\\x1b[31m\\u202e.", "a\\nb", "")
    assert "control characters" in card["reason"]


def test_one_card_tells_everything_and_notes_are_kept_beside_the_model(studio: Studio) -> None:
    path = studio.folder / "Lora" / "styles" / "ink.json"
    path.write_text('{"activation text": "ink wash", "mine": [1]}')
    client, url = studio.client, "/v1/cards/loras/card?name=ink"
    cards(studio)
    card = client.get(url).json()
    assert (card["own"], card["problems"], card["metadata"]) == (
        {"activation_text": "ink wash"}, [], {"Trainer's name": "India"}
    )  # fmt: skip
    body = {
        "description": "wet",
        "preferred_weight": 0.6,
        "negative_text": "photo",
        "notes": "x\ny",
        "sd_version": "SDXL",
    }
    saved = client.put(url, json=body)
    assert saved.status_code == 200, saved.text
    assert json.loads(path.read_text()) == {
        "activation text": "ink wash", "mine": [1], "description": "wet", "preferred weight": 0.6,
        "negative text": "photo", "notes": "x\ny", "sd version": "SDXL",
    }  # fmt: skip
    assert (saved.json()["text"], saved.json()["base"]) == ("<lora:ink:0.6>", "SDXL")
    assert (cards(studio)[0]["negative"], cards(studio)[0]["about"]) == ("photo", "wet")


def test_what_a_checkpoint_predicts_is_written_beside_it_and_taken_back(studio: Studio) -> None:
    path = model(studio.folder / "Stable-diffusion" / "noob.v1.safetensors")
    beside = path.with_name("noob.v1.json")
    beside.write_text('{"steps": 30}')
    client, url = studio.client, "/v1/cards/checkpoints/card?name=noob.v1.safetensors"
    cards(studio, "checkpoints")
    assert client.get(url).json()["own"] == {"prediction": ""}
    saved = client.put(url, json={"prediction": "v_prediction_zero_snr", "notes": "grey"})
    assert saved.status_code == 200, saved.text
    assert saved.json()["own"] == {"prediction": "v_prediction_zero_snr", "notes": "grey"}
    said = {"prediction_type": "v_prediction", "zero_terminal_snr": True}
    assert json.loads(beside.read_text()) == {"steps": 30, "notes": "grey", **said}
    assert client.put(url, json={"prediction": ""}).json()["own"] == {"prediction": "", "notes": "grey"}
    assert json.loads(beside.read_text()) == {"steps": 30, "notes": "grey"}
    refused = client.put("/v1/cards/loras/card?name=ink", json={"prediction": "epsilon"})
    assert (refused.status_code, refused.json()["field"]) == (422, "prediction")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"preferred_weight": 11}, "preferred_weight"),
        ({"preferred_weight": "NaN"}, "preferred_weight"),
        ({"notes": "x" * 20_001}, "notes"),
        ({"wishes": "x"}, "wishes"),
        ({"activation_text": 5}, "activation_text"),
    ],
)
def test_notes_that_are_none_are_refused(studio: Studio, body: dict[str, Any], field: str) -> None:
    answer = studio.client.put("/v1/cards/loras/card?name=ink", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_a_damaged_json_is_told_and_never_written_over(studio: Studio) -> None:
    path = studio.folder / "Lora" / "styles" / "ink.json"
    path.write_text("{")
    cards(studio)
    card = studio.client.get("/v1/cards/loras/card?name=ink").json()
    assert len(card["problems"]) == 2
    answer = studio.client.put("/v1/cards/loras/card?name=ink", json={"notes": "x"})
    assert (answer.status_code, path.read_text()) == (422, "{")
    assert "nothing is written into it" in answer.json()["detail"]


def test_nothing_is_written_into_another_program_s_folder(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card_index, "PATIENCE", 60.0)
    a1111 = tmp_path / "a1111"
    ink = model(a1111 / "models" / "Lora" / "ink.safetensors")
    (a1111 / "models" / "Stable-diffusion").mkdir()
    flags = Flags(data_dir=tmp_path / "ours", models_dir=tmp_path / "ours" / "models", a1111=a1111)
    services = opened(services, ModelFolders.of(flags))
    with TestClient(create_api(services), base_url=BASE) as client:
        assert [card["name"] for card in client.get("/v1/cards/loras").json()["cards"]] == ["ink"]
        for answer in (
            client.put("/v1/cards/loras/card?name=ink", json={"notes": "x"}),
            client.put("/v1/cards/loras/thumbnail?name=ink&replace=true", content=png()),
        ):
            assert (answer.status_code, list(ink.parent.iterdir())) == (409, [ink])
            assert "belongs to another installation, where nothing is written." in answer.json()["detail"]


def test_a_picture_becomes_the_thumbnail_and_replaces_one_only_if_that_is_agreed(studio: Studio) -> None:
    styles = studio.folder / "Lora" / "styles"
    before = (styles / "ink.preview.png").read_bytes()
    model(styles / "wash.safetensors")
    cards(studio)
    made = png(64, 64, "#204060")
    answer = studio.client.put("/v1/cards/loras/thumbnail?name=wash", content=made)
    assert answer.status_code == 200, answer.text
    assert (styles / "wash.preview.png").read_bytes() == made
    shown = studio.client.get(answer.json()["thumbnail"])
    assert Image.open(io.BytesIO(shown.content)).size == (64, 64)

    refused = studio.client.put("/v1/cards/loras/thumbnail?name=ink", content=made)
    assert (refused.status_code, refused.json()["field"]) == (409, "replace")
    assert refused.json()["detail"] == "ink has a thumbnail already: ink.preview.png."
    assert (styles / "ink.preview.png").read_bytes() == before
    first = cards(studio)[0]["thumbnail"]
    again = studio.client.put("/v1/cards/loras/thumbnail?name=ink&replace=true", content=made)
    assert (again.status_code, (styles / "ink.preview.png").read_bytes()) == (200, made)
    assert again.json()["thumbnail"] != first


def test_a_picture_of_another_kind_becomes_a_png_and_one_of_another_name_stays(studio: Studio) -> None:
    styles = studio.folder / "Lora" / "styles"
    model(styles / "wash.safetensors")
    (styles / "wash.jpg").write_bytes(b"whatever it is")
    cards(studio)
    file = io.BytesIO()
    Image.new("RGB", (40, 60), "#a5372a").save(file, "WEBP", lossless=True)
    refused = studio.client.put("/v1/cards/loras/thumbnail?name=wash", content=file.getvalue())
    assert refused.json()["hint"] == "That file stays, and wash.preview.png is shown instead."
    answer = studio.client.put("/v1/cards/loras/thumbnail?name=wash&replace=true", content=file.getvalue())
    assert answer.status_code == 200
    with Image.open(styles / "wash.preview.png") as image:
        assert (image.format, image.size, image.getpixel((5, 5))) == ("PNG", (40, 60), (0xA5, 0x37, 0x2A))
    assert (styles / "wash.jpg").read_bytes() == b"whatever it is"


def test_what_is_no_picture_or_lies_behind_a_link_becomes_no_thumbnail(studio: Studio, tmp_path: Path) -> None:
    styles = studio.folder / "Lora" / "styles"
    model(styles / "wash.safetensors")
    cards(studio)
    answer = studio.client.put("/v1/cards/loras/thumbnail?name=wash", content=b"no picture")
    assert (answer.status_code, answer.json()["field"]) == (422, "picture")
    aside = tmp_path / "aside.png"
    aside.write_bytes(png())
    (styles / "wash.preview.png").symlink_to(aside)
    answer = studio.client.put("/v1/cards/loras/thumbnail?name=wash&replace=true", content=png(8, 8))
    assert answer.json()["detail"] == "wash.preview.png is a link; nothing is written through links."
    assert aside.read_bytes() == png()
    assert studio.client.put("/v1/cards/loras/thumbnail?name=nobody", content=png()).status_code == 404


def test_a_damaged_thumbnail_is_made_again(studio: Studio) -> None:
    address = cards(studio)[0]["thumbnail"]
    first = studio.client.get(address).content
    folder = studio.services.flags.data_dir / "cache" / "thumbnails"
    (kept,) = folder.glob("*.webp")
    for damage in (b"", b"<html>", first[:40], first[: len(first) // 2]):
        kept.write_bytes(damage)
        assert studio.client.get(address).content == first
        assert kept.read_bytes() == first


def test_a_list_needs_no_hash(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    model(studio.folder / "Stable-diffusion" / "big.safetensors")

    def refuse(*_: object) -> str:
        raise AssertionError("a whole file was read")

    monkeypatch.setattr("modules.networks.files.listing.HashCache.sha256", refuse)
    monkeypatch.setattr("modules.networks.files.listing.HashCache.tensors_sha256", refuse)
    for kind in ("checkpoints", "loras", "embeddings", "vaes"):
        assert cards(studio, kind)
