"""The job store as a file: who may open it, what a damaged one costs, what its rows contain."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from modules.base.errors import WebuiError
from modules.base.events import Failed, Finished, ImageSaved, Started, Stepped, Warned
from modules.base.picture import Picture
from modules.processing.kinds.registry import BUILT_IN
from modules.schema.catalog import Checkpoint
from modules.schema.request import Img2ImgRequest, Txt2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from modules.store import job_store_file
from modules.store.job_store import JobStore, StoredJob
from modules.store.pictures import Pictures

CHECKPOINT = Checkpoint("a/b.safetensors", Path("/m/a/b.safetensors"), "ab" * 32, {"steps": 12, "sampler": "Euler a"})
SETTINGS = Settings(samples_format="webp", eta_ddim=0.5)
REQUEST = Txt2ImgRequest(prompt="ein Fuchs 🦊", seed=3, subseed=4, override_settings={"eta_ddim": 0.5})
IMAGE = ImageSaved(0, 3, 64, 64, "ein Fuchs\nSteps: 20", "txt2img-images/2026-01-31/00000-3.png")


def read(path: Path, pictures: Pictures | None = None) -> list[StoredJob]:
    job_store = JobStore(path, pictures)
    entered = job_store.stored(lambda image, sha256: True, BUILT_IN.requests)
    job_store.close()
    return entered


def test_what_is_entered_comes_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "queue" / "jobs.sqlite"
    job_store = JobStore(path)
    job_store.add("1", "txt2img", 1.5, REQUEST, SETTINGS, Resources(CHECKPOINT))
    job_store.add("2", "txt2img", 2.5, REQUEST, SETTINGS, Resources(CHECKPOINT))
    job_store.begin("1")
    for event in (Started(1, 1, 20, 64, 64, 3), Stepped(0, 1, 20), Warned("The picture is animated.")):
        job_store.note("1", event)
    job_store.announce("1", IMAGE, "f" * 64)
    job_store.saved("1", IMAGE)
    job_store.end("1", Finished(2.0, {"sampling": 1.5}), [IMAGE])
    job_store.close()

    events = (
        Started(1, 1, 20, 64, 64, 3),
        Warned("The picture is animated."),
        IMAGE,
        Finished(2.0, {"sampling": 1.5}),
    )
    assert read(path) == [
        StoredJob("1", "txt2img", 1.5, REQUEST, SETTINGS, CHECKPOINT, events, ended=True, deaths=0, cuts=0),
        StoredJob("2", "txt2img", 2.5, REQUEST, SETTINGS, CHECKPOINT, (), ended=False, deaths=0, cuts=0),
    ]


def test_a_sentence_with_a_name_that_is_not_utf_8_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    job_store = JobStore(path)
    job_store.add("1", "txt2img", 1.5, REQUEST, SETTINGS, Resources(CHECKPOINT))
    job_store.begin("1")
    job_store.note("1", Warned("caf\udce9.png is odd, \ud800 too."))
    job_store.end("1", Failed("caf\udce9.pt is damaged."), [])
    job_store.close()
    (job,) = read(path)
    assert job.events == (Warned("caf%E9.png is odd, %uD800 too."), Failed("caf%E9.pt is damaged."))


def test_pictures_lie_once_under_their_hash_and_not_in_the_rows(tmp_path: Path) -> None:
    pictures = Pictures(tmp_path / "pictures")
    source = Picture.from_image(Image.new("RGB", (64, 64), "red"))
    request = Img2ImgRequest.parse({"init_images": [source], "mask": source})
    job_store = JobStore(tmp_path / "jobs.sqlite", pictures)
    job_store.add("1", "img2img", 1.0, request, SETTINGS, Resources(CHECKPOINT))
    job_store.close()

    assert [file.name for file in (tmp_path / "pictures").iterdir()] == [f"{source.sha256}.png"]
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as db:
        text = json.loads(db.execute("SELECT request FROM jobs").fetchone()[0])
    assert (text["init_images"], text["mask"]) == ([source.sha256], source.sha256)
    assert read(tmp_path / "jobs.sqlite", pictures)[0].request == request


def test_deaths_are_counted_until_a_picture_is_saved(tmp_path: Path) -> None:
    job_store = JobStore(tmp_path / "jobs.sqlite")
    job_store.add("1", "txt2img", 1.0, REQUEST, SETTINGS, Resources(CHECKPOINT))
    assert [job_store.count_death("1"), job_store.count_death("1")] == [1, 2]
    job_store.announce("1", IMAGE, "f" * 64)
    assert job_store.count_death("1") == 1
    job_store.close()


def test_a_second_palimpsest_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_store_file, "SECONDS_FOR_LOCK", 0.05)
    first = JobStore(tmp_path / "jobs.sqlite")
    with pytest.raises(WebuiError, match=r"in use by another running Palimpsest\. .* --data-dir"):
        JobStore(tmp_path / "jobs.sqlite")
    first.close()
    JobStore(tmp_path / "jobs.sqlite").close()


def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    path.write_bytes(b"this is no database" * 1000)
    assert read(path) == []
    aside = [file.name for file in tmp_path.iterdir() if "damaged" in file.name]
    assert len(aside) == 1
    assert (tmp_path / aside[0]).read_bytes().startswith(b"this is no database")


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("model", "VideoRequest", "The job was created by another version of Palimpsest: it has no VideoRequest."),
        ("request", '{"color": 1}', "The job was created by another version of Palimpsest (1 fields differ)."),
    ],
)
def test_a_job_of_another_version_says_so(tmp_path: Path, column: str, value: str, reason: str) -> None:
    path = tmp_path / "jobs.sqlite"
    job_store = JobStore(path)
    job_store.add("1", "txt2img", 1.0, REQUEST, SETTINGS, Resources(CHECKPOINT))
    job_store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"UPDATE jobs SET {column} = ?", (value,))
    entered = read(path)[0]
    assert (entered.request, entered.reason) == (None, reason)


def test_settings_that_this_version_does_not_know_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    job_store = JobStore(path)
    job_store.add("1", "txt2img", 1.0, REQUEST, SETTINGS, Resources(CHECKPOINT))
    job_store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE jobs SET settings = json_set(settings, '$.no_longer_known', 1)")
    assert read(path)[0].settings == SETTINGS
