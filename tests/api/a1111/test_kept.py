"""What requests of A1111's clients change for good: files, options, the checkpoint. Each test has its own server."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from httpx2 import Response  # the response type of starlette's test client
from starlette.testclient import TestClient

from modules.api.services import Services
from modules.base.events import Unkept
from tests.api.a1111_client import opened


def saved(services: Services) -> list[str]:
    root = services.outputs.root
    return sorted(path.relative_to(root).parts[0] for path in root.rglob("*.*")) if root.exists() else []


@pytest.fixture
def post(client: TestClient) -> Callable[..., Response]:
    def send(route: str, **body: Any) -> Response:
        return client.post(f"/sdapi/v1/{route}", json=body)

    return send


def test_saving_is_asked_for_and_brings_a_grid(post: Callable[..., Response], services: Services) -> None:
    told = post("txt2img", prompt="images 3", save_images=True).json()

    assert saved(services) == ["txt2img-images"] * 3
    assert [opened(image).size for image in told["images"]] == [(16, 16)] + [(8, 8)] * 3
    assert json.loads(told["info"])["index_of_first_image"] == 1
    assert len(json.loads(told["info"])["all_seeds"]) == 3


def test_what_is_not_to_be_saved_or_sent_is_not(post: Callable[..., Response], services: Services) -> None:
    told = post("txt2img", prompt="images 2", save_images=True, do_not_save_grid=True, send_images="false").json()
    assert told["images"] == []
    assert saved(services) == ["txt2img-images"] * 2

    told = post("txt2img", prompt="images 2", save_images=True, do_not_save_samples=True).json()
    assert len(told["images"]) == 3
    assert saved(services) == ["txt2img-images"] * 2


def test_styles_come_from_the_table(post: Callable[..., Response], services: Services) -> None:
    table = "name,prompt,negative_prompt\noil,oil painting of {prompt},photo\n"
    (services.flags.data_dir / "styles.csv").write_text(table, encoding="utf-8")
    info = json.loads(post("txt2img", prompt="a cat", styles=["oil", "gone"]).json()["info"])
    assert (info["prompt"], info["negative_prompt"]) == ("oil painting of a cat", "photo")
    assert info["styles"] == ["oil", "gone"]
    assert info["ignored"] == ["There is no style 'gone'."]


def test_they_stay_where_that_is_wanted(client: TestClient, post: Callable[..., Response]) -> None:
    overrides = {"CLIP_stop_at_last_layers": 3}
    post("txt2img", override_settings=overrides, override_settings_restore_afterwards=False)
    options = client.get("/sdapi/v1/options").json()
    assert (options["CLIP_stop_at_last_layers"], options["compatibility"]) == (3, "Palimpsest")


def test_those_that_change_nothing_are_kept(client: TestClient, services: Services) -> None:
    before = client.get("/sdapi/v1/options").json()["send_seed"]
    client.post("/sdapi/v1/options", json={"send_seed": not before, "n_rows": "3"})
    after = client.get("/sdapi/v1/options").json()
    assert (after["send_seed"], after["n_rows"]) == (not before, 3)
    kept = json.loads((services.flags.data_dir / "config-a1111.json").read_text(encoding="utf-8"))
    assert kept == {"send_seed": not before, "n_rows": 3}


@pytest.mark.parametrize("name", ["refused", "refused.safetensors", "Refused", "refused [refusedref]"])
def test_a_checkpoint_goes_by_several_names(client: TestClient, services: Services, name: str) -> None:
    job = client.post("/v1/jobs", json={"kind": "txt2img", "request": {"prompt": "wait"}}).json()  # it is loaded later
    assert client.post("/sdapi/v1/options", json={"sd_model_checkpoint": name}).status_code == 200
    assert services.settings.current.sd_model_checkpoint == "refused"
    assert client.get("/sdapi/v1/options").json()["sd_model_checkpoint"] == "refused [refusedref]"
    services.queue.job(job["id"]).interrupt()


def test_the_checkpoint_can_be_unloaded_and_loaded_again(
    client: TestClient, post: Callable[..., Response], services: Services
) -> None:
    def state() -> str:
        return client.get("/v1/state").json()["engine"]["state"]

    post("txt2img", prompt="a")
    answer = post("unload-checkpoint")
    assert (answer.status_code, answer.json(), state()) == (200, {}, "unloaded")
    assert (post("reload-checkpoint").json(), post("unload-checkpoint").json()) == ({}, {})
    assert post("txt2img", prompt="b").status_code == 200
    assert state() == "ready"


@pytest.mark.parametrize(
    ("body", "is_kept"),
    [
        ({}, False),
        ({"save_images": True}, True),
        ({"save_images": True, "do_not_save_samples": True}, False),
        ({"save_images": True, "send_images": False}, True),
    ],
)
def test_what_is_for_a_waiting_client_alone_is_marked(
    post: Callable[..., Response], services: Services, body: dict[str, Any], is_kept: bool
) -> None:
    assert post("txt2img", prompt="images 1", **body).status_code == 200
    (job,) = services.queue.jobs()
    assert any(isinstance(entry.event, Unkept) for entry in job.entries()) is not is_kept
