"""Restricts Gradio's routes to the page itself and its files.

Gradio has routes that read files, take uploads, fetch from other servers and run a page's events. This page has no
event that reaches Gradio's server (see app.py), so it needs none of them. Allowed routes are listed; everything else
is 404, including anything that a later release of Gradio may add.
"""

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from modules.base.paths import could_be, printable

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

FILES = re.compile(r"/(?:assets|static)/(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*")
PAGES = ("/", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json")


class OnlyPage:
    """An ASGI application that forwards to Gradio's only what the page needs. Lifespan events are forwarded too."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or is_needed(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "Not found."})
        else:
            hint = f"There is nothing at {printable(str(scope['path'])[:200])}."
            body = json.dumps({"error": "NotFound", "detail": "Not Found", "field": "", "hint": hint}).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 404, "headers": headers})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def is_needed(scope: Message) -> bool:
    """Whether the page needs an answer to this request.

    >>> is_needed({"type": "http", "method": "GET", "path": "/gradio_api/file=/etc/passwd"})
    False
    """
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
        return False
    path = str(scope["path"])
    return path in PAGES or (could_be(path) and FILES.fullmatch(path) is not None)
