"""Pictures of one run are saved in order, once, and the first failure ends it; no queue and no engine."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from modules.base.errors import WebuiError
from modules.base.events import Failed, ImageDone, ImageSaved, PictureDone
from modules.base.picture import Picture
from modules.jobs.job import Job, JobSpec
from modules.jobs.saving import JobSavers, SavePicture, Saver, Saves
from modules.processing.kinds.generate import TXT2IMG
from modules.schema.request import Txt2ImgRequest
from modules.schema.settings import Settings
from modules.store import metadata
from modules.store.job_store import JobStore
from modules.store.outputs import Outputs


def job(**settings: Any) -> Job:
    return Job(JobSpec(TXT2IMG, Txt2ImgRequest(), Settings(**settings)), lambda job, stop: None)


def done(index: int) -> ImageDone:
    return ImageDone(index, 5, 1, 1, "text", b"abc")


def saved(index: int) -> ImageSaved:
    return done(index).saved(f"{index}.png")


def run(job: Job, save: SavePicture, count: int) -> tuple[Failed | None, int]:
    """What `finish` says after `count` pictures, and how often the engine was told to stop."""
    stops: list[int] = []
    store = JobStore()
    store.add(job.id, job.kind.name, job.created, job.request, job.settings, job.resources)
    with ThreadPoolExecutor(1) as executor, closing(store):
        saves = Saves(job, save, executor, store, lambda: stops.append(1))
        for index in range(count):
            saves.add(done(index))
        return saves.finish(), len(stops)


def test_pictures_are_saved_in_order_and_logged() -> None:
    made = job()
    order: list[int] = []

    def save(job: Job, picture: PictureDone) -> ImageSaved:
        order.append(picture.index)
        return saved(picture.index)

    assert run(made, save, 12) == (None, 0)  # more than may wait
    assert order == list(range(12))
    assert made.images == tuple(saved(index) for index in range(12))


def test_what_an_earlier_run_has_saved_is_not_saved_again() -> None:
    made = job()
    made.append(saved(1))
    order: list[int] = []

    def save(job: Job, picture: PictureDone) -> ImageSaved:
        order.append(picture.index)
        return saved(picture.index)

    run(made, save, 3)
    assert order == [0, 2]


@pytest.mark.parametrize(
    ("error", "message", "field"),
    [
        (WebuiError("The folder is gone.", "Make it.", "outdir"), "The folder is gone.", "outdir"),
        (OSError(28, "No space left"), "Picture 2 could not be saved: No space left.", ""),
        (RuntimeError("a bug"), "Picture 2 could not be saved (id ", ""),
    ],
)
def test_the_first_failure_ends_the_saving_and_stops_the_engine_once(
    error: Exception, message: str, field: str
) -> None:
    made = job()
    order: list[int] = []

    def save(job: Job, picture: PictureDone) -> ImageSaved:
        order.append(picture.index)
        if picture.index == 1:
            raise error
        return saved(picture.index)

    failure, stops = run(made, save, 4)
    assert failure is not None
    assert failure.message.startswith(message)
    assert (failure.field, stops, order) == (field, 1, [0, 1])
    assert made.images == (saved(0),)


def named(name: str) -> Callable[[Job, PictureDone], ImageSaved]:
    return lambda job, picture: picture.saved(name)


def test_a_job_with_a_saver_of_its_own_uses_it_until_it_is_forgotten(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path / "outputs")
    savers = JobSavers(Saver(outputs))
    own, other = job(), job()
    assert savers.submit(lambda: own, named("own.png")) is own
    savers.set(other.id, named("other.png"))
    assert [savers(each, done(0)).path for each in (own, other)] == ["own.png", "other.png"]
    savers.forget(own.id)
    assert savers(own, done(0)).path.startswith("txt2img-images/")
    savers.forget("unknown")


def test_a_job_that_could_not_be_submitted_has_no_saver(tmp_path: Path) -> None:
    savers = JobSavers(Saver(Outputs(tmp_path / "outputs")))
    refused = job()

    def submit() -> Job:
        raise WebuiError("The queue is full.")

    with pytest.raises(WebuiError, match="full"):
        savers.submit(submit, named("own.png"))
    assert savers(refused, done(0)).path.startswith("txt2img-images/")


@pytest.mark.parametrize(("format_", "infotext", "others"), [("png", "all", {"Software": "x"}), ("webp", "text", {})])
def test_only_a_png_holds_several_texts(tmp_path: Path, format_: str, infotext: str, others: dict[str, str]) -> None:
    saver = Saver(Outputs(tmp_path / "outputs"))
    picture = ImageDone(0, 5, 1, 1, "text", b"abc", texts={"parameters": "all", "Software": "x"})
    found = metadata.read(Picture.from_bytes(saver.encoded(job(samples_format=format_), picture).data))
    assert (found.infotext, found.items) == (infotext, others)


def test_a_picture_is_announced_before_its_file_is_there(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path / "outputs")
    told: list[tuple[str, bool]] = []

    def announce(image: ImageSaved, sha256: str) -> None:
        told.append((image.path, (outputs.root / image.path).exists()))

    made = Job(JobSpec(TXT2IMG, Txt2ImgRequest(), Settings()), lambda job, stop: None, announce=announce)
    image = Saver(outputs)(made, done(0))
    assert told == [(image.path, False)]
    assert (outputs.root / image.path).is_file()
