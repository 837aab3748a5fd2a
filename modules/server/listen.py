"""The HTTP server: uvicorn, with time limits.

uvicorn waits indefinitely for a request's head and for a client that stops reading its response, and accepts any
number of connections. Each of these lets one client block all others (slowloris and the like); here each has a limit.
"""

import asyncio
import contextlib
import ctypes
import ssl
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from modules.base.errors import WebuiError
from modules.flags.flags import Flags
from modules.flags.values import is_loopback

SECONDS_FOR_HEAD = 10.0  # from a request's first byte, or a connection's start, to the end of its head
SECONDS_TO_TAKE = 30.0  # within which a client must read some of its response
LEAST_TAKEN = 16 * 1024  # bytes per SECONDS_TO_TAKE
MOST_CONNECTIONS = 512  # open at once; the usual limit of open files is 1024
MOST_OF_ONE = 128  # from one address, except this machine's
SECONDS_BETWEEN_REQUESTS = 30  # on one connection. A client that polls every few seconds must not find it closed
M_MMAP_THRESHOLD, LARGE_BLOCK = -3, 1 << 20  # glibc's malloc.h; bytes
SECONDS_TO_CLOSE = 2  # for responses in progress when the server stops; event streams would never end

FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nretry-after: 5\r\nconnection: close\r\n"
    b"content-length: 21\r\n\r\nToo many connections."
)


class PatientProtocol(H11Protocol):
    """One connection. It is closed if a request's head is late or if its client stops reading the response.

    Bodies have their own time limit, which depends on their size, in api/body_limit.py.
    """

    seconds_for_head = SECONDS_FOR_HEAD
    seconds_to_take = SECONDS_TO_TAKE
    most_connections = MOST_CONNECTIONS
    most_of_one = MOST_OF_ONE

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._take_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        if self._is_one_too_many():
            transport.write(FULL)
            transport.close()
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self._stop_take_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop_take_timer()
        self._expect_taking()

    def resume_writing(self) -> None:
        self._stop_take_timer()
        super().resume_writing()

    def _is_one_too_many(self) -> bool:
        if len(self.connections) > self.most_connections:
            return True
        if self.client is None or is_loopback(self.client[0]):
            return False
        same = sum(getattr(other, "client", None) is not None and other.client[0] == self.client[0]  # pyright: ignore
                   for other in self.connections)  # fmt: skip
        return same > self.most_of_one

    def _look(self) -> None:
        """Expect a head whenever no request is being answered; uvicorn itself closes idle connections."""
        answering = self.cycle is not None and not self.cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison]
        if answering:
            self._stop_head_timer()
        elif self._head_timer is None and self.timeout_keep_alive_task is None:
            self._expect_head()

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self.seconds_for_head, self._give_up)

    def _give_up(self) -> None:
        self._head_timer = None
        self.transport.abort()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _expect_taking(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._take_timer = self.loop.call_later(self.seconds_to_take, self._check_taking, waiting)

    def _check_taking(self, waiting: int) -> None:
        if self.transport.get_write_buffer_size() > waiting - LEAST_TAKEN:
            self._take_timer = None
            self.transport.abort()
        else:
            self._expect_taking()

    def _stop_take_timer(self) -> None:
        if self._take_timer is not None:
            self._take_timer.cancel()
            self._take_timer = None


def give_memory_back() -> None:
    """Make the C library return large blocks to the system when they are freed, in this process from now on.

    glibc raises that threshold to 32 MB by itself, and keeps smaller freed blocks for the thread that had them:
    Pillow's blocks are 16 MB, and forty threads kept 400 MB each of discarded pictures (measured: 3.1 GB).
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library or system
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)


def check_certificate(flags: Flags) -> None:
    """Raises WebuiError if the certificate or its key cannot be used."""
    if flags.tls_certfile is None:
        return
    try:
        # Without a password function, OpenSSL would ask for the key's password in the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(flags.tls_certfile, flags.tls_keyfile, lambda: "")
    except (ssl.SSLError, OSError) as error:
        raise WebuiError(
            f"--tls-certfile {flags.tls_certfile}, --tls-keyfile {flags.tls_keyfile}: cannot be used ({error}).",
            "Both must be PEM, and the key must belong to the certificate and have no password.",
            field="--tls-certfile",
        ) from error


def configured(app: Any, flags: Flags) -> uvicorn.Config:
    """uvicorn's configuration for `app`."""
    return uvicorn.Config(
        app,
        host=flags.server_name,
        port=flags.port,
        http=PatientProtocol,
        ws="none",  # not used here
        log_level="warning",
        access_log=False,
        proxy_headers=False,  # anyone can send X-Forwarded-For
        server_header=False,
        timeout_keep_alive=SECONDS_BETWEEN_REQUESTS,
        ssl_certfile=flags.tls_certfile,
        ssl_keyfile=flags.tls_keyfile,
        timeout_graceful_shutdown=SECONDS_TO_CLOSE,
    )
