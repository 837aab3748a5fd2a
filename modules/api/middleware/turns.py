"""Parses large JSON bodies one at a time, in a thread.

Parsing tens of megabytes holds the interpreter's lock, so no other request is served in the meantime. One such pause
lasts a few hundredths of a second; the pauses of many clients, back to back, would last seconds.
"""

import json
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

TURN = "palimpsest.turn"  # key in the scope: the asyncio.Lock to hold while parsing a large body
LARGE = 1 << 20  # bytes

Parsed = TypeVar("Parsed")


async def parsed_body(request: Request, parse: Callable[[bytes], Parsed]) -> Parsed:
    """Apply `parse` to the body in a thread, one at a time if it is large. The body is not kept."""
    pieces = [piece async for piece in request.stream()]
    return await in_turn(request.scope, pieces, parse)


async def in_turn(scope: Scope, pieces: list[bytes], parse: Callable[[bytes], Parsed]) -> Parsed:
    """Apply `parse` to the joined `pieces`; empties the list."""

    def work() -> Parsed:
        data = b"".join(pieces)
        pieces.clear()
        return parse(data)

    turn = scope.get(TURN)
    if turn is None or sum(map(len, pieces)) < LARGE:
        return await run_in_threadpool(work)
    async with turn:
        return await run_in_threadpool(work)


class _Parsed(Request):
    """A request whose JSON is parsed as above; FastAPI would parse it on the event loop."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            self._body = await parsed_body(self, bytes)
        return self._body

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = await in_turn(self.scope, [await self.body()], json.loads)
        return self._json


class LargeJson(APIRoute):
    """A route whose JSON body may be large."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            return await handle(_Parsed(request.scope, request.receive))

        return handled
