"""Saved pictures over HTTP: served only if they are pictures; kept, zipped, found."""

import csv
import io
import json
import subprocess
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from modules.api.services import Services
from modules.api.v1 import outputs as outputs_module
from modules.store.outputs import Outputs
from tests.api.conftest import saved_picture

TEXT = "a cat\nSteps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7.0, Seed: 5, Size: 8x8, Model: good"


@pytest.fixture
def path(services: Services) -> str:
    """The relative path of a saved picture."""
    saved = saved_picture(services.outputs, Image.new("RGB", (8, 8), "blue"), "txt2img", 5, TEXT)
    return services.outputs.relative(saved)


def test_a_saved_picture_comes_as_the_file_is(client: TestClient, services: Services, path: str) -> None:
    answer = client.get(f"/v1/outputs/{path}")

    assert answer.content == (services.outputs.root / path).read_bytes()
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    head = client.head(f"/v1/outputs/{path}")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(answer.content)))


def test_a_browser_is_told_when_another_picture_has_the_name(client: TestClient, services: Services, path: str) -> None:
    first = client.get(f"/v1/outputs/{path}")
    again = client.get(f"/v1/outputs/{path}", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")

    (services.outputs.root / path).unlink()
    other = saved_picture(Outputs(services.outputs.root), Image.new("RGB", (8, 16)), "txt2img", 5, TEXT)
    assert services.outputs.relative(other) == path
    changed = client.get(f"/v1/outputs/{path}", headers={"If-None-Match": first.headers["etag"]})
    assert (changed.status_code, changed.content) == (200, other.read_bytes())


@pytest.mark.parametrize(
    "way",
    [
        "../secret.png",
        "%2e%2e/secret.png",
        "..%2fsecret.png",
        "%2e%2e%2fsecret.png",
        "txt2img-images/%2e%2e/%2e%2e/secret.png",
        "..%5csecret.png",
        "%252e%252e%252fsecret.png",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "//etc/passwd",
        "{tmp}/secret.png",
        "link.png",
        "linked/secret.png",
        "page.html",
        "picture.svg",
        "picture.png.html",
        ".hidden.png",
        "saved/log.csv",
        "folder.png",
        "folder",
        "",
        "nothing.png",
        "a%00.png",
        "a" * 2000 + ".png",
    ],
)
def test_nothing_but_saved_pictures_comes_out(
    client: TestClient, services: Services, path: str, tmp_path: Path, way: str
) -> None:
    root = services.outputs.root
    (tmp_path / "secret.png").write_bytes((root / path).read_bytes())
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "linked").symlink_to(tmp_path, target_is_directory=True)
    (root / "folder.png").mkdir()
    (root / "saved").mkdir()
    for name in ("page.html", "picture.svg", "picture.png.html", ".hidden.png", "saved/log.csv"):
        (root / name).write_text("<script>", encoding="utf-8")

    answer = client.get("/v1/outputs/" + way.replace("{tmp}", str(tmp_path)))
    assert answer.status_code == 404
    assert set(answer.json()) == {"error", "detail", "field", "hint"}


def test_save_copies_and_logs(client: TestClient, services: Services, path: str) -> None:
    answer = client.post("/v1/outputs/save", json={"paths": [path]}).json()

    copy = services.outputs.root / answer["saved"][0]
    assert copy.parent.name == "saved"
    assert copy.read_bytes() == (services.outputs.root / path).read_bytes()
    with (copy.parent / "log.csv").open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    assert (row["prompt"], row["seed"], row["sampler"], row["filename"]) == ("a cat", "5", "Euler a", copy.name)
    assert client.get(f"/v1/outputs/{answer['saved'][0]}").status_code == 200


def test_save_of_a_missing_picture_saves_none(client: TestClient, services: Services, path: str) -> None:
    assert client.post("/v1/outputs/save", json={"paths": [path, "gone.png"]}).status_code == 404
    assert not (services.outputs.root / "saved").exists()


def test_zip_holds_the_files(client: TestClient, services: Services, path: str) -> None:
    other = services.outputs.relative(saved_picture(services.outputs, Image.new("RGB", (8, 8)), "img2img", 6, TEXT))
    answer = client.get("/v1/outputs/zip", params={"path": [path, other]})

    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"].startswith('attachment; filename="palimpsest-20')
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        contents = sorted(archive.read(name) for name in archive.namelist())
    assert contents == sorted((services.outputs.root / name).read_bytes() for name in (path, other))
    assert client.get("/v1/outputs/zip", params={"path": ["../secret.png"]}).status_code == 404
    assert client.get("/v1/outputs/zip").status_code == 422


def test_open_answers_the_folder_where_there_is_no_screen(
    client: TestClient, services: Services, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs_module, "has_screen", lambda environ: False)
    folder = (services.outputs.root / path).parent
    assert client.post("/v1/outputs/open", json={"path": path}).json() == {"folder": str(folder)}
    assert client.post("/v1/outputs/open", json={"path": "../x.png"}).status_code == 404


def test_open_shows_the_folder_to_who_sits_at_the_machine(
    client: TestClient, services: Services, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[list[str]] = []
    monkeypatch.setattr(outputs_module, "has_screen", lambda environ: True)
    monkeypatch.setattr(outputs_module.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(subprocess, "Popen", lambda command, **how: opened.append(command))
    folder = (services.outputs.root / path).parent

    assert client.post("/v1/outputs/open", json={"path": path}).json() == {"folder": str(folder)}  # a remote client
    local = TestClient(client.app, base_url="http://127.0.0.1:7860", client=("127.0.0.1", 50000))
    assert local.post("/v1/outputs/open", json={"path": path}).json() == {}
    assert [command[1] for command in opened] == [str(folder)]


@pytest.mark.parametrize(
    "name", ["\ud800.png", "a" * 5000 + ".png", "a" * 300 + ".png", "\x1b[31m.png", "a/" * 600 + "b.png"]
)
def test_names_that_no_file_has_are_told_so(client: TestClient, name: str) -> None:
    headers = {"content-type": "application/json"}
    for route, body in (("save", {"paths": [name]}), ("open", {"path": name})):
        answer = client.post(f"/v1/outputs/{route}", content=json.dumps(body), headers=headers)
        assert (answer.status_code, answer.json()["field"]) == (404, "path")
        assert answer.json()["detail"].isprintable()
