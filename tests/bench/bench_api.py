"""What A1111's HTTP API costs beyond the engine's own time: a PNG of 512x512 in, one out.

    python -m tests.bench.bench_api [--jobs 25]

The real server, on loopback, in a separate process, with an engine process without a model that returns a finished
picture of 512x512 immediately. So the time measured is everything but the engine: base64 and PNG in, the queue and its
job store on disk, pixels between processes, PNG and base64 out. Prints one JSON line:

    overhead_ms         median milliseconds of POST /sdapi/v1/img2img, to the last byte of the answer
    slowest_tenth_ms    one request in ten takes longer
    bare_ms             median of only decoding the source and encoding the result, measured between the requests
    beyond_bare_ms      the median difference
    cpu_ms              processor time of a request in the server's process, which a busy machine does not increase
    bare_cpu_ms         processor time of only decoding and encoding
"""

import argparse
import base64
import http.client
import io
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import uvicorn
from PIL import Image

from modules.api.app import create_api
from modules.base.events import EngineState, Event, Finished, ImageDone, Staged, Started, Stepped, Stop
from modules.flags.flags import Flags
from modules.schema.catalog import Checkpoint, Vae
from modules.schema.request import GenerationRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from modules.server.listen import configured
from modules.store.metadata import encoded
from tests.api.conftest import services_in

SIDE = 512
AIM_MS = 60


class InstantEngine:
    """Returns the same picture to everyone, immediately."""

    def __init__(self) -> None:
        self._pixels = photo().tobytes()

    def load(self, checkpoint: Checkpoint, settings: Settings, vae: Vae | None) -> Iterator[EngineState]:
        yield EngineState("ready", checkpoint.name, "0" * 64, device="none")

    def run(
        self,
        request: GenerationRequest,
        settings: Settings,
        resources: Resources,
        should_stop: Callable[[], Stop],
        first_batch: int = 0,
    ) -> Iterator[Event]:
        yield Started(1, 1, 20, SIDE, SIDE, request.seed)
        yield Staged("sampling")
        for step in range(1, 21):
            yield Stepped(0, step, 20)
        text = f"{request.prompt}\nSteps: 20, Sampler: Euler a, Seed: {request.seed}, Size: {SIDE}x{SIDE}"
        yield ImageDone(0, request.seed, SIDE, SIDE, text, self._pixels)
        yield Finished(0.0, {})


def create(**options: str) -> InstantEngine:
    return InstantEngine()


def photo() -> Image.Image:
    """Smooth areas with grain, which compress like photographs."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC
    )
    pixels = np.asarray(coarse).astype(float) + rng.normal(0, 4, (SIDE, SIDE, 1))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--jobs", type=int, default=25, help="that count, after three to warm up (default: %(default)s)"
    )
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    else:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measured(options.jobs, Path(folder))))


def serve(folder: Path) -> None:
    """The application over the engine above, until standard input ends; the first line of output is the port."""
    with (
        services_in(folder, "tests.bench.bench_api:create", folder / "jobs.sqlite") as services,
        socket.socket() as listening,
    ):
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # from here on a client can connect, and waits until the server accepts it
        server = uvicorn.Server(configured(create_api(services), Flags(data_dir=folder)))
        threading.Thread(target=lambda: (sys.stdin.read(), setattr(server, "should_exit", True)), daemon=True).start()
        print(listening.getsockname()[1], flush=True)
        server.run([listening])


def measured(count: int, folder: Path) -> dict[str, Any]:
    file = io.BytesIO()
    photo().save(file, "PNG")
    source = file.getvalue()
    body = {"prompt": "a cat", "init_images": [base64.b64encode(source).decode("ascii")], "steps": 20}
    walls: list[float] = []
    bare: list[float] = []
    cpu: list[float] = []
    bare_cpu: list[float] = []
    sent = answered = b""
    command = [sys.executable, "-m", "tests.bench.bench_api", "--serve", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        connection = http.client.HTTPConnection("127.0.0.1", int(process.stdout.readline()), timeout=60)
        server = psutil.Process(process.pid)
        for number in range(count + 3):
            sent = json.dumps({**body, "seed": number}).encode()
            before, begun = sum(server.cpu_times()[:2]), time.perf_counter()
            connection.request("POST", "/sdapi/v1/img2img", sent, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answered = answer.read()
            walls.append((time.perf_counter() - begun) * 1000)
            cpu.append((sum(server.cpu_times()[:2]) - before) * 1000)
            assert answer.status == 200, answered[:300]
            assert len(base64.b64decode(json.loads(answered)["images"][0])) > 100_000
            spent, begun = time.thread_time(), time.perf_counter()
            encoded(Image.open(io.BytesIO(source)).convert("RGB"), "png", "a cat\nSteps: 20")
            bare.append((time.perf_counter() - begun) * 1000)
            bare_cpu.append((time.thread_time() - spent) * 1000)
        connection.close()
        process.communicate()
    counted = sorted(walls[3:])
    return {
        "case": "api",
        "overhead_ms": round(statistics.median(counted), 1),
        "slowest_tenth_ms": round(counted[int(len(counted) * 0.9)], 1),
        "bare_ms": round(statistics.median(bare[3:]), 1),
        "beyond_bare_ms": round(statistics.median(w - b for w, b in zip(walls[3:], bare[3:], strict=True)), 1),
        "cpu_ms": round(statistics.mean(cpu[3:]), 1),
        "bare_cpu_ms": round(statistics.mean(bare_cpu[3:]), 1),
        "aim_ms": AIM_MS,
        "jobs": count,
        "sent_kb": len(sent) // 1000,
        "answered_kb": len(answered) // 1000,
    }


if __name__ == "__main__":
    main()
