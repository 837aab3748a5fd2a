"""The guard: what other sites' pages send is refused, what people and programs send is not."""

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from modules.api.guard import Guard
from tests.api.conftest import BASE

OWN = "http://127.0.0.1:7860"


@pytest.fixture
def guarded() -> TestClient:
    return TestClient(Guard(PlainTextResponse("in"), names=("studio.local",)), base_url=BASE)


@pytest.mark.parametrize(
    ("method", "path", "headers", "allowed"),
    [
        # Host: what this server is called, with any port.
        ("GET", "/", {"host": "127.0.0.1:7860"}, True),
        ("GET", "/", {"host": "localhost"}, True),
        ("GET", "/", {"host": "LOCALHOST:1"}, True),
        ("GET", "/", {"host": "[::1]:7860"}, True),
        ("GET", "/", {"host": "studio.local:7860"}, True),
        ("GET", "/", {"host": "evil.example"}, False),
        ("GET", "/", {"host": "127.0.0.1.evil.example"}, False),
        ("GET", "/", {"host": "evil.example@127.0.0.1x"}, False),
        ("GET", "/", {"host": ""}, False),
        ("GET", "/", {"host": "[::1"}, False),
        # Origin: only our own may change things.
        ("POST", "/v1/jobs", {}, True),  # curl
        ("POST", "/v1/jobs", {"origin": OWN}, True),
        ("POST", "/v1/jobs", {"origin": "http://evil.example"}, False),
        ("POST", "/v1/jobs", {"origin": "null"}, False),
        ("POST", "/v1/jobs", {"origin": "http://127.0.0.1:9999"}, False),
        ("DELETE", "/v1/jobs/x", {"origin": "https://evil.example"}, False),
        ("OPTIONS", "/v1/jobs", {"origin": "https://evil.example"}, False),
        ("GET", "/v1/jobs", {"origin": "http://evil.example"}, True),  # it cannot read the answer
        # Sec-Fetch-Site: links from elsewhere may lead to the page and nowhere else.
        ("GET", "/", {"sec-fetch-site": "cross-site"}, True),
        ("GET", "/v1/outputs/a.png", {"sec-fetch-site": "cross-site"}, False),
        ("GET", "/v1/outputs/a.png", {"sec-fetch-site": "same-origin"}, True),
        ("GET", "/v1/outputs/a.png", {"sec-fetch-site": "none"}, True),
        ("POST", "/gradio_api/call", {"sec-fetch-site": "cross-site"}, False),
        ("HEAD", "/v1/pictures/x", {"sec-fetch-site": "cross-site"}, False),
    ],
)
def test_who_may_come_in(guarded: TestClient, method: str, path: str, headers: dict[str, str], allowed: bool) -> None:
    answer = guarded.request(method, path, headers=headers)

    assert answer.status_code == (200 if allowed else 403)
    if not allowed and method != "HEAD":
        error = answer.json()
        assert error["error"] == "Forbidden"
        assert error["detail"].startswith("The request ")
        assert error["hint"]


def test_the_whole_application_stands_behind_it(client: TestClient) -> None:
    for path in ("/internal/ping", "/v1/state", "/openapi.json", "/"):
        assert client.get(path, headers={"host": "evil.example"}).status_code == 403
    assert client.post("/v1/interrupt", headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get("/internal/ping").json() == {}
