"""Batches over HTTP: upload, start, follow, resume, stop, download."""

import hashlib
import io
import json
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from modules.api.app import create_api
from modules.api.services import Services
from modules.api.v1.batches import BatchFeed
from modules.schema.catalog import ControlModel
from modules.schema.control import ControlUnit
from modules.schema.request import Img2ImgRequest
from tests.api.conftest import BASE, services_in

FORM = {"width": 64, "height": 64, "prompt": "side 8 steps 1", "seed": 5}


def png(color: str = "red", size: tuple[int, int] = (16, 16)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def bring(client: TestClient, files: dict[str, bytes]) -> list[dict[str, str]]:
    brought: list[dict[str, str]] = []
    for name, data in files.items():
        answer = client.post("/v1/batches/files", content=data)
        assert answer.status_code == 201
        assert answer.json() == {"id": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        brought.append({"name": name, "id": answer.json()["id"]})
    return brought


def events(text: str) -> list[tuple[str, str, dict[str, Any]]]:
    found = re.findall(r"(?:id: (\d+)\n)?event: (\w+)\ndata: (.*)\n\n", text)
    return [(number, name, json.loads(data)) for number, name, data in found]


def until(happened: Callable[[], object]) -> None:
    limit = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < limit
        time.sleep(0.01)


def ended(client: TestClient, url: str) -> dict[str, Any]:
    until(lambda: client.get(url).json()["status"] in ("finished", "stopped", "failed"))
    return client.get(url).json()


@pytest.fixture
def start(client: TestClient) -> Callable[..., str]:
    """Starts a batch; returns its URL."""

    def begin(files: dict[str, bytes] | None = None, **body: Any) -> str:
        answer = client.post("/v1/batches", json={"request": FORM, "files": bring(client, files or {}), **body})
        assert answer.status_code == 201, answer.text
        return answer.json()["url"]

    return begin


def test_the_picture_that_is_being_made_is_shown(
    client: TestClient, start: Callable[..., str], services: Services
) -> None:
    url = start({"a.png": png("red")}, request={**FORM, "prompt": "steps 9999 slow"})
    feed = BatchFeed(services.intake.batches.batch(url.rpartition("/")[2]), 0)
    until(lambda: "event: previewed\n" in feed.read())
    client.post(f"{url}/stop")
    assert ended(client, url)["status"] == "stopped"


def test_a_batch_from_the_files_to_the_zip(client: TestClient, start: Callable[..., str], services: Services) -> None:
    url = start({"a.png": png("red"), "b.png": b"broken", "c.png": png("blue"), "c.txt": b"images 1"})
    seen = events(client.get(f"{url}/events").text)
    files = [(number, data["name"], data["outcome"]) for number, name, data in seen if name == "file"]
    assert {name: outcome for _, name, outcome in files} == {"a.png": "done", "b.png": "failed", "c.png": "done"}
    assert [number for number, _, _ in files] == ["1", "2", "3"]
    last = [data for _, name, data in seen if name == "batch"][-1]
    assert (last["status"], last["settled"], last["total"], last["fraction"]) == ("finished", 3, 3, 1)

    found = client.get(url).json()
    assert [file["outcome"] for file in found["files"]] == ["done", "failed", "done"]
    assert found["files"][1]["sentence"].startswith("b.png: the file is not a readable picture")
    saved = found["files"][0]["pictures"][0]
    assert saved["path"] == "batch/a.png"
    assert client.get(saved["url"]).content == (services.outputs.root / "batch/a.png").read_bytes()
    assert client.get(f"/v1/pictures/{found['files'][0]['source']}").content == png("red")

    archive = zipfile.ZipFile(io.BytesIO(client.get(f"{url}/zip").content))
    assert archive.namelist() == ["a.png", "c.png"]
    assert client.get("/v1/batches").json()[0]["id"] == found["id"]


def test_events_resume_after_a_number(client: TestClient, start: Callable[..., str]) -> None:
    url = start({"a.png": png("red"), "b.png": png("blue")})
    ended(client, url)
    named = [data["name"] for _, name, data in events(client.get(f"{url}/events?after=1").text) if name == "file"]
    assert len(named) == 1
    assert client.get(f"{url}/events", headers={"Last-Event-ID": "2"}).status_code == 204


def test_each_file_is_what_its_control_unit_sees(tmp_path: Path) -> None:
    lines = ControlModel("lines", Path("lines.pth"))
    unit = {"module": "canny", "model": "lines", "threshold_a": 40}
    with (
        services_in(tmp_path, control_models=(lines,)) as services,
        TestClient(create_api(services), base_url=BASE) as client,
    ):
        files = bring(client, {"a.png": png(), "b.png": png("blue")})
        body = {"request": {**FORM, "controlnet": [unit]}, "files": files}
        told = client.post("/v1/batches", json=body)
        assert told.status_code == 201, told.text
        assert [file["outcome"] for file in ended(client, told.json()["url"])["files"]] == ["done", "done"]
        for job in services.queue.jobs():
            request = job.request
            assert isinstance(request, Img2ImgRequest)
            assert request.controlnet == (ControlUnit.model_validate(unit),)
        own = {**body, "request": {**FORM, "controlnet": [{**unit, "image": 0}]}}
        refused = client.post("/v1/batches", json=own)
        assert (refused.status_code, refused.json()["field"]) == (422, "controlnet")


def test_a_zip_and_a_folder_on_the_server(client: TestClient, start: Callable[..., str], services: Services) -> None:
    folder = services.flags.data_dir / "inputs" / "holiday"
    (folder / "beach").mkdir(parents=True)
    (folder / "x.png").write_bytes(png("green"))
    (folder / "beach" / "y.png").write_bytes(png("blue"))
    (folder / "out.png").symlink_to(Path("/etc/hostname"))
    assert client.get("/v1/batches/folders").json() == {"folders": ["inputs", "inputs/holiday", "inputs/holiday/beach"]}
    url = start(
        {"some.zip": zipped({"in/a.png": png("red"), "__MACOSX/in/._a.png": b"", "in/.DS_Store": b""})},
        folder="inputs/holiday",
    )
    assert {file["name"]: file["outcome"] for file in ended(client, url)["files"]} == {
        "beach/y.png": "done", "in/a.png": "done", "x.png": "done",
    }  # fmt: skip
    root = services.outputs.root
    saved = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    assert saved == ["batch/beach/y.png", "batch/in/a.png", "batch/x.png"]


def test_a_form_brings_files_and_masks_at_once(client: TestClient) -> None:
    files = [
        ("files", ("a.png", png("red"))),
        ("files", ("b.png", png("blue"))),
        ("masks", ("b.png", png("white"))),
    ]
    batch = {"request": FORM, "options": {"unmasked": "leave out", "output": "by form/x"}}
    answer = client.post("/v1/batches", files=files, data={"batch": json.dumps(batch)})
    assert answer.status_code == 201, answer.text
    found = ended(client, answer.json()["url"])
    assert [(file["outcome"], file["sentence"]) for file in found["files"]] == [
        ("left_out", "No mask has its name."), ("done", ""),
    ]  # fmt: skip
    assert found["files"][1]["pictures"][0]["path"] == "by form/x/b.png"


def test_a_second_run_keeps_what_is_finished(client: TestClient, start: Callable[..., str]) -> None:
    ended(client, start({"a.png": png("red")}))
    found = ended(client, start({"a.png": png("red"), "b.png": png("blue")}))
    assert [file["outcome"] for file in found["files"]] == ["kept", "done"]
    assert found["files"][0]["earlier"] == ["batch/a.png"]
    assert zipfile.ZipFile(io.BytesIO(client.get(f"/v1/batches/{found['id']}/zip").content)).namelist() == [
        "a.png",
        "b.png",
    ]


def test_stop_and_skip(client: TestClient, start: Callable[..., str]) -> None:
    url = start({"a.png": png("red"), "b.png": png("blue")}, request={**FORM, "prompt": "wait side 8"})
    until(lambda: (client.get(url).json()["current"] or {"progress": {}})["progress"].get("stage") == "sampling")
    assert client.post(f"{url}/skip").json() == {}
    until(lambda: client.get(url).json()["counts"]["skipped"] == 1)
    until(lambda: (client.get(url).json()["current"] or {}).get("name") == "b.png")
    assert client.post(f"{url}/stop").json() == {}
    found = ended(client, url)
    assert (found["status"], [file["outcome"] for file in found["files"]]) == ("stopped", ["skipped", "waiting"])
    assert found["message"].startswith("Stopped.")
    assert client.get(f"{url}/zip").status_code == 404
    assert client.delete(url).json() == {}


def test_the_files_of_a_batch_that_waits_are_kept(
    client: TestClient, start: Callable[..., str], services: Services
) -> None:
    url = start({"a.png": png("red"), "b.png": png("blue")}, request={**FORM, "prompt": "wait side 8"})
    held = [file_id for claim in services.intake.spool._claims.values() for file_id in claim]
    assert len(held) == 2
    client.post(f"{url}/stop")
    ended(client, url)
    until(lambda: not services.intake.spool._claims)


HERE = {"name": "a.png", "id": hashlib.sha256(png()).hexdigest()}


@pytest.mark.parametrize(
    ("body", "status", "field", "sentence"),
    [
        ({"files": []}, 422, "files", "The given files contain no pictures."),
        ({"files": [{"name": "a.png", "id": "0" * 64}]}, 404, "files", "The file '000000000000' no longer exists."),
        ({"files": [{"name": "a.png", "id": "../../etc/passwd"}]}, 422, "id", "files.0.id = '../../etc/passwd'"),
        ({"files": [{**HERE, "name": "../a.png"}]}, 422, "files", "the file name '../a.png' is not allowed"),
        ({"files": [{**HERE, "name": "/etc/a.png"}]}, 422, "files", "the file name '/etc/a.png' is not allowed"),
        ({"files": [{**HERE, "name": "C:\\a.png"}]}, 422, "files", "is not allowed"),
        ({"folder": "../../etc"}, 404, "folder", "folder: no folder named '../../etc'."),
        ({"folder": "inputs/../../.."}, 404, "folder", "no folder named"),
        ({"folder": "/etc"}, 404, "folder", "no folder named"),
        ({"folder": "inputs/out"}, 404, "folder", "no folder named"),
        ({"files": [HERE], "mask_folder": "models"}, 404, "folder", "no folder named"),
        ({"files": [HERE], "options": {"output": "../x"}}, 422, "output", "output = '../x': expected the name"),
        ({"files": [HERE], "options": {"output": ""}}, 422, "output", "expected the name"),
        ({"files": [HERE], "options": {"max_side": 5}}, 422, "max_side", "options.max_side = 5: input should be"),
        ({"files": [HERE], "options": {"color": 5}}, 422, "color", "options.color"),
        ({"files": [HERE], "request": {"steps": 0}}, 422, "steps", "Sampling steps (steps) = 0"),
        ({"files": [HERE], "request": {"mask": "x"}}, 422, "mask", "is set by each file"),
    ],
)
def test_a_wrong_batch_is_refused_with_a_sentence(
    client: TestClient, services: Services, body: dict[str, Any], status: int, field: str, sentence: str
) -> None:
    bring(client, {"a.png": png()})
    inputs = services.flags.data_dir / "inputs"
    inputs.mkdir()
    (inputs / "out").symlink_to("/etc")
    answer = client.post("/v1/batches", json=body)
    assert answer.status_code == status, answer.text
    error = answer.json()
    assert error["field"] == field
    assert sentence in error["detail"]
    assert client.get("/v1/batches").json() == []


def test_what_is_no_json_and_unknown_ids_are_told(client: TestClient) -> None:
    assert "The body is not JSON" in client.post("/v1/batches", content=b"{").json()["detail"]
    for method, url in (
        ("GET", "/v1/batches/x"), ("GET", "/v1/batches/x/events"), ("POST", "/v1/batches/x/stop"),
        ("GET", "/v1/batches/x/zip"), ("HEAD", f"/v1/batches/files/{'0' * 64}"), ("HEAD", "/v1/batches/files/x"),
    ):  # fmt: skip
        assert client.request(method, url).status_code == 404
    bring(client, {"a.png": png()})
    assert client.head(f"/v1/batches/files/{HERE['id']}").status_code == 204


def test_a_file_that_is_too_large_leaves_nothing_behind(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modules.api.v1.batches.MAX_BYTES", 1000)
    answer = client.post("/v1/batches/files", content=b"x" * 1001)
    assert answer.status_code == 413
    answer = client.post("/v1/batches/files", content=iter([b"x" * 600, b"x" * 600]))
    assert answer.status_code == 413
    assert list(services.intake.spool.folder.glob("*")) == []
    assert list(services.intake.spool.folder.glob(".*")) == []
