"""Keeps other web sites out of a server that trusts whoever sits at the machine.

A page from elsewhere, open in the same browser, can send requests to 127.0.0.1. It cannot read answers, but it could
start and stop jobs, and with a name of its own that resolves to 127.0.0.1 (DNS rebinding) it could read as well.
Browsers say where a request comes from, in headers that pages cannot forge: Host, Origin and Sec-Fetch-Site.
"""

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from modules.api.errors import answer
from modules.errors import WebuiError

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
READING = ("GET", "HEAD")
OURS = "/v1/"  # pages from elsewhere may link to the start page, but not show what is below this


class Guard:
    """Refuses, with 403 and a sentence, what another site's page sends. `names` are further names of this server."""

    def __init__(self, app: ASGIApp, names: Collection[str] = ()) -> None:
        self.app = app
        self._names = {name.lower() for name in (*LOCAL_NAMES, *names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] in ("http", "websocket") else ""
        if not refusal:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": refusal})
        else:
            error = WebuiError(refusal, "Open Palimpsest by the address it printed when it started.", status=403)
            await answer(error, "Forbidden")(scope, receive, send)

    def _refusal(self, scope: Scope) -> str:
        """Why the request is refused; "" if it is not."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if _name(host) not in self._names:
            return f"The request is for the host {host[:100]!r}, which is not this server."
        reading = scope.get("method") in READING  # a websocket has no method and does more than read
        origin = headers.get("origin")
        if not reading and origin is not None and _authority(origin) != host.lower():
            return f"The request comes from a page of {origin[:100]!r}, not from Palimpsest's own."
        if headers.get("sec-fetch-site") == "cross-site" and (not reading or scope["path"].startswith(OURS)):
            return "The request comes from a page of another site."
        return ""


def _name(host: str) -> str:
    """The name in a Host header, without port and brackets, in lower case; "" if it makes no sense."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _authority(origin: str) -> str:
    """Host and port of an Origin header, in lower case; "" for "null" and nonsense."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
