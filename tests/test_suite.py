"""The suite itself: a test that hangs costs itself alone, and a failure is told when it happens."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = """
import threading
import pytest

@pytest.mark.timeout(1)
def test_hangs():
    threading.Event().wait()

def test_passes():
    pass

def test_fails():
    assert 1 == 2
"""


def test_a_hanging_test_fails_alone_and_failures_are_told_before_the_end(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_bytes((ROOT / "tests" / "conftest.py").read_bytes())
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_three.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", str(tmp_path)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    told, _, summary = ran.stdout.partition("= FAILURES =")
    assert (ran.returncode, "2 failed, 1 passed" in summary) == (1, True), ran.stdout + ran.stderr
    assert "FAILED now: test_three.py::test_hangs (call)" in told
    assert "Timeout (>1.0s) from pytest-timeout" in told
    assert "FAILED now: test_three.py::test_fails (call)" in told
    assert "assert 1 == 2" in told
