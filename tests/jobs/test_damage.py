"""Palimpsest starts and works whatever happened to the files it wrote, and on a full disk."""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from modules.a1111.options import KeptOptions
from modules.api.v1.jobs import described
from modules.app import OWN_FOLDERS, open_services
from modules.base.errors import WebuiError
from modules.base.events import Failed
from modules.base.kept import make_way
from modules.base.picture import Picture
from modules.flags.flags import Flags
from modules.jobs.batch.batches import Batches
from modules.jobs.batch.intake import BatchIntake, Files, UploadedFile
from modules.jobs.batch.journal import Journals
from modules.jobs.batch.options import BatchOptions
from modules.jobs.job import Job, JobSpec
from modules.jobs.queue import JobQueue
from modules.jobs.saving import JobSavers, Saver
from modules.networks.files.listing import HashCache, find_checkpoints
from modules.processing.kinds.generate import IMG2IMG
from modules.schema.catalog import Catalog, Checkpoint
from modules.schema.request import Img2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from modules.store.history import History
from modules.store.job_store import JobStore, is_saved_in
from modules.store.outputs import Outputs
from modules.store.pictures import Pictures
from modules.store.thumbnails import Thumbnails
from tests.jobs.batch.test_batches import picture, until
from tests.jobs.painter import Painter

ROOT = Path(__file__).resolve().parent.parent.parent
CHECKPOINT = Checkpoint("good", Path("good.safetensors"), "ab" * 32, {"steps": 12})
CATALOG = Catalog((CHECKPOINT,))
CHECKS = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture)
PICTURES = 3  # which differ, in the outputs of the used folder
FILES = (
    "queue/jobs.sqlite", "queue/batches/*.jsonl", "cache/history.sqlite", "cache/hashes.json", "config.json",
    "config-a1111.json", "outputs/batch/palimpsest-batch.jsonl", "cache/pictures/*.png",
    "cache/thumbnails/*.webp",
)  # fmt: skip


class Run:
    """Everything behind the page that reads files, in one folder, with an engine that is held at its first step."""

    def __init__(self, folder: Path, is_held: bool = True) -> None:
        self.painter = Painter()
        if is_held:
            self.painter.held.set()
        self.folder = folder
        make_way(folder, OWN_FOLDERS)
        self.outputs, self.pictures = Outputs(folder / "outputs"), Pictures(folder / "cache" / "pictures")
        self.thumbnails = Thumbnails(folder / "cache" / "thumbnails")
        self.settings = Settings.load(folder / "config.json")
        self.options = KeptOptions(folder / "config-a1111.json")
        savers = JobSavers(Saver(self.outputs))
        self.queue = JobQueue(self.painter, savers, job_store=JobStore(folder / "queue" / "jobs.sqlite", self.pictures))
        journals = Journals(folder / "queue" / "batches")
        self.batches = Batches(self.queue, savers, self.outputs, self.pictures, journals=journals)
        self.intake = BatchIntake.of(self.batches, folder, self.outputs.root)
        self.history = History(self.outputs, folder / "cache" / "history.sqlite")
        self.hashes = HashCache(folder / "cache" / "hashes.json")
        self.intake.reopen(CATALOG)
        self.queue.resume(is_saved_in(self.outputs))
        self.batches.resume_all()

    def submit(self, red: int = 0) -> Job:
        source = Picture.from_image(Image.new("RGB", (64, 64), (red, 0, 0)))
        request = Img2ImgRequest.parse({"init_images": [source], "width": 64, "height": 64, "prompt": f"red {red}"})
        return self.queue.submit(JobSpec(IMG2IMG, request, self.settings, Resources(CHECKPOINT)))

    def close(self) -> None:
        self.batches.close()
        self.queue.close()


@contextmanager
def running(folder: Path, is_held: bool = True) -> Iterator[Run]:
    run = Run(folder, is_held)
    try:
        yield run
    finally:
        run.close()


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A used data folder: two finished jobs, three waiting ones, two batches, and all possible files in the caches."""
    folder = tmp_path_factory.mktemp("lived-in")
    (folder / "models").mkdir()
    (folder / "models" / "fox.safetensors").write_bytes(b"weights")
    with running(folder, is_held=False) as run:
        for red in (1, 2):
            job = run.submit(red)
            until(lambda job=job: job.ended)
        batch = start(run)
        until(lambda: batch.ended)
        run.painter.held.set()
        for red in (3, 4, 5):
            run.submit(red)
        start(run)
        run.history.look(60)
        run.hashes.sha256(folder / "models" / "fox.safetensors")
        Settings(jpeg_quality=50, randn_source="NV").save(folder / "config.json")
        run.options.change({"samples_save": False})
        run.thumbnails.get("fox", lambda: b"small")
    return folder


def start(run: Run) -> Any:
    files = {f"{number}.png": picture("red", (64, 64 + number)) for number in range(3)}
    brought = [UploadedFile(name, run.intake.spool.put(data)) for name, data in files.items()]
    return run.intake.start(
        {"width": 64, "height": 64, "steps": 2, "seed": 7},
        BatchOptions(skip_finished=False),
        Settings(),
        CATALOG,
        Files(brought),
    )


def works(folder: Path) -> None:
    """Start there, look at everything, add a job to the queue."""
    with running(folder) as run:
        told = [described(job) for job in run.queue.jobs()]
        told += [batch.summary() for batch in run.batches.batches()]
        told += [vars(file) for batch in run.batches.batches() for file in batch.files()]
        json.dumps(told, allow_nan=False, default=vars).encode()
        for job in run.queue.jobs():
            assert all(number for number, _, _ in job.entries())
        assert run.history.look(60) == 0
        pictures = {entry.path for entry in run.history.page(100)}
        assert len(pictures) == PICTURES  # whatever happened to the index
        json.dumps(run.options.values, allow_nan=False).encode()
        [fox] = find_checkpoints([folder / "models"], run.hashes)
        assert fox.hash in ("", run.hashes.sha256(fox.path))
        job = run.submit(9)
        assert job in run.queue.current()
        run.settings.overridden({"jpeg_quality": 70}).save(folder / "config.json")
        assert Settings.load(folder / "config.json").jpeg_quality == 70


def copy_of(lived_in: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy") / "data"
    shutil.copytree(lived_in, folder)
    return folder


def one(folder: Path, pattern: str) -> Path:
    return sorted(folder.glob(pattern))[0]


def cut_off(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))]


def one_byte(data: bytes, draw: random.Random) -> bytes:
    return scattered(data, draw, 1)


def scattered(data: bytes, draw: random.Random, count: int = 30) -> bytes:
    changed = bytearray(data)
    for _ in range(count):
        changed[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(changed)


def a_block(data: bytes, draw: random.Random) -> bytes:
    """As a bad sector leaves it."""
    begin = draw.randrange(len(data))
    size = draw.choice((16, 512, 4096))
    return data[:begin] + draw.randbytes(min(size, len(data) - begin)) + data[begin + size :]


def another_file(data: bytes, draw: random.Random) -> bytes:
    return draw.choice((b"", b"5", b"[]", b"null", b"{}", b'""', b"[" * 100_000, b"\xff\xfe", draw.randbytes(5000)))


DAMAGES = (cut_off, one_byte, scattered, a_block, another_file)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", FILES)
@settings(max_examples=15, deadline=None, suppress_health_check=CHECKS, derandomize=True)
@given(damage=st.sampled_from(DAMAGES), seed=st.integers(0, 2**32))
def test_random_damage_to_any_file_does_not_keep_it_from_working(
    lived_in: Path,
    tmp_path_factory: pytest.TempPathFactory,
    pattern: str,
    damage: Callable[[bytes, random.Random], bytes],
    seed: int,
) -> None:
    folder = copy_of(lived_in, tmp_path_factory)
    file = one(folder, pattern)
    file.write_bytes(damage(file.read_bytes(), random.Random(seed)))
    works(folder)
    shutil.rmtree(folder)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def nodes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from nodes(each, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    if not path:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], other)
    return copy


@pytest.mark.parametrize("pattern", [name for name in FILES if ".json" in name])
@settings(max_examples=25, deadline=None, suppress_health_check=CHECKS, derandomize=True)
@given(other=JSON, seed=st.integers(0, 2**32))
def test_json_of_another_shape_does_not_keep_it_from_working(
    lived_in: Path, tmp_path_factory: pytest.TempPathFactory, pattern: str, other: Any, seed: int
) -> None:
    folder, draw = copy_of(lived_in, tmp_path_factory), random.Random(seed)
    file = one(folder, pattern)
    lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
    number = draw.randrange(len(lines))
    value = json.loads(lines[number])
    lines[number] = json.dumps(replaced(value, draw.choice(list(nodes(value))), other))
    file.write_text("\n".join(lines))
    works(folder)
    shutil.rmtree(folder)


CELLS = {
    "jobs": ("id", "kind", "created", "model", "request", "settings", "checkpoint", "state", "deaths", "cuts"),
    "events": ("job", "name", "data", "sha256"),
    "needs": ("job", "sha256"),
}
VALUE = (
    st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=5) | st.binary(max_size=5) | JSON.map(json.dumps)
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=CHECKS, derandomize=True)
@given(value=VALUE, seed=st.integers(0, 2**32))
def test_a_foreign_value_in_any_cell_of_the_queue_costs_no_more_than_its_job(
    lived_in: Path, tmp_path_factory: pytest.TempPathFactory, value: Any, seed: int
) -> None:
    folder, draw = copy_of(lived_in, tmp_path_factory), random.Random(seed)
    table = draw.choice(list(CELLS))
    with closing(sqlite3.connect(folder / "queue" / "jobs.sqlite", isolation_level=None)) as db:
        place = draw.choice(db.execute(f"SELECT rowid FROM {table}").fetchall())[0]
        db.execute(f"UPDATE OR IGNORE {table} SET {draw.choice(CELLS[table])} = ? WHERE rowid = ?", (value, place))
    before = jobs_in(folder)
    works(folder)
    assert jobs_in(folder) >= before  # no other row is gone; works() has added one more
    shutil.rmtree(folder)


def jobs_in(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "queue" / "jobs.sqlite")) as db:
        return db.execute("SELECT COUNT(*) FROM jobs").fetchone()[0]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE events SET name = 'Thought' WHERE name = 'Started'",
        "UPDATE events SET data = json_set(data, '$.color', 1)",
        "UPDATE jobs SET request = json_set(request, '$.color', 1)",
        "ALTER TABLE jobs ADD COLUMN color TEXT NOT NULL DEFAULT 'red'",
        "ALTER TABLE events ADD COLUMN color TEXT; PRAGMA user_version = 2",
        "ALTER TABLE jobs DROP COLUMN cuts",
        "PRAGMA user_version = 7",
        "DROP TABLE needs; CREATE TABLE needs (job, sha256); INSERT INTO needs VALUES (NULL, NULL); "
        "PRAGMA user_version = 7",
    ],
)
def test_rows_of_another_version_are_read_as_far_as_they_are_known(
    lived_in: Path, tmp_path_factory: pytest.TempPathFactory, change: str
) -> None:
    folder = copy_of(lived_in, tmp_path_factory)
    with closing(sqlite3.connect(folder / "queue" / "jobs.sqlite", isolation_level=None)) as db:
        stored = {job_id for (job_id,) in db.execute("SELECT id FROM jobs")}  # a batch may continue and submit more
        with running(copy_of(lived_in, tmp_path_factory)) as run:
            before = {job.id: len(job.images) for job in run.queue.jobs() if job.id in stored}
        db.executescript(change)
    assert len(before) == len(stored)
    with running(folder) as run:
        assert {job.id: len(job.images) for job in run.queue.jobs() if job.id in stored} == before
    works(folder)


def test_a_byte_changed_in_a_request_fails_that_job_in_a_sentence_and_no_other(
    lived_in: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = copy_of(lived_in, tmp_path_factory)
    file = folder / "queue" / "jobs.sqlite"
    file.write_bytes(file.read_bytes().replace(b'"prompt": "red 4"', b'"prompt": \xffred 4"'))
    with running(folder) as run:
        mine = {job.request.prompt: job for job in run.queue.jobs() if not job.ended}
        assert {"red 3", "red 5"} <= set(mine)
        [failed] = [job for job in run.queue.jobs() if job.status == "failed"]
        ending = failed.entries()[-1].event
    assert isinstance(ending, Failed)
    assert ending.message == "The request can no longer be read: it is not text."


def test_the_last_bytes_may_be_missing_and_what_lies_before_them_is_kept(
    lived_in: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = copy_of(lived_in, tmp_path_factory)
    file = folder / "queue" / "jobs.sqlite"
    before = jobs_in(folder)
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    with running(folder) as run:
        assert len(run.queue.jobs()) >= before  # a batch may continue and submit more
    [aside] = [path for path in file.parent.iterdir() if ".damaged-" in path.name and not path.name.endswith("-wal")]
    assert aside.read_bytes() == whole[:-100]


@pytest.mark.parametrize("name", [name for name in FILES if "*" not in name])
def test_a_folder_in_the_place_of_a_file(lived_in: Path, tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = copy_of(lived_in, tmp_path_factory)
    (folder / name).unlink()
    (folder / name / "inside").mkdir(parents=True)
    works(folder)


@pytest.mark.parametrize("name", ["jobs.sqlite-wal", "jobs.sqlite.new", "jobs.sqlite.new-wal"])
def test_a_folder_that_has_the_name_of_a_file_beside_the_queues(
    lived_in: Path, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    folder = copy_of(lived_in, tmp_path_factory)
    (folder / "queue" / "jobs.sqlite-wal").unlink(missing_ok=True)
    (folder / "queue" / name / "inside").mkdir(parents=True)
    if name.startswith("jobs.sqlite.new"):  # which is written when the old one is damaged
        file = folder / "queue" / "jobs.sqlite"
        file.write_bytes(file.read_bytes()[:-100])
    works(folder)


def a_file(path: Path) -> None:
    path.write_text("mine")


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("put", [a_file, a_link_to_nothing, a_pipe])
@pytest.mark.parametrize("name", OWN_FOLDERS)
def test_what_has_the_name_of_a_folder_of_ours_is_put_aside(
    lived_in: Path,
    tmp_path_factory: pytest.TempPathFactory,
    caplog: pytest.LogCaptureFixture,
    name: str,
    put: Callable[[Path], None],
) -> None:
    folder = copy_of(lived_in, tmp_path_factory)
    place = folder / name
    shutil.rmtree(place)
    put(place)
    works(folder)
    [aside] = place.parent.glob(f"{place.name}.damaged-*") if put is not a_link_to_nothing else [
        path for path in place.parent.iterdir() if path.is_symlink()
    ]  # fmt: skip
    assert f"{place} cannot be read (it is not a folder); it was renamed to {aside.name}." in caplog.text
    if put is a_file:
        assert aside.read_text() == "mine"


@pytest.mark.parametrize("name", ["cache", "queue", "cache/pictures"])
def test_a_server_takes_jobs_where_a_file_has_the_name_of_a_folder_of_ours(tmp_path: Path, name: str) -> None:
    a_file_at = tmp_path / name
    a_file_at.parent.mkdir(exist_ok=True)
    a_file(a_file_at)
    services = open_services(Flags(data_dir=tmp_path, models_dir=tmp_path / "models"))
    try:
        source = Picture.from_image(Image.new("RGB", (64, 64)))
        services.pictures.put(source)
        services.queue.resume(is_saved_in(services.outputs))
    finally:
        services.intake.batches.close()
        services.queue.close()
    assert services.pictures.get(source.sha256) == source
    assert (tmp_path / "queue" / "jobs.sqlite").is_file()


@pytest.mark.parametrize("put", [a_file, a_link_to_nothing])
def test_outputs_that_are_no_folder_are_told_at_the_start_and_left(tmp_path: Path, put: Callable[[Path], None]) -> None:
    put(tmp_path / "outputs")
    with pytest.raises(WebuiError, match=r"^Pictures cannot be saved in .*outputs: it is .* Move or rename it, or "):
        open_services(Flags(data_dir=tmp_path, models_dir=tmp_path / "models"))
    assert os.path.lexists(tmp_path / "outputs")


def test_a_file_in_the_way_of_a_folder_that_is_made_later_is_named_with_the_cure(tmp_path: Path) -> None:
    a_file(tmp_path / "pictures")
    with pytest.raises(WebuiError) as caught:
        Pictures(tmp_path / "pictures").put(Picture.from_image(Image.new("RGB", (64, 64))))
    assert caught.value.hint == f"Move or rename {tmp_path / 'pictures'}, then generate again."


def test_an_index_that_another_program_has_locked_is_not_thrown_away(
    lived_in: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modules.store.history.SECONDS_FOR_LOCK", 0.05)
    folder = copy_of(lived_in, tmp_path_factory)
    file = folder / "cache" / "history.sqlite"
    number = file.stat().st_ino
    history = History(Outputs(folder / "outputs"), file)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(WebuiError, match=r"index history\.sqlite is in use by another program\.") as caught:
            history.look(60)
    assert caught.value.status == 503
    assert history.look(60) == 0
    assert file.stat().st_ino == number


def test_an_index_with_other_columns_is_made_anew(lived_in: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = copy_of(lived_in, tmp_path_factory)
    with closing(sqlite3.connect(folder / "cache" / "history.sqlite")) as db:
        db.executescript("DROP TABLE pictures; CREATE TABLE pictures (path TEXT, color TEXT)")
    works(folder)


FULL_DISK = """
import logging, resource, sys
from pathlib import Path
from modules.base.errors import WebuiError
from tests.jobs.test_damage import Run

soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
run = Run(Path(sys.argv[1]))
print("jobs", len(run.queue.jobs()))
print("pictures", run.history.look(60), len(run.history.page(100)))
try:
    run.submit(9)
except WebuiError as error:
    print("refused", error.status)
try:
    run.settings.save(Path(sys.argv[1]) / "config.json")
except OSError:
    print("settings refused")
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
print("taken", run.submit(9) in run.queue.current())
run.close()
"""


@pytest.mark.parametrize("is_new", [False, True])
@pytest.mark.parametrize("is_damaged", [False, True])
def test_it_starts_on_a_full_disk_and_works_again_when_there_is_room(
    lived_in: Path, tmp_path_factory: pytest.TempPathFactory, is_new: bool, is_damaged: bool
) -> None:
    folder = copy_of(lived_in, tmp_path_factory)
    before = jobs_in(folder)
    for name in ("queue/jobs.sqlite", "cache/history.sqlite"):
        if is_new:
            (folder / name).unlink()
        elif is_damaged:
            (folder / name).write_bytes((folder / name).read_bytes()[:-100])
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == [
        f"jobs {0 if is_new else before}", f"pictures 0 {PICTURES}", "refused 507", "settings refused", "taken True",
    ], done.stderr  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert jobs_in(folder) >= 1 + (0 if is_new else before)  # a batch may have continued, with one of its files
