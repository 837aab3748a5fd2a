"""Every route of the OpenAPI description, called by schemathesis with what its description allows and what it forbids.

Whatever is sent, the description allows the answer, the server still works afterwards, and nothing has been written
outside the data folder. A run of the whole test suite tries a few cases per route, always the same. For a search:
PALIMPSEST_FUZZ=500 tries that many cases of each kind for each route, different ones each time.
"""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.applications import Starlette
from starlette.testclient import TestClient

from modules.api.app import create_api
from modules.api.services import Services
from tests.api.a1111_client import png
from tests.api.conftest import BASE, services_in

SEARCHED = int(os.environ.get("PALIMPSEST_FUZZ", "0"))  # cases per route
CASES = SEARCHED or 3
PATIENCE = 300.0  # seconds for an answer
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
ENDLESS = "/v1/state/events"  # covered by test_sse.py
KEPT = {  # in the data folder
    "outputs", "pictures", "inputs", "cache", "config.json", "config-a1111.json", "styles.csv", "history.sqlite",
    "history.sqlite-wal", "history.sqlite-shm",
}  # fmt: skip
SOURCE = png(16, 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder is `data` inside it; everything beside that must stay unchanged."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "neighbor.txt").write_text("not yours", encoding="utf-8")
    (folder / "data" / "inputs" / "one").mkdir(parents=True)
    (folder / "data" / "inputs" / "one" / "a.png").write_bytes(base64.b64decode(SOURCE))
    return folder


@pytest.fixture(scope="module")
def services(folder: Path) -> Iterator[Services]:
    with services_in(folder / "data") as services:
        yield services


@pytest.fixture(scope="module")
def app(services: Services) -> Starlette:
    return create_api(services)


@pytest.fixture(scope="module")
def client(app: Starlette) -> Iterator[TestClient]:
    with TestClient(app, base_url=BASE) as client:
        yield client


@pytest.fixture(scope="module")
def known(client: TestClient) -> dict[str, list[Any]]:
    """Existing ids and names, by the parameter that takes them: made-up ones do not exist."""
    job = client.post("/v1/jobs", json={"kind": "txt2img", "request": {"prompt": "a"}}).json()
    client.get(f"{job['url']}/events")  # ends with the job
    saved = client.get(job["url"]).json()["images"][0]
    picture = client.post("/v1/pictures", content=client.get(saved["url"]).content).json()["id"]
    file = client.post("/v1/batches/files", content=base64.b64decode(SOURCE)).json()["id"]
    batch = client.post("/v1/batches", json={"folder": "inputs/one"}).json()
    client.get(f"{batch['url']}/events")
    return {
        "job_id": [job["id"]], "batch_id": [batch["id"]], "picture_id": [picture], "file_id": [file],
        "path": [saved["path"]], "paths": [[saved["path"]]], "picture": [picture], "source": [picture, ""],
        "name": ["good", "oil"], "id_task": [job["id"]], "image": [SOURCE, f"data:image/png;base64,{SOURCE}"],
        "init_images": [[SOURCE], [picture], [SOURCE, SOURCE]], "mask": [SOURCE, picture, None],
        "imageList": [[{"data": SOURCE}]], "files": [[{"name": "a.png", "id": file}]], "folder": ["inputs/one"],
        "sampler_name": ["k_euler_a", "DPM++ 2M Karras"], "scheduler": ["karras", "Align Your Steps", None],
        "hr_upscaler": ["Latent", "Lanczos"], "script_name": ["", "X/Y/Z plot", "Prompt matrix", "SD upscale"],
        "sd_model_checkpoint": ["good", "refused"], "override_settings": [{}, {"CLIP_stop_at_last_layers": 2}],
    }  # fmt: skip


def with_known(draw: st.DataObject, values: Any, known: dict[str, list[Any]]) -> Any:
    """`values`, with some replaced by existing ones."""
    if not isinstance(values, dict):
        return values
    filled = {name: with_known(draw, value, known) for name, value in values.items()}
    for name in filled:
        if name in known and draw.draw(st.booleans()):
            filled[name] = draw.draw(st.sampled_from(known[name]))
    return filled


@pytest.mark.slow
@pytest.mark.parametrize("mode", GenerationMode, ids=["allowed", "forbidden"])
def test_every_route_answers_as_it_is_described(
    app: Starlette, client: TestClient, folder: Path, known: dict[str, list[Any]], mode: GenerationMode
) -> None:
    described = schemathesis.openapi.from_asgi("/openapi.json", app, headers={"host": "127.0.0.1"})
    operations = [found.ok() for found in described.get_all_operations()]  # pyright: ignore[reportAttributeAccessIssue]
    for operation in operations:
        if operation.path != ENDLESS and (mode == GenerationMode.POSITIVE or forbids(operation)):
            send(operation, mode, known)

    assert client.get("/healthz").json() == {"status": "ok"}
    overrides = {"sd_model_checkpoint": "good", "samples_format": "png"}
    answer = client.post("/sdapi/v1/txt2img", json={"prompt": "a", "override_settings": overrides})
    assert (answer.status_code, len(answer.json()["images"])) == (200, 1)
    assert sorted(path.name for path in folder.iterdir()) == ["data", "neighbor.txt"]
    assert (folder / "neighbor.txt").read_text(encoding="utf-8") == "not yours"
    assert {path.name for path in (folder / "data").iterdir()} <= KEPT
    assert [path.name for path in (folder / "data" / "inputs").rglob("*")] == ["one", "a.png"]


def send(operation: APIOperation, mode: GenerationMode, known: dict[str, list[Any]]) -> None:
    """Sends some cases of one route. A failure shows the case as a curl command."""

    @settings(max_examples=CASES, derandomize=not SEARCHED, print_blob=bool(SEARCHED))
    @given(case=operation.as_strategy(generation_mode=mode), draw=st.data())
    def ask(case: Case, draw: st.DataObject) -> None:
        case.path_parameters = with_known(draw, case.path_parameters, known)
        case.query = with_known(draw, case.query, known)
        case.body = with_known(draw, case.body, known)
        answer = case.call(base_url=BASE, timeout=PATIENCE)
        assert answer.status_code < 500, (case.as_curl_command(), answer.text)
        is_stream = "text/event-stream" in answer.headers.get("content-type", [""])[0]
        # OpenAPI 3.1 describes a stream as a string; schemathesis takes it for the description of one event, as in 3.2.
        case.validate_response(
            answer, checks=CHECKS, excluded_checks=[response_schema_conformance] if is_stream else []
        )
        if answer.status_code >= 400 and answer.content:
            assert answer.json()["detail"].isprintable(), (case.as_curl_command(), answer.text)

    ask()


def forbids(operation: APIOperation) -> bool:
    """Whether anything can be sent that the description does not allow."""
    return bool(operation.query) or any(body.media_type == "application/json" for body in operation.body)
