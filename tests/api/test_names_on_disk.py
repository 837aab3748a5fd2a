"""Pictures and folders whose names are not UTF-8: every list works, and what it names can be fetched."""

import asyncio
import csv
import hashlib
import io
import os
import sys
import zipfile
from urllib.parse import quote

import httpx
import pytest
from PIL import Image
from starlette.testclient import TestClient

from modules.api.services import Services
from tests.api.conftest import BASE, saved_picture

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such names")

INFOTEXT = "a fox\nSteps: 4, Sampler: Euler, Seed: 7, Size: 64x64"


def moved(services: Services, folder: bytes, name: bytes) -> bytes:
    """The bytes of a picture stored under this name in the outputs folder."""
    made = saved_picture(services.outputs, Image.new("RGB", (64, 64), "red"), "txt2img", 7, INFOTEXT)
    target = services.outputs.root / os.fsdecode(folder) / os.fsdecode(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    made.rename(target)
    return target.read_bytes()


def fetched(client: TestClient, path: str) -> bytes:
    """What a client receives for the picture `path`. Starlette's own test client decodes a URL twice."""

    async def fetch() -> bytes:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(client.app), base_url=BASE) as other:
            return (await other.get(f"/v1/outputs/{quote(path)}")).content

    return asyncio.run(fetch())


@pytest.mark.parametrize(
    ("folder", "name", "path"),
    [
        (b"holiday", b"caf\xe9.png", "holiday/caf%E9.png"),
        (b"\xff\xfe/b", b"plain.png", "%FF%FE/b/plain.png"),
        (b"f\x80", b"\xed\xa0\x80.png", "f%80/%ED%A0%80.png"),
        ("ü".encode(), "夕暮れ\udcff.png".encode("utf-8", "surrogateescape"), "ü/夕暮れ%FF.png"),
    ],
)
def test_a_picture_whose_name_is_no_utf_8_is_listed_shown_saved_and_zipped(
    folder: bytes, name: bytes, path: str, client: TestClient, services: Services
) -> None:
    data = moved(services, folder, name)
    for _ in range(2):  # the index while it is built, and when it is read again
        listed = client.get("/v1/history").json()
        assert ([row["path"] for row in listed["pictures"]], listed["unread"]) == ([path], 0)
    key = f"/v1/history/{hashlib.sha256(data).hexdigest()}"
    assert client.get(key).content == fetched(client, path) == data
    assert client.get(f"{key}/thumbnail").headers["content-type"] == "image/webp"
    assert client.get(f"{key}/lineage").json()["picture"]["path"] == path
    assert client.post(f"{key}/open").json()["infotext"] == INFOTEXT
    shown = path.rpartition("/")[2]
    with zipfile.ZipFile(io.BytesIO(client.get("/v1/outputs/zip", params={"path": [path]}).content)) as archive:
        assert {entry.filename: archive.read(entry) for entry in archive.infolist()} == {shown: data}
    assert client.post("/v1/outputs/save", json={"paths": [path]}).json() == {"saved": [f"saved/{shown}"]}
    with (services.outputs.root / "saved" / "log.csv").open(encoding="utf-8", newline="") as log:
        assert [row["filename"] for row in csv.DictReader(log)] == [shown]
    told = client.post("/v1/outputs/open", json={"path": path})
    assert (told.status_code, told.json()["folder"].endswith(path.rpartition("/")[0])) == (200, True)


def test_of_two_names_that_read_alike_the_exact_one_comes_first(client: TestClient, services: Services) -> None:
    moved(services, b"a", b"caf\xe9.png")
    exact = services.outputs.root / "a" / "caf%E9.png"
    Image.new("RGB", (64, 64), "blue").save(exact)
    assert fetched(client, "a/caf%E9.png") == exact.read_bytes()
    assert client.get("/v1/history").status_code == 200


def test_a_folder_for_batches_whose_name_is_no_utf_8_is_listed_and_can_be_chosen(
    client: TestClient, services: Services
) -> None:
    folder = services.flags.data_dir / "inputs" / os.fsdecode(b"caf\xe9")
    folder.mkdir(parents=True)
    Image.new("RGB", (64, 64), "red").save(folder / os.fsdecode(b"\xff.png"))
    assert "inputs/caf%E9" in client.get("/v1/batches/folders").json()["folders"]
    answer = client.post("/v1/batches", json={"request": {"width": 64, "height": 64}, "folder": "inputs/caf%E9"})
    assert answer.status_code == 201, answer.text
