"""What every answer tells browsers, and what a supervisor can read."""

import re
import time
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.api.conftest import BASE


@pytest.mark.parametrize("path", ["/healthz", "/v1/state", "/docs", "/no/such/route"])
def test_no_answer_is_to_be_framed_guessed_at_or_used_elsewhere(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["referrer-policy"] == "same-origin"


def test_the_documentation_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert loaded
    assert all(client.get(address).status_code == 200 for address in loaded if not address.startswith("data:"))
    assert not [address for address in loaded if address.startswith(("http", "//"))]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


def test_health_is_told_without_more(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


def test_metrics_count_pictures_and_jobs(client: TestClient, finished: Any) -> None:
    finished(prompt="images 2")
    text = client.get("/metrics").text
    assert 'palimpsest_images_total{kind="txt2img"} 2.0' in text
    assert 'palimpsest_jobs_total{kind="txt2img",status="finished"} 1.0' in text
    assert re.search(r'^palimpsest_queue_jobs\{status="running"\} 0', text, re.MULTILINE)
    assert re.search(r"^palimpsest_memory_bytes\{process=", text, re.MULTILINE)


def series(client: TestClient, begin: str) -> dict[str, float]:
    """The numbers of /metrics whose names start with this."""
    found = (line.rpartition(" ") for line in client.get("/metrics").text.splitlines() if line.startswith(begin))
    return {name: float(value) for name, _, value in found}


def test_metrics_tell_failures_seconds_by_stage_and_memory(client: TestClient, finished: Any) -> None:
    finished(prompt="a cat")
    assert finished(prompt="webui-error")["status"] == "failed"
    jobs = series(client, "palimpsest_jobs_total")
    assert jobs['palimpsest_jobs_total{kind="txt2img",status="failed"}'] == 1
    stages = series(client, "palimpsest_stage_seconds")
    for stage in ("sampling", "saving"):
        assert stages[f'palimpsest_stage_seconds_count{{stage="{stage}"}}'] == 1  # of the finished one
    assert stages['palimpsest_stage_seconds_sum{stage="sampling"}'] == 0.05
    assert series(client, "palimpsest_job_seconds_count") == {'palimpsest_job_seconds_count{kind="txt2img"}': 1}
    memory = series(client, "palimpsest_memory_bytes")
    for process in ("web", "engine"):
        assert memory[f'palimpsest_memory_bytes{{process="{process}"}}'] > 1_000_000
    assert sum(series(client, "palimpsest_engine_state").values()) == 1
    assert (
        series(client, "palimpsest_http_requests_total")['palimpsest_http_requests_total{method="POST",status="201"}']
        == 2
    )


def test_metrics_tell_how_long_the_queue_is(client: TestClient) -> None:
    jobs = [
        client.post("/v1/jobs", json={"kind": "txt2img", "request": {"prompt": "wait"}}).json()["id"] for _ in range(3)
    ]
    queue = series(client, "palimpsest_queue_jobs")
    end = time.monotonic() + 300
    while queue['palimpsest_queue_jobs{status="running"}'] < 1 and time.monotonic() < end:
        queue = series(client, "palimpsest_queue_jobs")
    assert queue == {
        'palimpsest_queue_jobs{status="queued"}': 2,
        'palimpsest_queue_jobs{status="running"}': 1,
    }
    for job in reversed(jobs):
        client.delete(f"/v1/jobs/{job}")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example"])
def test_metrics_are_not_read_through_another_name(client: TestClient, host: str) -> None:
    assert client.get("/metrics", headers={"host": host}).status_code in (400, 403, 421)
    assert client.get("/metrics", headers={"host": BASE.removeprefix("http://")}).status_code == 200
