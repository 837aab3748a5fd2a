"""Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html"""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from modules.api.errors import answer
from modules.base.errors import Busy
from modules.base.names import shown
from modules.jobs.listeners import Listeners

HEARTBEAT_SECONDS = 15.0  # short enough that proxies and browsers do not take the connection for dead
MOST_STREAMS = 384  # three quarters of the connections that the server accepts
SECONDS_TO_RETRY = 30
RETRY_MILLISECONDS = 1000  # before a browser reconnects
NOTHING_NEW: dict[int | str, dict[str, Any]] = {204: {"description": "Finished, with no new events: do not reconnect."}}


class Places:
    """Limits the number of open streams, because each holds one of MOST_CONNECTIONS for hours."""

    def __init__(self, most: int = MOST_STREAMS) -> None:
        self._most = most
        self._taken = 0  # changed only on the event loop

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Hold one place. Raises Busy if all are taken."""
        if self._taken >= self._most:
            raise Busy(
                f"There are already {self._taken} open event streams, which is the limit.",
                "Close unused pages, or poll the state instead.",
                SECONDS_TO_RETRY,
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


class Feed(Protocol):
    """The source of a stream. `read` is called whenever `listeners` are called, and again until it returns ""."""

    listeners: Listeners
    over: bool

    def read(self) -> str:
        """New events since the last call, formatted; "" if there are none. Sets `over` after the last."""
        ...


def event_text(name: str, data: dict[str, Any], number: int | None = None) -> str:
    """One event in the wire format."""
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: {name}\ndata: {shown(json.dumps(data, ensure_ascii=False))}\n\n"


class EventStream(Response):
    """Sends a feed until it ends or the client disconnects.

    A subscriber takes no thread, and a slow one no memory: the feed is read only after the client received the rest.
    """

    media_type = "text/event-stream"

    def __init__(self, feed: Feed, places: Places | None = None) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._feed = feed
        self._places = places or Places()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._places.one():
                await self._stream(receive, send)
        except Busy as error:
            refusal = answer(error)
            refusal.headers["Connection"] = "close"  # or the idle connection would take the place of another
            await refusal(scope, receive, send)

    async def _stream(self, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        wake = asyncio.Event()

        def changed() -> None:  # on the thread that made the change
            with contextlib.suppress(RuntimeError):  # the loop is closed: the server has stopped
                loop.call_soon_threadsafe(wake.set)

        disconnected = asyncio.create_task(_wait_until_disconnected(receive, wake))
        remove = self._feed.listeners.add(changed)
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await _send_text(send, f"retry: {RETRY_MILLISECONDS}\n\n")
            while not disconnected.done():
                wake.clear()
                text = self._feed.read()
                if text:
                    await _send_text(send, text)
                elif not self._feed.over:
                    await _send_text(send, await _heartbeat(wake))
                if self._feed.over:
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                    return
        except OSError:
            return  # the client disconnected between two events
        finally:
            remove()
            disconnected.cancel()


async def _wait_until_disconnected(receive: Receive, wake: asyncio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    wake.set()


async def _heartbeat(wake: asyncio.Event) -> str:
    """Wait for events: returns "" when there are some, or a comment after `HEARTBEAT_SECONDS` without any."""
    try:
        async with asyncio.timeout(HEARTBEAT_SECONDS):
            await wake.wait()
    except TimeoutError:
        return ": still here\n\n"
    return ""


async def _send_text(send: Send, text: str) -> None:
    if text:
        await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
