"""Downloads through the API: outside the queue, followed by events, listed at once; disabled when offline."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from modules.api.app import create_api
from modules.api.services import Services
from tests.api.conftest import BASE
from tests.fetching.mirror import DATA, FILE, REPO, Mirror, serving

BODY = {"file": f"{REPO}/{FILE}", "kind": "lora"}


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    with serving(Mirror()) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setattr("modules.fetching.fetcher.get_token", lambda: None)
        yield running


@pytest.fixture
def online(services: Services, mirror: Mirror) -> Iterator[TestClient]:
    connected = replace(services, flags=replace(services.flags, offline=False))
    with TestClient(create_api(connected), base_url=BASE) as client:
        yield client


def test_a_file_is_offered_accepted_fetched_and_followed(online: TestClient, mirror: Mirror, tmp_path: Path) -> None:
    offer = online.post("/v1/fetch/offer", json=BODY).json()
    assert offer == {
        "repo": REPO, "file": FILE, "name": "model.safetensors", "kind": "lora", "size": len(DATA),
        "sha256": mirror.etag, "licence": "mit", "page": f"{mirror.url}/{REPO}", "gated": False,
    }  # fmt: skip
    refused = online.post("/v1/fetch", json=BODY)
    assert (refused.status_code, refused.json()["field"]) == (422, "accept_terms")
    answer = online.post("/v1/fetch", json={**BODY, "accept_terms": True})
    assert answer.status_code == 201
    url = answer.json()["url"]
    events = online.get(f"{url}/events").text
    assert f'"name": "model.safetensors", "size": {len(DATA)}' in events
    assert events.rstrip().splitlines()[-2] == "event: finished"
    assert json.loads(events.rstrip().splitlines()[-1].removeprefix("data: "))["progress"]["fraction"] == 1.0
    assert (tmp_path / "models" / "Lora" / "model.safetensors").read_bytes() == DATA
    assert online.get(url).json()["status"] == "finished"
    assert [job["file"] for job in online.get("/v1/fetch").json()] == [BODY["file"]]
    again = online.post("/v1/fetch", json={**BODY, "accept_terms": True})
    assert (again.status_code, again.json()["field"]) == (409, "name")
    assert online.get("/v1/jobs").json() == []


def test_a_download_that_fails_says_why_and_the_next_one_runs(online: TestClient, mirror: Mirror) -> None:
    mirror.etag = "0" * 64
    failed = online.post("/v1/fetch", json={**BODY, "accept_terms": True}).json()
    assert "arrived damaged" in online.get(f"{failed['url']}/events").text
    mirror.etag = "none"
    url = online.post("/v1/fetch", json={**BODY, "accept_terms": True}).json()["url"]
    assert "event: finished" in online.get(f"{url}/events").text


def test_offline_nothing_is_asked(client: TestClient, mirror: Mirror) -> None:
    assert client.get("/v1/fetch/catalog").json()["offline"] is True
    for path, body in (("/v1/fetch/offer", BODY), ("/v1/fetch", {**BODY, "accept_terms": True})):
        answer = client.post(path, json=body)
        assert answer.status_code == 403
        assert "--offline" in answer.json()["detail"]
    assert not mirror.requested
    assert client.get("/v1/fetch/none").status_code == 404


def test_the_list_says_what_is_here(client: TestClient, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "VAE"
    folder.mkdir(parents=True)
    (folder / "vae-ft-mse-840000-ema-pruned.safetensors").write_bytes(b"")
    rows = {row["id"]: row for row in client.get("/v1/fetch/catalog").json()["entries"]}
    assert rows["vae-ft-mse"]["is_here"]
    assert not rows["sdxl-base"]["is_here"]
