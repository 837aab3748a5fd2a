"""The queue over a real engine process: order, stopping, saving, and what happens when the process dies."""

import errno
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from modules.base.errors import WebuiError
from modules.base.events import (
    EngineState,
    Event,
    Failed,
    Finished,
    ImageDone,
    ImageSaved,
    Parked,
    Previewed,
    Queued,
    Staged,
    Started,
    Stepped,
    Warned,
)
from modules.jobs import line as line_module
from modules.jobs.job import Job, JobSpec
from modules.jobs.loader import Choice
from modules.jobs.queue import JobQueue
from modules.jobs.saving import Saver
from modules.jobs.workers.process import EngineProcess
from modules.processing.kinds.generate import TXT2IMG
from modules.schema.catalog import Checkpoint
from modules.schema.request import Txt2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from modules.store.job_store import JobStore, is_saved_in
from modules.store.outputs import Outputs
from tests.jobs.conftest import CHECKPOINT, FACTORY, MakeQueue, named, save, submit


def end(job: Job) -> Event:
    """The last event, once it is there."""
    return [event for _, event in job.follow()][-1]


def until(happened: Callable[[], object], what: str) -> None:
    limit = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < limit, f"waited in vain for {what}"
        time.sleep(0.005)


def stepped(job: Job) -> bool:
    return any(isinstance(entry.event, Stepped) for entry in job.entries())


def test_a_job_tells_all_from_the_queue_to_the_saved_picture(queue: JobQueue) -> None:
    job = submit(queue, "steps 2")
    end(job)
    events = [entry.event for entry in job.entries()]

    assert [event for event in events if not isinstance(event, Previewed | Finished | ImageSaved)] == [
        Queued(0),
        Staged("starting"),
        Staged("loading good"),
        Started(1, 1, 2, 8, 8, 5),
        Staged("sampling"),
        Stepped(0, 1, 2),
        Stepped(0, 2, 2),
        Staged("decoding"),
    ]
    assert job.images == (ImageSaved(0, 5, 8, 8, "text 0", "0.png"),)
    assert (job.status, job.progress().fraction, job.progress().image) == ("finished", 1.0, 1)
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert set(finished.timings) == {"sampling", "saving"}
    assert queue.state() == EngineState("ready", "good", "0123456789", device="fake")


def test_jobs_run_in_the_order_they_came_and_are_told_how_many_are_ahead(queue: JobQueue) -> None:
    first = submit(queue, "wait")
    until(lambda: first.status == "running", "the first job to run")
    others = [submit(queue, "a"), submit(queue, "b"), submit(queue, "c")]
    assert [job.ahead for job in others] == [1, 2, 3]
    assert queue.current() == (first, *others)
    assert queue.jobs() == (*reversed(others), first)

    others[0].interrupt()
    assert [job.ahead for job in others[1:]] == [1, 2]
    assert others[0].status == "interrupted"

    first.interrupt()
    for job in others[1:]:
        assert isinstance(end(job), Finished)
    begun = [
        next(entry.at for entry in job.entries() if entry.event == Staged("starting")) for job in (first, *others[1:])
    ]
    assert begun == sorted(begun)
    assert queue.current() == ()


def test_interrupt_ends_the_running_job_and_keeps_its_finished_pictures(queue: JobQueue) -> None:
    job = submit(queue, "images 50 slow")
    until(lambda: len(job.images) >= 2, "two pictures")
    queue.interrupt()

    finished = end(job)
    assert isinstance(finished, Finished)
    assert finished.interrupted
    assert 2 <= len(job.images) < 50
    assert end(submit(queue, "next")).__class__ is Finished


def test_an_engine_that_does_not_hear_the_interrupt_is_ended_and_started_again(queue: JobQueue) -> None:
    job = submit(queue, "deaf")
    until(lambda: any(isinstance(entry.event, Started) for entry in job.entries()), "the run")
    job.interrupt()

    finished = end(job)
    assert isinstance(finished, Finished)
    assert finished.interrupted
    assert job.status == "interrupted"
    after = submit(queue, "next")
    assert isinstance(end(after), Finished)
    assert len(after.images) == 1


def test_an_engine_that_has_heard_takes_the_time_it_needs(queue: JobQueue) -> None:
    job = submit(queue, "images 3 wait")
    until(lambda: Staged("sampling") in [entry.event for entry in job.entries()], "the run")
    job.interrupt()

    assert isinstance(end(job), Finished)
    assert queue.state().message == ""


def test_an_interrupt_while_the_checkpoint_loads_is_not_lost(queue: JobQueue) -> None:
    job = submit(queue, "images 50 slow")
    job.interrupt()

    assert isinstance(end(job), Finished)
    assert job.status == "interrupted"
    assert job.images == ()


def interrupted_while_loading(queue: JobQueue, checkpoint: Checkpoint) -> None:
    """A job that is interrupted while its checkpoint, which waits for its gate, is loading: it ends anyway."""
    job = submit(queue, "first", checkpoint)
    until(lambda: queue.state() == EngineState("loading", checkpoint.name, device="fake"), "the loading")
    job.interrupt()
    finished = end(job)
    assert isinstance(finished, Finished)
    assert finished.interrupted
    assert queue.current() == ()


def test_an_interrupted_job_does_not_wait_for_its_checkpoint_which_is_loaded_for_the_next_one(
    make_queue: MakeQueue, tmp_path: Path
) -> None:
    gate, loads = tmp_path / "slow.gate", tmp_path / "loads"
    queue = make_queue(loads=str(loads))
    slow = Checkpoint("slow", gate)
    interrupted_while_loading(queue, slow)
    after = submit(queue, "next", slow)
    assert after.status == "queued"
    gate.touch()

    assert isinstance(end(after), Finished)
    assert loads.read_text().splitlines() == ["slow"]


def test_a_job_that_is_interrupted_while_loading_leaves_the_next_one_its_own_checkpoint(
    make_queue: MakeQueue, tmp_path: Path
) -> None:
    gate = tmp_path / "slow.gate"
    queue = make_queue()
    interrupted_while_loading(queue, Checkpoint("slow", gate))
    after = submit(queue, "next")
    gate.touch()

    assert isinstance(end(after), Finished)
    assert queue.state().checkpoint == CHECKPOINT.name


@pytest.mark.parametrize("name", ["killer", "refused"])
def test_a_loading_that_fails_after_its_job_was_interrupted_is_no_matter_of_that_job(
    make_queue: MakeQueue, tmp_path: Path, name: str
) -> None:
    gate = tmp_path / "bad.gate"
    queue = make_queue()
    interrupted_while_loading(queue, Checkpoint(name, gate))
    after = submit(queue, "next")
    gate.touch()

    assert isinstance(end(after), Finished)
    assert len(after.images) == 1


def test_skip_ends_one_batch_and_the_job_goes_on(queue: JobQueue) -> None:
    job = submit(queue, "images 3 slow steps 20")
    until(lambda: stepped(job), "a step")
    queue.skip()

    assert isinstance(end(job), Finished)
    assert [image.index for image in job.images] == [1, 2]


def test_stopping_what_has_ended_or_is_not_there_changes_nothing(queue: JobQueue) -> None:
    queue.interrupt()
    queue.skip()
    job = submit(queue, "a")
    end(job)
    log = job.entries()
    job.interrupt()
    job.skip()

    assert job.entries() == log
    assert isinstance(end(submit(queue, "b")), Finished)
    with pytest.raises(WebuiError, match="There is no job 'x'") as caught:
        queue.job("x")
    assert caught.value.status == 404


@pytest.mark.parametrize(
    ("misdeed", "sentence"),
    [
        ("killed", "The engine process was killed, most often because memory ran out."),
        ("exits", "The engine process ended unexpectedly (exit code 3)."),
    ],
)
def test_a_job_that_ends_the_engine_twice_fails_and_the_next_one_runs(
    make_queue: MakeQueue, tmp_path: Path, misdeed: str, sentence: str
) -> None:
    loads = tmp_path / "loads"
    queue = make_queue(loads=str(loads))
    dying = submit(queue, f"images 3 {misdeed}")
    next_one = submit(queue, "next")

    failed = end(dying)
    assert isinstance(failed, Failed)
    assert failed.message == sentence
    assert failed.hint
    assert [image.index for image in dying.images] == [0, 1]  # finished pictures are saved, and not made again
    told = [entry.event for entry in dying.entries() if isinstance(entry.event, Warned)]
    assert told == [Warned(f"{sentence} The job is resumed at its first unsaved picture.")]
    assert dying.request.seed == 5
    assert isinstance(end(next_one), Finished)
    until(lambda: queue.state().state == "ready", "the engine")


def test_the_engine_comes_back_with_its_checkpoint_though_no_job_waits(make_queue: MakeQueue, tmp_path: Path) -> None:
    loads = tmp_path / "loads"
    queue = make_queue(loads=str(loads))
    end(submit(queue, "killed"))
    until(lambda: loads.read_text() == "good\ngood\ngood\n" and queue.state().state == "ready", "the third load")


def test_an_engine_killed_while_idle_is_started_again(make_queue: MakeQueue, tmp_path: Path) -> None:
    loads = tmp_path / "loads"
    queue = make_queue(loads=str(loads))
    queue.select_checkpoint(Choice(CHECKPOINT, Settings()))
    until(lambda: queue.state().state == "ready", "the engine")
    process = queue._engine  # pyright: ignore[reportPrivateUsage]
    kill(process.pid)  # type: ignore[attr-defined]
    until(lambda: loads.read_text() == "good\ngood\n" and queue.state().state == "ready", "the second load")

    assert isinstance(end(submit(queue, "a")), Finished)


def test_a_checkpoint_that_kills_the_engine_is_tried_twice_and_then_left_alone(
    make_queue: MakeQueue, tmp_path: Path
) -> None:
    loads = tmp_path / "loads"
    queue = make_queue(loads=str(loads))
    queue.select_checkpoint(Choice(named("killer"), Settings()))
    until(lambda: queue.state().state == "failed", "the state failed")
    assert "memory ran out" in queue.state().message
    assert loads.read_text().split() == ["killer", "killer"]

    failed = end(submit(queue, "a", named("killer")))  # a job tries again
    assert isinstance(failed, Failed)
    assert "memory ran out" in failed.message
    until(lambda: queue.state().state == "failed", "the state failed")
    assert loads.read_text().split() == ["killer"] * 4  # two more than when nobody waits for it

    assert isinstance(end(submit(queue, "a", CHECKPOINT)), Finished)
    assert queue.state().state == "ready"


def test_a_death_while_the_checkpoint_loads_costs_the_job_nothing(make_queue: MakeQueue, tmp_path: Path) -> None:
    loads = tmp_path / "loads"
    queue = make_queue(loads=str(loads))
    job = submit(queue, "images 3", named("kills once"))

    assert isinstance(end(job), Finished)
    assert [image.index for image in job.images] == [0, 1, 2]
    assert loads.read_text().split("\n")[:2] == ["kills once"] * 2


def test_a_checkpoint_that_always_ends_the_engine_while_it_loads_fails_its_job_with_the_reason_and_a_retry(
    make_queue: MakeQueue, tmp_path: Path
) -> None:
    loads = tmp_path / "loads"
    queue = make_queue(loads=str(loads))
    job = submit(queue, "images 2", named("killer"))
    failed = end(job)

    assert isinstance(failed, Failed)
    assert "memory ran out" in failed.message
    assert failed.hint.startswith("It ended 4 times in a row while it loaded killer.")
    assert loads.read_text().split() == ["killer"] * 4
    assert job.parked == ()  # its pictures are not held responsible
    [again] = queue.retry(job.id)
    assert again.request == job.request
    end(again)


def test_a_picture_that_ends_the_engine_twice_is_parked_and_the_others_are_made(
    make_queue: MakeQueue, tmp_path: Path
) -> None:
    queue = make_queue()
    cured = tmp_path / "cured"
    job = submit(queue, f"images 4 kills 1 {cured}")
    failed = end(job)

    assert isinstance(failed, Failed)
    assert failed.message == "The engine process was killed, most often because memory ran out."
    assert failed.hint.startswith("It ended 2 times while making picture 2 of 4, so that batch was skipped. Retry")
    assert [image.index for image in job.images] == [0, 2, 3]
    assert job.parked == (Parked(1, failed.message),)

    cured.touch()
    [again] = queue.retry(job.id)
    assert isinstance(end(again), Finished)
    assert (again.request.n_iter, again.left_out) == (2, 1)  # this engine follows the prompt, and makes four
    assert (again.images[0].index, again.images[0].seed) == (1, 6)  # the seed that it had
    with pytest.raises(WebuiError, match="only a failed job can be retried") as caught:
        queue.retry(again.id)
    assert caught.value.status == 409


@pytest.mark.skipif(not hasattr(signal, "SIGBUS"), reason="Windows has another way to say it")
def test_a_file_that_is_cut_off_while_it_is_read_is_told_and_no_picture_is_parked_for_it(
    make_queue: MakeQueue, tmp_path: Path
) -> None:
    queue = make_queue()
    job = submit(queue, f"images 2 cuts off {tmp_path / 'model'}")
    failed = end(job)

    assert isinstance(failed, Failed)
    assert "a model file was truncated or overwritten while it was read" in failed.message
    assert failed.hint.startswith("Restore the complete file, then retry the job.")
    assert job.parked == ()
    assert [image.index for image in job.images] == [0]
    warned = [entry.event for entry in job.entries() if isinstance(entry.event, Warned)]
    assert [event.message for event in warned] == [
        f"{failed.message} The job is resumed at its first unsaved picture."
    ]  # once: the file may be complete again by then
    assert isinstance(end(submit(queue, "images 1")), Finished)


def test_pictures_of_a_script_that_are_saved_are_not_saved_again_by_a_retry(tmp_path: Path) -> None:
    outputs, cured = Outputs(tmp_path / "outputs"), tmp_path / "cured"

    def opened() -> JobQueue:
        queue = JobQueue(EngineProcess(FACTORY), Saver(outputs), job_store=JobStore(tmp_path / "jobs.sqlite"))
        queue.resume(is_saved_in(outputs))
        return queue

    queue = opened()
    failed = submit(queue, f"images 4 kills 2 {cured}", script_name="x/y/z plot")
    assert isinstance(end(failed), Failed)
    assert [image.index for image in failed.images] == [0, 1]
    queue.close()

    queue = opened()  # its pictures are known after a restart too
    cured.touch()
    [again] = queue.retry(failed.id)
    assert isinstance(end(again), Finished)
    assert [image.index for image in again.images] == [0, 1, 2, 3]
    assert again.images[:2] == failed.images
    assert len(list(outputs.root.rglob("*.png"))) == 4
    queue.close()

    queue = opened()
    assert queue.job(again.id).images == again.images
    queue.close()


def test_what_a_full_disk_has_cut_off_is_made_by_a_retry(make_queue: MakeQueue, tmp_path: Path) -> None:
    is_full = threading.Event()
    is_full.set()

    def full(job: Job, done: ImageDone) -> ImageSaved:
        if done.index == 1 and is_full.is_set():
            raise WebuiError("The disk is full.")
        return save(job, done)

    queue = make_queue(save=full)
    job = submit(queue, "images 4")
    end(job)
    is_full.clear()
    [again] = queue.retry(job.id)
    assert isinstance(end(again), Finished)
    assert [image.index for image in (*job.images, *again.images)] == [0, 1, 2, 3]


def test_a_slow_disk_holds_up_nobody_who_only_looks(make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = make_queue()
    running, waiting = submit(queue, "wait"), submit(queue, "a")
    until(lambda: running.status == "running", "the first to run")
    syncing, resume_all = threading.Event(), threading.Event()
    job_store = queue._job_store  # pyright: ignore[reportPrivateUsage]
    end_of = job_store.end

    def slow(*values: Any) -> None:
        syncing.set()
        assert resume_all.wait(480)  # longer than anyone here waits for it
        end_of(*values)

    monkeypatch.setattr(job_store, "end", slow)
    stopper = threading.Thread(target=waiting.interrupt)
    stopper.start()
    assert syncing.wait(240)
    looked: list[tuple[Job, ...]] = []
    looker = threading.Thread(target=lambda: looked.append(queue.jobs()))
    looker.start()
    looker.join(240)  # would wait for the disk, which never returns here
    assert looked == [(waiting, running)]
    resume_all.set()
    stopper.join(240)
    assert waiting.status == "interrupted"
    queue.interrupt()
    end(running)


def test_a_checkpoint_that_is_refused_fails_its_job_with_the_reason_and_the_engine_lives(queue: JobQueue) -> None:
    failed = end(submit(queue, "a", named("refused")))

    assert failed == Failed("refused.safetensors is a LoRA. Put it into models/Lora.", field="sd_model_checkpoint")
    assert queue.state().state == "failed"
    assert isinstance(end(submit(queue, "a")), Finished)


def test_an_engine_that_cannot_be_built_says_why(make_queue: MakeQueue) -> None:
    queue = make_queue(factory="tests.jobs.fake_engine:create_never")

    failed = end(submit(queue, "a"))
    assert isinstance(failed, Failed)
    assert failed.message == "torch is not installed. Run python launch.py."
    until(lambda: queue.state().state == "failed", "the state failed")
    assert "torch is not installed" in queue.state().message


@pytest.mark.parametrize(
    ("misdeed", "message"),
    [
        ("webui-error", r"steps=0: must be at least 1\."),
        ("raises", r"The engine failed: ValueError: the numbers do not fit \(id [0-9a-f]{6} in the log\)\."),
    ],
)
def test_an_error_in_the_engine_fails_the_job_alone(
    make_queue: MakeQueue, tmp_path: Path, misdeed: str, message: str
) -> None:
    builds = tmp_path / "builds"
    queue = make_queue(builds=str(builds))
    job = submit(queue, f"images 2 {misdeed}")
    failed = end(job)

    assert isinstance(failed, Failed)
    assert re.fullmatch(message, failed.message)
    assert len(job.images) == 1
    assert isinstance(end(submit(queue, "a")), Finished)
    assert builds.read_text() == "built\n"  # one process served both


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "Picture 2 could not be saved: No space left on device."),
        (WebuiError("outputs is read-only.", "Choose another folder."), "outputs is read-only."),
    ],
)
def test_a_picture_that_cannot_be_saved_stops_the_job_with_the_reason(
    make_queue: MakeQueue, error: Exception, message: str
) -> None:
    def full(job: Job, done: ImageDone) -> ImageSaved:
        if done.index == 1:
            raise error
        return save(job, done)

    queue = make_queue(save=full)
    job = submit(queue, "images 100 slow")
    failed = end(job)

    assert isinstance(failed, Failed)
    assert failed.message == message
    assert failed.hint
    assert [image.index for image in job.images] == [0]
    begun = [entry.event.batch for entry in job.entries() if isinstance(entry.event, Stepped)]
    assert max(begun) < 99  # the engine was stopped
    assert isinstance(end(submit(queue, "images 1")), Finished)


def test_the_engine_goes_on_while_a_picture_is_saved(make_queue: MakeQueue) -> None:
    may_save = threading.Event()

    def slow(job: Job, done: ImageDone) -> ImageSaved:
        assert may_save.wait(300)
        return save(job, done)

    queue = make_queue(save=slow)
    job = submit(queue, "images 2")
    until(lambda: any(e.event == Stepped(1, 4, 4) for e in job.entries()), "the second picture's steps")
    assert job.images == ()
    may_save.set()

    assert isinstance(end(job), Finished)
    assert [image.index for image in job.images] == [0, 1]


def test_a_large_picture_comes_through_the_pipe_whole(make_queue: MakeQueue) -> None:
    pixels: list[bytes] = []

    def keep(job: Job, done: ImageDone) -> ImageSaved:
        pixels.append(done.pixels)
        return save(job, done)

    queue = make_queue(save=keep)
    end(submit(queue, "images 2 side 2048"))
    assert pixels == [bytes([index]) * (3 * 2048 * 2048) for index in (0, 1)]


def test_seeds_are_drawn_when_a_job_is_submitted(queue: JobQueue) -> None:
    job = queue.submit(JobSpec(TXT2IMG, Txt2ImgRequest(seed=-1), Settings(), Resources(CHECKPOINT)))

    assert job.request.seed >= 0
    assert job.request.subseed >= 0
    end(job)
    assert next(e.event.seed for e in job.entries() if isinstance(e.event, Started)) == job.request.seed


def test_old_jobs_are_forgotten(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_module, "REMEMBERED_JOBS", 2)
    jobs = [submit(queue, "a") for _ in range(4)]
    end(jobs[-1])
    until(lambda: len(queue.jobs()) == 2, "old jobs to go")

    assert queue.jobs() == (jobs[3], jobs[2])


def test_listeners_hear_of_jobs_and_of_the_engine(queue: JobQueue) -> None:
    seen: list[tuple[str, tuple[str, ...]]] = []
    remove = queue.listeners.add(lambda: seen.append((queue.state().state, tuple(j.status for j in queue.current()))))
    first = submit(queue, "wait")
    until(lambda: ("ready", ("running",)) in seen, "the first to run")
    second = submit(queue, "a")  # waits behind one that runs until it is stopped, so its events are certain
    first.interrupt()
    end(second)
    until(lambda: seen[-1] == ("ready", ()), "the end")
    remove()

    assert {("loading", ("running",)), ("ready", ("running",)), ("ready", ("running", "queued"))} <= set(seen)


def test_an_engine_that_dies_once_costs_its_job_nothing(make_queue: MakeQueue, tmp_path: Path) -> None:
    queue = make_queue()
    job = submit(queue, f"images 4 dies-once {tmp_path / 'died'}")
    next_one = submit(queue, "next")

    assert isinstance(end(job), Finished)
    assert [image.index for image in job.images] == [0, 1, 2, 3]
    assert isinstance(end(next_one), Finished)
    batches = [entry.event.batch for entry in job.entries() if entry.event in [Stepped(n, 4, 4) for n in range(4)]]
    assert batches == [0, 1, 2, 3, 3]  # only the last picture's steps were made twice


def test_closing_lets_followers_go_and_ends_the_process(make_queue: MakeQueue) -> None:
    queue = make_queue()
    running = submit(queue, "wait")
    waiting = submit(queue, "a")
    until(lambda: any(isinstance(e.event, Started) for e in running.entries()), "the job to run")
    queue.close()

    assert (running.status, waiting.status) == ("running", "queued")
    assert (running.is_parked, waiting.is_parked) == (True, True)
    assert [event for _, event in waiting.follow()] == [Queued(1)]
    assert queue.state().state == "stopped"
    with pytest.raises(WebuiError, match="shutting down"):
        submit(queue, "late")


def kill(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def test_unloading_ends_the_engine_process_and_the_next_job_starts_another(queue: JobQueue) -> None:
    end(submit(queue, "a"))
    process = psutil.Process(queue._engine.pid)  # type: ignore[attr-defined]
    queue.unload(60)
    assert (queue.state().state, process.is_running()) == ("unloaded", False)
    job = submit(queue, "b")
    end(job)
    assert (job.status, len(job.images), queue.state().state) == ("finished", 1, "ready")


def test_unloading_waits_for_the_jobs_and_holds_up_nobody(queue: JobQueue) -> None:
    running, waiting = submit(queue, "wait"), submit(queue, "b")
    queue.unload(60)  # returns at once: jobs are there
    assert not running.ended
    running.interrupt()
    end(waiting)
    assert waiting.status == "finished"
    queue.unload(60)
    assert queue.state().state == "unloaded"
