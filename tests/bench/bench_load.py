"""Many clients at once: who gets what, what they cost the engine, and whether memory stays.

    python -m tests.bench.bench_load [--clients 64] [--requests 2000] [--checkpoint FILE]

Starts the real server as a user does, with the bundled checkpoint, and talks to it over loopback. The clients run at
a low priority: in real use they would be other machines. Prints one JSON line per case:

    crowd     every client submits a job and polls it twice a second until it is done. How many jobs finished once,
              in order of arrival, and gave their client its own picture
    lookers   jobs one after another, every second one while all clients poll its progress twice a second: the engine's
              seconds per image (forward passes only) and its processor time, with and without polling, and how much of
              a core the web process uses. Consecutive jobs are compared, so that a busy machine affects both
    memory    megabytes of the web process and of the engine's at the start, in the middle and at the end of many
              requests of all kinds
"""

import argparse
import asyncio
import base64
import os
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.bench.bench_img2img import BUNDLED, FORWARD, report, server, source_png, sse, wait_until_answers

SIDE, STEPS = 256, 6
PAIRS = 25  # jobs with and without pollers
SECONDS_BETWEEN_LOOKS = 0.5
AT_ONCE = 8  # requests, while memory is measured
WARM_UP = 600  # requests: the server remembers a hundred jobs, and each thread has its own memory arena
PROMPTS = 50  # different ones, so that the engine knows all before the first measurement
NUMBER = re.compile(r"/(\d+)-\d+\.png$")
UNLIMITED = httpx.Limits(max_connections=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=64, help="(default: %(default)s)")
    parser.add_argument("--requests", type=int, default=2000, help="for the case memory (default: %(default)s)")
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED)
    options = parser.parse_args()
    for case, count in ((crowd, options.clients), (lookers, options.clients), (memory, options.requests)):
        if count:
            with tempfile.TemporaryDirectory() as folder, served(options.checkpoint, Path(folder)) as (url, engine):
                report(case.__name__, **asyncio.run(case(url, engine, count)))


@contextmanager
def served(checkpoint: Path, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Address and engine process of a server that has made its first picture."""
    with server(checkpoint, folder) as url, httpx.Client(base_url=url, timeout=600, trust_env=False) as client:
        wait_until_answers(client, "/internal/ping")
        client.post("/sdapi/v1/txt2img", json=fields(0)).raise_for_status()
        here = psutil.Process()
        engine = next(
            each for each in here.children(recursive=True) if "--multiprocessing-fork" in " ".join(each.cmdline())
        )
        niceness = here.nice()
        here.nice(10)
        try:
            yield url, engine
        finally:
            if os.geteuid() == 0:  # nobody else may reap it
                here.nice(niceness)


def fields(seed: int) -> dict[str, Any]:
    return {"prompt": f"watercolor, number {seed}", "seed": seed, "steps": STEPS, "width": SIDE, "height": SIDE}


async def crowd(url: str, engine: psutil.Process, clients: int) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=url, timeout=600, trust_env=False, limits=UNLIMITED) as client:
        begun = time.perf_counter()
        jobs = await asyncio.gather(*(looked_after(client, seed) for seed in range(clients)))
        seconds = time.perf_counter() - begun
        order = [job["id"] for job in reversed((await client.get("/v1/jobs")).json())]
    by_number = sorted(jobs, key=lambda job: int(NUMBER.search(job["images"][0]["path"])[1]))  # type: ignore[index]
    ids = [job["id"] for job in by_number]
    return {
        "clients": clients,
        "seconds": round(seconds, 1),
        "finished_once": sum(job["endings"] == 1 and job["status"] == "finished" for job in jobs),
        "own_picture": sum(job["own"] for job in jobs),
        "in_order": ids == [job_id for job_id in order if job_id in ids],
    }


async def lookers(url: str, engine: psutil.Process, clients: int) -> dict[str, Any]:
    web = engine.parent()
    assert web is not None
    looking = asyncio.Event()
    looks = 0

    async def look(client: httpx.AsyncClient, number: int) -> None:
        nonlocal looks
        await asyncio.sleep(number / clients * SECONDS_BETWEEN_LOOKS)  # not all at the same moment
        while True:
            await looking.wait()
            route = "/sdapi/v1/progress?skip_current_image=true" if number % 2 else f"/v1/jobs/{current}"
            (await client.get(route)).raise_for_status()
            looks += 1
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)

    figures: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    async with httpx.AsyncClient(base_url=url, timeout=600, trust_env=False, limits=UNLIMITED) as client:
        current = (await submitted(client, 0)).rpartition("/")[2]
        crowd = [asyncio.create_task(look(client, number)) for number in range(clients)]
        for number in range(2 * PAIRS):
            watched = number % 2 == 1
            looking.set() if watched else looking.clear()
            begun, spent, web_spent = time.perf_counter(), cpu(engine), cpu(web)
            job = await submitted(client, 1000 + number)
            current = job.rpartition("/")[2]
            told = await followed(client, job, 1000 + number)
            seconds = time.perf_counter() - begun
            figures[watched].append(
                {"engine": told["engine_s"], "cpu": cpu(engine) - spent, "web": (cpu(web) - web_spent) / seconds}
            )
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
    alone, busy = figures[False][1:], figures[True][1:]  # the first pair warms up

    def median(part: list[dict[str, float]], name: str) -> float:
        return round(statistics.median(each[name] for each in part), 4)

    def ratio(name: str) -> float:
        return round(statistics.median(b[name] / a[name] for a, b in zip(alone, busy, strict=True)), 3)

    return {
        "clients": clients,
        "looks": looks,
        "engine_s": [median(alone, "engine"), median(busy, "engine")],
        "engine_ratio": ratio("engine"),
        "engine_cpu_s": [median(alone, "cpu"), median(busy, "cpu")],
        "engine_cpu_ratio": ratio("cpu"),
        "web_share_of_a_core": [median(alone, "web"), median(busy, "web")],
    }


def cpu(process: psutil.Process) -> float:
    """Processor seconds so far."""
    return sum(process.cpu_times()[:2])


async def submitted(client: httpx.AsyncClient, seed: int) -> str:
    body = {"kind": "txt2img", "request": fields(seed)}
    return (await client.post("/v1/jobs", json=body)).raise_for_status().json()["url"]


async def looked_after(client: httpx.AsyncClient, seed: int) -> dict[str, Any]:
    """A job whose client polls it."""
    job = await submitted(client, seed)
    while (await client.get(job)).raise_for_status().json()["status"] in ("queued", "running"):
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
    return await followed(client, job, seed)


async def followed(client: httpx.AsyncClient, job: str, seed: int) -> dict[str, Any]:
    """A finished job: its description, and what its events said."""
    events = list(sse(iter((await client.get(f"{job}/events")).text.splitlines())))
    told = (await client.get(job)).raise_for_status().json()
    endings = [data for name, data in events if name in ("finished", "failed")]
    saved = [data for name, data in events if name == "image_saved"]
    return {
        **told,
        "endings": len(endings),
        "own": len(saved) == 1 and saved[0]["seed"] == seed and f"number {seed}\n" in saved[0]["infotext"],
        "engine_s": sum(endings[0]["timings"].get(stage, 0.0) for stage in FORWARD),
    }


async def memory(url: str, engine: psutil.Process, requests: int) -> dict[str, Any]:
    web = engine.parent()
    assert web is not None
    seen: list[tuple[float, float]] = []
    done = 0
    source = base64.b64encode(source_png()).decode("ascii")
    begun = time.perf_counter()

    def look() -> None:
        seen.append((web.memory_info().rss / 1e6, engine.memory_info().rss / 1e6))

    async def client_of(client: httpx.AsyncClient, numbers: Iterator[int]) -> None:
        nonlocal done
        for number in numbers:
            await one_of_all_kinds(client, number, source)
            done += 1
            if done in (WARM_UP, WARM_UP + requests // 2, WARM_UP + requests):
                look()

    async with httpx.AsyncClient(base_url=url, timeout=600, trust_env=False, limits=UNLIMITED) as client:
        numbers = iter(range(WARM_UP + requests))
        await asyncio.gather(*(client_of(client, numbers) for _ in range(AT_ONCE)))
        kept = len((await client.get("/v1/jobs")).json())
    return {
        "requests": requests,
        "seconds": round(time.perf_counter() - begun),
        "web_mb": [round(each) for each, _ in seen],
        "engine_mb": [round(each) for _, each in seen],
        "jobs_remembered": kept,
    }


async def one_of_all_kinds(client: httpx.AsyncClient, number: int, source: str) -> None:
    """Of ten requests, three make pictures, with and without a source, and one is invalid."""
    small = {"width": 64, "height": 64, "steps": 1, "seed": number, "prompt": f"number {number % PROMPTS}"}
    expected = 200
    match number % 10:
        case 0 | 1:
            answer = await client.post("/sdapi/v1/img2img", json={**small, "steps": 2, "init_images": [source]})
        case 2:
            job = (await client.post("/v1/jobs", json={"kind": "txt2img", "request": small})).json()["url"]
            answer = await client.get(f"{job}/events")
        case 3:
            answer = await client.post("/sdapi/v1/png-info", json={"image": source})
        case 4:
            answer = await client.post("/sdapi/v1/extra-single-image", json={"image": source, "upscaler_1": "Lanczos"})
        case 5:
            answer = await client.get("/sdapi/v1/options")
        case 6:
            answer = await client.get("/v1/jobs")
        case 7:
            answer = await client.post("/sdapi/v1/txt2img", json={**small, "sampler_name": f"no sampler {number}"})
            expected = 422
        case 8:
            picture = await client.post("/v1/pictures", content=base64.b64decode(source) + str(number).encode())
            answer = await client.get(picture.json()["url"])
        case _:
            answer = await client.get("/sdapi/v1/progress")
    assert answer.status_code == expected, answer.text[:300]


if __name__ == "__main__":
    main()
