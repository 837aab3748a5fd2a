"""Hashes that are computed in the background, and the names that they make usable."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from modules.api import catalog_holder
from modules.api.app import create_api
from modules.api.catalog_holder import CatalogHolder
from modules.networks.files.listing import HashCache, find_checkpoints, find_vaes, stamp_of_folders
from modules.schema.catalog import Catalog, Checkpoint, Lora
from tests.api.conftest import BASE, services_in

FILES = ("a/twin", "b/twin", "c/other")
SHORT = {name: hashlib.sha256(name.encode()).hexdigest()[:10] for name in FILES}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Three files that contain their own names; none of them has a hash yet."""
    folder = tmp_path / "models"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True)
        (folder / f"{name}.safetensors").write_bytes(name.encode())
    (folder / "soft.vae.pt").write_bytes(b"soft")
    return folder


@pytest.fixture
def holder(models: Path, tmp_path: Path) -> CatalogHolder:
    def scan() -> Catalog:
        hashes = HashCache(tmp_path / "hashes.json")
        return Catalog(tuple(find_checkpoints([models], hashes)), vaes=find_vaes([], [models], hashes))

    return CatalogHolder(scan, hash_of=lambda path: HashCache(tmp_path / "hashes.json").sha256(path))


@pytest.fixture
def client(holder: CatalogHolder, tmp_path: Path) -> Iterator[TestClient]:
    with services_in(tmp_path) as services:
        services = replace(services, catalog=holder)
        holder.begin()
        with TestClient(create_api(services), base_url=BASE) as client:
            yield client


def test_no_file_is_read_for_its_hash_before_somebody_asks(models: Path) -> None:
    read: list[str] = []
    holder = CatalogHolder(
        lambda: Catalog(tuple(find_checkpoints([models]))), hash_of=lambda path: read.append(path.parent.name) or ""
    )
    holder.begin()
    holder.refresh()
    holder.knowing("other", "a name without digits")
    assert read == []
    holder.knowing("99999999")
    assert read == ["a", "b", "c"]


def test_a_hash_that_no_file_has_makes_all_known(holder: CatalogHolder) -> None:
    assert {row.hash for row in holder.current.checkpoints} == {""}
    holder.begin()
    catalog = holder.knowing("nobody [99999999]")
    assert [(row.name, row.hash[:10]) for row in catalog.checkpoints] == [
        (f"{name}.safetensors", SHORT[name]) for name in FILES
    ]
    assert catalog.vaes[0].hash == hashlib.sha256(b"soft").hexdigest()
    assert holder.revision == 4
    assert holder.refresh() == catalog  # and they are stored


def test_a_file_that_cannot_be_read_does_not_hold_up_the_others(models: Path) -> None:
    def hash_of(path: Path) -> str:
        if path.parent.name == "a":
            raise PermissionError(path)
        return "5" * 64

    holder = CatalogHolder(lambda: Catalog(tuple(find_checkpoints([models]))), hash_of=hash_of)
    holder.begin()
    catalog = holder.knowing("99999999")
    assert [row.hash[:1] for row in catalog.checkpoints] == ["", "5", "5"]
    assert catalog.with_hash("99999999") == ()


def test_the_file_that_somebody_asks_for_comes_before_the_others(models: Path) -> None:
    read: list[str] = []

    def hash_of(path: Path) -> str:
        read.append(path.parent.name)
        return hashlib.sha256(path.parent.name.encode()).hexdigest()

    holder = CatalogHolder(lambda: Catalog(tuple(find_checkpoints([models]))), hash_of=hash_of)
    holder.begin()
    asked = hashlib.sha256(b"c").hexdigest()[:10]
    assert holder.knowing(f"other [{asked}]").checkpoint(asked).name == "c/other.safetensors"
    assert read[0] == "c"


def test_nobody_waits_twice_for_a_hash_while_a_large_file_is_read(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_holder, "PATIENCE", 0.05)
    begun, go_on = threading.Event(), threading.Event()
    read: list[str] = []

    def hash_of(path: Path) -> str:
        read.append(path.parent.name)
        begun.set()
        go_on.wait(300)
        return "5" * 64

    holder = CatalogHolder(lambda: Catalog(tuple(find_checkpoints([models]))), hash_of=hash_of)
    holder.begin()
    holder.knowing("99999999")
    assert begun.wait(300)
    monkeypatch.setattr(catalog_holder, "PATIENCE", 300.0)
    holder.knowing("99999999")  # returns although the file is still being read
    assert read == ["a"]
    go_on.set()
    assert len(holder.knowing("55555555").with_hash("55555555")) >= 1  # another hash is still pending


def test_what_only_a_header_tells_is_waited_for() -> None:
    may_read, is_read = threading.Event(), threading.Event()

    def scan() -> Catalog:
        name = "india" if is_read.is_set() else ""
        return Catalog(loras=(Lora("ink", Path("ink.safetensors"), name, is_read=is_read.is_set()),))

    def look_further() -> bool:
        may_read.wait(240)
        is_news = not is_read.is_set()
        is_read.set()
        return is_news

    holder = CatalogHolder(scan, look_further=look_further)
    assert not holder.current.loras[0].is_read
    holder.begin()
    threading.Timer(0.01, may_read.set).start()
    assert holder.complete().lora("india").name == "ink"


def test_before_the_background_work_begins_headers_are_read_at_once() -> None:
    reads: list[int] = []

    def scan() -> Catalog:
        return Catalog(loras=(Lora("ink", Path("ink.safetensors"), "india" * len(reads), is_read=bool(reads)),))

    holder = CatalogHolder(scan, look_further=lambda: not reads and not reads.append(1))
    assert holder.complete().lora("india").name == "ink"


@pytest.mark.parametrize(
    ("pairs", "chosen", "notes"),
    [
        (f"Model hash: {SHORT['b/twin']}, Model: twin", "b/twin.safetensors", 0),
        (f"Model hash: {SHORT['c/other']}, Model: renamed since", "c/other.safetensors", 0),
        (f"Model hash: {SHORT['c/other']}", "c/other.safetensors", 0),
        ("Model hash: 0123456789, Model: other", "c/other.safetensors", 1),
    ],
)
def test_a_pasted_hash_chooses_the_file_before_any_load(
    pairs: str, chosen: str, notes: int, client: TestClient
) -> None:
    answer = client.post("/v1/infotext", json={"text": f"a fox\nSteps: 4, Seed: 1, {pairs}"}).json()
    assert answer["settings"].get("sd_model_checkpoint") == chosen
    assert len(answer["notes"]) == notes, answer["notes"]
    assert not notes or SHORT["c/other"] in answer["notes"][0]


@pytest.mark.parametrize(
    "said", [f"twin.safetensors [{SHORT['b/twin']}]", f"b\\twin [{SHORT['b/twin']}]", SHORT["b/twin"][:8], "b\\twin"]
)
def test_both_doors_choose_by_title_hash_and_folder_before_any_load(said: str, client: TestClient) -> None:
    assert client.post("/sdapi/v1/options", json={"sd_model_checkpoint": said}).status_code == 200
    # Nobody has read the file requested by its bare name: its title has no hash yet.
    title = f"b/twin.safetensors [{SHORT['b/twin']}]" if SHORT["b/twin"][:8] in said else "b/twin.safetensors"
    assert client.get("/sdapi/v1/options").json()["sd_model_checkpoint"] == title
    assert client.post("/v1/checkpoint", json={"name": said}).status_code == 202
    listed = client.get("/v1/checkpoints").json()
    assert listed["selected"] == "b/twin.safetensors"
    assert {"name": "b/twin.safetensors", "label": title}.items() <= listed["checkpoints"][1].items()


def test_what_takes_long_is_looked_at_after_each_scan_and_then_listed() -> None:
    there, seen = ["a.ckpt"], set[str]()
    marked = threading.Event()

    def scan() -> Catalog:
        return Catalog(tuple(Checkpoint(name, Path(name), reason="code" * (name in seen)) for name in there))

    def look_further() -> bool:
        is_news = not seen.issuperset(there)
        seen.update(there)
        return is_news

    holder = CatalogHolder(scan, look_further=look_further)
    holder.listeners.add(lambda: marked.set() if all(row.reason for row in holder.current.checkpoints) else None)
    holder.begin()
    assert marked.wait(240)
    there.append("b.ckpt")
    marked.clear()
    holder.refresh()
    assert marked.wait(240)
    assert [row.reason for row in holder.current.checkpoints] == ["code", "code"]


def test_a_look_scans_the_folders_only_if_a_file_in_them_has_come_gone_or_changed(tmp_path: Path) -> None:
    scans: list[int] = []

    def scan() -> Catalog:
        scans.append(len(scans))
        return Catalog(tuple(find_checkpoints([tmp_path])))

    holder = CatalogHolder(scan, stamp=lambda: stamp_of_folders([tmp_path]))
    (tmp_path / "deep").mkdir()  # a folder alone is not a model

    def looks() -> tuple[int, int]:
        """(files found, scans so far), after two scans."""
        holder.look()
        return len(holder.look().checkpoints), len(scans)

    path = tmp_path / "deep" / "fox.safetensors"
    assert looks() == (0, 1)
    path.write_bytes(b"one")
    assert looks() == (1, 2)
    path.write_bytes(b"two!")
    assert looks() == (1, 3)
    path.with_suffix(".json").write_text("{}")  # a checkpoint's defaults
    assert looks() == (1, 4)
    path.unlink()
    (tmp_path / "gone.safetensors").symlink_to(tmp_path / "nothing")
    assert looks() == (1, 5)
