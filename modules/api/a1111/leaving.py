"""Clients that may disconnect while they wait for a response."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import Request
from starlette.types import Receive

from modules.jobs.job import Job


@contextlib.asynccontextmanager
async def leaving(request: Request) -> AsyncIterator["asyncio.Task[None]"]:
    """A task that is done once the client has disconnected. Enter this after reading the whole body."""
    disconnected = asyncio.create_task(_disconnected(request.receive))
    try:
        yield disconnected
    finally:
        disconnected.cancel()


async def ended(job: Job) -> None:
    """Returns when `job` has ended, or Palimpsest shuts down. Takes no thread."""
    loop = asyncio.get_running_loop()
    wake = asyncio.Event()

    def changed() -> None:  # on the thread that made the change
        if job.ended or job.is_parked:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the server has stopped
                loop.call_soon_threadsafe(wake.set)

    remove = job.listeners.add(changed)
    try:
        changed()
        await wake.wait()
    finally:
        remove()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
