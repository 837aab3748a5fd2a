"""The application in a real server: many followers at once, some of which vanish."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn

from modules.api.app import create_api
from modules.api.services import Services

FOLLOWERS = 60  # more than the 40 threads that answer blocking routes


@pytest.fixture
def address(services: Services) -> Iterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_api(services), log_level="error", timeout_graceful_shutdown=5))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        limit = time.monotonic() + 300
        while not server.started:
            assert time.monotonic() < limit
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        services.queue.close()  # ends the streams, so that the server need not cut them off
        server.should_exit = True
        thread.join(240)
        assert not thread.is_alive()


def test_many_followers_see_the_same_and_hold_up_nobody(address: str, services: Services) -> None:
    async def follow(client: httpx.AsyncClient, url: str) -> str:
        return (await client.get(f"{url}/events")).text

    async def vanish(client: httpx.AsyncClient, url: str) -> None:
        async with client.stream("GET", f"{url}/events") as stream:
            await anext(stream.aiter_bytes())

    async def story() -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=address, limits=limits, timeout=300, trust_env=False) as client:
            body = {"kind": "txt2img", "request": {"prompt": "images 2 steps 1 wait"}}
            url = (await client.post("/v1/jobs", json=body)).json()["url"]
            job = services.queue.job(url.rsplit("/", 1)[-1])
            await vanish(client, url)
            followers = [asyncio.create_task(follow(client, url)) for _ in range(FOLLOWERS)]
            async with asyncio.timeout(240):
                while len(job.listeners) != FOLLOWERS:  # the one that vanished is not among them
                    await asyncio.sleep(0.01)
                assert (await client.post("/v1/tokens", json={"text": "a cat"})).json()["count"] == 2
                await client.post(f"{url}/interrupt")
                texts = await asyncio.gather(*followers)
            assert len(set(texts)) == 1
            assert texts[0].endswith("\n\n")
            assert "event: finished" in texts[0]
            async with asyncio.timeout(240):
                while len(job.listeners):
                    await asyncio.sleep(0.01)

    asyncio.run(story())
