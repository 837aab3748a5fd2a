"""The current state of the engine and the queue."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from modules.api.services import Services
from modules.api.sse import EventStream, event_text
from modules.jobs.queue import JobQueue


def routes(services: Services) -> APIRouter:
    router = APIRouter(tags=["state"])

    @router.get("/internal/ping")
    async def ping() -> dict[str, Any]:
        """Answers as soon as the page is available."""
        return {}

    @router.get("/v1/state")
    async def state() -> dict[str, Any]:
        """The state of the engine, the running and waiting jobs, and a `catalog` number that increases when models
        change."""
        return described(services.queue, services.models_revision)

    @router.get("/v1/state/events", status_code=200, response_class=EventStream)
    async def events() -> EventStream:
        """The state now and after every change, as an endless stream of server-sent events."""
        return EventStream(StateFeed(services.queue, lambda: services.models_revision), services.streams)

    return router


def described(queue: JobQueue, catalog: int) -> dict[str, Any]:
    jobs = [{"id": job.id, "kind": job.kind.name, "status": job.status, "ahead": job.ahead} for job in queue.current()]
    return {"engine": asdict(queue.state()), "jobs": jobs, "catalog": catalog}


class StateFeed:
    """The state after each change. A slow client gets only the newest state."""

    def __init__(self, queue: JobQueue, revision: Callable[[], int] = lambda: 0) -> None:
        self.listeners = queue.listeners
        self.over = False
        self._queue = queue
        self._revision = revision
        self._sent = ""

    def read(self) -> str:
        state = described(self._queue, self._revision())
        text = json.dumps(state)
        if text == self._sent:
            return ""
        self._sent = text
        self.over = state["engine"]["state"] == "stopped"
        return event_text("state", state)
