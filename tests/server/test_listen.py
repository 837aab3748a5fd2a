"""Clients that crawl, stall or never read do no lasting harm to the server."""

import shutil
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from modules.api.middleware.body_limit import BodyLimit
from modules.base.errors import WebuiError
from modules.flags.command_line import parse
from modules.flags.flags import Flags
from modules.server.listen import PatientProtocol, check_certificate, configured

HOST = b"Host: 127.0.0.1\r\n"


class Hasty(PatientProtocol):
    seconds_for_head = 0.5
    seconds_to_take = 0.5
    most_connections = 20


async def app(scope: dict, receive: object, send: object) -> None:
    """/big answers endlessly; all other paths answer with the body's length."""
    request = Request(scope, receive, send)  # type: ignore[arg-type]
    if request.url.path == "/big":
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
        while not await request.is_disconnected():
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})  # type: ignore[operator]
        return
    body = await request.body()
    answer: Response = PlainTextResponse(str(len(body)))
    await answer(scope, receive, send)  # type: ignore[arg-type]


@pytest.fixture
def server() -> Iterator[uvicorn.Server]:
    with running() as started:
        yield started


@contextmanager
def running() -> Iterator[uvicorn.Server]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        bounded = BodyLimit(app, limit=10_000_000, silence=0.5)  # type: ignore[arg-type]
        config = uvicorn.Config(bounded, http=Hasty, ws="none", log_level="critical", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        end = time.monotonic() + 300
        while not server.started and time.monotonic() < end:
            time.sleep(0.01)
        server.address = listening.getsockname()  # type: ignore[attr-defined]
        yield server
        server.should_exit = True
        thread.join(240)
        assert not thread.is_alive()


def opened(server: uvicorn.Server) -> socket.socket:
    connection = socket.create_connection(server.address)  # type: ignore[attr-defined]
    connection.settimeout(60)
    return connection


def rest(connection: socket.socket) -> bytes:
    """Everything received until the server closes the connection."""
    taken = b""
    try:
        while piece := connection.recv(65536):
            taken += piece
    except ConnectionError:
        pass
    return taken


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: "])
def test_a_head_that_does_not_come_is_not_waited_for(server: uvicorn.Server, begun: bytes) -> None:
    with opened(server) as connection:
        connection.sendall(begun)
        assert rest(connection) == b""


def test_a_head_that_drips_is_not_waited_for(server: uvicorn.Server) -> None:
    with opened(server) as connection, pytest.raises(OSError):  # noqa: PT012
        for _ in range(600):
            connection.sendall(b"G")
            time.sleep(0.1)
    assert not server.server_state.connections


def test_a_second_head_that_drips_is_not_waited_for(server: uvicorn.Server) -> None:
    with opened(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        assert b"200 OK" in connection.recv(65536)
        connection.sendall(b"GET /")
        rest(connection)


def test_half_a_body_is_answered_and_forgotten(server: uvicorn.Server) -> None:
    with opened(server) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\nabc")
        rest(connection)
    with opened(server) as connection:  # the server still works
        connection.sendall(b"POST / HTTP/1.1\r\nConnection: close\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc")
        assert rest(connection).endswith(b"\r\n\r\n3")


def test_a_client_that_takes_nothing_is_let_go(server: uvicorn.Server) -> None:
    with opened(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /big HTTP/1.1\r\n" + HOST + b"\r\n")
        end = time.monotonic() + 300
        time.sleep(0.2)
        while server.server_state.connections and time.monotonic() < end:
            time.sleep(0.05)
        assert not server.server_state.connections
        while server.server_state.tasks and time.monotonic() < end:
            time.sleep(0.05)
        assert not server.server_state.tasks


def test_connections_have_a_bound_and_the_next_is_told(server: uvicorn.Server) -> None:
    held = [opened(server) for _ in range(Hasty.most_connections)]
    with opened(server) as one_more:
        assert rest(one_more).startswith(b"HTTP/1.1 503 ")
    for connection in held:
        connection.close()


def test_a_certificate_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    with pytest.raises(WebuiError, match=r"--tls-certfile .*cert\.pem.*cannot be used"):
        check_certificate(Flags(tls_certfile=tmp_path / "cert.pem", tls_keyfile=tmp_path / "cert.pem"))


OPENSSL = shutil.which("openssl")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    if OPENSSL is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [OPENSSL, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=palimpsest.test",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def test_with_a_certificate_it_speaks_https_and_nothing_else(certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    flags = parse(["--tls-certfile", str(cert), "--tls-keyfile", str(key)])
    check_certificate(flags)
    assert flags.url.startswith("https://127.0.0.1:")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(configured(app, flags))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            trusting = ssl.create_default_context(cafile=str(cert))
            with httpx.Client(verify=trusting, trust_env=False, timeout=300) as client:
                wait_until(lambda: server.started)
                answer = client.post(f"https://{address}/", content=b"12345")
                assert (answer.status_code, answer.text) == (200, "5")
                with pytest.raises(httpx.TransportError):
                    client.get(f"http://{address}/")
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                httpx.get(f"https://{address}/", trust_env=False, timeout=300)
        finally:
            server.should_exit = True
            thread.join(240)


def test_a_key_that_is_anothers_or_has_a_password_is_told(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key = certificate
    assert OPENSSL is not None
    other, locked = tmp_path / "other.pem", tmp_path / "locked.pem"
    subprocess.run(
        [OPENSSL, "ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out", other], check=True, capture_output=True
    )
    lock = [OPENSSL, "rsa", "-in", key, "-aes256", "-passout", "pass:hidden-word", "-out", locked]
    subprocess.run(lock, check=True, capture_output=True)
    for wrong in (other, locked):
        with pytest.raises(WebuiError, match="the key must belong to the certificate and have no password"):
            check_certificate(Flags(tls_certfile=cert, tls_keyfile=wrong))


def wait_until(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not ready() and time.monotonic() < end:
        time.sleep(0.01)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux how much memory the process has")
def test_large_blocks_go_back_to_the_system_when_they_are_freed() -> None:
    """In a separate process, as it changes how the process allocates memory."""
    story = """
        import threading
        from PIL import Image
        from modules.server.listen import give_memory_back

        def resident():
            with open("/proc/self/status") as file:
                return next(int(line.split()[1]) >> 10 for line in file if line.startswith("VmRSS"))

        def work():
            image = Image.new("RGB", (3000, 3000), "red")
            meet.wait()
            pins.append(Image.new("RGB", (100, 100)))  # lives on, behind it
            del image
            meet.wait()

        give_memory_back()
        meet, pins = threading.Barrier(8), []
        Image.new("RGB", (3000, 3000), "red")  # from here on glibc would keep blocks of this size
        before = resident()
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(resident() - before)
    """
    told = subprocess.run([sys.executable, "-c", textwrap.dedent(story)], capture_output=True, text=True, check=True)
    assert int(told.stdout) < 100  # MB; the eight had 275, and glibc by itself kept them
