"""LoRAs and embeddings over HTTP: listed, counted, and missing ones refused at admission."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image
from starlette.testclient import TestClient

from modules.api.app import create_api
from modules.api.services import CatalogHolder, Services
from modules.api.v1.networks import UNWRITABLE
from modules.api.v1.tokens import TokenCounter
from modules.app import words_of
from modules.base.picture import Picture
from modules.schema.catalog import Embedding, Lora
from modules.schema.settings import EXACT
from tests.api.conftest import BASE, services_in

INK = Lora(
    "ink", Path("models/Lora/deep/ink.safetensors"), "India", metadata={"ss_output_name": "India", "n": {"a": 1}}
)
LATE = Lora("late", Path("late.safetensors"))

DUSK = Embedding("dusk", Path("dusk.pt"), 1, 3, 768, step=500, sd_checkpoint="abc", sd_checkpoint_name="good")
WIDE = Embedding("wide", Path("wide.pt"), 1, 2, 1024)
TORN = Embedding("torn", Path("torn.pt"), 1, reason="torn.pt is damaged or truncated.")
BRACKETS = Embedding("style (v1)", Path("style (v1).pt"), 1, 2, 768)

PICTURE = Picture.from_image(Image.new("RGB", (64, 64))).data


class Studio(NamedTuple):
    """The application, and the files in the folder of LoRAs."""

    client: TestClient
    services: Services
    loras: list[Lora]


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with services_in(tmp_path_factory.mktemp("studio")) as services:
        names, loras = services.catalog.current, [INK]
        holder = CatalogHolder(
            lambda: replace(names, loras=tuple(loras), embeddings=(DUSK, TORN, WIDE, BRACKETS)),
            services.catalog.known_hash,
        )
        counter = TokenCounter(services.settings, lambda: words_of(holder.current, 768))
        services = replace(services, catalog=holder, count_tokens=counter)
        with TestClient(create_api(services), base_url=BASE) as client:
            yield Studio(client, services, loras)


@pytest.fixture
def client(studio: Studio) -> TestClient:
    studio.loras[:] = [INK]
    studio.services.catalog.refresh()
    return studio.client


def test_they_are_listed_as_a1111_does(client: TestClient, studio: Studio) -> None:
    assert client.get("/sdapi/v1/loras").json() == [
        {"name": "ink", "alias": "India", "path": "ink.safetensors", "metadata": dict(INK.metadata)}
    ]
    studio.loras.append(LATE)
    assert client.post("/sdapi/v1/refresh-loras").json() is None
    assert [(each["name"], each["alias"]) for each in client.get("/sdapi/v1/loras").json()] == [
        ("ink", "India"), ("late", "late")
    ]  # fmt: skip


def test_the_page_lists_what_a_click_writes_or_why_it_writes_nothing(client: TestClient, studio: Studio) -> None:
    torn = Lora("torn", Path("torn.safetensors"), reason="torn.safetensors is damaged or truncated.")
    studio.loras.extend([Lora("wet: v2", Path("wet: v2.safetensors")), torn, Lora("x:y", Path("x:y.pt"), "ink")])
    studio.loras.append(Lora("x%3Ay", Path("x%3Ay.pt")))
    studio.services.catalog.refresh()
    listed = client.get("/v1/networks").json()
    assert [(each["name"], each["text"], each["reason"]) for each in listed["loras"]] == [
        ("ink", "<lora:ink:1>", ""),
        ("wet: v2", "<lora:wet%3A v2:1>", ""),
        ("torn", "", torn.reason),
        ("x:y", "", UNWRITABLE),
        ("x%3Ay", "<lora:x%3Ay:1>", ""),
    ]
    assert listed["loras"][0] == {
        "name": "ink", "file": "ink.safetensors", "alias": "India", "text": "<lora:ink:1>", "reason": ""
    }  # fmt: skip
    told = {each["name"]: (each["vectors"], each["text"], each["reason"]) for each in listed["embeddings"]}
    assert told["dusk"] == (3, "dusk", "")
    assert told["style (v1)"] == (2, r"style \(v1\)", "")
    assert told["torn"] == (0, "", TORN.reason)
    assert client.post("/v1/infotext", json={"text": r"a style \(v1\)"}).status_code == 200
    request = {"prompt": "a <lora:wet%3A v2:1>", "width": 64, "height": 64}
    assert client.post("/v1/jobs", json={"kind": "txt2img", "request": request}).status_code == 201


@pytest.mark.parametrize("alias", ["", "a" * 100_000])
def test_what_the_page_fetches_does_not_grow_with_what_trainers_noted(
    alias: str, client: TestClient, studio: Studio
) -> None:
    notes = {"ss_tag_frequency": "x" * 240_000}
    reasons = ("", "broken " * 10_000)
    studio.loras[:] = [
        Lora(f"ink-{n:04}", Path(f"ink-{n:04}.safetensors"), alias and f"{n}{alias}", "", notes, reasons[n % 2])
        for n in range(1000)
    ]
    studio.services.catalog.refresh()
    answer = client.get("/v1/networks")
    assert len(answer.json()["loras"]) == 1000
    assert len(answer.content) < 1000 * 1000  # bytes


@pytest.mark.parametrize(
    ("field", "prompt", "detail", "error"),
    [
        ("prompt", "a <lora:inc:1>", "there is no LoRA 'inc'; did you mean 'ink'?", "MissingNetworks"),
        ("hr_prompt", "a <lyco:Indian:1>", "there is no LoRA 'Indian'; did you mean 'India'?", "MissingNetworks"),
        ("prompt", "a <lora:ink:strong>", "weight 'strong' of <lora:ink> must be a number such as 0.8.", "WebuiError"),
    ],
)
def test_an_unknown_one_is_refused_with_the_nearest_name(
    field: str, prompt: str, detail: str, error: str, client: TestClient
) -> None:
    request = {field: prompt, "enable_hr": True, "width": 64, "height": 64}
    ours = {**request, "override_settings": {"compatibility": "Palimpsest"}}
    for answer in (
        client.post("/sdapi/v1/txt2img", json=ours),
        client.post("/v1/jobs", json={"kind": "txt2img", "request": request}),
    ):
        assert (answer.status_code, answer.json()["field"], answer.json()["error"]) == (422, field, error)
        assert answer.json()["detail"] == f"{field}: {detail}"


def test_a1111_draws_without_an_unknown_one_and_so_do_its_routes_and_its_setting(client: TestClient) -> None:
    request = {"prompt": "a <lora:inc:1> <lora:ink:1>", "width": 64, "height": 64}
    exact = {**request, "override_settings": {"compatibility": EXACT}}
    assert client.post("/sdapi/v1/txt2img", json=request).status_code == 200
    assert client.post("/v1/jobs", json={"kind": "txt2img", "request": exact}).status_code == 201
    weight = client.post("/sdapi/v1/txt2img", json={**request, "prompt": "a <lora:inc:strong>"})
    assert (weight.status_code, weight.json()["field"]) == (422, "prompt")


def test_a_picture_can_be_wanted_without_those_that_are_missing(client: TestClient, studio: Studio) -> None:
    request = {"prompt": "a <lora:inc:1><lora:ink:1> <lyco:gone:0.5>cat", "width": 64, "height": 64}
    answer = client.post("/v1/jobs", json={"kind": "txt2img", "request": request, "leave_out_missing": True})
    assert answer.status_code == 201, answer.text
    assert studio.services.queue.job(answer.json()["id"]).request.prompt == "a <lora:ink:1> cat"


def test_a_batch_is_refused_before_its_first_file(client: TestClient) -> None:
    for field, value in (("prompt", "a <lora:inc:1>"), ("refiner_checkpoint", "goood")):
        answer = client.post("/v1/batches", json={"request": {field: value}, "folder": "inputs"})
        assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text


def test_a_batch_can_be_wanted_without_those_that_are_missing(client: TestClient, studio: Studio) -> None:
    request = {"prompt": "a <lora:inc:1><lora:ink:1> <lyco:gone:0.5>cat"}
    files = [("files", ("a.png", PICTURE, "image/png"))]
    told = {"request": request, "leave_out_missing": True}
    answer = client.post("/v1/batches", files=files, data={"batch": json.dumps(told)})
    assert answer.status_code == 201, answer.text
    assert studio.services.intake.batches.batch(answer.json()["id"]).materials.form["prompt"] == "a <lora:ink:1> cat"


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("refiner_checkpoint", {}),
        ("refiner_checkpoint", {"enable_hr": True}),
        ("hr_checkpoint_name", {"enable_hr": True}),
    ],
)
def test_an_unknown_checkpoint_is_refused_at_the_door_and_a_known_one_goes_by_its_name(
    field: str, more: dict[str, Any], client: TestClient, studio: Studio
) -> None:
    sizes = {"width": 64, "height": 64, **more}
    for route, body in (
        ("/sdapi/v1/txt2img", {field: "goood", **sizes}),
        ("/v1/jobs", {"kind": "txt2img", "request": {field: "goood", **sizes}}),
    ):
        answer = client.post(route, json=body)
        assert (answer.status_code, answer.json()["field"]) == (422, field)
        assert answer.json()["detail"] == f"{field}: no checkpoint named 'goood'; did you mean 'good'?"
    answer = client.post("/v1/jobs", json={"kind": "txt2img", "request": {field: "GOOD.safetensors", **sizes}})
    assert getattr(studio.services.queue.job(answer.json()["id"]).request, field) == "good"


def test_names_of_a_hires_pass_that_is_off_are_not_looked_up(client: TestClient) -> None:
    request = {"hr_checkpoint_name": "goood", "hr_prompt": "a <lora:inc:1>", "width": 64, "height": 64}
    assert client.post("/v1/jobs", json={"kind": "txt2img", "request": request}).status_code == 201


@pytest.mark.parametrize(
    "prompt", ["a <lora:ink:1>", "a <lora:India:0.5:1>", "a <lora:late>", "a\n# <lora:gone:1>\nb", "<hypernet:gone:1>"]
)
def test_others_are_taken_and_a_new_file_needs_no_refresh(prompt: str, client: TestClient, studio: Studio) -> None:
    client.get("/sdapi/v1/loras")
    studio.loras.append(LATE)
    answer = client.post("/sdapi/v1/txt2img", json={"prompt": prompt, "width": 64, "height": 64})
    assert answer.status_code == 200, answer.text


def test_embeddings_are_listed_as_a1111_does_those_that_cannot_be_used_with_the_reason(
    client: TestClient, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = replace(studio.services.queue.state(), text_width=768)
    monkeypatch.setattr(studio.services.queue, "state", lambda: state)
    row = {"step": None, "sd_checkpoint": None, "sd_checkpoint_name": None}
    assert client.get("/sdapi/v1/embeddings").json() == {
        "loaded": {
            "dusk": {
                "step": 500, "sd_checkpoint": "abc", "sd_checkpoint_name": "good", "shape": 768, "vectors": 3
            },
            "style (v1)": {**row, "shape": 768, "vectors": 2},
        },
        "skipped": {
            "torn": {**row, "shape": 0, "vectors": 0, "reason": "torn.pt is damaged or truncated."},
            "wide": {
                **row, "shape": 1024, "vectors": 2,
                "reason": "wide.pt has vectors 1024 wide, but the checkpoint's text encoder is 768 wide.",
            },
        },
    }  # fmt: skip
    assert client.post("/sdapi/v1/refresh-embeddings").json() is None


@pytest.mark.parametrize(("text", "count"), [("a dusk", 4), ("Dusk, dusk", 7), ("wide", 1), ("a [cat:dusk:0.5]", 4)])
def test_the_counter_counts_their_vectors(text: str, count: int, client: TestClient) -> None:
    assert client.post("/v1/tokens", json={"text": text}).json() == {"count": count, "capacity": 75}
