"""Progress and interruption in A1111's API, for the running job or for a task by name."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from modules.api.a1111.body import filled, loose_object
from modules.api.a1111.pictures import as_base64
from modules.api.a1111.tasks import Tasks
from modules.api.openapi import json_body
from modules.api.services import Services
from modules.base.events import Previewed
from modules.jobs.job import Job, LogEntry

LEAST = 0.01  # A1111's lowest progress of a running job: 0 means that no job runs


class ProgressBody(BaseModel):
    id_task: str | None = Field(
        default=None, max_length=200, description="The task: force_task_id, or the id of a job."
    )
    id_live_preview: int = Field(default=-1, description="The id of the last preview you have; −1 for none.")
    live_preview: bool = Field(default=True, description="Whether to return the current preview.")


class State(BaseModel):
    """What is running, as A1111 reports it."""

    skipped: bool = Field(default=False, description="Whether the current batch is to be skipped.")
    interrupted: bool = Field(default=False, description="Whether the job is to be interrupted.")
    stopping_generation: bool = Field(default=False, description="Always false.")
    job: str = Field(default="", description="The running job; empty if there is none.")
    job_count: int = Field(default=0, description="Number of pictures in the job.")
    job_timestamp: str = Field(default="", description="When the job was submitted: YYYYMMDDhhmmss.")
    job_no: int = Field(default=0, description="Number of finished pictures.")
    sampling_step: int = Field(default=0, description="Number of finished steps of this picture.")
    sampling_steps: int = Field(default=0, description="Number of steps of this picture.")


class ProgressAnswer(BaseModel):
    progress: float = Field(default=0.0, description="From 0 to 1; 0 if nothing is running.")
    eta_relative: float = Field(default=0.0, description="Estimated seconds left.")
    state: State = Field(description="What runs.")
    current_image: str | None = Field(
        default=None, description="The current preview as base64; null without live previews."
    )
    textinfo: str | None = Field(default=None, description="Description of the current state.")


def routes(services: Services, tasks: Tasks) -> APIRouter:
    router = APIRouter(tags=["A1111: progress"])
    queue = services.queue

    @router.get("/sdapi/v1/progress", response_model=ProgressAnswer)
    def progress(
        skip_current_image: Annotated[str, Query(description="true leaves out the current preview.")] = "false",
    ) -> ProgressAnswer:
        """The progress of the running job, whoever submitted it."""
        job = tasks.running()
        state = State(job_timestamp=_timestamp(job))
        if job is None:
            return ProgressAnswer(state=state)
        at = job.progress()
        stopped = tasks.stopped(job)
        state.skipped, state.interrupted = stopped == "skipped", stopped == "interrupted"
        state.job = f"{at.stage}, picture {max(at.image, 1)} of {max(at.images, 1)}"
        state.job_count, state.job_no = max(at.images, 1), max(at.image - 1, 0)
        state.sampling_step, state.sampling_steps = at.step, at.steps
        preview = None if _is_true(skip_current_image) else _preview(job)
        return ProgressAnswer(
            progress=max(at.fraction, LEAST),
            eta_relative=at.eta_seconds or 0.0,
            state=state,
            current_image=as_base64(preview.data) if preview else None,
            textinfo=at.stage,
        )

    @router.post("/sdapi/v1/interrupt")
    def interrupt() -> dict[str, Any]:
        """Stop the running job, even during a step; finished pictures are returned."""
        tasks.stopping(tasks.running(), "interrupted")
        queue.interrupt()
        return {}

    @router.post("/sdapi/v1/skip")
    def skip() -> None:
        """End the current batch."""
        tasks.stopping(tasks.running(), "skipped")
        queue.skip()

    @router.post("/internal/progress", openapi_extra=json_body(ProgressBody))
    async def task_progress(request: Request) -> dict[str, Any]:
        """The progress of a task by its name: waiting, running or completed."""
        body = filled(ProgressBody, await loose_object(request))
        return await run_in_threadpool(_task, body, tasks)

    @router.get("/internal/pending-tasks")
    def pending() -> dict[str, Any]:
        """The names of the running and waiting tasks, in order; job ids for those without a name."""
        names = [tasks.name_of(job) for job in queue.current()]
        return {"size": len(names), "tasks": names}

    return router


def _task(body: ProgressBody, tasks: Tasks) -> dict[str, Any]:
    jobs = tasks.jobs(body.id_task) if body.id_task else ()
    answer: dict[str, Any] = {
        "active": False, "queued": False, "completed": False, "progress": None, "eta": None, "live_preview": None,
        "id_live_preview": body.id_live_preview, "textinfo": "Waiting...",
    }  # fmt: skip
    if not jobs:
        return answer
    if all(job.ended for job in jobs):
        return {**answer, "completed": True, "textinfo": None}
    job = next((job for job in jobs if job.status == "running"), None)
    if job is None:
        waiting = next(job for job in jobs if not job.ended)
        text = f"In queue: {waiting.ahead}/{waiting.ahead + 1}"
        return {**answer, "queued": True, "textinfo": text}
    at = job.progress()
    done = sum(other.ended for other in jobs)
    answer |= {
        "active": True,
        "progress": max((done + at.fraction) / len(jobs), LEAST),
        "eta": at.eta_seconds,
        "textinfo": at.stage,
    }
    entry = _previewed(job) if body.live_preview else None
    if entry is not None and entry.number != body.id_live_preview and isinstance(entry.event, Previewed):
        answer["live_preview"] = f"data:image/jpeg;base64,{as_base64(entry.event.data)}"
        answer["id_live_preview"] = entry.number
    return answer


def _previewed(job: Job) -> LogEntry | None:
    return next((entry for entry in reversed(job.entries()) if isinstance(entry.event, Previewed)), None)


def _preview(job: Job) -> Previewed | None:
    entry = _previewed(job)
    return entry.event if entry and isinstance(entry.event, Previewed) else None


def _timestamp(job: Job | None) -> str:
    return datetime.fromtimestamp(job.created).strftime("%Y%m%d%H%M%S") if job else "0"


def _is_true(text: str) -> bool:
    return text.strip().lower() in ("true", "1", "yes", "on")
