"""HTTP Basic authentication in front of everything (RFC 7617), and a brake on guessing.

An address has ten wrong guesses; one comes back every six seconds. Then each further attempt from there waits a second
before anybody looks at it, one after another, and what does not fit into a short queue is answered 429 at once. So a
guesser gets about one guess a second, while the right password still opens the door for the others behind the same
address. A browser that was let in before carries a cookie and need not wait at all: the cookie is no key, it only
spares the queue.
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
from modules.errors import WebuiError
from modules.flags import Credentials

OPEN = ("/healthz",)  # tells nothing but that the server runs
FREE_GUESSES = 10
SECONDS_A_GUESS = 6.0  # after which a guess is forgiven
SECONDS_TO_WAIT = 1.0  # before the next attempt is looked at, once the free guesses are used up
MOST_WAITING = 8  # attempts of one address that wait
MOST_ADDRESSES = 10_000  # remembered
CHALLENGE = 'Basic realm="Palimpsest", charset="UTF-8"'
COOKIE = "palimpsest_known"


@dataclass
class _Address:
    """What is remembered of an address: wrong guesses, forgiven with time, and attempts that wait."""

    guesses: float = 0.0
    at: float = 0.0  # seconds; when `guesses` was right
    waiting: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class BasicAuth:
    """Lets in who has one of `credentials`; 401 with a challenge for all else, 429 for who guesses.

    `now` is a clock in seconds. With no credentials everybody is let in, whatever their Authorization header says.
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
        self._addresses: OrderedDict[str, _Address] = OrderedDict()  # the one heard of last at the end
        self._cookie_key = secrets.token_bytes(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._credentials or scope["type"] not in ("http", "websocket") or scope["path"] in OPEN:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        authorization = headers.get("authorization", "")
        known = self._is_known(headers.get("cookie", ""))
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

    async def _refusal(self, client: str, authorization: str, known: bool) -> WebuiError | None:
        """Why the request is not let in; None if it is."""
        if authorization.strip().lower() in ("", "basic"):
            return _unauthorized("This server asks for a user and a password.")  # no attempt: browsers begin so
        address = self._address(client)
        if known or address.guesses < FREE_GUESSES:
            if self._credentials.admit(authorization):
                return None
            address.guesses += 1
            return _unauthorized("User or password is wrong.")
        if address.waiting >= MOST_WAITING:
            return _too_many()
        address.waiting += 1
        try:
            async with address.turn:
                await asyncio.sleep(self._wait)
                if self._credentials.admit(authorization):
                    return None
                address.guesses = min(address.guesses + 1, FREE_GUESSES + 1)
                return _too_many()
        finally:
            address.waiting -= 1

    def _address(self, client: str) -> _Address:
        """What is known of `client`, its guesses forgiven as far as time went by."""
        address = self._addresses.setdefault(client, _Address(at=self._now()))
        self._addresses.move_to_end(client)
        now = self._now()
        address.guesses = max(0.0, address.guesses - (now - address.at) / SECONDS_A_GUESS)
        address.at = now
        if len(self._addresses) > MOST_ADDRESSES:
            self._addresses.popitem(last=False)
        return address

    def _with_cookie(self, scope: Scope, send: Send) -> Send:
        nonce = secrets.token_urlsafe(16)
        secure = "; Secure" if scope.get("scheme") in ("https", "wss") else ""
        value = f"{COOKIE}={nonce}.{self._signature(nonce)}; HttpOnly; SameSite=Strict; Path=/{secure}"

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).append("Set-Cookie", value)
            await send(message)

        return marked

    def _is_known(self, cookies: str) -> bool:
        try:
            morsel = SimpleCookie(cookies[:4096]).get(COOKIE)
        except CookieError:
            return False
        nonce, _, signature = morsel.value.partition(".") if morsel else ("", "", "")
        return bool(nonce) and hmac.compare_digest(signature.encode(), self._signature(nonce).encode())

    def _signature(self, nonce: str) -> str:
        return hmac.digest(self._cookie_key, nonce.encode(), "sha256").hex()


def _unauthorized(sentence: str) -> WebuiError:
    return WebuiError(sentence, "Send them as HTTP Basic authentication.", status=401)


def _too_many() -> WebuiError:
    return WebuiError("There were too many wrong passwords from this address.", "Wait a little.", status=429)
