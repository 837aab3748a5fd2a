"""Large JSON bodies: limited in size, and parsed one at a time so that nobody else has to wait."""

import asyncio
import json
import threading
import time
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from modules.api.app import MAX_JSON, create_api
from modules.api.middleware.body_limit import BodyLimit
from modules.api.services import Services
from tests.api.conftest import BASE

LARGE = 2 << 20


@pytest.mark.parametrize("path", ["/v1/jobs", "/sdapi/v1/img2img"])
def test_large_bodies_are_parsed_one_at_a_time_and_off_the_event_loop(
    services: Services, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    loads = json.loads
    parsing = threading.Semaphore(1)
    threads: list[threading.Thread] = []

    def watched(data: Any, **options: Any) -> Any:
        if len(data) >= LARGE:
            assert parsing.acquire(blocking=False), "two are parsed at once"
            threads.append(threading.current_thread())
            time.sleep(0.05)  # which gives another one the time to start
            parsing.release()
        return loads(data, **options)

    async def story() -> list[int]:
        transport = httpx.ASGITransport(create_api(services))
        async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=300) as client:
            body = json.dumps({"kind": "nonsense", "request": {}, "sampler_name": "x", "junk": "A" * LARGE}).encode()
            kind = {"content-type": "application/json"}
            answers = await asyncio.gather(*(client.post(path, content=body, headers=kind) for _ in range(6)))
            return [answer.status_code for answer in answers]

    monkeypatch.setattr(json, "loads", watched)
    statuses = asyncio.run(story())
    monkeypatch.setattr(json, "loads", loads)
    assert set(statuses) <= {404, 422}, statuses
    assert len(threads) == 6
    assert threading.main_thread() not in threads


@pytest.mark.parametrize("path", ["/v1/jobs", "/sdapi/v1/img2img", "/sdapi/v1/png-info"])
@pytest.mark.parametrize("is_told", [True, False])
def test_json_has_a_bound_below_that_of_files(services: Services, path: str, is_told: bool) -> None:
    app = BodyLimit(create_api(services), 100_000, raw=("/v1/pictures",), most_json=1000)
    client = TestClient(app, base_url=BASE)
    body = json.dumps({"image": "A" * 2000}).encode()
    content = body if is_told else iter([body[:900], body[900:]])
    answer = client.post(path, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    told = f"{answer.json()['detail']} {answer.json()['hint']}"
    assert "1000" in told
    assert "Make its pictures smaller, for example as JPEG, or send fewer at once." in told
    assert client.post("/v1/pictures", content=b"A" * 2000).status_code == 422


def test_a_picture_of_64_mb_fits() -> None:
    assert MAX_JSON > (64 << 20) * 4 // 3
