"""What one img2img job costs, click to saved, beside diffusers' own pipeline on the same weights.

    python -m tests.bench.bench_img2img [--jobs 7] [--starts 3] [--checkpoint FILE]

Starts the real server as a user does (its own process, its own data folder), uploads a picture, runs jobs of 20 steps
at 0.6 on 256x256 pixels over the HTTP interface, and prints one JSON line per case:

    first_page        median seconds from the start of `python webui.py` to the page; those of `import gradio` in a
                      separate process, alternating with the starts, and the median of the ratios, which is the only
                      meaningful figure on a busy machine
    first_picture     seconds from another start to the first finished picture
    job               median wall seconds of a job from the POST to the saved file; the part outside the forward
                      passes of text encoder, UNet and VAE, in milliseconds and in percent
    diffusers         median wall seconds of StableDiffusionImg2ImgPipeline, PNG saved, and ours divided by it
"""

import argparse
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ROOT / "models" / "Stable-diffusion" / "palimpsest-starter.safetensors"
FORWARD = ("text_encoder", "unet", "vae_encode", "vae_decode")
REQUEST: dict[str, Any] = {
    "prompt": "watercolor, light smile, sakura background",
    "negative_prompt": "",
    "sampler_name": "DPM++ 2M",
    "scheduler": "Karras",
    "steps": 20,
    "cfg_scale": 7.0,
    "width": 256,
    "height": 256,
    "denoising_strength": 0.6,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--jobs", type=int, default=7, help="jobs that count, after one to warm up (default: %(default)s)"
    )
    parser.add_argument("--starts", type=int, default=3, help="starts of the server (default: %(default)s)")
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED)
    options = parser.parse_args()
    png = source_png()
    bench_starts(options.checkpoint, options.starts)
    with tempfile.TemporaryDirectory() as folder:
        ours = bench_server(options.checkpoint, options.jobs, png, Path(folder))
    # In a separate process, after the server has stopped: two torch processes would share the cores.
    command = [sys.executable, "-m", "tests.bench.diffusers_img2img", str(options.checkpoint), str(options.jobs)]
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}  # as the server sets it for its engine
    ran = subprocess.run(command, cwd=ROOT, input=png, stdout=subprocess.PIPE, check=True, env=environment)
    theirs = json.loads(ran.stdout)
    report("diffusers", **theirs, ours_over_diffusers=round(ours / theirs["wall_s"], 3))


def bench_starts(checkpoint: Path, starts: int) -> None:
    """Prints first_page."""
    pages: list[float] = []
    imports: list[float] = []
    for number in range(starts + 1):  # the first one warms the disk cache
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import gradio"], cwd=ROOT, check=True)
        gradio = time.perf_counter() - begun
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            with server(checkpoint, Path(folder)) as url, httpx.Client(base_url=url, timeout=600) as client:
                wait_until_answers(client, "/internal/ping")
                client.get("/").raise_for_status()
                page = time.perf_counter() - begun
        if number:
            pages.append(page)
            imports.append(gradio)
    report(
        "first_page",
        page_s=round(statistics.median(pages), 2),
        gradio_s=round(statistics.median(imports), 2),
        page_over_gradio=round(statistics.median(p / g for p, g in zip(pages, imports, strict=True)), 2),
        load=round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    )


def bench_server(checkpoint: Path, jobs: int, png: bytes, folder: Path) -> float:
    """Prints first_picture and job; returns the median wall seconds of a job."""
    begun = time.perf_counter()
    with server(checkpoint, folder) as url, httpx.Client(base_url=url, timeout=600) as client:
        wait_until_answers(client, "/internal/ping")
        picture = client.post("/v1/pictures", content=png).raise_for_status().json()["id"]
        run_job(client, picture, seed=1)
        first = time.perf_counter() - begun
        report("first_picture", seconds=round(first, 2))
        # A different seed each time, so that only the source picture can come from a cache, as it does for a person.
        results = [run_job(client, picture, seed=10 + i) for i in range(jobs)]
    walls = [wall for wall, _ in results]
    outside = [wall - sum(timings.get(stage, 0.0) for stage in FORWARD) for wall, timings in results]
    wall = statistics.median(walls)
    report(
        "job",
        wall_s=round(wall, 3),
        wall_min_max_s=[round(min(walls), 3), round(max(walls), 3)],
        outside_ms=round(1000 * statistics.median(outside), 1),
        outside_percent=round(100 * statistics.median(o / w for o, w in zip(outside, walls, strict=True)), 2),
        timings={key: round(value, 4) for key, value in results[-1][1].items()},
    )
    return wall


def run_job(client: httpx.Client, picture: str, seed: int) -> tuple[float, dict[str, float]]:
    """(seconds from the POST until the picture is saved and the job is over, the engine's own seconds by stage)."""
    begun = time.perf_counter()
    body = {"kind": "img2img", "request": {**REQUEST, "init_images": [picture], "seed": seed}}
    job = client.post("/v1/jobs", json=body).raise_for_status().json()["id"]
    with client.stream("GET", f"/v1/jobs/{job}/events") as stream:
        for name, data in sse(stream.iter_lines()):
            if name == "failed":
                raise SystemExit(f"the job failed: {data}")
            if name == "finished":
                return time.perf_counter() - begun, data["timings"]
    raise SystemExit("the job's events ended without an end")


def sse(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(event, data) of a server-sent event stream."""
    name = ""
    for line in lines:
        if line.startswith("event:"):
            name = line.partition(":")[2].strip()
        if line.startswith("data:"):
            yield name, json.loads(line.partition(":")[2])


@contextmanager
def server(checkpoint: Path, folder: Path, port: int = 0, extra: Sequence[str] = ()) -> Iterator[str]:
    """The real server in a separate process, with its data in `folder`. Port 0 picks a free one."""
    if not port:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    command = [sys.executable, "webui.py", "--port", str(port), "--no-autolaunch", "--loglevel", "WARNING"]
    command += ["--data-dir", str(folder), "--ckpt", str(checkpoint), *extra]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def wait_until_answers(client: httpx.Client, path: str, seconds: float = 120) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        try:
            if client.get(path).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.02)
    raise SystemExit(f"{path} did not answer within {seconds:g} s")


def source_png() -> bytes:
    """A photo-like picture: smooth areas with grain, 256x256."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)).resize(
        (256, 256), Image.Resampling.BICUBIC
    )
    pixels = np.asarray(coarse).astype(float) + rng.normal(0, 4, (256, 256, 1))
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def report(case: str, **figures: Any) -> None:
    print(json.dumps({"case": case, **figures}), flush=True)


if __name__ == "__main__":
    main()
