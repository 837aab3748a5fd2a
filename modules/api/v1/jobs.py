"""Jobs: submit, list, follow, stop."""

import base64
import re
from dataclasses import asdict
from typing import Annotated, Any, cast
from urllib.parse import quote

from fastapi import APIRouter, Header, Path, Query, Request
from pydantic import Field, WithJsonSchema
from starlette.responses import Response

from modules.api.clients import client_of
from modules.api.middleware.turns import LargeJson
from modules.api.openapi import fields_of
from modules.api.services import Services
from modules.api.sse import NOTHING_NEW, EventStream, event_text
from modules.base.errors import WebuiError
from modules.base.events import ENDINGS, Event, Failed, ImageSaved, Previewed
from modules.base.fields import Strict
from modules.base.picture import Picture
from modules.base.picture_fields import picture_fields
from modules.jobs.job import Job
from modules.jobs.progress import ProgressFold
from modules.processing.kinds.registry import BUILT_IN
from modules.prompts.styles import style_names
from modules.store.large import is_shown_reduced
from modules.store.pictures import Pictures

PICTURE_ID = re.compile(r"[0-9a-f]{64}")
STYLES = {"type": "array", "items": {"type": "string"}, "description": "Names of styles to apply to the prompt."}
JobId = Annotated[str, Path(description="The id from POST /v1/jobs.")]
LastEventId = Annotated[str, Header(description="The number of the last event you have; later ones are sent.")]
EVENTS_AT_ONCE = 200  # a long log is sent in pieces, so other clients are served in between


class JobBody(Strict):
    kind: Annotated[str, WithJsonSchema({"type": "string", "enum": list(BUILT_IN.requests)})] = Field(
        description="The kind of job: txt2img, img2img, extras (upscales a picture) or merge (merges checkpoints)."
    )
    request: Annotated[dict[str, Any], WithJsonSchema(fields_of(*BUILT_IN.requests.values(), styles=STYLES))] = Field(
        description="Fields of this kind of job; omitted fields use their defaults."
    )
    leave_out_missing: bool = Field(
        default=False, description="Remove tags of missing LoRAs from the prompts instead of failing."
    )


def routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["jobs"], route_class=LargeJson)
    queue = services.queue

    @router.post("/jobs", status_code=201)
    def submit(body: JobBody, http_request: Request) -> dict[str, Any]:
        """Submit a job. Pictures are ids from /v1/pictures, base64 or data URIs."""
        kind = queue.kinds.named(body.kind)
        styles = style_names(body.request)
        values = {name: value for name, value in body.request.items() if name != "styles"}
        request = kind.parse(_with_pictures(kind.request, values, services.pictures))
        settings = services.settings.current
        spec = services.admission.admitted(kind, request, settings, body.leave_out_missing, styles)
        job = services.submit(client_of(http_request), spec)
        return {"id": job.id, "ahead": job.ahead, "url": f"/v1/jobs/{job.id}"}

    @router.get("/jobs")
    async def jobs() -> list[dict[str, Any]]:
        """The remembered jobs, newest first."""
        return [described(job) for job in queue.jobs()]

    @router.get("/jobs/{job_id}")
    async def job(job_id: JobId) -> dict[str, Any]:
        """The progress of a job and its pictures."""
        return described(queue.job(job_id))

    @router.get("/jobs/{job_id}/events", status_code=200, response_class=EventStream, responses=NOTHING_NEW)
    async def events(
        job_id: JobId,
        last_event_id: LastEventId = "",
        after: Annotated[int, Query(ge=0, lt=10**15, description="The number of the last event you have.")] = 0,
    ) -> Response:
        """The events of a job from the start, or after Last-Event-ID or the number `after`, to its end."""
        job = queue.job(job_id)
        after = number_after(last_event_id, after)
        if after and job.ended and not job.entries(after):
            return Response(status_code=204)  # tells an EventSource not to connect again
        return EventStream(JobFeed(job, after), services.streams)

    @router.post("/jobs/{job_id}/interrupt")
    def interrupt(job_id: JobId) -> dict[str, Any]:
        """Stop a job; finished pictures are kept."""
        queue.job(job_id).interrupt()
        return {}

    @router.post("/jobs/{job_id}/skip")
    def skip(job_id: JobId) -> dict[str, Any]:
        """End a job's current batch."""
        queue.job(job_id).skip()
        return {}

    @router.post("/jobs/{job_id}/retry", status_code=201)
    def retry(job_id: JobId, http_request: Request) -> dict[str, Any]:
        """Make the missing pictures of a failed job: skipped batches, and everything after its last picture, with
        its seeds."""
        jobs = services.retry(client_of(http_request), job_id)
        return {"jobs": [{"id": job.id, "ahead": job.ahead, "url": f"/v1/jobs/{job.id}"} for job in jobs]}

    @router.delete("/jobs/{job_id}")
    def remove(job_id: JobId) -> dict[str, Any]:
        """Remove a waiting job from the queue; a running one is interrupted."""
        queue.job(job_id).interrupt()
        return {}

    @router.post("/interrupt")
    def interrupt_running() -> dict[str, Any]:
        """Stop the running job."""
        queue.interrupt()
        return {}

    @router.post("/skip")
    def skip_running() -> dict[str, Any]:
        """End the running job's current batch."""
        queue.skip()
        return {}

    return router


def number_after(last_event_id: str, after: int) -> int:
    """The number of the last event that a client has: Last-Event-ID if an EventSource reconnects, or `after`."""
    return int(last_event_id) if re.fullmatch(r"[0-9]{1,15}", last_event_id) else after


def described(job: Job) -> dict[str, Any]:
    """A job as JSON."""
    return {
        "id": job.id,
        "kind": job.kind.name,
        "title": job.kind.title,
        "status": job.status,
        "ahead": job.ahead,
        "created": job.created,
        "images": [event_data(image) for image in job.images],
        "resumed": job.is_resumed,
        "progress": asdict(job.progress()),
    }


def event_name(event: Event) -> str:
    """ImageSaved is "image_saved"."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()


def event_data(event: Event) -> dict[str, Any]:
    """An event's fields as JSON, with the URL of a saved picture."""
    data = dict(vars(event))
    if isinstance(event, Previewed):
        data["data"] = "data:image/jpeg;base64," + base64.b64encode(event.data).decode("ascii")
    if isinstance(event, ImageSaved):
        # A client of A1111's routes may have received its pictures without saving them.
        data["url"] = f"/v1/outputs/{quote(event.path)}" if event.path else ""
        if event.path and is_shown_reduced(event.path, event.width, event.height):
            data["reduced"] = f"{data['url']}?reduced=true"
    return data


class JobFeed:
    """A job's events after number `after` for one client, each with the progress at that point."""

    def __init__(self, job: Job, after: int) -> None:
        self.listeners = job.listeners
        self.over = False
        self._job = job
        self._fold = ProgressFold()
        self._read = 0
        for number, at, event in job.entries():
            if number <= after:
                self._fold.add(event, at)
                self._read = number

    def read(self) -> str:
        texts: list[str] = []
        for number, at, event in self._job.entries(self._read)[:EVENTS_AT_ONCE]:
            self._read = number
            self._fold.add(event, at)
            self.over = isinstance(event, ENDINGS)
            data = event_data(event)
            if isinstance(event, Failed):
                data["retry"] = not self._job.lost
            data |= {"progress": asdict(self._fold.progress(at))}
            texts.append(event_text(event_name(event), data, number))
        self.over = self.over or (self._job.is_parked and not texts)
        return "".join(texts)


def _with_pictures(model: type[Strict], values: dict[str, Any], pictures: Pictures) -> dict[str, Any]:
    """`values` with picture ids replaced by their pictures."""
    found: dict[str, Any] = {}
    for name in picture_fields(model):
        value = values.get(name)
        if not isinstance(value, list):
            found |= {name: _picture(value, pictures, name)} if name in values else {}
        elif len(cast(list[Any], value)) <= most(model, name):  # longer lists are rejected later, so skip them
            found[name] = [_picture(source, pictures, name) for source in cast(list[Any], value)]
    return {**values, **found}


def most(model: type[Strict], name: str) -> int:
    """The maximum number of pictures in a field."""
    bounds = (each.max_length for each in model.model_fields[name].metadata if hasattr(each, "max_length"))
    return next(bounds, 1)


def _picture(source: Any, pictures: Pictures, field: str) -> Picture | Any:
    if not (isinstance(source, str) and PICTURE_ID.fullmatch(source)):
        return source
    try:
        return pictures.get(source)
    except WebuiError as error:
        raise WebuiError(error.message, error.hint, field, error.status) from error
