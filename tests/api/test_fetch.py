"""A client's URL reaches nothing but the public internet."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from modules.api.fetch import LOOKUP, MOST_LOOKUPS, fetch
from modules.base.addresses import is_public
from modules.base.errors import WebuiError


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", False), ("10.1.2.3", False), ("172.16.0.1", False), ("192.168.1.1", False), ("0.0.0.0", False),
        ("169.254.169.254", False), ("100.64.0.1", False), ("224.0.0.1", False), ("255.255.255.255", False),
        ("::1", False), ("::", False), ("fe80::1%eth0", False), ("fc00::1", False), ("ff02::1", False),
        ("::ffff:127.0.0.1", False), ("::ffff:10.0.0.1", False), ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False),
        ("fec0::1", False), ("::127.0.0.1", False), ("::93.184.216.34", False), ("64:ff9b:1::1", False),
        ("64:ff9b:1::5db8:d822", False), ("2001:db8::1", False), ("2001::1", False), ("3fff::1", False),
        ("4000::1", False), ("100::1", False), ("5f00::1", False), ("192.88.99.1", False), ("240.0.0.1", False),
        ("64:ff9b::5db8:d822", True), ("2a00:1450:4001:82a::200e", True),
        ("93.184.216.34", True), ("2606:2800:220:1::1", True), ("::ffff:93.184.216.34", True),
    ],
)  # fmt: skip
def test_which_addresses_are_public(address: str, expected: bool) -> None:
    assert is_public(address) is expected


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x", "http://localhost:7860/", "http://[::1]/", "http://0/", "http://2130706433/",
        "http://0x7f.1/", "http://169.254.169.254/latest/meta-data/", "https://10.0.0.1/", "ftp://93.184.216.34/x",
        "file:///etc/passwd", "http://user:word@93.184.216.34/", "http://93.184.216.34:22/", "http:///x", "http://[bad/",
        "http://93.184.216.34/a b", "http://93.184.216.34/\r\nX: y", "http://93.184.216.34:99999/",
    ],
)  # fmt: skip
def test_other_urls_are_refused_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("connected")

    monkeypatch.setattr(socket, "create_connection", never)
    with pytest.raises(WebuiError) as caught:
        fetch(url, "image")
    assert (caught.value.field, caught.value.status) == ("image", 422)


class Site(BaseHTTPRequestHandler):
    over = threading.Event()  # the test is

    def do_GET(self) -> None:
        if self.path in ("/drip-head", "/drip-body"):
            self.drip()
            return
        if self.path == "/picture":
            self.answer(200, b"bytes")
        elif self.path == "/moved":
            self.answer(302, b"", Location="/picture")
        elif self.path == "/inward":
            self.answer(302, b"", Location="http://127.0.0.2/secret")
        elif self.path == "/round":
            self.answer(302, b"", Location="/round")
        else:
            self.answer(404, b"")

    def drip(self) -> None:
        """A byte every 50 ms, forever."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"Content-Length: 99999\r\n\r\n" if "body" in self.path else b"X: "))
        with contextlib.suppress(OSError):
            while not self.over.wait(0.05):
                self.wfile.write(b"a")

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        Site.over.clear()
        yield f"http://127.0.0.1:{server.server_port}"
        Site.over.set()
        server.shutdown()
        thread.join()


def here(address: str) -> bool:
    """Replaces `is_public`: of all addresses, only the site's is public."""
    return address == "127.0.0.1"


def test_a_picture_is_fetched_and_redirects_are_followed(site: str) -> None:
    assert fetch(f"{site}/picture", "image", here) == b"bytes"
    assert fetch(f"{site}/moved", "image", here) == b"bytes"


@pytest.mark.parametrize("path", ["drip-head", "drip-body"])
def test_an_answer_that_drips_holds_nobody_beyond_the_bound(
    site: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for the dripping server would take forever: the test passes if this returns."""
    monkeypatch.setattr("modules.api.fetch.SECONDS", 0.5)
    with pytest.raises(WebuiError, match="cannot be fetched") as refused:
        fetch(f"{site}/{path}", "image", here)
    assert (refused.value.field, refused.value.status) == ("image", 502)


@pytest.mark.parametrize(
    ("path", "why"), [("inward", "private network"), ("round", "too often"), ("nothing", "with status 404")]
)
def test_redirects_lead_nowhere_else(site: str, path: str, why: str) -> None:
    with pytest.raises(WebuiError, match=why):
        fetch(f"{site}/{path}", "image", here)


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """No name is resolved until the event is set."""
    resume_all = threading.Event()

    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        resume_all.wait()
        raise socket.gaierror("released")

    monkeypatch.setattr("modules.api.fetch.SECONDS", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield resume_all
    resume_all.set()
    for thread in look_ups():
        thread.join()


def look_ups() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == LOOKUP]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_name_that_nobody_resolves_holds_nobody_beyond_the_bound(hanging: threading.Event, scheme: str) -> None:
    """Waiting for the resolver would take forever: the test passes if this returns."""
    with pytest.raises(WebuiError, match="could not be resolved in time") as refused:
        fetch(f"{scheme}://slow.example/picture", "image", here)
    assert (refused.value.field, refused.value.status) == ("image", 502)


def test_look_ups_that_hang_do_not_pile_up(hanging: threading.Event) -> None:
    for _ in range(MOST_LOOKUPS + 3):
        with pytest.raises(WebuiError, match="could not be resolved in time"):
            fetch("http://slow.example/picture", "image", here)
    assert len(look_ups()) == MOST_LOOKUPS


def test_a_handshake_that_drips_holds_nobody_beyond_the_bound(
    dripping_tls: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modules.api.fetch.SECONDS", 0.5)
    with pytest.raises(WebuiError, match="cannot be fetched") as refused:
        fetch(f"{dripping_tls}/picture", "image", here)
    assert (refused.value.field, refused.value.status) == ("image", 502)


@pytest.fixture
def dripping_tls() -> Iterator[str]:
    """Starts a TLS record of 16 kB and sends a byte of it every 50 ms, forever."""
    over = threading.Event()

    def serve(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection = listening.accept()[0]
            with connection:
                connection.sendall(b"\x16\x03\x03\x40\x00")
                while not over.wait(0.05):
                    connection.sendall(b"\x02")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        over.set()
    thread.join()
