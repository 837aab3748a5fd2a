"""How long an interrupt takes to end a large job, and whether the next job runs.

    python -m tests.bench.bench_stop [--port 0] [--only CASE ...] [--checkpoint FILE]

Starts the real server as a user does and talks to it over loopback. Prints one JSON line per case:

    step      2048 x 2048 from text, in the middle of a step
    encoder   2048 x 2048 from a picture, while it is encoded
    decoder   2048 x 2048, while the result is decoded
    huge      3840 x 3840 from text, in the middle of the first step
    loading   while another checkpoint is loaded, a file of 4 GB (sparse on the disk)
    second    while a running job loads that checkpoint for its second pass, which cannot be interrupted
    starting  while the engine process restarts after it was unloaded

`seconds` are measured from the POST of the interrupt to the end in the job's events, `interrupted` is whether that end
is an interruption, `engine` whether the "same" process continued or a "new" one replaced it, `next` how the next job, a
small one, ended, and `next_s` after how many seconds.
"""

import argparse
import io
import json
import shutil
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image

from tests.bench.bench_img2img import BUNDLED, report, server, source_png, sse, wait_until_answers

PROMPT = {"prompt": "watercolor, light smile", "sampler_name": "Euler", "seed": 1}
SMALL = {**PROMPT, "steps": 2, "width": 256, "height": 256}
HEAVY_BYTES = 4 * 2**30
HEAVY = "heavy"


class Running:
    """A submitted job, whose events are followed by a separate thread."""

    def __init__(self, client: httpx.Client, kind: str, request: dict[str, Any]) -> None:
        body = {"kind": kind, "request": request}
        self.id = client.post("/v1/jobs", json=body).raise_for_status().json()["id"]
        self.events: list[tuple[float, str, dict[str, Any]]] = []
        self._client = client
        self._changed = threading.Condition()
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        with self._client.stream("GET", f"/v1/jobs/{self.id}/events", timeout=None) as stream:
            for name, data in sse(stream.iter_lines()):
                with self._changed:
                    self.events.append((time.perf_counter(), name, data))
                    self._changed.notify_all()

    def wait(self, is_it: Callable[[str, dict[str, Any]], bool]) -> tuple[float, str, dict[str, Any]]:
        """The first matching event, with its time. Ends the bench if the job ends earlier."""
        with self._changed:
            while True:
                for event in self.events:
                    if is_it(event[1], event[2]):
                        return event
                    if is_end(event[1], event[2]):
                        raise SystemExit(f"the job ended before its time: {event}")
                if not self._changed.wait(600):
                    raise SystemExit("no event came in 10 minutes")


def is_end(name: str, data: dict[str, Any]) -> bool:
    return name in ("finished", "failed")


def at(stage: str) -> Callable[[str, dict[str, Any]], bool]:
    return lambda name, data: name == "staged" and data["stage"].startswith(stage)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="of the server (default: a free one)")
    parser.add_argument("--only", nargs="*", help="names of cases (default: all)")
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED)
    options = parser.parse_args()
    large = {**PROMPT, "steps": 20, "width": 2048, "height": 2048}
    cases: dict[str, tuple[str, dict[str, Any], str, float]] = {  # kind, request, stage, seconds after its start
        "step": ("txt2img", large, "sampling", 2.0),
        "encoder": ("img2img", large, "encoding", 2.0),
        "decoder": ("txt2img", {**large, "steps": 1, "cfg_scale": 1}, "decoding", 2.0),
        "huge": ("txt2img", {**large, "width": 3840, "height": 3840}, "sampling", 5.0),
        "loading": ("txt2img", {**SMALL, "override_settings": {"sd_model_checkpoint": HEAVY}}, "loading", 0.5),
        "second": ("txt2img", {**SMALL, "enable_hr": True, "hr_checkpoint_name": HEAVY}, "loading", 0.5),
        "starting": ("txt2img", SMALL, "loading", 0.5),
    }
    for name in options.only or cases:
        kind, request, stage, later = cases[name]
        with tempfile.TemporaryDirectory() as folder:
            if name in ("loading", "second"):
                write_heavy(options.checkpoint, Path(folder, f"{HEAVY}.safetensors"))
            extra = ("--ckpt-dir", folder)
            with (
                server(options.checkpoint, Path(folder), options.port, extra) as url,
                httpx.Client(base_url=url, timeout=600, trust_env=False) as client,
            ):
                wait_until_answers(client, "/internal/ping", 600)
                if kind == "img2img":
                    request = {**request, "denoising_strength": 0.5, "init_images": [uploaded(client)]}
                Running(client, "txt2img", SMALL).wait(is_end)
                if name == "starting":
                    client.post("/sdapi/v1/unload-checkpoint").raise_for_status()
                report(name, **stopped(client, Running(client, kind, request), stage, later))


def stopped(client: httpx.Client, job: Running, stage: str, later: float) -> dict[str, Any]:
    """What happens to a job that is interrupted `later` seconds after the start of `stage`, and to the next one."""
    job.wait(at(stage))
    time.sleep(later)
    before = engine()
    requested = time.perf_counter()
    client.post(f"/v1/jobs/{job.id}/interrupt").raise_for_status()
    ended, how, said = job.wait(is_end)
    begun = time.perf_counter()
    _, next_how, next_said = Running(client, "txt2img", SMALL).wait(is_end)
    return {
        "seconds": round(ended - requested, 2),
        "interrupted": how == "finished" and said["interrupted"],
        "engine": "same" if engine() == before else "new",
        "next": next_how if next_how == "finished" and not next_said["interrupted"] else next_said,
        "next_s": round(time.perf_counter() - begun, 1),
    }


def engine() -> int | None:
    """The engine's process id, if it runs."""
    for each in psutil.Process().children(recursive=True):
        if "--multiprocessing-fork" in " ".join(each.cmdline()):
            return each.pid
    return None


def uploaded(client: httpx.Client) -> str:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(source_png())).resize((2048, 2048)).save(buffer, "PNG")
    return client.post("/v1/pictures", content=buffer.getvalue()).raise_for_status().json()["id"]


def write_heavy(checkpoint: Path, path: Path) -> None:
    """A copy of `checkpoint` with a tensor of zeros that no model knows: hashing it takes seconds."""
    if (described := checkpoint.with_suffix(".yaml")).exists():
        shutil.copy(described, path.with_suffix(".yaml"))
    with checkpoint.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    header["unused.weight"] = {
        "dtype": "U8",
        "shape": [HEAVY_BYTES],
        "data_offsets": [len(data), len(data) + HEAVY_BYTES],
    }
    text = json.dumps(header).encode("utf-8")
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
        file.truncate(file.tell() + HEAVY_BYTES)


if __name__ == "__main__":
    main()
