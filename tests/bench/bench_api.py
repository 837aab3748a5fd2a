"""What A1111's HTTP API costs beyond the engine's own time: a PNG of 512x512 in, one out.

    python -m tests.bench.bench_api [--jobs 15]

The application answers in this process, over an engine process without a model, which hands a finished picture of
512x512 over at once. So the whole wait is what stands around the engine: base64 and PNG in, the queue and its ledger
on disk, pixels between processes, PNG and base64 out. Prints one JSON line:

    overhead_ms         median milliseconds of POST /sdapi/v1/img2img
    slowest_tenth_ms    of ten requests one takes longer
"""

import argparse
import base64
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from modules.api.app import create_api
from modules.catalog import Checkpoint
from modules.events import EngineState, Event, Finished, ImageDone, Staged, Started, Stepped, Stop
from modules.request import GenerationRequest
from modules.settings import Settings
from tests.api.conftest import BASE, services_in

SIDE = 512
AIM_MS = 60


class InstantEngine:
    """Gives the same picture to everybody, at once."""

    def __init__(self) -> None:
        self._pixels = photo().tobytes()

    def load(self, checkpoint: Checkpoint, settings: Settings) -> Iterator[EngineState]:
        yield EngineState("ready", checkpoint.name, "0" * 64, device="none")

    def run(
        self,
        request: GenerationRequest,
        settings: Settings,
        checkpoint: Checkpoint,
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
    """Smooth fields with grain, which compress as photographs do."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC
    )
    pixels = np.asarray(coarse).astype(float) + rng.normal(0, 4, (SIDE, SIDE, 1))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=15, help="that count, after two to warm up (default: %(default)s)")
    count = parser.parse_args().jobs
    file = io.BytesIO()
    photo().save(file, "PNG")
    body = {"prompt": "a cat", "init_images": [base64.b64encode(file.getvalue()).decode("ascii")], "steps": 20}
    walls: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        services_in(Path(folder), "tests.bench.bench_api:create", Path(folder) / "jobs.sqlite") as services,
        TestClient(create_api(services), base_url=BASE) as client,
    ):
        for number in range(count + 2):
            sent = json.dumps({**body, "seed": number}).encode()
            begun = time.perf_counter()
            answer = client.post("/sdapi/v1/img2img", content=sent)
            walls.append((time.perf_counter() - begun) * 1000)
            answer.raise_for_status()
            assert len(base64.b64decode(answer.json()["images"][0])) > 100_000
    counted = sorted(walls[2:])
    report = {
        "case": "api",
        "overhead_ms": round(statistics.median(counted), 1),
        "slowest_tenth_ms": round(counted[int(len(counted) * 0.9)], 1),
        "aim_ms": AIM_MS,
        "jobs": count,
        "sent_kb": len(sent) // 1000,
        "answered_kb": len(answer.content) // 1000,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
