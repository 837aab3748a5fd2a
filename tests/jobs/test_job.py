"""A job's log: numbers, followers, what it keeps and what it drops."""

import random
import threading

import pytest
from PIL import Image

from modules.base.events import (
    Event,
    Failed,
    Finished,
    ImageDone,
    ImageSaved,
    Previewed,
    Queued,
    Staged,
    Started,
    Stepped,
    Stop,
)
from modules.base.picture import Picture
from modules.jobs.job import Job, JobSpec
from modules.processing.kinds.generate import IMG2IMG, TXT2IMG
from modules.schema.request import Img2ImgRequest, Txt2ImgRequest
from modules.schema.settings import Settings

SAVED = ImageSaved(0, 5, 8, 8, "text", "a.png")


def make(request: Txt2ImgRequest | Img2ImgRequest | None = None) -> Job:
    kind = IMG2IMG if isinstance(request, Img2ImgRequest) else TXT2IMG
    return Job(JobSpec(kind, request or Txt2ImgRequest(), Settings()), lambda job, stop: None)


def filled(*events: Event) -> Job:
    job = make()
    for event in events:
        job.append(event)
    return job


def test_a_late_follower_gets_the_whole_log_with_its_numbers() -> None:
    job = filled(Queued(0), Staged("sampling"), Stepped(0, 1, 2), SAVED, Finished(1.0, {}))

    assert list(job.follow()) == [
        (1, Queued(0)),
        (2, Staged("sampling")),
        (3, Stepped(0, 1, 2)),
        (4, SAVED),
        (5, Finished(1.0, {})),
    ]


def test_a_follower_resumes_after_a_number() -> None:
    job = filled(Queued(0), Staged("sampling"), Stepped(0, 1, 2), Finished(1.0, {}))

    assert [number for number, _ in job.follow(after=2)] == [3, 4]
    assert list(job.follow(after=4)) == []


def test_of_previews_and_positions_the_log_keeps_the_last() -> None:
    job = filled(Queued(2), Queued(1), Previewed(0, 1, 1, b"a"), Stepped(0, 1, 2), Previewed(0, 1, 1, b"b"))

    assert [tuple(entry)[::2] for entry in job.entries()] == [
        (2, Queued(1)),
        (4, Stepped(0, 1, 2)),
        (5, Previewed(0, 1, 1, b"b")),
    ]
    assert [entry.number for entry in job.entries(after=2)] == [4, 5]


def test_followers_in_other_threads_are_woken_and_see_the_same() -> None:
    job = make()
    seen: list[list[int]] = [[], []]
    threads = [
        threading.Thread(target=lambda into=into: into.extend(number for number, _ in job.follow())) for into in seen
    ]
    for thread in threads:
        thread.start()
    for step in range(1, 51):
        job.append(Stepped(0, step, 50))
    job.append(Finished(1.0, {}))
    for thread in threads:
        thread.join(240)

    assert seen == [list(range(1, 52))] * 2


def test_pixels_stay_out_of_the_log_and_nothing_follows_the_end() -> None:
    with pytest.raises(AssertionError, match="pixels"):
        make().append(ImageDone(0, 5, 1, 1, "", b"rgb"))
    with pytest.raises(AssertionError, match="already ended"):
        filled(Failed("no")).append(Queued(0))


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([Queued(1)], "queued"),
        ([Queued(0), Staged("starting")], "running"),
        ([Queued(0), Started(1, 1, 4, 8, 8, 5)], "running"),
        ([Queued(0), Finished(1.0, {})], "finished"),
        ([Queued(0), Finished(1.0, {}, interrupted=True)], "interrupted"),
        ([Queued(0), Failed("no")], "failed"),
    ],
)
def test_status_follows_the_events(events: list[Event], status: str) -> None:
    assert filled(*events).status == status


@pytest.mark.parametrize(("ending", "kept"), [(Finished(1.0, {}), 0), (Failed("no"), 1)])
def test_a_job_that_ended_well_lets_its_source_pictures_go(ending: Finished | Failed, kept: int) -> None:
    source = Picture.from_image(Image.new("RGB", (8, 8)))
    job = make(Img2ImgRequest(init_images=(source,), mask=source, prompt="a cat"))
    job.append(ending)

    assert isinstance(job.request, Img2ImgRequest)
    assert len(job.request.init_images) == kept
    assert (job.request.mask is not None) == kept
    assert job.request.prompt == "a cat"


def test_stop_wishes_go_to_the_owner() -> None:
    requested: list[tuple[str, Stop]] = []
    request = Txt2ImgRequest().resolved(random.Random(1))
    job = Job(JobSpec(TXT2IMG, request, Settings()), lambda job, stop: requested.append((job.id, stop)))
    job.skip()
    job.interrupt()

    assert requested == [(job.id, Stop.SKIP), (job.id, Stop.INTERRUPT)]
