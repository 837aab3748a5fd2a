"""Pictures by URL, if `--allow-url-fetch` is set.

A URL makes this machine send a request from inside its network, past a firewall or next to a cloud's metadata service.
So only public addresses are contacted, the name is resolved once and the connection goes to that address (a name could
resolve differently the second time), and every redirect is checked in the same way.
"""

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from urllib.parse import SplitResult, urljoin, urlsplit

import modules
from modules.base.addresses import is_public
from modules.base.errors import WebuiError
from modules.base.picture import MAX_BYTES

PORTS = {"http": 80, "https": 443}
MOST_REDIRECTS = 4
SECONDS = 30.0  # for the whole download
SILENCE = 10.0  # seconds that one wait may take
BLOCK = 1 << 16  # bytes
LOOKUP = "look-up of a host"  # name of the threads that resolve host names
MOST_LOOKUPS = 16  # at the same time
MOVED = (301, 302, 303, 307, 308)

Allowed = Callable[[str], bool]


def fetch(url: str, field: str, allowed: Allowed = is_public) -> bytes:
    """Download `url`. Raises WebuiError about `field` if it is not allowed, fails, or is too large."""
    end = time.monotonic() + SECONDS
    for _ in range(MOST_REDIRECTS + 1):
        parts = _checked(url, field)
        address = _resolved(parts, field, allowed, end)
        try:
            answer = _response(parts, address, end)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _refused(field, url, f"cannot be fetched ({type(error).__name__})", 502) from error
        if isinstance(answer, bytes):
            return answer
        if isinstance(answer, int):
            raise _refused(field, url, f"was answered with status {answer}", 422)
        url = urljoin(url, answer)
    raise _refused(field, url, "is redirected too often", 422)


def _checked(url: str, field: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _refused(field, url, "is not a URL", 422) from error
    if parts.scheme not in PORTS or not parts.hostname or parts.username is not None:
        raise _refused(field, url, "is not fetched: only http and https, without a password in it", 422)
    if port is not None and port < 1024 and port not in PORTS.values():
        raise _refused(field, url, f"is not fetched: port {port} belongs to another service", 422)
    if any(ord(sign) <= 32 or ord(sign) > 126 for sign in parts.path + parts.query):
        raise _refused(field, url, "contains characters that are not allowed in a URL", 422)
    return parts


def _resolved(parts: SplitResult, field: str, allowed: Allowed, end: float) -> str:
    """The address to connect to. Raises WebuiError unless all addresses of the name are allowed."""
    try:
        found = _looked_up(parts.hostname or "", parts.port or PORTS[parts.scheme], end)
    except TimeoutError as error:
        raise _refused(field, parts.geturl(), "is on a server whose name could not be resolved in time", 502) from error
    except (OSError, UnicodeError) as error:
        raise _refused(field, parts.geturl(), "is on a server that cannot be found", 422) from error
    if not found or not all(map(allowed, found)):
        raise _refused(field, parts.geturl(), "is not fetched: its server is in a private network", 422)
    return found[0]


def _looked_up(host: str, port: int, end: float) -> list[str]:
    """The addresses of `host`. Raises OSError, UnicodeError, and TimeoutError at `end` on the monotonic clock.

    A lookup cannot be canceled: one that hangs has its own thread, which is abandoned until the system's resolver gives
    up. At most `MOST_LOOKUPS` exist at a time.
    """
    left = sum(thread.name == LOOKUP for thread in threading.enumerate())
    if left >= MOST_LOOKUPS:
        raise TimeoutError
    answer: Future[list[str]] = Future()

    def look_up() -> None:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            answer.set_exception(error)
        else:
            answer.set_result([str(entry[4][0]) for entry in entries])

    threading.Thread(target=look_up, name=LOOKUP, daemon=True).start()
    return answer.result(max(end - time.monotonic(), 0.0))


def _response(parts: SplitResult, address: str, end: float) -> bytes | int | str:
    """The bytes, the HTTP status of a failure, or the target of a redirect."""
    connection = _Pinned(parts, address, end)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"User-Agent": f"Palimpsest/{modules.__version__}"})
        answer = connection.getresponse()
        if answer.status in MOVED and answer.headers.get("Location"):
            return str(answer.headers["Location"])
        if answer.status != 200:
            return answer.status
        data = bytearray()
        while block := answer.read1(BLOCK):
            data += block
            if len(data) > MAX_BYTES:
                raise ValueError("too large")
        if time.monotonic() >= end:  # the connection was shut down, so the data may be incomplete
            raise TimeoutError
        return bytes(data)
    finally:
        connection.release()


class _Pinned(http.client.HTTPConnection):
    """Connects to the checked address, whatever the name resolves to now.

    The connection is shut down at `end` on the monotonic clock, however slowly bytes arrive: a socket's timeout applies
    to a single wait, and a head may have as many waits as bytes.
    """

    def __init__(self, parts: SplitResult, address: str, end: float) -> None:
        super().__init__(parts.hostname or "", parts.port or PORTS[parts.scheme], timeout=SILENCE)
        self._address = address
        self._is_tls = parts.scheme == "https"
        self._end = end
        self._twin: socket.socket | None = None  # a second handle of the connection, which only `release` closes
        self._shut: threading.Timer | None = None

    def connect(self) -> None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        plain = socket.create_connection((self._address, self.port), min(SILENCE, left))
        plain.settimeout(SILENCE)
        self._twin = plain.dup()
        self._shut = threading.Timer(self._end - time.monotonic(), self._shut_down)
        self._shut.daemon = True
        self._shut.start()
        self.sock = (
            ssl.create_default_context().wrap_socket(plain, server_hostname=self.host) if self._is_tls else plain
        )

    def release(self) -> None:
        """Close it for good. `close` cannot do this: it is called before the body is read if the server closes too."""
        if self._shut is not None:
            self._shut.cancel()
        if self._twin is not None:
            self._twin.close()
        self.close()

    def _shut_down(self) -> None:
        assert self._twin is not None
        with contextlib.suppress(OSError):  # the other side has closed it
            self._twin.shutdown(socket.SHUT_RDWR)


def _refused(field: str, url: str, why: str, status: int) -> WebuiError:
    return WebuiError(f"{field}: {url[:100]!r} {why}.", "Send the picture as base64.", field, status)
