"""Downloads from a mirror that disconnects, lies, redirects and fills the disk: what is kept, and what is reported."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from modules.base.errors import WebuiError
from modules.base.events import Event, FileSaved, Finished, Stepped, Stop, Warned
from modules.fetching import download as downloading
from modules.fetching.fetcher import Fetcher
from modules.fetching.order import FetchRequest
from tests.fetching.mirror import DATA, FILE, REPO, Mirror, serving

REQUEST = FetchRequest(file=f"{REPO}/{FILE}", kind="lora", accept_terms=True)


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with serving(Mirror()) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("modules.fetching.fetcher.get_token", lambda: None)


def fetcher(mirror: Mirror, folder: Path) -> Fetcher:
    return Fetcher(folder, endpoint=mirror.url, wait=lambda seconds: None)


def fetched(mirror: Mirror, folder: Path, request: FetchRequest = REQUEST) -> list[Event]:
    return list(fetcher(mirror, folder).run(request, lambda: Stop.NONE))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "Lora").glob("*"))


def test_a_file_arrives_whole_and_is_told(mirror: Mirror, tmp_path: Path) -> None:
    events = fetched(mirror, tmp_path)
    assert (tmp_path / "Lora" / "model.safetensors").read_bytes() == DATA
    assert names(tmp_path) == ["model.safetensors"]
    assert FileSaved("model.safetensors", len(DATA)) in events
    assert [event.step for event in events if isinstance(event, Stepped)][-1] == 100
    assert isinstance(events[-1], Finished)
    assert not [event for event in events if isinstance(event, Warned)]


def test_the_offer_tells_size_hash_and_licence_before_anything_is_fetched(mirror: Mirror, tmp_path: Path) -> None:
    offer = fetcher(mirror, tmp_path).offer(REQUEST)
    assert (offer.size, offer.sha256, offer.licence) == (len(DATA), mirror.etag, "mit")
    assert offer.page == f"{mirror.url}/{REPO}"
    assert not [requested for requested in mirror.requested if requested[0] == "GET" and "resolve" in requested[1]]


@pytest.mark.parametrize("has_ranges", [True, False])
def test_cuts_cost_nothing_that_has_arrived(mirror: Mirror, tmp_path: Path, has_ranges: bool) -> None:
    mirror.cuts = [100_000, 150_000] if has_ranges else [100_000]
    mirror.has_ranges = has_ranges
    fetched(mirror, tmp_path)
    assert (tmp_path / "Lora" / "model.safetensors").read_bytes() == DATA
    ranges = [requested[2] for requested in mirror.requested if requested[0] == "GET" and "resolve" in requested[1]]
    assert ranges[0] == ""
    assert all(each.startswith("bytes=") for each in ranges[1:])
    assert len(ranges) == (3 if has_ranges else 2)


def test_a_download_that_was_stopped_goes_on_and_another_file_begins_anew(mirror: Mirror, tmp_path: Path) -> None:
    stops = iter([Stop.NONE] * 3)
    events = list(fetcher(mirror, tmp_path).run(REQUEST, lambda: next(stops, Stop.INTERRUPT)))
    assert isinstance(events[-1], Finished)
    assert events[-1].interrupted
    assert names(tmp_path) == [".model.safetensors.fetching", ".model.safetensors.fetching.json"]
    there = (tmp_path / "Lora" / ".model.safetensors.fetching").stat().st_size
    assert 0 < there < len(DATA)
    fetched(mirror, tmp_path)
    assert mirror.requested[-1][2] == f"bytes={there}-"
    assert (tmp_path / "Lora" / "model.safetensors").read_bytes() == DATA

    (tmp_path / "Lora" / "model.safetensors").unlink()
    stops = iter([Stop.NONE] * 3)
    list(fetcher(mirror, tmp_path).run(REQUEST, lambda: next(stops, Stop.INTERRUPT)))
    mirror.data = DATA[::-1]
    mirror.etag = hashlib.sha256(mirror.data).hexdigest()
    fetched(mirror, tmp_path)
    assert mirror.requested[-1][2] == ""
    assert (tmp_path / "Lora" / "model.safetensors").read_bytes() == mirror.data


def test_a_mirror_that_never_finishes_is_given_up_and_what_came_stays(mirror: Mirror, tmp_path: Path) -> None:
    mirror.cuts = [70_000, *[0] * 50]
    with pytest.raises(WebuiError, match=r"The connection broke at 65536 of 384000 bytes.*again to resume"):
        fetched(mirror, tmp_path)
    assert (tmp_path / "Lora" / ".model.safetensors.fetching").stat().st_size == 65_536


def test_a_wrong_hash_leaves_nothing(mirror: Mirror, tmp_path: Path) -> None:
    mirror.etag = "0" * 64
    with pytest.raises(WebuiError, match=r"arrived damaged: its hash is .*, expected 000000000000; it was deleted"):
        fetched(mirror, tmp_path)
    assert names(tmp_path) == []


def test_a_small_file_is_checked_by_gits_hash(mirror: Mirror, tmp_path: Path) -> None:
    mirror.etag = hashlib.sha1(f"blob {len(DATA)}\0".encode() + DATA).hexdigest()
    fetched(mirror, tmp_path)
    assert names(tmp_path) == ["model.safetensors"]


def test_without_any_hash_it_is_said(mirror: Mirror, tmp_path: Path) -> None:
    mirror.etag = "none"
    assert any(isinstance(event, Warned) and "no hash" in event.message for event in fetched(mirror, tmp_path))


def test_more_bytes_than_were_told_are_refused(mirror: Mirror, tmp_path: Path) -> None:
    mirror.size = 1000
    with pytest.raises(WebuiError, match="sends more than the 1000 bytes"):
        fetched(mirror, tmp_path)


@pytest.mark.parametrize(
    ("status", "sentence"), [(401, "Accept its terms"), (404, "There is no file"), (500, "answered with status 500")]
)
def test_refusals_of_the_hub_are_sentences(mirror: Mirror, tmp_path: Path, status: int, sentence: str) -> None:
    mirror.status = status
    with pytest.raises(WebuiError, match=sentence):
        fetched(mirror, tmp_path)


def test_a_hub_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    gone = Fetcher(tmp_path, endpoint="http://127.0.0.1:9", wait=lambda seconds: None)
    with pytest.raises(WebuiError, match="cannot be reached"):
        list(gone.run(REQUEST, lambda: Stop.NONE))


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:1/file", "https://example.com/file", "http://cdn-lfs.hf.co/file", "file:///etc/passwd"],
)
def test_a_redirect_to_another_host_is_not_followed(mirror: Mirror, tmp_path: Path, location: str) -> None:
    mirror.location = location
    with pytest.raises(WebuiError, match=r"sent the download on to|cannot be reached|connection broke"):
        fetched(mirror, tmp_path)
    assert "model.safetensors" not in names(tmp_path)


def test_nothing_is_overwritten(mirror: Mirror, tmp_path: Path) -> None:
    target = tmp_path / "Lora" / "model.safetensors"
    target.parent.mkdir()
    target.write_bytes(b"precious")
    with pytest.raises(WebuiError, match=r"model\.safetensors is there already"):
        fetched(mirror, tmp_path)
    target.unlink()
    target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(WebuiError, match="is there already"):
        fetched(mirror, tmp_path)
    assert not mirror.requested


def test_the_disk_is_asked_first_and_a_full_one_is_a_sentence(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(WebuiError, match="GB are free"):
        fetched(mirror, tmp_path)
    monkeypatch.undo()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("modules.fetching.fetcher.get_token", lambda: None)
    monkeypatch.setattr(downloading.os, "fsync", full)
    with pytest.raises(WebuiError, match="the disk is full"):
        fetched(mirror, tmp_path)
    monkeypatch.undo()
    assert not (tmp_path / "Lora" / "model.safetensors").exists()


def test_terms_come_first_and_offline_asks_nobody(mirror: Mirror, tmp_path: Path) -> None:
    with pytest.raises(WebuiError, match="accept_terms: "):
        fetched(mirror, tmp_path, REQUEST.model_copy(update={"accept_terms": False}))
    offline = Fetcher(tmp_path, is_offline=True, endpoint=mirror.url)
    for ask in (lambda: offline.offer(REQUEST), lambda: list(offline.run(REQUEST, lambda: Stop.NONE))):
        with pytest.raises(WebuiError, match="started with --offline"):
            ask()
    assert not mirror.requested


def test_the_token_goes_to_the_hub_with_the_request(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modules.fetching.fetcher.get_token", lambda: "hf_secret")
    fetched(mirror, tmp_path)
    assert {requested[3] for requested in mirror.requested} == {"Bearer hf_secret"}


@pytest.mark.parametrize(
    ("file", "name", "field"),
    [
        ("no-such-id", "", "file"),
        ("owner/project", "", "file"),
        ("owner/project/../../x.safetensors", "", "file"),
        ("owner/../x.safetensors", "", "file"),
        ("owner/project/a\nb.safetensors", "", "file"),
        ("owner/pro ject/b.safetensors", "", "file"),
        ("owner/project/x.safetensors@../..", "", "file"),
        ("https://example.com/owner/project/resolve/main/x.safetensors", "", "file"),
        ("http://huggingface.co/owner/project/resolve/main/x.safetensors", "", "file"),
        ("owner/project/run.py", "", "name"),
        ("owner/project/x.safetensors", "../x.safetensors", "name"),
        ("owner/project/x.safetensors", "/etc/x.safetensors", "name"),
        ("owner/project/x.safetensors", ".x.safetensors", "name"),
        ("owner/project/x.safetensors", "con.safetensors", "name"),
        ("owner/project/x.safetensors", "x" * 300 + ".safetensors", "name"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, file: str, name: str, field: str) -> None:
    with pytest.raises(WebuiError) as refused:
        Fetcher(tmp_path).order(FetchRequest(file=file, name=name))
    assert refused.value.field == field
    assert field in refused.value.message


def test_a_files_page_and_a_revision_name_a_file(tmp_path: Path) -> None:
    order = Fetcher(tmp_path).order(FetchRequest(file="https://huggingface.co/a/b/blob/v1/c/d%20e.safetensors"))
    assert (order.repo, order.revision, order.file, order.name) == ("a/b", "v1", "c/d e.safetensors", "d e.safetensors")
    order = Fetcher(tmp_path).order(FetchRequest(file="a/b/c.pt@abc", kind="embedding"))
    assert (order.revision, order.file, order.kind) == ("abc", "c.pt", "embedding")


def test_the_catalogs_rows_can_be_fetched(tmp_path: Path) -> None:
    fetcher = Fetcher(tmp_path)
    orders = [fetcher.order(FetchRequest(file=entry.id)) for entry in fetcher.catalog]
    assert (
        len({entry.id for entry in fetcher.catalog}) == len({fetcher.target(order) for order in orders}) == len(orders)
    )
    assert {entry.kind for entry in fetcher.catalog} >= {"checkpoint", "vae", "lora", "controlnet", "upscaler"}
    assert all(len(order.sha256) == 64 for order in orders)


def test_a_catalog_row_whose_file_was_exchanged_is_refused(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = fetcher(mirror, tmp_path)
    row = one.catalog[0].model_copy(update={"id": "row", "repo": REPO, "file": FILE, "name": "row.safetensors"})
    one.catalog = (row,)
    with pytest.raises(WebuiError, match="another file now than the catalog knows"):
        list(one.run(FetchRequest(file="row", accept_terms=True), lambda: Stop.NONE))
    one.catalog = (row.model_copy(update={"size": len(DATA), "sha256": mirror.etag}),)
    list(one.run(FetchRequest(file="row", accept_terms=True), lambda: Stop.NONE))
    assert (tmp_path / "Stable-diffusion" / "row.safetensors").read_bytes() == DATA
