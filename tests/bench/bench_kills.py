"""What is lost, or made twice, when processes are killed at random moments while jobs run.

    python -m tests.bench.bench_kills engine|web [--kills 50] [--seconds 330] [--seed 0] [--port 0] [--checkpoint FILE]

Starts the real server as a user does, keeps jobs of several batches in its queue and kills, with SIGKILL, the engine
process (`engine`) or the web process, which is then restarted (`web`). The moment is random: usually a while after the
engine became ready, sometimes while it starts or loads. After the last kill, or when the time is up, it waits until the
queue is empty; a job that failed because of two kills in one batch is retried once.

Prints one JSON line: `kills`; `promised`, the pictures of all jobs whose ids a client received; `lost`, those
missing from the outputs; `doubled`, those that are there twice; `short`, jobs that lack a picture; `parked`, batches
that were skipped and made by a retry; `failed`, the sentences of jobs that had failed before that.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.bench.bench_img2img import BUNDLED, ROOT, source_png

AHEAD = 3  # jobs kept in the queue
PER_JOB = 100  # seeds; each picture has its own
WHILE_LOADING = 0.2  # share of the kills
LONGEST_WAIT = 2.5  # seconds after the engine is ready
PATIENCE = 300.0  # seconds until the queue is empty


class Studio:
    """webui.py in `folder`, restarted after each kill."""

    def __init__(self, folder: Path, checkpoint: Path, port: int) -> None:
        self._command = [sys.executable, "webui.py", "--port", str(port), "--no-autolaunch", "--loglevel", "ERROR"]
        self._command += ["--data-dir", str(folder), "--ckpt", str(checkpoint), "--use-cpu", "all"]
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
        self.process = self._started()

    def _started(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(self._command, cwd=ROOT)

    def kill_web(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process = self._started()

    def kill_engine(self) -> bool:
        """Returns whether there was one."""
        for each in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if "--multiprocessing-fork" in " ".join(each.cmdline()):
                    each.send_signal(signal.SIGKILL)
                    return True
            except psutil.NoSuchProcess:
                continue
        return False

    def requested(self, method: str, path: str, **body: Any) -> Any:
        """The answer; None while the server does not answer."""
        try:
            return self.client.request(method, path, **body).raise_for_status().json()
        except httpx.TransportError:
            return None

    def state(self) -> str:
        told = self.requested("GET", "/v1/state")
        return told["engine"]["state"] if told else ""


class Promises:
    """The accepted jobs: how many pictures each must have, by the first of its seeds."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._source = b""
        self.jobs: dict[str, tuple[int, int]] = {}  # id -> first seed, count

    def top_up(self, studio: Studio) -> None:
        """Fill the queue."""
        told = studio.requested("GET", "/v1/jobs")
        if told is None:
            return
        for _ in range(AHEAD - sum(job["status"] in ("queued", "running") for job in told)):
            seed, batches, size = PER_JOB * (len(self.jobs) + 1), self._draw.randint(1, 5), self._draw.randint(1, 2)
            request: dict[str, Any] = {"seed": seed, "n_iter": batches, "batch_size": size, "width": 128, "height": 128}
            request |= {"steps": self._draw.randint(2, 6), "prompt": "watercolor, light smile"}
            kind = self._draw.choice(("txt2img", "img2img"))
            if kind == "img2img":
                picture = studio.requested("POST", "/v1/pictures", content=source_png())
                if picture is None:
                    return
                request |= {"init_images": [picture["id"]], "denoising_strength": 0.6}
            answer = studio.requested("POST", "/v1/jobs", json={"kind": kind, "request": request})
            if answer is None:  # not accepted; its seeds are not used again
                self.jobs[f"unanswered {seed}"] = (seed, 0)
                return
            self.jobs[answer["id"]] = (seed, batches * size)

    def counted(self, outputs: Path) -> dict[str, int]:
        found = Counter(int(file.stem.rpartition("-")[2]) for file in outputs.rglob("[0-9]*-[0-9]*.png"))
        wanted = [[first + index for index in range(count)] for first, count in self.jobs.values()]
        return {
            "promised": sum(map(len, wanted)),
            "lost": sum(found[seed] == 0 for seeds in wanted for seed in seeds),
            "doubled": sum(count - 1 for count in found.values()),
            "short": sum(any(found[seed] == 0 for seed in seeds) for seeds in wanted),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("of", choices=("engine", "web"), help="the process that is killed")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=330, help="after which nothing more is killed")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the jobs")
    parser.add_argument("--port", type=int, default=0, help="of the server (default: a free one)")
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED)
    options = parser.parse_args()
    port = options.port or free_port()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        studio, promises = Studio(Path(folder), options.checkpoint, port), Promises(draw)
        try:
            kills = killed(studio, promises, draw, options)
            parked, failed = settled(studio)
        finally:
            studio.process.terminate()
            studio.process.wait(60)
        counted = promises.counted(Path(folder, "outputs"))
    print(json.dumps({"case": options.of, "kills": kills, **counted, "parked": parked, "failed": failed}), flush=True)


def killed(studio: Studio, promises: Promises, draw: random.Random, options: argparse.Namespace) -> int:
    """Kill until the number or the time is reached; returns the number of kills."""
    end, kills = time.monotonic() + options.seconds, 0
    while kills < options.kills and time.monotonic() < end:
        states = ("starting", "loading") if draw.random() < WHILE_LOADING else ("ready",)
        until(lambda states=states: promises.top_up(studio) or studio.state() in (*states, "ready"), end)
        time.sleep(draw.uniform(0, LONGEST_WAIT))
        if options.of == "engine":
            kills += studio.kill_engine()
        else:
            studio.kill_web()
            kills += 1
    return kills


def settled(studio: Studio) -> tuple[int, list[str]]:
    """Wait until the queue is empty, and retry failed jobs once; returns the number of parked batches and the
    reasons.
    """
    until(lambda: is_idle(studio))
    parked, failed = 0, []
    for job in [job for job in studio.requested("GET", "/v1/jobs") if job["status"] == "failed"]:
        with studio.client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
            lines = list(stream.iter_lines())
        parked += lines.count("event: parked")
        ending = json.loads(lines[max(i for i, line in enumerate(lines) if line.startswith("data:"))][5:])
        failed.append(f"{ending['message']} {ending['hint']}")
        studio.client.post(f"/v1/jobs/{job['id']}/retry").raise_for_status()
    until(lambda: is_idle(studio))
    return parked, failed


def is_idle(studio: Studio) -> bool:
    jobs = studio.requested("GET", "/v1/jobs")
    return jobs is not None and all(job["status"] not in ("queued", "running") for job in jobs)


def until(is_so: Callable[[], object], end: float | None = None) -> None:
    """Wait for it until the time `end`; without `end`, raise an error after PATIENCE seconds."""
    last = end if end is not None else time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > last:
            if end is not None:
                return
            raise SystemExit(f"waited for {PATIENCE:g} s in vain")
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# On a machine with two cores, spinning threads delay the restarted process.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if __name__ == "__main__":
    main()
