"""What large bodies cost the web process, and whether it answers others meanwhile.

    python -m tests.bench.bench_door [--port 0] [--only CASE ...] [--checkpoint FILE]

Starts the real server as a user does and talks to it over loopback, from low-priority clients: in real use they would
be other machines. Another client sends a ping every 50 ms. Prints one JSON line per case:

    told       32 clients send a JSON body of 250 MB at once, with a Content-Length
    chunked    the same in chunks, without a Content-Length
    largest    32 clients send the largest JSON body that is read
    pictures   4 clients send a PNG of 29 MB as base64 to /sdapi/v1/img2img
    jobs       the same to /v1/jobs
    extras     4 clients send a PNG of 29 MB to /sdapi/v1/extra-single-image
    waiting    60 jobs with another PNG of 29 MB each wait
    restarted  the same jobs after the server was stopped and restarted

`rss_mb` is the web process's memory before, `peak_mb` its peak meanwhile, `after_mb` after the last answer,
`ping_ms` the slowest ping, and `statuses` the number of requests by status; "cut" is a closed connection.
"""

import argparse
import base64
import collections
import http.client
import io
import json
import multiprocessing
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from PIL import Image

from modules.api.app import MAX_JSON
from tests.bench.bench_img2img import BUNDLED, report, server, wait_until_answers

HUGE = 250_000_000  # bytes
PIECE = 1 << 20
SIDE = 3120  # for a PNG of noise with 29 MB
SMALL = {"prompt": "a", "steps": 1, "width": 64, "height": 64}
LONG = {"prompt": "a", "steps": 150, "n_iter": 100, "width": 512, "height": 512}
WAITING = 60
SECONDS_BETWEEN = 0.05


class Watch:
    """Sends pings and measures the web process's memory inside the `with` block, in a separate process."""

    def __init__(self, port: int, web: psutil.Process) -> None:
        context = multiprocessing.get_context("spawn")
        self._web = web
        self._over = context.Event()
        self._begun = context.Event()
        self._slowest = context.Value("d", 0.0)
        self._peak = context.Value("q", 0)
        arguments = (port, web.pid, self._begun, self._over, self._slowest, self._peak)
        self._process = context.Process(target=watch, args=arguments)

    def __enter__(self) -> "Watch":
        self._process.start()
        self._begun.wait()
        self._before = self._web.memory_info().rss
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._process.join()

    def figures(self) -> dict[str, Any]:
        return {
            "rss_mb": self._before // 10**6,
            "peak_mb": self._peak.value // 10**6,
            "after_mb": self._web.memory_info().rss // 10**6,
            "ping_ms": round(self._slowest.value * 1000),
        }


def watch(port: int, pid: int, begun: Any, over: Any, slowest: Any, peak: Any) -> None:
    """Writes the slowest ping's seconds and the peak bytes of process `pid`, once it is `over`."""
    web = psutil.Process(pid)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    begun.set()
    while not over.wait(SECONDS_BETWEEN):
        requested = time.perf_counter()
        connection.request("GET", "/internal/ping")
        connection.getresponse().read()
        slowest.value = max(slowest.value, time.perf_counter() - requested)
        peak.value = max(peak.value, web.memory_info().rss)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="of the server (default: a free one)")
    parser.add_argument("--only", nargs="*", help="names of cases (default: all)")
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED)
    options = parser.parse_args()
    png = noise()
    picture = {**SMALL, "init_images": [base64.b64encode(png).decode()]}
    single = {"image": picture["init_images"][0], "upscaler_1": "None", "show_extras_results": False}
    cases: dict[str, Callable[[int], list[Any]]] = {
        "told": lambda port: together(port, "/sdapi/v1/img2img", [lambda: junk(HUGE)] * 32, HUGE),
        "chunked": lambda port: together(port, "/sdapi/v1/img2img", [lambda: junk(HUGE)] * 32, None),
        "largest": lambda port: together(port, "/sdapi/v1/img2img", [lambda: junk(MAX_JSON)] * 32, MAX_JSON),
        "pictures": lambda port: sent(port, "/sdapi/v1/img2img", picture, 4),
        "jobs": lambda port: sent(port, "/v1/jobs", {"kind": "img2img", "request": picture}, 4),
        "extras": lambda port: sent(port, "/sdapi/v1/extra-single-image", single, 4),
    }
    wanted = options.only or [*cases, "waiting"]
    with tempfile.TemporaryDirectory() as folder:
        with Served(options, Path(folder)) as (port, web):
            for name in wanted:
                if name in cases:
                    with Watch(port, web) as watched:
                        statuses = cases[name](port)
                    report(name, clients=len(statuses), **watched.figures(), statuses=collections.Counter(statuses))
            if "waiting" in wanted:
                with Watch(port, web) as watched:
                    statuses = waiting(port, png)
                report("waiting", clients=len(statuses), **watched.figures(), statuses=collections.Counter(statuses))
        if "waiting" in wanted:
            with Served(options, Path(folder)) as (port, web):
                with Watch(port, web) as watched:
                    jobs = httpx.get(f"http://127.0.0.1:{port}/v1/jobs", timeout=600, trust_env=False).json()
                listed = collections.Counter(job["status"] for job in jobs)
                report("restarted", clients=len(jobs), **watched.figures(), statuses=listed)


class Served:
    """Port and web process of a server that has made its first picture."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._server = server(options.checkpoint, folder, options.port)

    def __enter__(self) -> tuple[int, psutil.Process]:
        url = self._server.__enter__()
        with httpx.Client(base_url=url, timeout=600, trust_env=False) as client:
            wait_until_answers(client, "/internal/ping", 600)
            while client.get("/v1/state").json()["engine"]["state"] in ("starting", "loading"):
                time.sleep(0.2)
        return int(url.rpartition(":")[2]), next(
            each for each in psutil.Process().children() if "webui.py" in each.cmdline()
        )

    def __exit__(self, *_: Any) -> None:
        self._server.__exit__(None, None, None)


def noise() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def junk(size: int) -> Iterator[bytes]:
    """A JSON body of `size` bytes: one base64 string that is not a picture."""
    head, tail = b'{"init_images": ["', b'"]}'
    yield head
    left = size - len(head) - len(tail)
    block = b"QUJD" * (PIECE // 4)
    while left:
        yield block[: min(left, PIECE)]
        left -= min(left, PIECE)
    yield tail


def sent(port: int, path: str, body: dict[str, Any], clients: int) -> list[Any]:
    data = json.dumps(body).encode()
    return together(port, path, [lambda: iter((data,))] * clients, len(data))


def together(port: int, path: str, bodies: Sequence[Callable[[], Iterator[bytes]]], size: int | None) -> list[Any]:
    """The statuses of the answers to `bodies`, sent at once; each has `size` bytes, None for chunks."""
    statuses: list[Any] = []

    def send(body: Callable[[], Iterator[bytes]]) -> None:
        statuses.append(requested(port, path, body(), size))

    threads = [threading.Thread(target=send, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def requested(port: int, path: str, body: Iterator[bytes], size: int | None) -> int | str:
    """The status of the answer, which may arrive before the whole body is sent."""
    length = f"Content-Length: {size}" if size is not None else "Transfer-Encoding: chunked"
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=600) as connection:
        try:
            connection.sendall(head.encode())
            for piece in body:
                connection.sendall(piece if size is not None else b"%x\r\n%s\r\n" % (len(piece), piece))
            if size is None:
                connection.sendall(b"0\r\n\r\n")
        except ConnectionError:
            pass  # refused: the answer has arrived
        try:
            answer = connection.recv(12)
        except ConnectionError:
            return "cut"
    return int(answer[9:12]) if len(answer) == 12 else "cut"


def waiting(port: int, png: bytes) -> list[Any]:
    """Jobs behind one that keeps running: the statuses with which they were accepted."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600, trust_env=False) as client:
        client.post("/v1/jobs", json={"kind": "txt2img", "request": LONG}).raise_for_status()
        statuses: list[Any] = []
        for number in range(WAITING):
            picture = base64.b64encode(png + str(number).encode()).decode()
            body = {"kind": "img2img", "request": {**SMALL, "init_images": [picture]}}
            statuses.append(client.post("/v1/jobs", json=body).status_code)
        return statuses


if __name__ == "__main__":
    main()
