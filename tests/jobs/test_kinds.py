"""Job kinds: one that the product does not know runs through queue, store, restart, progress, API and history."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps
from pydantic import ConfigDict, Field
from starlette.testclient import TestClient

from modules.api.app import create_api
from modules.base.errors import WebuiError
from modules.base.events import EngineState, Event, Finished, ImageDone, Started, Stepped, Stop
from modules.base.fields import Strict
from modules.base.picture import Picture
from modules.jobs.batch.batches import Batches
from modules.jobs.batch.intake import BatchIntake
from modules.jobs.job import Job, JobSpec
from modules.jobs.queue import JobQueue
from modules.jobs.saving import JobSavers, Saver
from modules.jobs.workers.process import EngineProcess
from modules.processing.kinds.kind import JobKind, Results, Work
from modules.processing.kinds.registry import BUILT_IN
from modules.schema.settings import Settings
from modules.store.history import History
from modules.store.job_store import JobStore, is_saved_in
from modules.store.outputs import Outputs
from modules.store.pictures import Pictures
from tests.api.conftest import BASE, services_in
from tests.jobs.conftest import FACTORY


class InvertRequest(Strict):
    model_config = ConfigDict(frozen=True, extra="forbid")

    photo: Picture | None = None
    times: int = Field(default=1, ge=1, le=8)
    gate: str = ""  # a file that the second picture waits for


@dataclass(frozen=True)
class Invert(JobKind[InvertRequest]):
    """Turns a picture into its negative, again and again."""

    def results(self, request: InvertRequest, settings: Settings) -> Results:
        return Results(request.times)

    def first_batches(self, request: InvertRequest, count: int) -> InvertRequest:
        return request.model_copy(update={"times": count})

    def run(self, engine: Any, work: Work, should_stop: Callable[[], Stop]) -> Iterator[Event | EngineState]:
        request: InvertRequest = work.request
        assert request.photo is not None
        image = request.photo.rgb()
        yield Started(request.times, request.times, 1, *image.size, seed=0)
        for index in range(work.first_batch, request.times):
            while index and request.gate and not Path(request.gate).exists():
                time.sleep(0.005)
                if should_stop():
                    yield Finished(0.0, {}, interrupted=True)
                    return
            yield Stepped(index, 1, 1)
            turned = ImageOps.invert(image) if index % 2 == 0 else image
            yield ImageDone(index, 0, *turned.size, infotext=f"inverted {index}", pixels=turned.tobytes())
        yield Finished(0.0, {})


INVERT = Invert("invert", "Invert", InvertRequest, source_field="", needs_checkpoint=False)
KINDS = BUILT_IN.with_kind(INVERT)
PHOTO = Picture.from_image(Image.new("RGB", (8, 8), (255, 0, 0)))
PATIENCE = 300  # seconds


def until(happened: Callable[[], object]) -> None:
    limit = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < limit
        time.sleep(0.01)


def opened(folder: Path) -> tuple[JobQueue, Outputs]:
    outputs = Outputs(folder / "outputs")
    job_store = JobStore(folder / "jobs.sqlite", Pictures(folder / "pictures"))
    queue = JobQueue(EngineProcess(FACTORY), Saver(outputs), job_store=job_store, kinds=KINDS)
    queue.resume(is_saved_in(outputs))
    return queue, outputs


def ended(job: Job) -> Job:
    for _ in job.follow():
        pass
    return job


def colors(outputs: Outputs, job: Job) -> list[Any]:
    return [Image.open(outputs.locate(image.path)).getpixel((0, 0)) for image in job.images]


def test_another_kind_makes_files_in_a_folder_of_its_own_without_a_checkpoint(tmp_path: Path) -> None:
    queue, outputs = opened(tmp_path)
    job = ended(queue.submit(JobSpec(INVERT, InvertRequest(photo=PHOTO, times=2), Settings())))
    assert (job.status, job.progress().fraction, job.progress().images) == ("finished", 1.0, 2)
    assert colors(outputs, job) == [(0, 255, 255), (255, 0, 0)]
    assert all(image.path.startswith("invert-images/") for image in job.images)
    assert queue.state().checkpoint == ""
    assert job.request.photo is None  # dropped
    queue.close()


@pytest.mark.slow
def test_another_kind_goes_on_after_a_restart_at_its_first_picture_that_is_not_saved(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    queue, _ = opened(tmp_path)
    job = queue.submit(JobSpec(INVERT, InvertRequest(photo=PHOTO, times=3, gate=str(gate)), Settings()))
    until(lambda: job.images)
    queue.close()
    assert not job.ended

    gate.touch()
    queue, outputs = opened(tmp_path)
    again = ended(queue.job(job.id))
    assert (again.kind, again.status, again.is_resumed) == (INVERT, "finished", True)
    assert colors(outputs, again) == [(0, 255, 255), (255, 0, 0), (0, 255, 255)]
    assert again.images[:1] == job.images
    queue.close()

    queue, _ = opened(tmp_path)
    assert (queue.job(job.id).status, len(queue.job(job.id).images)) == ("finished", 3)
    queue.close()


def test_a_job_of_a_kind_that_is_gone_is_listed_as_failed(tmp_path: Path) -> None:
    queue, _ = opened(tmp_path)
    job = queue.submit(JobSpec(INVERT, InvertRequest(photo=PHOTO, times=2, gate=str(tmp_path / "no")), Settings()))
    until(lambda: job.images)
    queue.close()
    without = JobQueue(
        EngineProcess(FACTORY),
        Saver(Outputs(tmp_path / "outputs")),
        job_store=JobStore(tmp_path / "jobs.sqlite", Pictures(tmp_path / "pictures")),
    )
    without.resume(is_saved_in(Outputs(tmp_path / "outputs")))
    found = without.job(job.id)
    assert (found.status, found.kind.name, len(found.images)) == ("failed", "invert", 1)
    assert "it has no InvertRequest" in found.lost
    without.close()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with services_in(tmp_path) as services:
        savers = JobSavers(Saver(services.outputs))
        queue = JobQueue(EngineProcess(FACTORY), savers, kinds=KINDS)
        batches = Batches(queue, savers, services.outputs, services.pictures)
        intake = BatchIntake.of(batches, tmp_path, services.outputs.root)
        history = History(services.outputs, tmp_path / "invert.sqlite")
        changed = replace(services, queue=queue, savers=savers, intake=intake, history=history)
        with TestClient(create_api(changed), base_url=BASE) as client:
            yield client
        queue.close()


def run(client: TestClient, kind: str, **request: Any) -> dict[str, Any]:
    answer = client.post("/v1/jobs", json={"kind": kind, "request": request})
    assert answer.status_code == 201, answer.text
    client.get(f"{answer.json()['url']}/events")  # ends with the job
    return client.get(answer.json()["url"]).json()


def test_another_kind_is_submitted_listed_and_shown_by_the_api(client: TestClient) -> None:
    photo = client.post("/v1/pictures", content=PHOTO.data).json()["id"]
    job = run(client, "invert", photo=photo, times=2)
    assert (job["kind"], job["title"], job["status"], len(job["images"])) == ("invert", "Invert", "finished", 2)
    assert client.get(job["images"][0]["url"]).status_code == 200
    assert [each["kind"] for each in client.get("/v1/jobs").json()] == ["invert"]
    assert len(client.get("/v1/history").json()["pictures"]) == 2
    refused = client.post("/v1/jobs", json={"kind": "invert", "request": {"times": 9}})
    assert refused.status_code == 422
    assert "times = 9" in refused.json()["detail"]


def test_extras_upscales_a_picture_as_a_job(client: TestClient) -> None:
    photo = client.post("/v1/pictures", content=PHOTO.data).json()["id"]
    job = run(client, "extras", image=photo, upscaling_resize=4)
    assert (job["status"], job["images"][0]["width"], job["images"][0]["height"]) == ("finished", 32, 32)
    assert job["images"][0]["path"].startswith("extras-images/")
    assert "Postprocess upscale by: 4" in job["images"][0]["infotext"]
    assert client.post("/v1/jobs", json={"kind": "extras", "request": {}}).status_code == 422


def test_a_batch_of_extras_enlarges_each_file_and_a_second_run_keeps_what_is_finished(client: TestClient) -> None:
    names = ["one.png", "two.png", "broken.png"]
    data = [PHOTO.data, Picture.from_image(Image.new("RGB", (12, 8))).data, b"no picture"]
    ids = [client.post("/v1/batches/files", content=each).json()["id"] for each in data]
    files = [{"name": name, "id": id} for name, id in zip(names, ids, strict=True)]
    request = {"upscaler_1": "lanczos", "upscaling_resize": 2}
    body = {"kind": "extras", "request": request, "files": files, "options": {"output": "extras-batch", "words": []}}
    outcomes: list[list[str]] = []
    for _ in range(2):
        batch = client.post("/v1/batches", json=body).json()
        client.get(f"{batch['url']}/events")  # ends with the batch
        settled = client.get(batch["url"]).json()
        outcomes.append([file["outcome"] for file in sorted(settled["files"], key=lambda file: file["name"])])
        pictures = [(each["width"], each["path"]) for file in settled["files"] for each in file["pictures"]]
        if pictures:
            assert sorted(pictures) == [(16, "extras-batch/one.png"), (24, "extras-batch/two.png")]
    assert outcomes == [["failed", "done", "done"], ["failed", "kept", "kept"]]


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"image": "x"}, "request: image is set by each file of a batch."),
        ({"upscaler_1": "Lanzos"}, "upscaler_1='Lanzos': there is no such upscaler; did you mean 'Lanczos'?"),
        ({"prompt": "a fox"}, "prompt = 'a fox': there is no such field."),
    ],
)
def test_a_batch_of_extras_that_no_file_could_be_made_by_is_refused(
    client: TestClient, request_: dict[str, Any], sentence: str
) -> None:
    file = {"name": "one.png", "id": client.post("/v1/batches/files", content=PHOTO.data).json()["id"]}
    refused = client.post("/v1/batches", json={"kind": "extras", "request": request_, "files": [file]})
    assert (refused.status_code, refused.json()["detail"]) == (422, sentence)


def test_an_unknown_kind_is_an_error_that_suggests_the_closest_match(client: TestClient) -> None:
    refused = client.post("/v1/jobs", json={"kind": "extra", "request": {}})
    assert refused.status_code == 422
    assert refused.json()["detail"] == "kind = 'extra': unknown job kind. Did you mean 'extras'?"
    with pytest.raises(WebuiError, match="unknown job kind"):
        KINDS.named("nonsense")
