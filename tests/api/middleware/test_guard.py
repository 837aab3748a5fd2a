"""The guard: it refuses what pages of other sites send, and accepts what people and programs send."""

import asyncio
import socket
from dataclasses import replace
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from modules.api.app import create_api
from modules.api.middleware.guard import Guard
from modules.api.services import Services
from modules.flags.credentials import Credentials
from tests.api.conftest import BASE

OWN = "http://127.0.0.1:7860"


@pytest.fixture
def guarded() -> TestClient:
    return TestClient(
        Guard(PlainTextResponse("in"), names=("studio.local",), origins=("https://friend.example",)), base_url=BASE
    )


@pytest.mark.parametrize(
    ("method", "path", "headers", "allowed"),
    [
        # Host: a name of this server, with any port.
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
        ("GET", "/docs", {"sec-fetch-site": "cross-site"}, True),
        ("GET", "/sdapi/v1/options", {"sec-fetch-site": "cross-site"}, False),
        ("GET", "/internal/progress", {"sec-fetch-site": "cross-site"}, False),
        ("POST", "/", {"sec-fetch-site": "cross-site"}, False),
        # Another port of this machine counts as the same site, and may be anyone's page.
        ("GET", "/sdapi/v1/options", {"sec-fetch-site": "same-site"}, False),
        ("POST", "/sdapi/v1/txt2img", {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:3000"}, False),
        # Forms and plain text, which pages may send without a preflight: refused from pages, accepted from programs.
        ("POST", "/sdapi/v1/txt2img", {"content-type": "text/plain", "origin": "http://evil.example"}, False),
        ("POST", "/sdapi/v1/txt2img", {"content-type": "text/plain"}, True),
        ("POST", "/sdapi/v1/txt2img", {"content-type": "application/x-www-form-urlencoded"}, True),
        ("POST", "/sdapi/v1/txt2img", {"content-type": ""}, True),
        # Pages that a flag allows.
        ("POST", "/sdapi/v1/txt2img", {"sec-fetch-site": "cross-site", "origin": "https://friend.example"}, True),
        ("GET", "/v1/state", {"sec-fetch-site": "cross-site", "origin": "https://Friend.example"}, True),
        ("POST", "/sdapi/v1/txt2img", {"origin": "http://friend.example"}, False),
        ("POST", "/sdapi/v1/txt2img", {"origin": "https://friend.example:8443"}, False),
        ("GET", "/", {"host": "evil.example", "origin": "https://friend.example"}, False),
        # An address is a name of this server only if it listens on all addresses.
        ("GET", "/", {"host": "192.168.1.5:7860"}, False),
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


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("192.168.1.5:7860", True),
        ("[fe80::1]:7860", True),
        ("localhost:7860", True),
        (f"{socket.gethostname()}:7860", True),
        ("proxy.example", True),
        ("evil.example", False),
        ("192.168.1.5.evil.example", False),
        ("192.168.1.5@evil.example", False),
        ("", False),
    ],
)
def test_a_server_for_other_machines_goes_by_its_addresses_and_names(host: str, allowed: bool) -> None:
    client = TestClient(Guard(PlainTextResponse("in"), names=("0.0.0.0", "proxy.example")), base_url=BASE)
    assert client.get("/", headers={"host": host}).status_code == (200 if allowed else 403)


def test_two_hosts_are_none() -> None:
    client = TestClient(Guard(PlainTextResponse("in")), base_url=BASE)
    assert client.get("/", headers=[("host", "127.0.0.1"), ("host", "evil.example")]).status_code == 403


@pytest.mark.parametrize(
    ("origin", "closed"), [("http://evil.example", True), ("null", True), (OWN, False), ("", False)]
)
def test_a_websocket_of_another_page_is_refused(origin: str, closed: bool) -> None:
    sent: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        sent.append("reached")

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    headers = [(b"host", b"127.0.0.1:7860")] + ([(b"origin", origin.encode())] if origin else [])
    asyncio.run(Guard(app)({"type": "websocket", "path": "/gradio_api/queue/join", "headers": headers}, receive, send))
    assert sent == ["websocket.close" if closed else "reached"]


def test_pages_of_other_sites_are_let_in_by_the_flag_alone(services: Services) -> None:
    origin = "https://friend.example"
    ask = {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    closed = TestClient(create_api(services), base_url=BASE)
    assert closed.options("/v1/interrupt", headers=ask).status_code == 403

    flags = replace(services.flags, cors_origins=(origin,), auth=Credentials(["ann:secret"]))
    opened = TestClient(create_api(replace(services, flags=flags)), base_url=BASE)
    preflight = opened.options("/v1/interrupt", headers=ask)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, origin)
    answer = opened.get("/v1/state", headers={"origin": origin})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, origin)
    assert opened.options("/v1/interrupt", headers={**ask, "origin": "https://evil.example"}).status_code == 403
