"""Clients that vanish, and many clients at once."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.conftest import PATIENCE

SMALL = {"width": 64, "height": 64, "steps": 1}


def test_a_job_goes_on_when_its_client_has_gone(client: httpx.Client, server: str, data_dir: Path) -> None:
    body = {**SMALL, "steps": 150, "sampler_name": "Heun", "force_task_id": "gone", "save_images": True}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server}/sdapi/v1/txt2img", json=body, timeout=httpx.Timeout(30, read=0.3), trust_env=False)
    end = time.monotonic() + PATIENCE
    while not client.post("/internal/progress", json={"id_task": "gone"}).json()["completed"]:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert len(list((data_dir / "outputs").rglob("*.png"))) == 1
    assert client.get("/internal/pending-tasks").json()["size"] == 0


def test_everybody_gets_what_was_asked_for(server: str) -> None:
    def ask(seed: int) -> dict[str, Any]:
        body = {**SMALL, "prompt": f"number {seed}", "seed": seed}
        answer = httpx.post(f"{server}/sdapi/v1/txt2img", json=body, timeout=PATIENCE, trust_env=False)
        assert answer.status_code == 200, answer.text
        return json.loads(answer.json()["info"])

    with ThreadPoolExecutor(24) as many:
        told = list(many.map(ask, range(24)))
    assert [(info["seed"], info["prompt"]) for info in told] == [(seed, f"number {seed}") for seed in range(24)]
