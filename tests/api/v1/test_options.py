"""Settings and checkpoints over HTTP."""

import errno
import json
import os
import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from modules.api.services import Services
from modules.schema.settings import Settings

FORM = {"width": 512, "height": 512, "steps": 12}  # the size belongs to the family
FORMS = {"txt2img": FORM, "img2img": FORM}


def state_of(client: TestClient, wanted: str) -> dict[str, str]:
    limit = time.monotonic() + 300
    while (engine := client.get("/v1/state").json()["engine"])["state"] != wanted:
        assert time.monotonic() < limit, engine
        time.sleep(0.01)
    return engine


def test_settings_are_declared_for_the_page(client: TestClient) -> None:
    answer = client.get("/v1/settings").json()
    declared = {row["name"]: row for row in answer["declared"]}

    assert answer["values"] == Settings().model_dump()
    assert set(declared) <= set(answer["values"])
    assert declared["sd_model_checkpoint"]["choices"] == ["good", "refused"]
    assert declared["eta_ddim"] == {
        "name": "eta_ddim", "label": "Eta for DDIM", "kind": "slider", "min": 0, "max": 1, "step": 0.01, "choices": [],
        "default": 0.0, "description": "Share of new noise per step in DDIM; 0 is deterministic.",
        "section": "Sampler parameters",
    }  # fmt: skip


def test_a_change_is_in_force_and_on_disk(client: TestClient, tmp_path: Path) -> None:
    values = client.post("/v1/settings", json={"eta_ddim": 0.5, "samples_format": "jpg"}).json()

    assert (values["eta_ddim"], values["samples_format"]) == (0.5, "jpg")
    assert client.get("/v1/settings").json()["values"] == values
    assert json.loads((tmp_path / "config.json").read_text()) == {"eta_ddim": 0.5, "samples_format": "jpg"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"eta_ddim": 7}, "eta_ddim"),
        ({"nonsense": 1}, "nonsense"),
        ({"eta_ddim": 0.5, "jpeg_quality": 0}, "jpeg_quality"),
        ({"sd_model_checkpoint": "goood"}, "sd_model_checkpoint"),
        ({"sd_model_checkpoint": ["good"]}, "sd_model_checkpoint"),
        ({"sd_model_checkpoint": {"name": "good"}}, "sd_model_checkpoint"),
        ({"sd_model_checkpoint": 7}, "sd_model_checkpoint"),
    ],
)
def test_a_wrong_value_changes_nothing(client: TestClient, change: dict[str, object], field: str) -> None:
    answer = client.post("/v1/settings", json=change)

    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert client.get("/v1/settings").json()["values"] == Settings().model_dump()


def test_settings_that_cannot_be_saved_are_not_in_force(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    answer = client.post("/v1/settings", json={"eta_ddim": 0.5})

    assert answer.status_code == 507
    assert "cannot be saved" in answer.json()["detail"]
    assert client.get("/v1/settings").json()["values"]["eta_ddim"] == 0.0


def test_a_checkpoint_is_chosen_loaded_and_remembered(client: TestClient, services: Services) -> None:
    assert client.get("/v1/checkpoints").json() == {
        "checkpoints": [
            {
                "name": name,
                "label": name,
                "reason": "",
                "defaults": {"steps": 12},
                "forms": FORMS,
                "family": "",
                "shown": "",
                "sizes": {"multiple_of": 8, "trained_on": [{"width": 512, "height": 512}]},
                "hash": f"{name * 10}"[:10],
            }
            for name in ("good", "refused")
        ],
        "selected": "good",
        "vaes": ["Automatic", "None", "Soft.safetensors", "sharp.vae.pt"],
    }
    answer = client.post("/v1/checkpoint", json={"name": "refused"})
    assert (answer.status_code, answer.json()) == (202, {})
    assert "is a LoRA" in state_of(client, "failed")["message"]
    assert services.settings.current.sd_model_checkpoint == ""  # a checkpoint that cannot be loaded is not remembered

    client.post("/v1/settings", json={"sd_model_checkpoint": "GOOD.safetensors"})  # the other API
    assert state_of(client, "ready")["checkpoint"] == "good"
    listed = client.post("/v1/checkpoints/refresh").json()
    assert (listed["selected"], listed["checkpoints"][0]["hash"]) == ("good", "0123456789")


def test_an_unknown_checkpoint_is_refused_with_the_nearest_name(client: TestClient) -> None:
    answer = client.post("/v1/checkpoint", json={"name": "goood"})
    assert answer.status_code == 422
    assert "did you mean 'good'?" in answer.json()["detail"]


def test_refresh_finds_what_has_come(tmp_path: Path) -> None:
    from modules.api.services import CatalogHolder
    from modules.schema.catalog import Catalog, Checkpoint

    found: list[Checkpoint] = []
    holder = CatalogHolder(lambda: Catalog(tuple(found)))
    found.append(Checkpoint("new", tmp_path / "new"))

    assert holder.current.checkpoints == ()
    assert [checkpoint.name for checkpoint in holder.refresh().checkpoints] == ["new"]
    assert holder.current.checkpoints == tuple(found)


@pytest.mark.parametrize("door", ["/v1/checkpoint", "/v1/settings", "/sdapi/v1/options"])
def test_a_checkpoint_that_cannot_be_loaded_leaves_the_one_before_in_place_and_in_the_file(
    door: str, client: TestClient, services: Services, tmp_path: Path
) -> None:
    client.post("/v1/checkpoint", json={"name": "good"})
    state_of(client, "ready")
    answer = client.post(door, json={"name" if door == "/v1/checkpoint" else "sd_model_checkpoint": "refused"})
    assert answer.status_code < 300
    limit = time.monotonic() + 240
    while "is a LoRA" not in (engine := services.queue.state()).message or engine.state != "ready":
        assert time.monotonic() < limit, engine
        time.sleep(0.01)
    assert engine.checkpoint == "good"
    assert services.settings.current.sd_model_checkpoint == "good"
    assert client.get("/v1/checkpoints").json()["selected"] == "good"
    client.post("/v1/settings", json={"eta_ddim": 0.5})
    assert json.loads((tmp_path / "config.json").read_text()) == {"sd_model_checkpoint": "good", "eta_ddim": 0.5}


@pytest.mark.parametrize("door", ["/v1/checkpoint", "/v1/settings", "/sdapi/v1/options"])
def test_what_the_header_shows_is_told_before_anything_changes(
    door: str, client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modules.schema.catalog import Catalog, Checkpoint

    reason = "up.safetensors is an upscaler, not a checkpoint."
    rows = (Checkpoint("good", Path("good.safetensors")), Checkpoint("up", Path("up.safetensors"), reason=reason))
    monkeypatch.setattr(services.catalog, "_scan", lambda: Catalog(rows))
    services.catalog.refresh()
    before = services.queue.state()
    answer = client.post(door, json={"name" if door == "/v1/checkpoint" else "sd_model_checkpoint": "up"})
    assert (answer.status_code, answer.json()["detail"]) == (422, reason)
    assert (services.queue.state(), services.settings.current) == (before, Settings())
    assert client.get("/v1/checkpoints").json()["checkpoints"][1]["reason"] == reason
    answer = client.post(
        "/v1/jobs", json={"kind": "txt2img", "request": {"override_settings": {"sd_model_checkpoint": "up"}}}
    )
    assert (answer.status_code, answer.json()["detail"]) == (422, reason)
