"""Event streams: late, slow and vanished clients, heartbeats, and the state of the engine."""

import asyncio
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.types import Message

from modules.api import sse
from modules.api.sse import MOST_STREAMS, EventStream, Places
from modules.api.v1.state import StateFeed
from modules.jobs.listeners import Listeners
from modules.server.listen import MOST_CONNECTIONS
from tests.jobs.conftest import MakeQueue, make_queue, submit

__all__ = ["make_queue"]  # a fixture


class FakeFeed:
    """A feed of words, which ends after "end"."""

    def __init__(self) -> None:
        self.listeners = Listeners()
        self.over = False
        self.words: list[str] = []

    def say(self, word: str) -> None:
        self.words.append(word)
        self.listeners.call()

    def read(self) -> str:
        text = "".join(f"{word};" for word in self.words)
        self.over = "end" in self.words
        self.words.clear()
        return text


class Client:
    """An ASGI client that records what it receives, and can be slow to receive it or leave."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.finished = False
        self.status = 0
        self.may_take = asyncio.Event()
        self.may_take.set()
        self._left = asyncio.Event()

    async def receive(self) -> Message:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self.may_take.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
        if message["type"] == "http.response.body":
            self.finished = not message.get("more_body", False)
            if message["body"]:
                self.sent.append(message["body"].decode())

    def leave(self) -> None:
        self._left.set()

    def serve(self, stream: EventStream) -> "asyncio.Task[None]":
        return asyncio.create_task(stream({"type": "http"}, self.receive, self.send))


async def until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(240):
        while not happened():
            await asyncio.sleep(0.005)


def test_what_is_said_in_another_thread_is_sent_and_the_end_ends_the_stream() -> None:
    async def story() -> None:
        feed, client = FakeFeed(), Client()
        feed.say("early")
        served = client.serve(EventStream(feed))
        await until(lambda: len(client.sent) == 2)
        await asyncio.to_thread(feed.say, "late")
        await until(lambda: len(client.sent) == 3)
        await asyncio.to_thread(feed.say, "end")
        await asyncio.wait_for(served, 20)

        assert client.sent == ["retry: 1000\n\n", "early;", "late;", "end;"]
        assert client.finished
        assert len(feed.listeners) == 0

    asyncio.run(story())


def test_a_client_that_left_is_forgotten() -> None:
    async def story() -> None:
        feed, client = FakeFeed(), Client()
        served = client.serve(EventStream(feed))
        await until(lambda: client.sent)
        assert len(feed.listeners) == 1
        client.leave()
        await asyncio.wait_for(served, 20)

        assert len(feed.listeners) == 0
        assert not client.finished

    asyncio.run(story())


def test_a_connection_that_breaks_while_sending_is_no_error() -> None:
    class Broken(Client):
        async def send(self, message: Message) -> None:
            await super().send(message)
            if self.sent:
                raise ConnectionResetError

    async def story() -> None:
        feed = FakeFeed()
        await asyncio.wait_for(Broken().serve(EventStream(feed)), 20)
        assert len(feed.listeners) == 0

    asyncio.run(story())


def test_a_stream_that_is_cut_off_at_shutdown_is_forgotten() -> None:
    async def story() -> None:
        feed, client = FakeFeed(), Client()
        served = client.serve(EventStream(feed))
        await until(lambda: client.sent)
        served.cancel()
        with pytest.raises(asyncio.CancelledError):
            await served
        assert len(feed.listeners) == 0

    asyncio.run(story())


def test_nothing_is_read_for_a_client_that_is_slow() -> None:
    async def story() -> None:
        feed, client = FakeFeed(), Client()
        served = client.serve(EventStream(feed))
        await until(lambda: client.sent)
        client.may_take.clear()
        feed.say("one")
        await asyncio.sleep(0.05)
        for word in ("two", "three"):  # they stay with the feed, which may drop older ones
            feed.say(word)
        await asyncio.sleep(0.05)
        assert feed.words == ["two", "three"]
        client.may_take.set()
        feed.say("end")
        await asyncio.wait_for(served, 20)

        assert client.sent[1:] == ["one;", "two;three;end;"]

    asyncio.run(story())


def test_a_silent_stream_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.01)

    async def story() -> None:
        feed, client = FakeFeed(), Client()
        served = client.serve(EventStream(feed))
        await until(lambda: len(client.sent) >= 3)
        client.leave()
        await asyncio.wait_for(served, 20)
        assert set(client.sent[1:]) == {": still here\n\n"}

    asyncio.run(story())


def test_an_event_is_written_as_the_standard_asks() -> None:
    assert sse.event_text("stepped", {"text": "zwei\nZeilen é"}, 7) == (
        'id: 7\nevent: stepped\ndata: {"text": "zwei\\nZeilen é"}\n\n'
    )


def test_half_a_letter_can_be_sent() -> None:
    assert sse.event_text("warned", {"message": "caf\udce9.png"}).encode() == (
        b'event: warned\ndata: {"message": "caf%E9.png"}\n\n'
    )


def test_the_state_is_sent_at_once_and_after_every_change(make_queue: MakeQueue) -> None:
    queue = make_queue()

    def states(client: Client) -> list[dict[str, Any]]:
        texts = "".join(client.sent).split("\n\n")
        return [json.loads(text.split("data: ", 1)[1]) for text in texts if text.startswith("event: state")]

    async def story() -> None:
        client = Client()
        served = client.serve(EventStream(StateFeed(queue)))
        await until(lambda: states(client))
        assert states(client) == [
            {
                "engine": {
                    "state": "starting", "checkpoint": "", "checkpoint_hash": "", "message": "", "device": "",
                    "text_width": 0,
                },
                "jobs": [],
                "catalog": 0,
            }
        ]  # fmt: skip
        job = submit(queue, "a")
        await until(lambda: states(client)[-1]["engine"]["state"] == "ready" and not states(client)[-1]["jobs"])
        seen = states(client)
        assert all(one != other for one, other in itertools.pairwise(seen))
        assert {"id": job.id, "kind": "txt2img", "status": "running", "ahead": 0} in [
            s["jobs"][0] for s in seen if s["jobs"]
        ]
        await asyncio.to_thread(queue.close)
        await asyncio.wait_for(served, 20)  # the server may shut down: nothing blocks it
        assert states(client)[-1]["engine"]["state"] == "stopped"

    asyncio.run(story())


def test_event_streams_do_not_take_all_places() -> None:
    async def story() -> None:
        places = Places(2)
        feeds = [FakeFeed() for _ in range(3)]
        first, second, third = (Client() for _ in range(3))
        served = [client.serve(EventStream(feed, places)) for feed, client in zip(feeds, (first, second), strict=False)]
        await until(lambda: first.sent and second.sent)
        await asyncio.wait_for(third.serve(EventStream(feeds[2], places)), 20)
        assert third.status == 429
        assert "There are already 2 open event streams" in third.sent[0]
        first.leave()
        await asyncio.wait_for(served[0], 20)
        fourth = Client()
        last = fourth.serve(EventStream(feeds[2], places))
        await until(lambda: fourth.sent)
        assert fourth.status == 200
        for client in (second, fourth):
            client.leave()
        await asyncio.wait_for(asyncio.gather(served[1], last), 20)

    asyncio.run(story())


def test_the_server_keeps_connections_for_others_than_streams() -> None:
    assert MOST_STREAMS <= MOST_CONNECTIONS * 3 // 4
