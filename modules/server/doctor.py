"""`webui.py doctor`: is everything installed, and does the server withstand common attacks?

Without `--url` it starts its own Palimpsest on a free port with an empty data folder, attacks that and stops it. A
sound server given by `--url` keeps one small picture in its cache. One that lets an attack through may be left with a
job of one step.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httpx

from modules.base.errors import WebuiError
from modules.base.paths import printable
from modules.base.root import ROOT
from modules.flags.command_line import parse
from modules.server.installed import Finding, installation

PATIENCE: Final = 20.0  # seconds for one answer
START: Final = 120.0  # seconds until a server first answers
FOREIGN: Final = "http://evil.example"
SECRET: Final = "root:"  # the first bytes of the file that the attacks request
FORBIDDEN: Final = "/etc/passwd"

TRAVERSALS: Final = tuple(
    f"{room}{path}{FORBIDDEN.removeprefix('/')}"
    for room in ("/v1/outputs/", "/v1/pictures/", "/assets/", "/static/", "/file=", "/gradio_api/file=")
    for path in ("/", "../../../../../../", "..%2f..%2f..%2f..%2f..%2f..%2f", "%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/")
)
GRADIO: Final = (
    ("GET", "/config"), ("GET", "/gradio_api/info"), ("POST", "/gradio_api/upload"), ("POST", "/gradio_api/queue/join"),
    ("GET", "/gradio_api/proxy=http://127.0.0.1/"), ("GET", "/gradio_api/heartbeat/x"), ("GET", "/component_server"),
)  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """Prints a table; returns 0 if everything passed, else 1."""
    reader = argparse.ArgumentParser("webui.py doctor", description="Check the installation, then attack the server.")
    reader.add_argument("--url", default="", help="a running Palimpsest (default: start one for the checks)")
    reader.add_argument("--auth", default="", metavar="USER:PASSWORD", help="for the server at --url")
    args, rest = reader.parse_known_args(argv)
    try:
        findings = [*installation(parse(rest))]
        if args.url:
            findings += attacks(args.url.rstrip("/"), args.auth)
        else:
            with own_server() as url:
                findings += attacks(url, "")
    except WebuiError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(table(findings))
    return 0 if all(finding.passed for finding in findings) else 1


def table(findings: Sequence[Finding]) -> str:
    width = max(len(finding.check) for finding in findings)
    rows = [
        f"{'pass' if finding.passed else 'FAIL'}  {finding.check:<{width}}  {printable(finding.sentence)}"
        for finding in findings
    ]
    failed = sum(not finding.passed for finding in findings)
    end = f"{failed} of {len(findings)} checks failed." if failed else f"All {len(findings)} checks passed."
    return "\n".join([*rows, "", end, ""])


# the server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def own_server() -> Iterator[str]:
    """Start a Palimpsest with an empty data folder; yields its address and stops it afterwards."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="palimpsest-doctor-") as folder:
        command = [
            sys.executable, str(ROOT / "webui.py"), "--port", str(port), "--data-dir", folder, "--no-autolaunch",
            "--use-cpu", "all",
        ]  # fmt: skip
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"COMMANDLINE_ARGS": ""}
        ) as server:
            try:
                wait_for(url, server)
                yield url
            finally:
                server.terminate()
                try:
                    server.wait(30)
                except subprocess.TimeoutExpired:
                    server.kill()


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START
    while time.monotonic() < end and server.poll() is None:
        try:
            if httpx.get(f"{url}/internal/ping", trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise WebuiError("doctor: the Palimpsest to check did not start.", "Start webui.py and read its messages.")


@dataclass(frozen=True)
class Target:
    """The server that is attacked."""

    url: str
    auth: tuple[str, str] | None

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, **more: object) -> httpx.Response:
        with httpx.Client(base_url=self.url, auth=self.auth, trust_env=False, timeout=PATIENCE) as client:
            return client.request(method, path, headers=headers, **more)  # type: ignore[arg-type]

    def raw(
        self, method: str, path: str, headers: dict[str, str] | None = None, with_auth: bool = True
    ) -> tuple[int, str]:
        """Status and text of the response to exactly this request: no client normalizes the path or the headers."""
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=PATIENCE)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            all_headers = {"Host": parts.netloc} | (headers or {})
            if self.auth and with_auth:
                all_headers["Authorization"] = "Basic " + base64.b64encode(":".join(self.auth).encode()).decode()
            for name, value in all_headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, answer.read(1_000_000).decode("utf-8", "replace")
        finally:
            connection.close()


def attacks(url: str, auth: str) -> list[Finding]:
    """Every attack on the server at `url`. Raises WebuiError if no server answers there."""
    user, _, password = auth.partition(":")
    target = Target(url, (user, password) if auth else None)
    try:
        status = target.ask("GET", "/v1/state").status_code
    except httpx.HTTPError as error:
        raise WebuiError(
            f"doctor: no server at {url} ({error}).", "Check that it is running and that the port is right."
        ) from error
    if status in (401, 429):
        raise WebuiError("doctor: the server requires a password.", "Give it as --auth user:password.", "auth")
    if status != 200:
        raise WebuiError(f"doctor: the server at {url} is not Palimpsest (status {status}).")
    findings = [attempt(name, attack, target) for name, attack in ATTACKS]
    return findings + ([attempt("password", password_everywhere, target)] if target.auth else [])


def attempt(name: str, attack: Callable[[Target], str], target: Target) -> Finding:
    """An attack returns what is wrong, or ""."""
    try:
        wrong = attack(target)
    except (httpx.HTTPError, http.client.HTTPException, OSError) as error:
        wrong = f"the server did not answer: {type(error).__name__} {error}"
    return Finding(name, not wrong, wrong or (attack.__doc__ or "").strip().splitlines()[0])


def traversal(target: Target) -> str:
    """no path leads out of the folders of pictures"""
    return _list(path for path in TRAVERSALS if SECRET in target.raw("GET", path)[1])


def gradio_routes(target: Target) -> str:
    """Gradio's own routes for files, uploads and proxying are closed"""
    return _list(f"{method} {path}" for method, path in GRADIO if target.raw(method, path)[0] not in (403, 404, 405))


def rebinding(target: Target) -> str:
    """a foreign Host (DNS rebinding) is refused"""
    hosts = ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example")
    return _list(host for host in hosts if target.raw("GET", "/v1/state", {"Host": host})[0] < 400)


def foreign_origin(target: Target) -> str:
    """pages of other sites cannot send jobs or settings (CSRF)"""
    wrong: list[str] = []
    for path, body in (
        ("/v1/jobs", '{"kind": "txt2img", "request": {"steps": 0}}'),
        ("/sdapi/v1/options", "{}"),
        ("/sdapi/v1/png-info", "{}"),
    ):
        for headers in (
            {"Origin": FOREIGN, "Content-Type": "application/json"},
            {"Origin": FOREIGN, "Content-Type": "text/plain"},
            {"Origin": "null", "Content-Type": "text/plain"},
            {"Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"},
        ):
            status = target.ask("POST", path, headers, content=body).status_code
            if status != 403:
                wrong.append(f"POST {path} with {headers}: {status}")
    return _list(wrong)


def preflight(target: Target) -> str:
    """no other site is allowed in by CORS"""
    headers = {"Origin": FOREIGN, "Access-Control-Request-Method": "POST"}
    answer = target.ask("OPTIONS", "/v1/jobs", headers)
    allowed = answer.headers.get("access-control-allow-origin", "")
    return f"Access-Control-Allow-Origin: {allowed}" if allowed else ""


def fetching(target: Target) -> str:
    """a URL sent instead of a picture reaches no internal address (SSRF)"""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.5)
        inside = f"http://127.0.0.1:{listener.getsockname()[1]}/x.png"
        statuses = [
            target.ask("POST", "/sdapi/v1/img2img", json={"init_images": [address], "steps": 1}).status_code
            for address in (inside, "file:///etc/passwd", "http://169.254.169.254/latest/meta-data")
        ]
        try:
            listener.accept()[0].close()
        except TimeoutError:
            return _list(f"answered {status}" for status in statuses if not 400 <= status < 500)
    return "it called an address of this machine"


def hostile_pictures(target: Target) -> str:
    """bombs, truncated files and pickles are refused before they are decoded"""
    pictures = {
        "a bomb of 60000 x 60000": png(60_000, 60_000, zlib.compress(bytes(100_000))),
        "a cut picture": png(64, 64, zlib.compress(bytes(64 * 193))[:8])[:50],
        "a pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
        "nothing": b"",
    }
    sound = target.ask("POST", "/v1/pictures", content=png(8, 8, zlib.compress(bytes(8 * 25)))).status_code
    wrong = [f"a valid picture is rejected: {sound}"] if sound >= 400 else []
    for name, content in pictures.items():
        begun = time.monotonic()
        status = target.ask("POST", "/v1/pictures", content=content).status_code
        seconds = time.monotonic() - begun
        if not 400 <= status < 500 or seconds > PATIENCE / 2:
            wrong.append(f"{name}: {status} after {seconds:.1f} s")
    return _list(wrong)


def numbers(target: Target) -> str:
    """NaN, infinities, lists and huge numbers are rejected with a message"""
    wrong: list[str] = []
    for value in ("NaN", "Infinity", "-Infinity", "1e400", "[]", "true", '"x"', "-5"):
        body = f'{{"kind": "txt2img", "request": {{"cfg_scale": {value}, "width": 64, "height": 64, "steps": 1}}}}'
        headers = {"Content-Type": "application/json"}
        answer = target.ask("POST", "/v1/jobs", headers, content=body)
        if not names(answer, "cfg_scale"):
            wrong.append(f"cfg_scale = {value}: {answer.status_code}")
    return _list(wrong)


def names(answer: httpx.Response, field: str) -> bool:
    """Whether the response is an error that names the wrong field."""
    return 400 <= answer.status_code < 500 and answer.json().get("field") == field


def giant_body(target: Target) -> str:
    """a body of a terabyte is refused by its announced size"""
    status, _ = target.raw("POST", "/v1/jobs", {"Content-Length": str(10**12), "Content-Type": "application/json"})
    return "" if status == 413 else f"answered {status}"


def brackets(target: Target) -> str:
    """ten thousand brackets are parsed quickly"""
    begun = time.monotonic()
    answer = target.ask("POST", "/v1/tokens", json={"text": "(" * 5_000 + "[" * 5_000})
    seconds = time.monotonic() - begun
    return f"{answer.status_code} after {seconds:.1f} s" if answer.status_code != 200 or seconds > 5 else ""


def unknown_option(target: Target) -> str:
    """an unknown option is reported"""
    answer = target.ask("POST", "/v1/settings", json={"no_such_option": 1})
    return "" if names(answer, "no_such_option") else f"answered {answer.status_code}"


def headers(target: Target) -> str:
    """the page loads nothing from elsewhere and cannot be framed"""
    page = target.ask("GET", "/")
    policy = page.headers.get("content-security-policy", "")
    wrong = [
        f"no {part} in its policy" for part in ("default-src 'none'", "frame-ancestors 'none'") if part not in policy
    ]
    if page.headers.get("x-content-type-options") != "nosniff":
        wrong.append("no X-Content-Type-Options")
    wrong += [
        f"loads {found}"
        for found in re.findall(r"""<(?:script|link)[^>]+(?:src|href)=["'](https?://[^"']+)""", page.text)
    ]
    return _list(wrong)


def alive(target: Target) -> str:
    """the server answers as before"""
    status = target.ask("GET", "/healthz").status_code
    return "" if status == 200 else f"answered {status}"


def password_everywhere(target: Target) -> str:
    """nothing but /healthz answers without it"""
    paths = (
        "/",
        "/docs",
        "/openapi.json",
        "/v1/state",
        "/v1/state/events",
        "/metrics",
        "/sdapi/v1/options",
        "/assets/x",
    )
    return _list(path for path in paths if target.raw("GET", path, with_auth=False)[0] not in (401, 429))


ATTACKS: Final[tuple[tuple[str, Callable[[Target], str]], ...]] = (
    ("traversal", traversal),
    ("Gradio's routes", gradio_routes),
    ("rebinding", rebinding),
    ("foreign pages", foreign_origin),
    ("CORS", preflight),
    ("fetching", fetching),
    ("hostile pictures", hostile_pictures),
    ("numbers", numbers),
    ("giant body", giant_body),
    ("brackets", brackets),
    ("unknown option", unknown_option),
    ("headers", headers),
    ("alive", alive),
)


def png(width: int, height: int, data: bytes) -> bytes:
    """A PNG that announces `width` x `height` pixels and holds the compressed `data`."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _list(wrong: Iterator[str] | Sequence[str]) -> str:
    found = list(wrong)
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return "got through: " + "; ".join(found[:3]) + more if found else ""
