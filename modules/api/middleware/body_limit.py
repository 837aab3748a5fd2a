"""Bounds on what a client may send and how slowly: bodies are held in memory while they are read."""

import asyncio
import time
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modules.api.errors import answer
from modules.base.budget import MEMORY, Budget, Ticket
from modules.base.errors import Busy, WebuiError

SECONDS_OF_SILENCE = 20.0  # between two pieces of a body
SECONDS_TO_BEGIN = 60.0  # after which a body must have come at the rate below, on average
SMALL = 64 * 1024  # bytes that nobody counts
BLOCK = 1 << 20  # bytes for which room is asked at a time
COPIES = 3  # of a body in memory: as it came, its texts, and what they mean
ROOM = "palimpsest.body_room"  # in the scope
LEAST_RATE = 16 * 1024  # bytes a second; the slowest mobile networks are faster


class _Room:
    """What one body has of the budget: more as it comes."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._tickets: list[Ticket] = []
        self._size = SMALL

    async def hold(self, size: int) -> None:
        """Have room for a body of `size` bytes so far; waits for it. Raises Busy."""
        while size > self._size:
            await self._block()
            self._size += BLOCK

    async def _block(self) -> None:
        loop = asyncio.get_running_loop()
        granted = asyncio.Event()
        ticket = self._budget.ask(BLOCK * COPIES, lambda: loop.call_soon_threadsafe(granted.set), self)
        self._tickets.append(ticket)
        if ticket.is_granted:
            return
        try:
            async with asyncio.timeout(self._budget.patience):
                await granted.wait()
        except TimeoutError:
            raise self._budget.busy() from None

    def leave(self) -> None:
        while self._tickets:
            self._budget.give_back(self._tickets.pop())
        self._budget.done(self)


def body_is_gone(scope: Scope) -> None:
    """Nothing of the request's body is in memory any more, though it is not answered yet."""
    room = scope.get(ROOM)
    if room is not None:
        room.leave()


class BodyLimit:
    """Answers 413 to bodies of more than `limit` bytes, before they are read where their length is told beforehand.

    A body that stands still for `silence` seconds, or crawls, is answered 408. All bodies together have a share of
    `budget`: one that finds no room there is not read on until there is, or answered 429. `to_disk` are the paths whose
    bodies are written to the disk as they come.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit: int,
        silence: float = SECONDS_OF_SILENCE,
        budget: Budget = MEMORY,
        to_disk: Collection[str] = (),
    ) -> None:
        self.app = app
        self._limit = limit
        self._silence = silence
        self._budget = budget
        self._to_disk = to_disk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        told = Headers(scope=scope).get("content-length", "")
        if told.isdecimal() and int(told) > self._limit:
            error = WebuiError(f"The body has {int(told)} bytes; at most {self._limit} are read.", status=413)
            await answer(error)(scope, receive, send)
            return
        taken = 0
        whole = False
        begun = time.monotonic()
        room = _Room(self._budget)
        scope[ROOM] = room

        async def counted() -> Message:
            nonlocal taken, whole, begun
            if whole:
                return await receive()  # what comes now is the news that the client has gone, and may take for ever
            left = begun + SECONDS_TO_BEGIN + taken / LEAST_RATE - time.monotonic()
            try:
                async with asyncio.timeout(min(self._silence, left)):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408) from None
            taken += len(message.get("body", b""))
            whole = message["type"] != "http.request" or not message.get("more_body", False)
            if taken > self._limit:
                raise HTTPException(413)  # which FastAPI passes on; errors.py has the sentence
            if scope["path"] not in self._to_disk:
                asked = time.monotonic()
                try:
                    await room.hold(taken)
                except Busy as busy:
                    raise HTTPException(429, headers={"Retry-After": str(busy.retry_after)}) from busy
                begun += time.monotonic() - asked  # waiting is no fault of the client
            return message

        try:
            await self.app(scope, counted, send)
        finally:
            room.leave()
