"""A batch continues however Palimpsest ended: each file is made once, under its own name, and nothing is saved
elsewhere.
"""

import io
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modules.jobs.batch.batch import Batch
from modules.jobs.batch.batches import Batches
from modules.jobs.batch.intake import BatchIntake, Files, UploadedFile
from modules.jobs.batch.journal import Journals
from modules.jobs.batch.options import BatchOptions
from modules.jobs.queue import JobQueue
from modules.jobs.saving import JobSavers, Saver
from modules.prompts.style_file import Style
from modules.schema.catalog import Catalog, Checkpoint
from modules.schema.settings import Settings
from modules.store.job_store import JobStore, is_saved_in
from modules.store.outputs import Outputs
from modules.store.pictures import Pictures
from tests.jobs.batch.test_batches import outcomes, picture, until
from tests.jobs.painter import Painter

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 300.0  # seconds
CATALOG = Catalog((Checkpoint("good", Path("good.safetensors")),))


class Run:
    """Palimpsest from one start to its end, without server and model: queue, store, batches, intake in one folder."""

    def __init__(self, folder: Path, is_held: bool = False) -> None:
        self.painter = Painter()
        if is_held:
            self.painter.held.set()
        self.outputs, pictures = Outputs(folder / "outputs"), Pictures(folder / "pictures")
        savers = JobSavers(Saver(self.outputs))
        self.queue = JobQueue(self.painter, savers, job_store=JobStore(folder / "jobs.sqlite", pictures))
        self.styles: dict[str, Style] = {}
        journals = Journals(folder / "batches")
        self.batches = Batches(
            self.queue, savers, self.outputs, pictures, journals=journals, styles=lambda: dict(self.styles)
        )
        self.intake = BatchIntake.of(self.batches, folder, self.outputs.root)
        self.intake.reopen(CATALOG)
        self.queue.resume(is_saved_in(self.outputs))
        self.batches.resume_all()

    def start(
        self,
        files: dict[str, bytes],
        form: dict[str, Any] | None = None,
        masks: Sequence[UploadedFile] = (),
        folder: str = "",
    ) -> Batch:
        brought = [UploadedFile(name, self.intake.spool.put(data)) for name, data in files.items()]
        values = {"width": 64, "height": 64, "steps": 2, "seed": 7, **(form or {})}
        return self.intake.start(values, BatchOptions(), Settings(), CATALOG, Files(brought, folder), Files(masks))

    def saved(self) -> list[str]:
        return sorted(path.relative_to(self.outputs.root).as_posix() for path in self.outputs.root.rglob("*.png"))


@contextmanager
def running(folder: Path, is_held: bool = False) -> Iterator[Run]:
    run = Run(folder, is_held)
    try:
        yield run
    finally:
        run.batches.close()
        run.queue.close()


def until_there_are(run: Run, count: int) -> None:
    until(lambda: len(run.saved()) >= count)


FILES = {f"{number}.png": picture("red", (64, 64 + number)) for number in range(5)}


def test_a_batch_goes_on_where_it_was(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        run.painter.held_from = 3
        batch = run.start(FILES, {"seed": -1})
        until(run.painter.held.is_set)
        until(lambda: len(batch.settled()) == 2)
        before = batch.files()
    assert not batch.ended
    with running(tmp_path) as run:
        again = run.batches.batch(batch.id)
        assert again.files()[:2] == before[:2]
        assert again.settled()[:2] == batch.settled()
        until(lambda: again.ended)
        assert (again.status, set(outcomes(again).values())) == ("finished", {"done"})
        assert (again.created, again.folder, again.total) == (batch.created, "batch", 5)
        assert len(run.painter.requests) == 3
        assert len({picture.seed for file in again.files() for picture in file.pictures}) == 1
        assert run.saved() == [f"batch/{number}.png" for number in range(5)]
        assert run.queue.current() == ()


def test_a_batch_that_has_ended_is_still_told(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        batch = run.start({**FILES, "x.png": b"broken"}, masks=())
        until(lambda: batch.ended)
    for _ in range(2):
        with running(tmp_path) as run:
            again = run.batches.batch(batch.id)
            assert again.settled() == batch.settled()
            assert (again.status, again.pictures()) == ("finished", batch.pictures())
            assert again.summary()["counts"] == {"done": 5, "kept": 0, "failed": 1, "left_out": 0, "skipped": 0}
            assert run.painter.requests == []


def test_a_batchs_styles_stay_as_they_were_when_it_began(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        run.styles["oil"] = Style("oil", "oil of {prompt}", "photo")
        run.painter.held_from = 2
        batch = run.start(FILES, {"prompt": "a cat", "styles": ["oil"]})
        until(run.painter.held.is_set)
        run.styles["oil"] = Style("oil", "oil on {prompt}, torn", "")  # someone edits it meanwhile
    with running(tmp_path) as again:  # and then deletes it
        until(lambda: again.batches.batch(batch.id).ended)
        assert set(outcomes(again.batches.batch(batch.id)).values()) == {"done"}
        requests = [request for request, _ in (*run.painter.requests, *again.painter.requests)]
    assert len(requests) >= len(FILES)
    assert {(request.prompt, request.negative_prompt) for request in requests} == {("oil of a cat", "photo")}


def test_who_stopped_a_batch_finds_it_stopped(tmp_path: Path) -> None:
    with running(tmp_path, is_held=True) as run:
        first, second = run.start(FILES), run.start({"b.png": picture("blue")})
        until(lambda: first.current)
        second.stop()  # it waits: it is not started before the end
    with running(tmp_path) as run:
        one, other = run.batches.batch(first.id), run.batches.batch(second.id)
        until(lambda: one.ended and other.ended)
        assert (one.status, other.status, outcomes(other)) == ("finished", "stopped", {"b.png": "waiting"})
        assert run.batches.batches() == (other, one)


def test_pictures_of_a_file_that_is_half_done_stay_and_keep_their_name(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        run.painter.pace = 0.05
        batch = run.start({"a.png": picture("red"), "b.png": picture("blue")}, {"n_iter": 4})
        until_there_are(run, 2)
    there = {path: (tmp_path / "outputs" / path).read_bytes() for path in run.saved()}
    assert 2 <= len(there) < 8
    with running(tmp_path) as run:
        until(lambda: run.batches.batch(batch.id).ended)
        files = run.batches.batch(batch.id).files()
        assert files[0].paths == tuple(f"batch/a-{number}.png" for number in range(1, 5))
        assert {path: (tmp_path / "outputs" / path).read_bytes() for path in there} == there
        assert [image.index for image in files[0].pictures] == [0, 1, 2, 3]


def test_a_file_that_comes_into_the_folder_later_is_none_of_the_batch(tmp_path: Path) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    for name, data in FILES.items():
        (inputs / name).write_bytes(data)
    with running(tmp_path, is_held=True) as run:
        batch = run.start({}, folder="inputs")
        until(lambda: batch.current)
    (inputs / "0a.png").write_bytes(picture("blue"))
    (inputs / "3.png").unlink()
    with running(tmp_path) as run:
        again = run.batches.batch(batch.id)
        until(lambda: again.ended)
        assert outcomes(again) == {
            "0.png": "done",
            "1.png": "done",
            "2.png": "done",
            "3.png": "failed",
            "4.png": "done",
        }
        assert again.files()[3].sentence == "3.png: the file no longer exists. Upload it again."


def test_masks_texts_and_zips_are_found_again(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in {"a.png": picture("red"), "a.txt": b"a cat", "b.png": picture("blue")}.items():
            archive.writestr(name, data)
    with running(tmp_path, is_held=True) as run:
        mask = UploadedFile("m.png", run.intake.spool.put(picture("white")))
        batch = run.start({"some.zip": packed.getvalue()}, masks=[mask])
        until(lambda: batch.current)
    with running(tmp_path) as run:
        until(lambda: run.batches.batch(batch.id).ended)
        assert outcomes(run.batches.batch(batch.id)) == {"a.png": "done", "b.png": "done"}
        requests = [request for request, _ in run.painter.requests]
        assert [request.prompt for request in requests] == ["a cat", ""]
        assert all(request.mask is not None for request in requests)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-20], lambda data: data + b'{"taken": 3}\nnull\n', lambda data: b""]
)
def test_a_journal_that_a_crash_cut_off_is_read_as_far_as_it_goes(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    with running(tmp_path) as run:
        batch = run.start(FILES)
        until(lambda: batch.ended)
    (journal,) = (tmp_path / "batches").iterdir()
    data = journal.read_bytes()
    journal.write_bytes(damage(data))
    with running(tmp_path) as run:
        found = [again for again in run.batches.batches() if again.id == batch.id]
        for again in found:  # a batch whose last line is lost reports its end once more
            until(lambda again=again: again.ended)
            assert again.pictures() == batch.pictures()
        assert len(found) == bool(damage(data))
        assert run.saved() == [f"batch/{number}.png" for number in range(5)]


@contextmanager
def process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.jobs.batch_process", str(folder)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert answer(process) == "open"
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def answer(process: subprocess.Popen[str], line: str | None = None) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    if line is not None:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    return process.stdout.readline().strip()


@pytest.mark.slow
def test_whenever_the_process_is_killed_every_picture_is_made_once_and_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "inputs").mkdir()
    for name in "abcd":
        Image.new("RGB", (64, 64), (ord(name), 0, 0)).save(tmp_path / "inputs" / f"{name}.png")
    wanted = {f"batch/{name}-{number}.png" for name in "abcd" for number in (1, 2, 3)}

    def results() -> set[str]:
        root = tmp_path / "outputs"
        return {path.relative_to(root).as_posix() for path in root.rglob("*.png")} if root.exists() else set()

    def until_more_than(count: int) -> None:
        end = time.monotonic() + PATIENCE
        while len(results()) <= count:
            assert time.monotonic() < end, f"waited in vain for more than {count} pictures"
            time.sleep(0.01)

    with process(tmp_path) as first:
        answer(first, "slow images 3")
        until_more_than(1)
    for there in (4, 7):
        with process(tmp_path):
            until_more_than(there)
    with process(tmp_path) as last:
        assert answer(last, "") == "idle"
    assert results() == wanted
    (journal,) = (tmp_path / "batches").iterdir()
    assert journal.read_text().splitlines()[-1] == '{"ending": ["finished", ""]}'
    pixels = [Image.open(tmp_path / "outputs" / path).getpixel((0, 0)) for path in sorted(wanted)]
    assert pixels == [(0, 0, 0), (1, 1, 1), (2, 2, 2)] * 4
