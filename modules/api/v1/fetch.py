"""Model files from the hub: the curated list, the metadata of a file, and downloads with their events."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from modules.api.services import Services
from modules.api.sse import NOTHING_NEW, EventStream
from modules.api.v1.jobs import JobFeed, LastEventId, described, number_after
from modules.fetching.order import FetchRequest
from modules.jobs.job import Job

FetchId = Annotated[str, Path(description="The id from POST /v1/fetch.")]


def routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1/fetch", tags=["fetch"])
    downloads = services.downloads
    fetcher = downloads.fetcher

    @router.get("/catalog")
    def catalog() -> dict[str, Any]:
        """The curated list of files, and whether downloads are allowed."""
        missing = {entry.id for entry in fetcher.missing(fetcher.catalog)}
        rows = [entry.model_dump() | {"is_here": entry.id not in missing} for entry in fetcher.catalog]
        return {"offline": fetcher.is_offline, "entries": rows}

    @router.post("/offer")
    def offer(body: FetchRequest) -> dict[str, Any]:
        """The hub's metadata for a file: size, hash and licence. Nothing is downloaded."""
        offer = fetcher.offer(body)
        return {
            "repo": offer.order.repo,
            "file": offer.order.file,
            "name": offer.order.name,
            "kind": offer.order.kind,
            "size": offer.size,
            "sha256": offer.sha256,
            "licence": offer.licence,
            "page": offer.page,
            "gated": offer.is_gated,
        }

    @router.post("", status_code=201)
    def fetch(body: FetchRequest) -> dict[str, Any]:
        """Download a file. Requires `accept_terms`, which accepts its licence."""
        job = downloads.submit(body)
        return {"id": job.id, "ahead": job.ahead, "url": f"/v1/fetch/{job.id}"}

    @router.get("")
    def jobs() -> list[dict[str, Any]]:
        """The remembered downloads, newest first."""
        return [_described(job) for job in downloads.jobs()]

    @router.get("/{job_id}")
    def job(job_id: FetchId) -> dict[str, Any]:
        """The progress of a download."""
        return _described(downloads.job(job_id))

    @router.get("/{job_id}/events", status_code=200, response_class=EventStream, responses=NOTHING_NEW)
    async def events(
        job_id: FetchId,
        last_event_id: LastEventId = "",
        after: Annotated[int, Query(ge=0, lt=10**15, description="The number of the last event you have.")] = 0,
    ) -> Response:
        """The events of a download from the start, or after Last-Event-ID or the number `after`, to its end."""
        job = downloads.job(job_id)
        after = number_after(last_event_id, after)
        if after and job.ended and not job.entries(after):
            return Response(status_code=204)
        return EventStream(JobFeed(job, after), services.streams)

    @router.post("/{job_id}/interrupt")
    def interrupt(job_id: FetchId) -> dict[str, Any]:
        """Stop a download. The downloaded part is kept; the next download of the same file resumes."""
        downloads.job(job_id).interrupt()
        return {}

    return router


def _described(job: Job) -> dict[str, Any]:
    return described(job) | {"file": job.request.file, "name": job.request.name}
