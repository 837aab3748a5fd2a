"""Limits the size and the slowness of request bodies, which are held in memory while they are read."""

import asyncio
import time
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modules.api.errors import answer
from modules.api.middleware.turns import TURN
from modules.base.budget import MEMORY, Budget, Ticket
from modules.base.errors import Busy, WebuiError

SECONDS_OF_SILENCE = 20.0  # between two pieces of a body
SECONDS_TO_BEGIN = 60.0  # after this time, a body must arrive at LEAST_RATE on average
SMALL = 64 * 1024  # bytes of a body that need no reservation
SMALL_BODY = 4 << 20  # bytes of a body without pictures; an infotext of a million characters has at most that
BLOCK = 1 << 20  # bytes to reserve at a time
COPIES = 3  # of a body in memory: its bytes, its text and the parsed values
ROOM = "palimpsest.body_room"  # key in the scope
LEAST_RATE = 16 * 1024  # bytes per second; the slowest mobile networks are faster
MOST_VALUES = 250_000  # of a JSON body; the largest, a batch of 10 000 files, has about 30 000 names and hashes
SEPARATORS = (b",", b"{", b"[")  # one of them precedes each value
SMALLER = "Make its pictures smaller, for example as JPEG, or send fewer at once."  # hint if a JSON body is too large
TOO_MANY = f"The body contains more than {MOST_VALUES} values (a picture counts as one)."


class _Room:
    """One body's share of the memory budget, which grows as the body arrives."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._tickets: list[Ticket] = []
        self._size = SMALL

    async def hold(self, size: int) -> None:
        """Reserve memory for the first `size` bytes of a body; waits if necessary. Raises Busy."""
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


def release_body(scope: Scope) -> None:
    """Release the body's share of the budget while the response is still pending. Call this once the body is freed."""
    room = scope.get(ROOM)
    if room is not None:
        room.leave()


class BodyLimit:
    """Answers 413 to bodies of more than `limit` bytes, before reading them if they have a Content-Length.

    A body that stalls for `silence` seconds, or is too slow, gets 408. All bodies share part of `budget`: reading one
    that does not fit pauses until it does, or it gets 429. `to_disk` are the paths whose bodies are written to disk as
    they arrive.

    Parsing JSON holds the interpreter's lock, which blocks all other requests: 15 MB of text take milliseconds, a
    million values take seconds. So values are counted as they arrive. Only the paths in `large`, which accept pictures,
    may have bodies of more than `small` bytes; JSON may have at most `most_json` bytes. `raw` are the paths whose
    bodies are files, not JSON. Large texts are parsed one at a time (turns.py).
    """

    def __init__(
        self,
        app: ASGIApp,
        limit: int,
        silence: float = SECONDS_OF_SILENCE,
        budget: Budget = MEMORY,
        to_disk: Collection[str] = (),
        raw: Collection[str] = (),
        large: Collection[str] | None = None,
        small: int = SMALL_BODY,
        most_json: int | None = None,
    ) -> None:
        self.app = app
        self._limit = limit
        self._silence = silence
        self._budget = budget
        self._to_disk = to_disk
        self._raw = raw
        self._large = large
        self._small = small
        self._most_json = limit if most_json is None else most_json
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_json = self._is_json(scope)
        limit = self._limit_of(scope["path"], is_json)
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            why = f"The body has {int(length)} bytes, the limit is {limit}"
            hint = SMALLER if limit == self._most_json else ""
            error = WebuiError(f"{why}{'' if limit == self._limit else ' at this address'}.", hint, status=413)
            await answer(error, path=scope["path"])(scope, receive, send)
            return
        taken = values = 0
        whole = False
        begun = time.monotonic()
        room = _Room(self._budget)
        scope[ROOM] = room
        scope[TURN] = self._turn

        async def counted() -> Message:
            nonlocal taken, values, whole, begun
            if whole:
                return await receive()  # the next message is the client's disconnect, which may never come
            left = begun + SECONDS_TO_BEGIN + taken / LEAST_RATE - time.monotonic()
            try:
                async with asyncio.timeout(min(self._silence, left)):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408) from None
            piece = message.get("body", b"")
            taken += len(piece)
            whole = message["type"] != "http.request" or not message.get("more_body", False)
            if taken > limit:
                hint = f" {SMALLER}" if limit == self._most_json else ""
                raise HTTPException(413, f"The body is larger than the limit of {limit} bytes.{hint}")
            if is_json:
                values += sum(map(piece.count, SEPARATORS))
                if values > MOST_VALUES:
                    raise HTTPException(413, TOO_MANY)
            if scope["path"] not in self._to_disk:
                waiting_since = time.monotonic()
                try:
                    await room.hold(taken)
                except Busy as busy:
                    raise HTTPException(429, headers={"Retry-After": str(busy.retry_after)}) from busy
                begun += time.monotonic() - waiting_since  # the client is not to blame for this wait
            return message

        try:
            await self.app(scope, counted, send)
        finally:
            room.leave()

    def _limit_of(self, path: str, is_json: bool) -> int:
        if self._large is None or path in self._large or path in self._to_disk:
            return min(self._limit, self._most_json) if is_json else self._limit
        return min(self._limit, self._small)

    def _is_json(self, scope: Scope) -> bool:
        """Whether the body is parsed as JSON: A1111's routes accept any content type, our file routes do not."""
        if scope["path"] in self._raw:
            return False
        return scope["path"] not in self._to_disk or "json" in Headers(scope=scope).get("content-type", "")
