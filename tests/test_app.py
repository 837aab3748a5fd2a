"""Palimpsest as a person starts it: `python webui.py`, in separate processes, with a tiny checkpoint."""

import io
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image
from safetensors.numpy import save_file

from modules.app import reproduce
from modules.base.events import ImageDone
from modules.processing.engine import create_engine
from modules.schema.catalog import Checkpoint
from modules.schema.request import Txt2ImgRequest
from modules.schema.settings import Settings
from modules.store.metadata import encoded
from tests.admitted import Folders
from tests.ports import free_port
from tests.tiny import tiny_tensors, write_tiny_checkpoint

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 300.0  # seconds; a start takes 5 to 10 on an idle machine; 110 were measured on a busy one


def command(port: int, data: Path, *flags: str) -> list[str]:
    return [sys.executable, "webui.py", "--port", str(port), "--data-dir", str(data), "--no-autolaunch", *flags]


class Studio:
    """A running webui.py."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process = process
        self.client = httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False)

    def state(self) -> dict[str, Any]:
        return self.client.get("/v1/state").json()["engine"]

    def until(self, what: str, ready: Any) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                if ready():
                    return
            except httpx.TransportError:
                assert self.process.poll() is None, f"webui.py ended with {self.process.returncode}"
            time.sleep(0.1)
        pytest.fail(f"waited in vain for {what}; the engine is {self.state()}")

    def run(self, **request: Any) -> dict[str, Any]:
        """Runs an img2img job to its end; returns what GET /v1/jobs/{id} says about it."""
        values = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4, "seed": 5, "subseed": 1, **request}
        job = self.client.post("/v1/jobs", json={"kind": "img2img", "request": values}).json()
        self.until("the job to end", lambda: self.job(job["id"])["status"] not in ("queued", "running"))
        return self.job(job["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        return self.client.get(f"/v1/jobs/{job_id}").json()

    def upload(self) -> str:
        buffer = io.BytesIO()
        Image.linear_gradient("L").resize((80, 64)).convert("RGB").save(buffer, "PNG")
        return self.client.post("/v1/pictures", content=buffer.getvalue()).json()["id"]


@contextmanager
def studio(data: Path, *flags: str | Path) -> Iterator[Studio]:
    port = free_port()
    process = subprocess.Popen(command(port, data, "--precision", "full", *map(str, flags)), cwd=ROOT)
    running = Studio(process, f"http://127.0.0.1:{port}")
    try:
        running.until("the page", lambda: running.client.get("/internal/ping").status_code == 200)
        yield running
    finally:
        running.client.close()
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny.safetensors")


@pytest.mark.slow
def test_the_same_request_gives_the_same_file_after_a_restart(tmp_path: Path, checkpoint: Path) -> None:
    files: list[bytes] = []
    for _ in range(2):
        with studio(tmp_path, "--ckpt", checkpoint) as palimpsest:
            job = palimpsest.run(init_images=[palimpsest.upload()])
            assert job["status"] == "finished", job
            files.append((tmp_path / "outputs" / job["images"][0]["path"]).read_bytes())
            page = palimpsest.client.get("/")
            assert "Palimpsest" in page.text
    assert files[0] == files[1]


@pytest.mark.slow
def test_a_killed_engine_costs_its_job_nothing_and_the_next_job_runs(tmp_path: Path, checkpoint: Path) -> None:
    with studio(tmp_path, "--ckpt", checkpoint) as palimpsest:
        picture = palimpsest.upload()
        palimpsest.until("the engine", lambda: palimpsest.state()["state"] == "ready")
        request = {"init_images": [picture], "steps": 50, "n_iter": 2, "width": 64, "height": 64}
        job = palimpsest.client.post("/v1/jobs", json={"kind": "img2img", "request": request}).json()
        palimpsest.until("the job to run", lambda: palimpsest.job(job["id"])["progress"]["step"] > 0)
        children = psutil.Process(palimpsest.process.pid).children(recursive=True)
        max(children, key=lambda child: child.memory_info().rss).kill()
        palimpsest.until("the job to end", lambda: palimpsest.job(job["id"])["status"] not in ("queued", "running"))
        assert [image["index"] for image in palimpsest.job(job["id"])["images"]] == [0, 1]
        assert palimpsest.run(init_images=[picture])["status"] == "finished"


@pytest.mark.slow
def test_ctrl_c_ends_server_and_engine(tmp_path: Path, checkpoint: Path) -> None:
    with studio(tmp_path, "--ckpt", checkpoint) as palimpsest:
        palimpsest.until("the engine", lambda: palimpsest.state()["state"] == "ready")
        children = psutil.Process(palimpsest.process.pid).children(recursive=True)
        assert children
        palimpsest.process.send_signal(signal.SIGINT)
        assert palimpsest.process.wait(PATIENCE) == 130
        _, alive = psutil.wait_procs(children, timeout=300)
        assert alive == []


def has_loaded(process: subprocess.Popen[bytes], library: str) -> bool:
    return any(library in mapped.path for mapped in psutil.Process(process.pid).memory_maps())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the moments are told by /proc")
@pytest.mark.parametrize("moment", ["imports", "start", "page"])
def test_ctrl_c_is_quiet_at_any_moment(tmp_path: Path, checkpoint: Path, moment: str) -> None:
    reached = {
        "imports": lambda: has_loaded(process, "pydantic_core"),
        "start": lambda: (tmp_path / "queue" / "jobs.sqlite").exists(),
        "page": lambda: b"Palimpsest" in log.read_bytes(),
    }[moment]
    log = tmp_path / "log"
    data = command(free_port(), tmp_path, "--use-cpu", "--ckpt", str(checkpoint))
    with log.open("wb") as said:
        process = subprocess.Popen(data, cwd=ROOT, stdout=said, stderr=said)
    end = time.monotonic() + PATIENCE
    try:
        while not reached():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()
    assert "KeyboardInterrupt" not in log.read_text()


@pytest.mark.slow
def test_no_process_outlives_a_killed_server(tmp_path: Path, checkpoint: Path) -> None:
    with studio(tmp_path, "--ckpt", checkpoint) as palimpsest:
        palimpsest.until("the engine", lambda: palimpsest.state()["state"] == "ready")
        children = psutil.Process(palimpsest.process.pid).children(recursive=True)
        palimpsest.process.kill()
        _, alive = psutil.wait_procs(children, timeout=300)
        assert alive == []


def sentence(argv: list[str]) -> tuple[int, str]:
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.returncode, done.stderr.strip().splitlines()[-1]


def test_a_busy_port_is_one_sentence_with_the_cure(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, text = sentence(command(port, tmp_path))
    assert code == 1
    assert text.startswith(f"port {port} is in use")
    assert "--port" in text


@pytest.mark.slow
def test_a_broken_settings_file_is_kept_and_the_page_comes(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "config.json").write_text('{"steps": ')
    with studio(tmp_path, "--ckpt", checkpoint) as palimpsest:
        assert palimpsest.client.get("/").status_code == 200
    assert any(file.read_text() == '{"steps": ' for file in tmp_path.glob("config.json*"))


@pytest.mark.slow
def test_a_checkpoint_that_is_gone_leaves_the_page_usable(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "config.json").write_text('{"sd_model_checkpoint": "gone.safetensors"}')
    with studio(tmp_path, "--ckpt-dir", checkpoint.parent) as palimpsest:
        palimpsest.until("an engine", lambda: palimpsest.state()["state"] == "ready")
        assert palimpsest.client.get("/").status_code == 200


def test_a_picture_is_made_again_with_the_checkpoints_of_the_models_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "models" / "Stable-diffusion"
    first = write_tiny_checkpoint(models / "first.safetensors")
    other = {name: (w * np.float16(0.9)).astype(w.dtype) for name, w in tiny_tensors().items() if w.dtype == np.float16}
    (models / "other").mkdir()
    save_file({**tiny_tensors(), **other}, models / "other" / "second.safetensors", {"format": "pt"})
    (models / "other" / "second.yaml").write_text(first.with_suffix(".yaml").read_text())
    engine = create_engine("cpu", "full", str(tmp_path / "elsewhere"))
    request = Txt2ImgRequest(
        prompt="a cat", width=64, height=64, steps=4, seed=7, subseed=1,
        refiner_checkpoint="second", refiner_switch_at=0.5,
    )  # fmt: skip
    settings = Settings(live_previews_enable=False)
    events = Folders(tmp_path / "elsewhere", (models,)).run(engine, request, settings, Checkpoint(first.name, first))
    done = next(event for event in events if isinstance(event, ImageDone))
    assert "Refiner: second [" in done.infotext
    picture = tmp_path / "picture.png"
    image = Image.frombytes("RGB", (done.width, done.height), done.pixels)
    picture.write_bytes(encoded(image, "png", done.infotext).data)

    first.rename(models / "renamed.safetensors")
    first.with_suffix(".yaml").rename(models / "renamed.yaml")
    flags = ["--data-dir", str(tmp_path), "--models-dir", str(models.parent), "--use-cpu", "--precision", "full"]
    assert reproduce([str(picture), *flags]) == 0
    assert capsys.readouterr().out == "identical\n"
