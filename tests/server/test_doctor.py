"""The doctor: a sound Palimpsest passes, and a server that lets everything through fails every attack."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from modules.server.doctor import ATTACKS, Target, attempt, main, table
from modules.server.installed import Finding, checkpoints, packages, writable

ROOT = Path(__file__).resolve().parents[2]


class Careless(BaseHTTPRequestHandler):
    """Accepts everything, returns any requested file, and allows all sites."""

    def answer(self) -> None:
        self.rfile.read(min(int(self.headers.get("content-length") or 0), 1_000_000) if self.careful() else 0)
        content = json.dumps({"text": "root:x:0:0"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def careful(self) -> bool:
        return int(self.headers.get("content-length") or 0) < 1_000_000

    do_GET = do_POST = do_OPTIONS = answer

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def careless() -> Iterator[Target]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Careless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Target(f"http://127.0.0.1:{server.server_port}", None)
        server.shutdown()


def test_a_server_that_lets_everything_through_fails_every_attack(careless: Target) -> None:
    findings = {name: attempt(name, attack, careless) for name, attack in ATTACKS}
    passed = {name for name, finding in findings.items() if finding.passed}
    assert passed == {"brackets", "alive"}  # it is fast, and available
    assert findings["traversal"].sentence.startswith("got through: /v1/outputs/")


@pytest.mark.slow
def test_palimpsest_passes_on_a_server_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "webui.py", "doctor", "--data-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    # How full the disk is and which torch is installed are not tested.
    assert [line for line in failed if line.split()[1] not in ("disk", "packages")] == [], done.stderr
    assert done.stdout.count("pass  ") >= 17


def test_nobody_at_the_address_is_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--url", "http://127.0.0.1:9", "--data-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("doctor: no server at http://127.0.0.1:9")


def test_packages_are_compared_with_what_is_pinned() -> None:
    assert packages(f"# a comment\nnumpy=={np.__version__}\n") == Finding(
        "packages", True, "as pinned in requirements.txt"
    )
    assert packages("numpy==0.1\nno-such-package==1\n").sentence == (
        f"numpy is {np.__version__}, not 0.1; no-such-package is missing, not 1"
    )


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    save_file({"a": np.zeros(4, np.float32)}, whole)
    cut.write_bytes(whole.read_bytes()[:20])
    assert checkpoints({whole}) == Finding("checkpoints", True, "1 can be read")
    finding = checkpoints({whole, cut})
    assert (finding.passed, finding.sentence[:32]) == (False, "cut.safetensors cannot be read: ")
    assert not checkpoints(set()).passed


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert not writable(tmp_path / "file").passed
    assert writable(tmp_path / "new").passed


def test_the_table_counts_what_failed() -> None:
    assert table([Finding("a", True, "good"), Finding("longer", False, "bad")]) == (
        "pass  a       good\nFAIL  longer  bad\n\n1 of 2 checks failed.\n"
    )
