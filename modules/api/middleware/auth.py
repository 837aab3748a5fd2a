"""HTTP Basic authentication for everything (RFC 7617), with a limit on guessing.

Wrong attempts are counted per address, per account and per cookie; a browser gets the cookie after a successful login.
Each has some free attempts and regains one every six seconds. Without free attempts, attempts are checked one after
another, at most a hundred per second. The response to a wrong one is delayed by a second, or is an immediate 429 if
several are already waiting. So a client that waits for responses can guess once per second, and a flood of clients a
hundred times per second, from any number of addresses. The right password always works, during a flood after a few
seconds. A browser that logged in before does not wait: its cookie does not log it in, it only skips the queue.
"""

import asyncio
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modules.api.clients import client_of
from modules.api.errors import answer
from modules.base.errors import WebuiError
from modules.flags.credentials import Credentials, account_of

OPEN = ("/healthz",)  # reveals only that the server runs
FREE_GUESSES = 10
SECONDS_A_GUESS = 6.0  # to regain one attempt
FREE_OF_ACCOUNT = 50  # free attempts for an account, from all addresses together
SECONDS_BETWEEN = 0.01  # between two checked attempts, once the free ones are used up
SECONDS_TO_WAIT = 1.0  # before the response to a wrong one, once the free ones are used up
MOST_WAITING = 8  # wrong attempts of one address whose responses are delayed
MOST_REMEMBERED = 30_000  # addresses, accounts and cookies
CHALLENGE = 'Basic realm="Palimpsest", charset="UTF-8"'
COOKIE = "palimpsest_known"


@dataclass
class _Record:
    """The wrong attempts of an address, account or cookie; they are forgiven over time."""

    free: int
    guesses: float = 0.0
    at: float = 0.0  # seconds; the time of the last update of `guesses`
    waiting: int = 0  # wrong attempts whose responses are delayed
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # held by the attempt that is checked next
    held: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_over(self) -> bool:
        """Whether the free attempts are used up."""
        return self.guesses >= self.free


class BasicAuth:
    """Admits users with one of `credentials`; others get 401 with a challenge, or 429 if they keep guessing.

    `now` is a clock in seconds. Without credentials everyone is admitted, whatever their Authorization header says.
    """

    def __init__(
        self,
        app: ASGIApp,
        credentials: Credentials,
        now: Callable[[], float] = time.monotonic,
        seconds_to_wait: float = SECONDS_TO_WAIT,
    ) -> None:
        self.app = app
        self._credentials = credentials
        self._now = now
        self._wait = seconds_to_wait
        self._records: OrderedDict[tuple[str, str], _Record] = OrderedDict()  # the most recently used is last
        self._cookie_key = secrets.token_bytes(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._credentials or scope["type"] not in ("http", "websocket") or scope["path"] in OPEN:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        authorization = headers.get("authorization", "")
        known = self._known(headers.get("cookie", ""))
        refusal = await self._refusal(client_of(scope), authorization, known)
        if refusal is None:
            await self.app(scope, receive, send if known else self._with_cookie(scope, send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.message})
        else:
            response = answer(refusal, "TooManyRequests" if refusal.status == 429 else "Unauthorized")
            response.headers["WWW-Authenticate"] = CHALLENGE
            if refusal.status == 429:
                response.headers["Retry-After"] = str(max(1, round(self._wait * MOST_WAITING)))
            await response(scope, receive, send)

    async def _refusal(self, client: str, authorization: str, known: str) -> WebuiError | None:
        """Why the request is rejected; None if it is accepted.

        `known` is the cookie of a browser that logged in before, or "".
        """
        if authorization.strip().lower() in ("", "basic"):
            return _unauthorized("This server requires a user name and a password.")  # not counted: browsers begin so
        address = self._record("address", client, FREE_GUESSES)
        counted = [address, self._record("account", account_of(authorization), FREE_OF_ACCOUNT)]
        cookie = self._record("cookie", known, FREE_GUESSES) if known else None
        if cookie is not None:
            counted.append(cookie)
        spared = cookie is not None and not cookie.is_over
        slow = [] if spared else [record for record in counted if record.is_over]
        for record in slow:
            async with record.turn:
                await asyncio.sleep(SECONDS_BETWEEN)
        if self._credentials.admit(authorization):
            return None
        for record in counted:
            record.guesses = min(record.guesses + 1, record.free + 1)
        if not slow:
            return _unauthorized("Wrong user name or password.")
        await self._hold_back(address)
        return _too_many()

    async def _hold_back(self, address: _Record) -> None:
        """Delay the response to a wrong attempt, unless `MOST_WAITING` from that address are waiting already."""
        if address.waiting >= MOST_WAITING:
            return
        address.waiting += 1
        try:
            async with address.held:
                await asyncio.sleep(self._wait)
        finally:
            address.waiting -= 1

    def _record(self, kind: str, name: str, free: int) -> _Record:
        """The record of the address, account or cookie `name`, after forgiving attempts for the time passed."""
        now = self._now()
        record = self._records.setdefault((kind, name), _Record(free, at=now))
        self._records.move_to_end((kind, name))
        record.guesses = max(0.0, record.guesses - (now - record.at) / SECONDS_A_GUESS)
        record.at = now
        if len(self._records) > MOST_REMEMBERED:
            self._records.popitem(last=False)
        return record

    def _with_cookie(self, scope: Scope, send: Send) -> Send:
        nonce = secrets.token_urlsafe(16)
        secure = "; Secure" if scope.get("scheme") in ("https", "wss") else ""
        value = f"{COOKIE}={nonce}.{self._signature(nonce)}; HttpOnly; SameSite=Strict; Path=/{secure}"

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).append("Set-Cookie", value)
            await send(message)

        return marked

    def _known(self, cookies: str) -> str:
        """The nonce in the cookie of a browser that logged in before; "" otherwise."""
        try:
            morsel = SimpleCookie(cookies[:4096]).get(COOKIE)
        except CookieError:
            return ""
        nonce, _, signature = morsel.value.partition(".") if morsel else ("", "", "")
        return nonce if hmac.compare_digest(signature.encode(), self._signature(nonce).encode()) else ""

    def _signature(self, nonce: str) -> str:
        return hmac.digest(self._cookie_key, nonce.encode(), "sha256").hex()


def _unauthorized(sentence: str) -> WebuiError:
    return WebuiError(sentence, "Send them as HTTP Basic authentication.", status=401)


def _too_many() -> WebuiError:
    return WebuiError("Too many wrong passwords.", "Wait a little.", status=429)
