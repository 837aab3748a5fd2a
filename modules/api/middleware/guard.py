"""Keeps other sites away from a server that trusts everyone on this machine.

A page from another site, open in the same browser, can send requests to 127.0.0.1. It cannot read the responses, but
it could start and stop jobs, and with a host name that resolves to 127.0.0.1 (DNS rebinding) it could read responses
too. Browsers state the origin of a request in headers that pages cannot forge: Host, Origin and Sec-Fetch-Site.
Programs that are not browsers send neither Origin nor Sec-Fetch-Site, and are accepted.
"""

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from modules.api.errors import answer
from modules.base.errors import WebuiError
from modules.flags.values import ANY_ORIGIN, EVERYWHERE

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
READING = ("GET", "HEAD")
PAGES = ("/", "/docs")  # paths that other sites may link to; they may not show or probe anything else


class Guard:
    """Rejects requests from pages on other sites, with 403 and a sentence.

    `names` are additional names of this server. If one of them is the wildcard address, the machine's own name and
    every numeric address are accepted, because DNS rebinding needs a name. Pages of `origins` are treated like our own.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = (), origins: Collection[str] = ()) -> None:
        self.app = app
        self._names = {name.lower() for name in (*LOCAL_NAMES, *names)}
        self._everywhere = bool(self._names & set(EVERYWHERE))
        if self._everywhere:
            machine = socket.gethostname().lower()
            self._names |= {machine, f"{machine.partition('.')[0]}.local"}
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] in ("http", "websocket") else ""
        if not refusal:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": refusal})
        else:
            hint = "Use the address that Palimpsest printed at startup, or allow this one with --allow-host."
            await answer(WebuiError(refusal, hint, status=403), "Forbidden")(scope, receive, send)

    def _refusal(self, scope: Scope) -> str:
        """Why the request is rejected; "" if it is not."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_ours(_name(host)) or len(headers.getlist("host")) > 1:
            return f"The request is for the host {host[:100]!r}, which is not a name of this server."
        reading = scope.get("method") in READING  # a websocket has no method and does more than read
        origin = headers.get("origin")
        if origin is not None and (origin.lower() in self._origins or ANY_ORIGIN in self._origins):
            return ""
        if not reading and origin is not None and _authority(origin) != host.lower():
            return f"The request comes from a page on {origin[:100]!r}, not from Palimpsest."
        # Another server on this machine is "same-site", because a site includes all ports.
        foreign = headers.get("sec-fetch-site", "") in ("cross-site", "same-site")
        if foreign and not (reading and scope["path"] in PAGES):
            return "The request comes from a page on another site."
        return ""

    def _is_ours(self, name: str) -> bool:
        return name in self._names or (self._everywhere and _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _name(host: str) -> str:
    """The name in a Host header, without port and brackets, in lower case; "" if it is invalid."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _authority(origin: str) -> str:
    """Host and port of an Origin header, in lower case; "" for "null" and invalid values."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
