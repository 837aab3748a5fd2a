"""The engine process itself: what it imports, what it survives, and that it never outlives the web process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from modules.base.events import Stop
from modules.jobs.workers.process import EngineDied, EngineProcess
from modules.processing.kinds.generate import TXT2IMG
from modules.processing.kinds.kind import Work
from modules.schema.request import Txt2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from tests.jobs.conftest import CHECKPOINT, FACTORY

ROOT = Path(__file__).resolve().parents[3]

# A web process with a busy engine process; it prints the engine's pid.
PARENT = """
import signal
import sys
from modules.jobs.workers.process import EngineProcess
from modules.processing.kinds.generate import TXT2IMG
from modules.processing.kinds.kind import Work
from modules.schema.request import Txt2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from tests.jobs.conftest import CHECKPOINT, FACTORY

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
    engine = EngineProcess(FACTORY)
    for event in engine.run(Work(TXT2IMG, Txt2ImgRequest(prompt=sys.argv[1]), Settings(), Resources(CHECKPOINT))):
        print(engine.pid, flush=True)
"""


def start_parent(tmp_path: Path, prompt: str) -> tuple["subprocess.Popen[str]", psutil.Process]:
    script = tmp_path / "parent.py"
    script.write_text(PARENT, encoding="utf-8")
    parent = subprocess.Popen(
        [sys.executable, str(script), prompt],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # its own process group, as in a terminal
    )
    assert parent.stdout
    return parent, psutil.Process(int(parent.stdout.readline()))


def test_a_busy_engine_process_ends_when_the_web_process_is_killed(tmp_path: Path) -> None:
    parent, engine = start_parent(tmp_path, "wait")
    parent.kill()
    parent.communicate()

    engine.wait(300)  # raises TimeoutExpired if it is still alive


def test_ctrl_c_in_the_terminal_does_not_reach_the_engine_process_first(tmp_path: Path) -> None:
    parent, engine = start_parent(tmp_path, "wait")
    os.kill(engine.pid, signal.SIGINT)
    time.sleep(0.2)
    assert engine.status() != psutil.STATUS_ZOMBIE
    assert engine.is_running()

    os.killpg(parent.pid, signal.SIGINT)
    parent.communicate(timeout=300)
    engine.wait(300)


def test_the_engine_process_imports_no_page_and_no_server(tmp_path: Path) -> None:
    listed = subprocess.run(
        [sys.executable, "-c", "import sys, modules.jobs.workers.child; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert not {"gradio", "fastapi", "starlette", "uvicorn", "torch"} & set(listed)


def test_a_stop_wish_is_for_the_run_it_was_meant_for() -> None:
    engine = EngineProcess(FACTORY)
    try:
        first = list(engine.run(Work(TXT2IMG, Txt2ImgRequest(prompt="a"), Settings(), Resources(CHECKPOINT))))
        engine.ask(Stop.INTERRUPT)  # too late
        engine.ask(Stop.SKIP)
        second = list(engine.run(Work(TXT2IMG, Txt2ImgRequest(prompt="a"), Settings(), Resources(CHECKPOINT))))
        assert [type(event) for event in first] == [type(event) for event in second]
        stopped = engine.run(Work(TXT2IMG, Txt2ImgRequest(prompt="wait"), Settings(), Resources(CHECKPOINT)))
        engine.ask(Stop.INTERRUPT)  # before the command is sent
        assert list(stopped)[-1].interrupted  # type: ignore[union-attr]
    finally:
        engine.close()


def test_a_closed_engine_is_gone_and_stays_so() -> None:
    engine = EngineProcess(FACTORY)
    engine.start()
    pid = engine.pid
    engine.close()

    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert not engine.died
    for _ in range(2):
        with pytest.raises(EngineDied):
            list(engine.load(CHECKPOINT, Settings(), None))
