"""A bound on what a client may send: bodies are held in memory while they are read."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modules.api.errors import answer
from modules.errors import WebuiError


class BodyLimit:
    """Answers 413 to bodies of more than `limit` bytes, before they are read where their length is told beforehand."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self._limit = limit

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

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._limit:
                raise HTTPException(413)  # which FastAPI passes on; errors.py has the sentence
            return message

        await self.app(scope, counted, send)
