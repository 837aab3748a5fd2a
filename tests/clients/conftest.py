"""Palimpsest itself, started as a person starts it, with a tiny checkpoint: the server that clients connect to."""

import base64
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.ports import free_port
from tests.tiny import write_tiny_checkpoint

ROOT = Path(__file__).resolve().parents[2]
START = 300.0  # seconds for a start that takes three: two processes import a lot
PATIENCE = 300.0  # seconds for a job of a few steps


def pytest_itemcollected(item: pytest.Item) -> None:
    """Marks the tests that use the server as slow: it has to start first."""
    if "server" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def server(data_dir: Path) -> Iterator[str]:
    """The server's address."""
    port = free_port()
    checkpoint = write_tiny_checkpoint(data_dir / "models" / "Stable-diffusion" / "tiny.safetensors")
    command = [sys.executable, "webui.py", "--port", str(port), "--no-autolaunch", "--use-cpu", "all"]
    command += ["--data-dir", str(data_dir), "--ckpt", str(checkpoint)]
    log = (data_dir / "server.log").open("w")
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        end = time.monotonic() + START
        while not _answers(url):
            assert process.poll() is None, (data_dir / "server.log").read_text(encoding="utf-8")
            assert time.monotonic() < end, "the server did not answer"
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(300)
        log.close()


@pytest.fixture(scope="session")
def client(server: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server, timeout=PATIENCE, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def post(client: httpx.Client) -> Callable[..., dict[str, Any]]:
    """Posts a body to a route of /sdapi/v1 and returns the answer, which must not be an error."""

    def send(route: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = client.post(f"/sdapi/v1/{route}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return send


def picture(width: int = 64, height: int = 64) -> Image.Image:
    """A smooth colored field."""
    across, down = (
        Image.linear_gradient("L").resize((width, height)),
        Image.radial_gradient("L").resize((width, height)),
    )
    return Image.merge("RGB", (across, down, across.transpose(Image.Transpose.ROTATE_90).resize((width, height))))


def masked(width: int = 64, height: int = 64) -> Image.Image:
    """White in the middle, black around it."""
    mask = Image.new("RGB", (width, height))
    mask.paste("white", (width // 4, height // 4, width * 3 // 4, height * 3 // 4))
    return mask


def as_text(image: Image.Image, prefix: str = "") -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return prefix + base64.b64encode(file.getvalue()).decode("ascii")


def opened(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/internal/ping", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
