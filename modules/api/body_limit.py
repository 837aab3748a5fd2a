"""Bounds on what a client may send and how slowly: bodies are held in memory while they are read."""

import asyncio
import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modules.api.errors import answer
from modules.errors import WebuiError

SECONDS_OF_SILENCE = 20.0  # between two pieces of a body
SECONDS_TO_BEGIN = 60.0  # after which a body must have come at the rate below, on average
LEAST_RATE = 16 * 1024  # bytes a second; the slowest mobile networks are faster


class BodyLimit:
    """Answers 413 to bodies of more than `limit` bytes, before they are read where their length is told beforehand.

    A body that stands still for `silence` seconds, or crawls, is answered 408.
    """

    def __init__(self, app: ASGIApp, limit: int, silence: float = SECONDS_OF_SILENCE) -> None:
        self.app = app
        self._limit = limit
        self._silence = silence

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

        async def counted() -> Message:
            nonlocal taken, whole
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
            return message

        await self.app(scope, counted, send)
