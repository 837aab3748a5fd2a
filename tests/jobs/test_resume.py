"""Accepted jobs are made, once and in order, whenever the process is killed; results stay known."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from modules.api.v1.jobs import JobFeed
from modules.base.errors import WebuiError
from modules.base.events import Failed, Finished, ImageSaved, Parked, PictureDone, Queued, Started
from modules.base.picture import Picture
from modules.jobs import line as line_module
from modules.jobs import queue as queue_module
from modules.jobs.job import Job, JobSpec
from modules.jobs.queue import JobQueue, Submission
from modules.jobs.recovery import CUTS_OF_A_JOB
from modules.jobs.saving import Saver
from modules.jobs.workers.process import EngineProcess
from modules.processing.kinds.generate import IMG2IMG, TXT2IMG
from modules.processing.kinds.registry import BUILT_IN
from modules.schema.catalog import Lora
from modules.schema.request import Img2ImgRequest, Txt2ImgRequest
from modules.schema.resources import NamedFile, Resources
from modules.schema.settings import Settings
from modules.store.job_store import JobStore, is_saved_in
from modules.store.outputs import Outputs
from modules.store.pictures import Pictures
from tests.jobs.conftest import CHECKPOINT, FACTORY, submit

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 300.0  # seconds


class Process:
    """A running `queue_process`."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.jobs.queue_process", str(folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.answer() == "open"

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def say(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answer()


@contextmanager
def process(folder: Path) -> Iterator[Process]:
    running = Process(folder)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        for pipe in (running.process.stdin, running.process.stdout):
            assert pipe is not None
            pipe.close()


def pictures(folder: Path) -> list[tuple[int, bytes]]:
    """(seed, first pixel's red) of the files in the order of their numbers."""
    files = sorted((folder / "outputs").rglob("*.png"))
    return [(int(file.stem.partition("-")[2]), bytes(Image.open(file).getpixel((0, 0))[:1])) for file in files]  # type: ignore[index, arg-type]


def until_there_are(folder: Path, count: int) -> None:
    end = time.monotonic() + PATIENCE
    while len(list((folder / "outputs").rglob("*.png"))) < count:
        assert time.monotonic() < end, f"waited in vain for {count} pictures"
        time.sleep(0.01)


@pytest.mark.slow
def test_jobs_go_on_after_each_kill_and_every_picture_is_made_once_and_in_order(tmp_path: Path) -> None:
    wanted = [(5 + index, bytes([index])) for images in (4, 3, 2) for index in range(images)]
    with process(tmp_path) as first:
        ids = [first.say(f"slow images {images}") for images in (4, 3, 2)]
        until_there_are(tmp_path, 2)
    for there in (3, 6):
        with process(tmp_path):
            until_there_are(tmp_path, there)
    with process(tmp_path) as last:
        assert last.say("") == "idle"
        assert pictures(tmp_path) == wanted

    with_results = JobStore(tmp_path / "jobs.sqlite", Pictures(tmp_path / "pictures"))
    entered = with_results.stored(lambda image, sha256: True, BUILT_IN.requests)
    with_results.close()
    assert [job.id for job in entered] == ids
    assert [[e.index for e in job.events if isinstance(e, ImageSaved)] for job in entered] == [
        [0, 1, 2, 3], [0, 1, 2], [0, 1],
    ]  # fmt: skip
    assert all(isinstance(job.events[-1], Finished) for job in entered)


def opened(folder: Path) -> JobQueue:
    outputs = Outputs(folder / "outputs")
    job_store = JobStore(folder / "jobs.sqlite", Pictures(folder / "pictures"))
    queue = JobQueue(EngineProcess(FACTORY), Saver(outputs), job_store=job_store)
    queue.resume(is_saved_in(outputs))
    return queue


def ended(job: Job) -> Job:
    for _ in job.follow():
        pass
    return job


INK = Lora("ink", Path("ink.safetensors"))
FILES = (NamedFile("ink", INK.path, 3, 5),)


def test_after_a_restart_jobs_have_all_their_files_again_or_fail_with_the_reason(tmp_path: Path) -> None:
    """Names are resolved again; a missing file ends its job, and a retry makes it once the file is back."""
    is_gone = True

    def readmit(spec: JobSpec) -> JobSpec:
        assert spec.resources == Resources(CHECKPOINT, files=FILES)
        if is_gone and spec.request.prompt == "gone":
            raise WebuiError("prompt: there is no LoRA 'ink'.", "Put it back.", "prompt")
        return replace(spec, resources=replace(spec.resources, loras=(INK,)))

    queue = opened(tmp_path)
    ids = [
        queue.submit(JobSpec(TXT2IMG, Txt2ImgRequest(prompt=prompt), Settings(), Resources(CHECKPOINT, files=FILES))).id
        for prompt in ("wait", "there", "gone")
    ]
    queue.close()
    queue = JobQueue(EngineProcess(FACTORY), Saver(Outputs(tmp_path / "outputs")), job_store=stored_in(tmp_path))
    queue.resume(is_saved_in(Outputs(tmp_path / "outputs")), readmit)
    running, there, gone = (queue.job(job_id) for job_id in ids)
    assert [job.resources.loras for job in (running, there)] == [(INK,), (INK,)]
    assert gone.entries()[-1].event == Failed("prompt: there is no LoRA 'ink'.", "Put it back.", "prompt")
    with pytest.raises(WebuiError, match="no LoRA 'ink'"):
        queue.retry(gone.id, readmit=readmit)
    is_gone = False
    [again] = queue.retry(gone.id, readmit=readmit)
    running.interrupt()
    assert [ended(job).status for job in (there, again)] == ["finished", "finished"]
    assert again.resources.loras == (INK,)
    queue.close()


def stored_in(folder: Path) -> JobStore:
    return JobStore(folder / "jobs.sqlite", Pictures(folder / "pictures"))


def test_an_orderly_end_hands_the_running_job_back_and_keeps_the_queue(tmp_path: Path) -> None:
    queue = opened(tmp_path)
    running, waiting = submit(queue, "slow images 5"), submit(queue, "steps 1")
    until_there_are(tmp_path, 2)
    queue.close()
    seen = len(running.images)

    queue = opened(tmp_path)
    assert [job.id for job in queue.current()] == [running.id, waiting.id]
    again = ended(queue.job(running.id))
    assert (again.status, again.request, again.is_resumed) == ("finished", running.request, True)
    assert [image.index for image in again.images] == [0, 1, 2, 3, 4]
    assert again.images[:seen] == running.images
    assert ended(queue.job(waiting.id)).status == "finished"
    assert [seed for seed, _ in pictures(tmp_path)] == [5, 6, 7, 8, 9, 5]
    queue.close()


def test_a_parked_picture_stays_parked_after_a_restart_and_the_others_are_made(tmp_path: Path) -> None:
    queue = opened(tmp_path)
    job = submit(queue, f"images 3 wait kills 0 {tmp_path / 'cured'}")
    until_running(job)
    queue.close()
    job_store = JobStore(tmp_path / "jobs.sqlite")
    job_store.park(job.id, Parked(0, "The engine process ended."))
    job_store.close()
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite", isolation_level=None)) as db:
        db.execute("UPDATE jobs SET request = replace(request, ' wait', '')")

    queue = opened(tmp_path)
    again = ended(queue.job(job.id))
    assert [image.index for image in again.images] == [1, 2]
    failed = again.entries()[-1].event
    assert isinstance(failed, Failed)
    assert failed.message == "The engine process ended."
    assert failed.hint.startswith("It ended 2 times while making picture 1 of 3, so that batch was skipped.")
    queue.close()


def test_what_another_job_has_made_is_left_out_after_a_restart_too(tmp_path: Path) -> None:
    queue = opened(tmp_path)
    running = submit(queue, "wait")
    request = Txt2ImgRequest(prompt="images 3", n_iter=3, seed=5)
    waiting = queue.submit(JobSpec(TXT2IMG, request, Settings(), Resources(CHECKPOINT)), Submission(left_out=2))
    until_running(running)
    queue.close()

    queue = opened(tmp_path)
    queue.job(running.id).interrupt()
    assert [image.seed for image in ended(queue.job(waiting.id)).images] == [7]
    queue.close()


def test_a_job_of_which_nothing_is_kept_is_not_run_after_a_restart(tmp_path: Path) -> None:
    """Neither the running one nor those that waited; stored ones between them do run."""
    queue = opened(tmp_path)
    running, waiting = (
        queue.submit(
            JobSpec(TXT2IMG, Txt2ImgRequest(prompt=prompt), Settings(), Resources(CHECKPOINT)),
            Submission(is_kept=False),
        )
        for prompt in ("wait", "images 1")
    )
    kept = submit(queue, "images 1")
    until_running(running)
    queue.close()

    queue = opened(tmp_path)
    for job in (running, waiting):
        failed = ended(queue.job(job.id)).entries()[-1].event
        assert isinstance(failed, Failed)
        assert "lost the connection" in failed.message
    assert len(ended(queue.job(kept.id)).images) == 1
    assert len(list((tmp_path / "outputs").rglob("*.png"))) == 1
    queue.close()


def test_results_and_failures_are_known_after_a_restart(tmp_path: Path) -> None:
    queue = opened(tmp_path)
    jobs = [ended(submit(queue, words)) for words in ("images 2 warns", "webui-error")]
    queue.close()

    queue = opened(tmp_path)
    again = [queue.job(job.id) for job in jobs]
    assert [(job.status, job.images, job.created) for job in again] == [
        (job.status, job.images, job.created) for job in jobs
    ]
    assert again[0].progress().images == 2
    assert [entry.event for entry in again[1].entries()][-1] == Failed(
        "steps=0: must be at least 1.", "Take more steps.", "steps"
    )
    assert queue.current() == ()
    queue.close()


def test_a_follower_who_comes_back_with_an_old_number_misses_nothing(tmp_path: Path) -> None:
    queue = opened(tmp_path)
    job = ended(submit(queue, "images 2 steps 100"))
    last = job.entries()[-1].number
    queue.close()

    queue = opened(tmp_path)
    events = [event for _, event in queue.job(job.id).follow(after=last)]
    assert [type(event) for event in events] == [Started, ImageSaved, ImageSaved, Finished]
    queue.close()


def test_a_picture_that_was_announced_and_not_written_is_made(tmp_path: Path) -> None:
    """As if the process was killed between the entry and the file, or between the file and what follows it."""
    queue = opened(tmp_path)
    job = submit(queue, "slow images 4")
    until_there_are(tmp_path, 2)
    queue.close()
    announced = ImageSaved(len(job.images), 0, 8, 8, "", "txt2img-images/2026-01-01/00099-1.png")
    job_store = JobStore(tmp_path / "jobs.sqlite")
    job_store.announce(job.id, announced, "0" * 64)
    job_store.close()

    queue = opened(tmp_path)
    assert [image.index for image in ended(queue.job(job.id)).images] == [0, 1, 2, 3]
    assert announced not in queue.job(job.id).images
    assert len(pictures(tmp_path)) == 4
    queue.close()


def test_a_source_picture_waits_with_its_job_and_gives_way_afterwards(tmp_path: Path) -> None:
    source = Picture.from_image(Image.effect_noise((64, 64), 50).convert("RGB"))
    outputs, kept = Outputs(tmp_path / "outputs"), Pictures(tmp_path / "pictures", limit=1)
    queue = JobQueue(EngineProcess(FACTORY), Saver(outputs), job_store=JobStore(tmp_path / "jobs.sqlite", kept))
    submit(queue, "wait")
    request = Img2ImgRequest.parse({"init_images": [source], "mask": source, "prompt": "a"})
    job = queue.submit(JobSpec(IMG2IMG, request, Settings(), Resources(CHECKPOINT)))
    kept.put(Picture.from_image(Image.new("RGB", (16, 16))))  # would evict it
    queue.close()

    queue = opened(tmp_path)
    queue.interrupt()
    again = queue.job(job.id)
    assert isinstance(again.request, Img2ImgRequest)
    assert again.request.mask is not None
    assert again.request.mask.data == again.request.init_images[0].data == source.data
    for waiting in queue.current():
        waiting.interrupt()
    assert ended(again).status in ("finished", "interrupted")
    queue.close()


def failed_with_pictures(folder: Path) -> tuple[Job, list[Picture]]:
    """A failed job with a source and a mask, in a folder in which nothing else would be kept."""
    source, mask = (Picture.from_image(Image.new("L", (64, 64), gray)) for gray in (10, 255))
    outputs, kept = Outputs(folder / "outputs"), Pictures(folder / "pictures", limit=1)
    queue = JobQueue(EngineProcess(FACTORY), Saver(outputs), job_store=JobStore(folder / "jobs.sqlite", kept))
    request = Img2ImgRequest.parse({"init_images": [source], "mask": mask, "prompt": "webui-error"})
    job = ended(queue.submit(JobSpec(IMG2IMG, request, Settings(), Resources(CHECKPOINT))))
    kept.put(Picture.from_image(Image.new("RGB", (16, 16))))  # would evict them
    queue.close()
    return job, [source, mask]


def test_a_failed_job_can_be_made_again_with_its_sources_and_mask_after_a_restart(tmp_path: Path) -> None:
    failed, pictures_of = failed_with_pictures(tmp_path)
    outputs, kept = Outputs(tmp_path / "outputs"), Pictures(tmp_path / "pictures", limit=1)
    job_store = JobStore(tmp_path / "jobs.sqlite", kept)
    queue = JobQueue(EngineProcess(FACTORY), Saver(outputs), job_store=job_store)
    queue.resume(is_saved_in(outputs))
    kept.put(Picture.from_image(Image.new("RGB", (16, 16), "red")))
    [again] = queue.retry(failed.id)
    assert again.request == failed.request
    assert isinstance(again.request, Img2ImgRequest)
    assert again.request.mask is not None
    assert [p.data for p in (*again.request.init_images, again.request.mask)] == [p.data for p in pictures_of]
    ended(again)

    job_store.forget([failed.id, again.id])  # now they may go
    kept.put(Picture.from_image(Image.new("RGB", (16, 16), "blue")))
    assert len(list((tmp_path / "pictures").iterdir())) == 1
    queue.close()


@pytest.mark.parametrize("lost", [0, 1])
def test_a_failed_job_whose_source_or_mask_is_gone_says_so_and_is_not_made_without(tmp_path: Path, lost: int) -> None:
    failed, pictures_of = failed_with_pictures(tmp_path)
    [file] = (tmp_path / "pictures").glob(f"{pictures_of[lost].sha256}.*")
    file.unlink()

    queue = opened(tmp_path)
    job = queue.job(failed.id)
    assert job.lost.startswith(f"The source picture {pictures_of[lost].sha256[:12]!r} no longer exists.")
    assert '"retry": false' in JobFeed(job, 0).read()  # and the page does not offer one
    with pytest.raises(WebuiError, match=r"cannot be retried: The source picture") as caught:
        queue.retry(failed.id)
    assert caught.value.status == 409
    assert len(queue.jobs()) == 1
    queue.close()


def test_a_job_that_cannot_be_read_any_more_is_not_made_from_nothing(tmp_path: Path) -> None:
    queue = opened(tmp_path)
    job = ended(submit(queue, "webui-error"))
    assert '"retry": true' in JobFeed(job, 0).read()
    queue.close()
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite", isolation_level=None)) as db:
        db.execute("UPDATE jobs SET request = '[]'")

    queue = opened(tmp_path)
    with pytest.raises(WebuiError, match="cannot be retried: The request can no longer be read"):
        queue.retry(job.id)
    queue.close()


def test_a_job_whose_source_is_gone_fails_in_a_sentence(tmp_path: Path) -> None:
    queue = opened(tmp_path)
    submit(queue, "wait")
    source = Picture.from_image(Image.new("RGB", (64, 64)))
    request = Img2ImgRequest.parse({"init_images": [source]})
    job = queue.submit(JobSpec(IMG2IMG, request, Settings(), Resources(CHECKPOINT)))
    queue.close()
    for file in (tmp_path / "pictures").iterdir():
        file.unlink()

    queue = opened(tmp_path)
    failed = queue.job(job.id).entries()[-1].event
    assert isinstance(failed, Failed)
    assert failed.message.startswith(f"The source picture {source.sha256[:12]!r} no longer exists.")
    queue.interrupt()
    queue.close()


def test_a_job_during_which_palimpsest_always_ends_fails_instead_of_looping(tmp_path: Path) -> None:
    queue = opened(tmp_path)
    job = submit(queue, "wait")
    until_running(job)
    queue.close()
    job_store = JobStore(tmp_path / "jobs.sqlite")
    for _ in range(CUTS_OF_A_JOB):
        job_store.begin(job.id)
        job_store.stored(lambda image, sha256: True, BUILT_IN.requests)
    job_store.close()

    queue = opened(tmp_path)
    failed = queue.job(job.id).entries()[-1].event
    assert isinstance(failed, Failed)
    assert failed.message == "Palimpsest was interrupted 10 times while making the same picture of this job."
    queue.close()


def until_running(job: Job) -> None:
    for _, event in job.follow():
        if not isinstance(event, Queued):
            return


def test_only_the_last_ones_are_remembered_also_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_module, "REMEMBERED_JOBS", 2)
    queue = opened(tmp_path)
    ids = [ended(submit(queue, "steps 1")).id for _ in range(4)]
    queue.close()
    queue = opened(tmp_path)
    assert [job.id for job in queue.jobs()] == [ids[3], ids[2]]
    queue.close()

    monkeypatch.setattr(queue_module, "REMEMBERED_SECONDS", 0.0)
    queue = opened(tmp_path)
    assert queue.jobs() == ()
    queue.close()


def test_a_disk_that_refuses_refuses_the_job(tmp_path: Path) -> None:
    queue = opened(tmp_path)
    db = queue._job_store._db  # pyright: ignore[reportPrivateUsage]
    assert db is not None
    db.execute("PRAGMA query_only = ON")
    with pytest.raises(WebuiError, match="The job cannot be stored in") as caught:
        submit(queue, "a")
    assert caught.value.status == 507
    assert queue.jobs() == ()
    queue.close()


def test_a_failing_save_leaves_no_picture_in_the_job_store(tmp_path: Path) -> None:
    job_store = JobStore(tmp_path / "jobs.sqlite")

    def save(job: Job, done: PictureDone) -> ImageSaved:
        image = ImageSaved(done.index, done.seed, 8, 8, "", f"{done.index}.png")
        job.announce(image, "0" * 64)
        if done.index == 1:
            raise WebuiError("The disk is full.")
        return image

    queue = JobQueue(EngineProcess(FACTORY), save, job_store=job_store)
    job = ended(submit(queue, "images 3"))
    assert job.status == "failed"
    entered = job_store.stored(lambda image, sha256: True, BUILT_IN.requests)
    assert [type(event) for event in entered[0].events] == [Started, ImageSaved, Failed]
    queue.close()
