"""The application in a real server: many clients at once, and clients that disconnect in the middle."""

import asyncio
import json
import logging
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from PIL import Image

from modules.api.app import create_api
from modules.api.services import Services
from modules.base.budget import Budget, Ticket
from modules.base.events import ENDINGS
from modules.flags.flags import Flags
from modules.processing import upscale
from modules.processing.kinds import generate
from modules.schema.catalog import Checkpoint
from modules.schema.resources import Resources
from modules.server.listen import configured
from tests.api.a1111_client import opened, png

CLIENTS = 64
PATIENCE = 300.0  # seconds


@pytest.fixture
def server(services: Services) -> Iterator[uvicorn.Server]:
    """A server as people use it; `address` is where it listens."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(configured(create_api(services), Flags(data_dir=services.flags.data_dir)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        until(lambda: server.started)
        server.address = listening.getsockname()  # type: ignore[attr-defined]
        yield server
        services.queue.close()
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()


def until(happened: Callable[[], object]) -> None:
    limit = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < limit
        time.sleep(0.01)


def url(server: uvicorn.Server) -> str:
    host, port = server.address  # type: ignore[attr-defined]
    return f"http://{host}:{port}"


def test_every_client_gets_its_own_picture_once_and_in_order(server: uvicorn.Server, services: Services) -> None:
    """Half of them wait for an answer as A1111's clients do, the others poll."""

    async def waiting(client: httpx.AsyncClient, number: int) -> tuple[int, int]:
        body = {"prompt": f"steps 1 side {8 + number}", "seed": number}
        told = (await client.post("/sdapi/v1/txt2img", json=body)).raise_for_status().json()
        image = opened(told["images"][0])
        return image.width, image.height

    async def looking(client: httpx.AsyncClient, number: int) -> tuple[int, int]:
        request = {"prompt": f"steps 1 side {8 + number}", "seed": number}
        answer = await client.post("/v1/jobs", json={"kind": "txt2img", "request": request})
        job = answer.raise_for_status().json()
        while (told := (await client.get(job["url"])).json())["status"] in ("queued", "running"):
            (await client.get("/sdapi/v1/progress")).raise_for_status()
            await asyncio.sleep(0.3)
        assert (told["status"], [image["seed"] for image in told["images"]]) == ("finished", [number])
        return told["images"][0]["width"], told["images"][0]["height"]

    async def story() -> list[tuple[int, int]]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=url(server), limits=limits, timeout=PATIENCE, trust_env=False) as client:
            body = {"kind": "txt2img", "request": {"prompt": "wait"}}
            first = (await client.post("/v1/jobs", json=body)).json()["url"]
            everybody = [
                asyncio.create_task((looking if number % 2 else waiting)(client, number)) for number in range(CLIENTS)
            ]
            async with asyncio.timeout(PATIENCE):
                while len(services.queue.current()) <= CLIENTS:
                    await asyncio.sleep(0.01)
            (await client.post(f"{first}/interrupt")).raise_for_status()
            return await asyncio.gather(*everybody)

    assert asyncio.run(story()) == [(8 + number, 8 + number) for number in range(CLIENTS)]
    jobs = services.queue.jobs()[::-1]  # oldest first
    endings = [[at for _, at, event in job.entries() if isinstance(event, ENDINGS)] for job in jobs]
    assert [len(each) for each in endings] == [1] * (CLIENTS + 1)
    assert endings == sorted(endings)
    assert [len(job.images) for job in jobs] == [0] + [1] * CLIENTS


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/sdapi/v1/img2img", "application/json"),
        ("/sdapi/v1/options", "application/json"),
        ("/v1/jobs", "application/json"),
        ("/v1/pictures", "image/png"),
        ("/v1/batches/files", "image/png"),
        ("/v1/batches", "multipart/form-data; boundary=x"),
        ("/v1/nothing", "application/json"),
    ],
)
def test_clients_that_go_away_with_half_a_body_leave_nothing(
    server: uvicorn.Server, services: Services, path: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: 3000000\r\n\r\n"
    form = '--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    begun = (head + (form if "boundary" in kind else '{"init_images": ["')).encode() + b"A" * 1_500_000
    with caplog.at_level(logging.INFO):
        for _ in range(10):
            with socket.create_connection(server.address) as connection:  # type: ignore[attr-defined]
                connection.settimeout(PATIENCE)
                try:
                    connection.sendall(begun)
                except ConnectionError:
                    continue  # refused before the end, as /v1/nothing does not exist
        until(lambda: not server.server_state.connections and not server.server_state.tasks)

    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert services.queue.jobs() == ()
    assert files(services.flags.data_dir) == []
    answer = httpx.post(f"{url(server)}/sdapi/v1/txt2img", json={"prompt": "a"}, timeout=PATIENCE, trust_env=False)
    assert len(answer.raise_for_status().json()["images"]) == 1


def hang_up_when(server: uvicorn.Server, path: str, body: dict[str, Any], is_so: Callable[[], object]) -> None:
    """Sends a request, and closes the connection once `is_so`."""
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(data)}\r\n\r\n"
    with socket.create_connection(server.address) as connection:  # type: ignore[attr-defined]
        connection.settimeout(PATIENCE)
        connection.sendall(head.encode() + data)
        until(is_so)


def test_the_running_job_of_a_client_that_hangs_up_is_interrupted(server: uvicorn.Server, services: Services) -> None:
    body: dict[str, Any] = {"prompt": "images 2 wait", "init_images": [png()]}
    queue = services.queue
    hang_up_when(server, "/sdapi/v1/img2img", body, lambda: queue.current() and queue.current()[0].status == "running")
    until(lambda: not services.queue.current() and not server.server_state.tasks)
    [job] = services.queue.jobs()
    assert job.status == "interrupted"
    assert len(job.listeners) == 0
    assert services.savers._savers == {}
    assert files(services.outputs.root) == []
    answer = httpx.post(f"{url(server)}/sdapi/v1/txt2img", json={"prompt": "a"}, timeout=PATIENCE, trust_env=False)
    assert len(answer.raise_for_status().json()["images"]) == 1


def test_the_waiting_jobs_of_a_client_that_hangs_up_leave_the_queue(server: uvicorn.Server, services: Services) -> None:
    """One request with three sources is three jobs; another client's running job continues."""
    queue = services.queue
    job = {"kind": "txt2img", "request": {"prompt": "wait"}}
    other = httpx.post(f"{url(server)}/v1/jobs", json=job, timeout=PATIENCE, trust_env=False).json()
    body: dict[str, Any] = {"prompt": "a", "init_images": [png(), png(), png()]}
    hang_up_when(server, "/sdapi/v1/img2img", body, lambda: len(queue.current()) == 4)
    until(lambda: len(queue.current()) == 1 and not server.server_state.tasks)
    assert [job.id for job in queue.current()] == [other["id"]]
    assert [job.status for job in queue.jobs()] == ["interrupted"] * 3 + ["running"]
    queue.interrupt()


def test_a_job_whose_client_hangs_up_while_its_checkpoint_loads_ends_before_that_is_loaded(
    server: uvicorn.Server, services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gate = tmp_path / "slow.gate"
    slow = Resources(Checkpoint("slow", gate))
    monkeypatch.setattr(generate, "resolved", lambda request, settings, names: (request, slow))
    queue = services.queue
    hang_up_when(server, "/sdapi/v1/txt2img", {"prompt": "a"}, lambda: queue.state().state == "loading")
    until(lambda: not queue.current() and not server.server_state.tasks)
    assert [job.status for job in queue.jobs()] == ["interrupted"]
    gate.touch()
    answer = httpx.post(f"{url(server)}/sdapi/v1/txt2img", json={"prompt": "a"}, timeout=PATIENCE, trust_env=False)
    assert len(answer.raise_for_status().json()["images"]) == 1


def test_a_job_whose_client_hangs_up_while_the_engine_starts_is_not_run(
    server: uvicorn.Server, services: Services
) -> None:
    queue = services.queue
    hang_up_when(server, "/sdapi/v1/txt2img", {"prompt": "wait"}, queue.current)
    until(lambda: not queue.current() and not server.server_state.tasks)
    assert [job.status for job in queue.jobs()] == ["interrupted"]
    assert files(services.outputs.root) == []


@pytest.mark.parametrize(("sources", "statuses"), [(1, {"interrupted"}), (3, set())])
def test_nothing_is_made_for_a_client_that_hangs_up_while_its_picture_waits_for_memory(
    server: uvicorn.Server,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    sources: int,
    statuses: set[str],
) -> None:
    budget = Budget(1 << 20)
    waits = threading.Event()
    ask = budget.ask

    def watched(size: int, wake: Callable[[], object], body: object | None = None) -> Ticket:
        ticket = ask(size, wake, body)
        if not ticket.is_granted:
            waits.set()
        return ticket

    held = [budget.ask(1 << 19, lambda: None) for _ in range(2)]
    monkeypatch.setattr(budget, "ask", watched)
    monkeypatch.setattr("modules.base.picture.MEMORY", budget)
    hang_up_when(
        server, "/sdapi/v1/img2img", {"prompt": "wait", "init_images": [png(512, 512)] * sources}, waits.is_set
    )
    until(lambda: not server.server_state.connections)
    for ticket in held:
        budget.give_back(ticket)
    until(lambda: not services.queue.current() and not server.server_state.tasks)
    assert {job.status for job in services.queue.jobs()} == statuses
    assert files(services.outputs.root) == []
    assert budget.taken == 0


@pytest.mark.parametrize(
    ("fields", "saved"),
    [
        ({"save_images": True}, 1),
        ({"save_images": True, "do_not_save_samples": True}, 0),
        ({"override_settings": {"save_init_img": True}}, 1),
    ],
)
def test_what_is_to_be_kept_on_the_disk_is_made_for_a_client_that_hangs_up(
    server: uvicorn.Server, services: Services, fields: dict[str, Any], saved: int
) -> None:
    queue = services.queue
    job = {"kind": "txt2img", "request": {"prompt": "wait"}}
    first = httpx.post(f"{url(server)}/v1/jobs", json=job, timeout=PATIENCE, trust_env=False).json()
    hang_up_when(
        server,
        "/sdapi/v1/img2img",
        {"prompt": "steps 1", "init_images": [png()], **fields},
        lambda: len(queue.current()) == 2,
    )
    if not saved:
        until(lambda: len(queue.current()) == 1)
    queue.job(first["id"]).interrupt()
    until(lambda: not queue.current() and not server.server_state.tasks)
    assert queue.jobs()[0].status == ("finished" if saved else "interrupted")
    assert len(files(services.outputs.root)) == saved


def test_no_further_picture_is_enlarged_for_a_client_that_hangs_up(
    server: uvicorn.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    enlarging, resume_all = threading.Event(), threading.Event()
    done: list[float] = []

    def slowly(image: Image.Image, name: str, scale: float) -> Image.Image:
        enlarging.set()
        assert resume_all.wait(PATIENCE)
        done.append(scale)
        return image

    monkeypatch.setattr(upscale, "enlarged", slowly)
    body = {"upscaler_1": "Lanczos", "imageList": [{"data": png(8, 8), "name": f"{n}.png"} for n in range(5)]}
    hang_up_when(server, "/sdapi/v1/extra-batch-images", body, enlarging.is_set)
    until(lambda: not server.server_state.connections)
    resume_all.set()
    until(lambda: not server.server_state.tasks)
    assert 1 <= len(done) <= 2  # the server may notice a moment after the connection is gone


def test_a_waiting_client_s_body_is_not_kept(server: uvicorn.Server, services: Services) -> None:
    def pieces() -> Iterator[bytes]:
        """20 MB, of which this side holds only a part at a time."""
        yield b'{"prompt": "wait", "junk": "'
        for _ in range(20):
            yield b"a" * 1_000_000
        yield b'"}'

    def ask() -> None:
        httpx.post(f"{url(server)}/sdapi/v1/txt2img", content=pieces(), timeout=PATIENCE, trust_env=False)

    tracemalloc.start()
    try:
        waiting = threading.Thread(target=ask)
        waiting.start()
        until(lambda: any(job.status == "running" for job in services.queue.current()))
        until(lambda: tracemalloc.get_traced_memory()[0] < 10_000_000 < tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
        for job in services.queue.current():
            job.interrupt()
    waiting.join(PATIENCE)
    assert not waiting.is_alive()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())
