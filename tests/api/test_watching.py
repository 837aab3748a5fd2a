"""What every answer says to browsers, and what a supervisor can read."""

import re
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


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example"])
def test_metrics_are_not_read_through_another_name(client: TestClient, host: str) -> None:
    assert client.get("/metrics", headers={"host": host}).status_code in (400, 403, 421)
    assert client.get("/metrics", headers={"host": BASE.removeprefix("http://")}).status_code == 200
