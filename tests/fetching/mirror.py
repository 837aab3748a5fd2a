"""A hub on the loopback interface: it serves one file, and disconnects, lies or redirects as a test requires."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DATA = bytes(range(256)) * 1500  # 384 kB, several pieces
REPO, FILE = "owner/project", "folder/model.safetensors"


@dataclass
class Mirror:
    """What it does, and what was requested. `cuts` are the byte counts after which successive connections break."""

    data: bytes = DATA
    etag: str = hashlib.sha256(DATA).hexdigest()
    size: int | None = None
    cuts: list[int] = field(default_factory=list)
    has_ranges: bool = True
    location: str = ""
    status: int = 200
    card: dict[str, object] = field(default_factory=lambda: {"cardData": {"license": "mit"}})
    requested: list[tuple[str, str, str, str]] = field(default_factory=list)  # method, path, range, authorization
    url: str = ""


@contextmanager
def serving(mirror: Mirror) -> Iterator[Mirror]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def log_message(self, format: str, *args: object) -> None:
            pass

        def _answer(self, with_body: bool) -> None:
            requested = self.headers.get("Range", "")
            mirror.requested.append((self.command, self.path, requested, self.headers.get("Authorization", "")))
            if self.path.startswith("/api/models/"):
                self._send(200, json.dumps(mirror.card).encode(), {}, with_body)
            elif self.path != f"/{REPO}/resolve/main/{FILE}":
                self._send(404, b"", {}, with_body)
            elif mirror.status != 200:
                self._send(mirror.status, b"", {}, with_body)
            elif mirror.location and with_body:
                self._send(302, b"", {"Location": mirror.location}, with_body)
            else:
                self._file(requested, with_body)

        def _file(self, requested: str, with_body: bool) -> None:
            size = len(mirror.data) if mirror.size is None else mirror.size
            told = {"X-Linked-Size": str(size), "X-Linked-Etag": f'"{mirror.etag}"', "X-Repo-Commit": "0" * 40}
            start = int(match[1]) if mirror.has_ranges and (match := re.fullmatch(r"bytes=(\d+)-", requested)) else 0
            if start:
                told["Content-Range"] = f"bytes {start}-{len(mirror.data) - 1}/{len(mirror.data)}"
            self._send(206 if start else 200, mirror.data[start:], told, with_body)

        def _send(self, status: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                cut = mirror.cuts.pop(0) if mirror.cuts and len(body) > 10_000 else len(body)
                self.wfile.write(body[:cut])
                self.wfile.flush()
                if cut < len(body):
                    self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    mirror.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield mirror
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
