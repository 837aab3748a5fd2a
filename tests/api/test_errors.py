"""Every error is one sentence of JSON; internal errors are logged with their traceback, under the id in the answer."""

import json
import logging
import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from fastapi import FastAPI
from PIL import Image
from pydantic import ValidationError
from starlette.testclient import TestClient

from modules.api.app import create_api
from modules.api.middleware.body_limit import BodyLimit
from modules.api.services import Services
from modules.api.v1.batches import BatchBody
from modules.api.v1.jobs import JobBody
from modules.base.budget import Budget, Ticket
from modules.base.fields import MOST_REPORTED
from modules.schema.request import Img2ImgRequest, Txt2ImgRequest
from tests.api.conftest import BASE


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "error", "detail"),
    [
        ("GET", "/v1/nothing", b"", 404, "NotFound", "Not Found"),
        ("PUT", "/v1/jobs", b"", 405, "MethodNotAllowed", "/v1/jobs does not support PUT."),
        ("POST", "/v1/jobs", b"{", 422, "WebuiError", "The body is not JSON ("),
        ("POST", "/v1/jobs", b"[]", 422, "WebuiError", "the body = []: "),
        ("POST", "/v1/tokens", b'{"text": 7}', 422, "WebuiError", "text = 7: input should be a valid string."),
        ("PUT", "/v1/styles/oil", b"\xff", 400, "BadRequest", "The body cannot be read: "),
    ],
)
def test_errors_have_one_shape(
    client: TestClient, method: str, path: str, content: bytes, status: int, error: str, detail: str
) -> None:
    answer = client.request(method, path, content=content, headers={"content-type": "application/json"})

    assert answer.status_code == status
    assert set(answer.json()) == {"error", "detail", "field", "hint"}
    assert answer.json()["error"] == error
    assert answer.json()["detail"].startswith(detail)


@pytest.mark.parametrize("name", ["a\nb", "a" * 100_000, "\x00", "\u202e"])
@pytest.mark.parametrize("path", ["/v1/checkpoint", "/v1/settings", "/sdapi/v1/options"])
def test_a_name_that_a_client_made_up_is_told_on_one_short_line(client: TestClient, path: str, name: str) -> None:
    answer = client.post(path, json={"name": "good", name: 1})
    told = answer.json()
    assert (answer.status_code, set(told) >= {"error", "detail", "field", "hint"}) == (422, True)
    assert all(text.isprintable() and len(text) < 300 for text in told.values())


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/sdapi/v1/options", "GET, POST"), ("/v1/batches/x", "DELETE, GET"), ("/v1/outputs/a.png", "GET, HEAD")],
)
def test_a_method_that_is_not_there_is_told_those_that_are(client: TestClient, path: str, methods: str) -> None:
    answer = client.request("PATCH", path)
    assert (answer.status_code, answer.headers["allow"]) == (405, methods)


def test_an_error_of_ours_is_500_with_an_id_that_is_in_the_log(
    services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_api(services)

    @app.get("/broken")
    def broken() -> None:
        raise ZeroDivisionError("secret detail")

    with caplog.at_level(logging.ERROR):
        answer = TestClient(app, base_url=BASE).get("/broken")

    assert answer.status_code == 500
    assert answer.json()["error"] == "InternalError"
    assert "secret" not in answer.text
    trace_id = re.search(r"id ([0-9a-f]{6}) in the log", answer.json()["detail"])
    assert trace_id
    assert trace_id[1] in caplog.text
    assert "secret detail" in caplog.text


def test_a_body_beyond_the_limit_is_413_with_or_without_its_length(services: Services) -> None:
    inner: FastAPI = create_api(services)
    client = TestClient(BodyLimit(inner, 1000), base_url=BASE)
    body = b'{"text": "' + b"a" * 2000 + b'"}'

    for content in (body, iter([body[:500], body[500:]])):
        answer = client.post("/v1/tokens", content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 413
        assert set(answer.json()) == {"error", "detail", "field", "hint"}
    assert client.post("/v1/tokens", json={"text": "a"}).status_code == 200


def test_all_bodies_together_have_a_share_of_the_budget(services: Services) -> None:
    budget = Budget(20 << 20, line=0)
    client = TestClient(BodyLimit(create_api(services), 50 << 20, budget=budget), base_url=BASE)
    body = b'{"text": "' + b"a" * (1 << 20) + b'"}'
    held = [budget.ask(5 << 20, lambda: None, body) for body in ("another client's", "a third one's", "the latter's")]
    answer = client.post("/v1/tokens", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
    assert answer.json()["detail"].startswith("Not enough memory for this body")
    assert client.post("/v1/tokens", json={"text": "a"}).status_code == 200  # a small one needs none
    for ticket in held:
        budget.give_back(ticket)
    answer = client.post("/v1/tokens", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, budget.taken) == (200, 0)


def test_a_body_that_finds_no_room_waits_for_it(services: Services) -> None:
    budget = Budget(20 << 20)
    held = [budget.ask(9 << 20, lambda: None, body) for body in ("another client's", "a third one's")]
    client = TestClient(BodyLimit(create_api(services), 50 << 20, budget=budget), base_url=BASE)
    requested = budget.ask
    waited: list[bool] = []

    def ask(size: int, wake: Callable[[], object], body: object | None = None) -> Ticket:
        ticket = requested(size, wake, body)
        waited.append(not ticket.is_granted)
        for other in held:  # while it waits
            budget.give_back(other)
        monkey.undo()
        return ticket

    with pytest.MonkeyPatch.context() as monkey:
        monkey.setattr(budget, "ask", ask)
        answer = client.post("/v1/tokens", json={"text": "a" * (1 << 20)})
    assert (answer.status_code, budget.taken, waited) == (200, 0, [True])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/jobs", {"kind": "txt2img", "request": {"prompt": "a cat"}}),
        ("/v1/styles/apply", {"prompt": "a cat", "styles": []}),
        ("/v1/infotext", {"text": "a cat"}),
    ],
)
def test_of_many_unknown_fields_a_few_are_looked_at(client: TestClient, path: str, body: dict[str, Any]) -> None:
    unknown = {f"unknown{number}": number for number in range(100_000)}
    wide = {**body, **unknown} if "request" not in body else {**body, "request": {**body["request"], **unknown}}
    answer = client.post(path, json=wide)
    assert (answer.status_code, "unknown0" in answer.json()["detail"]) == (422, True)


def test_no_model_makes_an_error_of_each_unknown_field() -> None:
    unknown = {f"unknown{number}": number for number in range(1000)}
    for model in (Txt2ImgRequest, Img2ImgRequest, JobBody, BatchBody):
        with pytest.raises(ValidationError) as caught:
            model.model_validate({"prompt": "a cat", **unknown})
        assert caught.value.error_count() <= MOST_REPORTED + 5


def test_no_page_of_documentation_loads_scripts_from_elsewhere(client: TestClient) -> None:
    page = client.get("/docs").text
    named = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert named
    assert all(client.get(path).status_code == 200 for path in named)
    assert "//" not in page.replace("</", "")
    assert client.get("/redoc").status_code == 404
    assert client.get("/docs/../app.py").status_code == client.get("/docs/core.py").status_code == 404
    assert client.get("/openapi.json").json()["info"]["title"] == "Palimpsest"


@pytest.mark.parametrize(
    "body",
    ["{" + ",".join(f'"{n}":0' for n in range(300_000)) + "}", "[" + "{}," * 300_000 + "1]", "[[[" * 100_000],
    ids=["fields", "objects", "depth"],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/sdapi/v1/txt2img", "/sdapi/v1/options", "/v1/batches"])
def test_a_body_of_too_many_values_is_not_parsed(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str, body: str
) -> None:
    loads = json.loads
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("parsed"))
    answer = client.post(path, content=body, headers={"content-type": "application/json"})
    monkeypatch.setattr(json, "loads", loads)
    assert answer.status_code == 413
    assert "250000 values" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/tokens", "/v1/estimate", "/sdapi/v1/options", "/v1/styles/a"])
def test_addresses_that_take_no_pictures_take_no_large_bodies(client: TestClient, path: str) -> None:
    text = json.dumps({"text": "a" * (5 << 20)}).encode()
    method = "PUT" if "styles" in path else "POST"
    for content in (text, iter([text])):
        answer = client.request(method, path, content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 413, answer.text


@pytest.mark.parametrize("path", ["/v1/pictures", "/v1/batches/files"])
def test_a_file_is_no_list_of_values_however_many_commas_it_holds(client: TestClient, path: str) -> None:
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    data = file.getvalue() + b"," * 300_000
    answer = client.post(path, content=data, headers={"content-type": "image/png"}, params={"name": "a.png"})
    assert answer.status_code == 201, answer.text
