"""The connection to the hub, and the only place with its rules.

Requests go only to the hub itself and, by https, to the hosts that store its files. A name is resolved once, its
addresses must be public, and the connection goes to the checked address. Tokens are sent only to the hub.
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
FILE_HOSTS: Final = (".hf.co", ".huggingface.co")  # suffixes of the hosts that store the hub's files
MOST_REDIRECTS: Final = 5
TIMEOUT: Final = httpx2.Timeout(30.0, connect=15.0)  # seconds for each wait
BAD_GATEWAY: Final = 502

Resolve = Callable[[str, int], list[str]]
Allowed = Callable[[str], bool]


def resolved(host: str, port: int) -> list[str]:
    """The addresses of `host`. Raises OSError, UnicodeError."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class GuardedTransport(httpx2.BaseTransport):
    """Sends a request if the rules allow it; every redirect is checked like any other request.

    `home` is the hub, or the mirror that the user has set instead, which may have a private address. Raises WebuiError
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
        """The request, sent to the checked address but under the original host name."""
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
    """A client that follows redirects if `transport` allows them. Ignores proxies set in the environment."""
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
