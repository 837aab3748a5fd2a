"""The connection to the hub, and the one place with its rules.

Asked are the hub itself and, by https, the hosts that it keeps its files on. A name is resolved once, its addresses
must be public, and the address that was checked is the one connected to. Tokens go to the hub alone.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import httpx2

import modules
from modules.base.addresses import is_public
from modules.base.errors import WebuiError

HUB: Final = "https://huggingface.co"
FILE_HOSTS: Final = (".hf.co", ".huggingface.co")  # ends of the names of hosts that the hub keeps files on
MOST_REDIRECTS: Final = 5
TIMEOUT: Final = httpx2.Timeout(30.0, connect=15.0)  # seconds, of each wait
BAD_GATEWAY: Final = 502

Resolve = Callable[[str, int], list[str]]
Allowed = Callable[[str], bool]


def resolved(host: str, port: int) -> list[str]:
    """The addresses of `host`. Raises OSError, UnicodeError."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class GuardedTransport(httpx2.BaseTransport):
    """Sends what the rules allow; a redirect comes by here like any request.

    `home` is the hub, or the mirror that the person has named in its place, which may be anywhere. Raises WebuiError
    for all other addresses.
    """

    def __init__(
        self,
        home: str = HUB,
        resolve: Resolve = resolved,
        allowed: Allowed = is_public,
        inner: httpx2.BaseTransport | None = None,
    ) -> None:
        self._home = httpx2.URL(home)
        self._is_mirror = home.rstrip("/") != HUB
        self._resolve = resolve
        self._allowed = allowed
        self._inner = inner or httpx2.HTTPTransport()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        is_home = _origin(url) == _origin(self._home)
        if not is_home:
            request.headers.pop("authorization", None)
            if url.scheme != "https" or not url.host.lower().endswith(FILE_HOSTS):
                raise WebuiError(
                    f"The hub sent the download on to {url.scheme}://{url.host[:100]}, which is not asked.",
                    "Nothing was fetched from there.",
                    "file",
                    BAD_GATEWAY,
                )
        return self._inner.handle_request(self._pinned(request, is_home and self._is_mirror))

    def close(self) -> None:
        self._inner.close()

    def _pinned(self, request: httpx2.Request, is_mirror: bool) -> httpx2.Request:
        """The request to the address that was checked, under the name that was asked for."""
        url = request.url
        try:
            found = self._resolve(url.host, url.port or (443 if url.scheme == "https" else 80))
        except (OSError, UnicodeError) as error:
            raise httpx2.ConnectError(f"{url.host} cannot be found", request=request) from error
        if not found or not (is_mirror or all(map(self._allowed, found))):
            raise WebuiError(f"{url.host[:100]} is in a private network, and is not asked.", "", "file", BAD_GATEWAY)
        extensions = {**request.extensions, "sni_hostname": url.host}
        return httpx2.Request(
            request.method, url.copy_with(host=found[0]), headers=request.headers, extensions=extensions
        )


@contextmanager
def client(transport: httpx2.BaseTransport, token: str = "") -> Iterator[httpx2.Client]:
    """A client that follows redirects as far as `transport` lets it. The environment's proxies are not used."""
    headers = {"User-Agent": f"Palimpsest/{modules.__version__}", "Accept-Encoding": "identity"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    with httpx2.Client(
        transport=transport,
        headers=headers,
        timeout=TIMEOUT,
        follow_redirects=True,
        max_redirects=MOST_REDIRECTS,
        trust_env=False,
    ) as opened:
        yield opened


def _origin(url: httpx2.URL) -> tuple[str, str, int]:
    return url.scheme, url.host.lower(), url.port or (443 if url.scheme == "https" else 80)
