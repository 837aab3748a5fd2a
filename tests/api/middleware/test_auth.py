"""The password for every route, and the limit on guessing it."""

import asyncio
from base64 import b64encode
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from modules.api.app import create_api
from modules.api.middleware.auth import (
    FREE_GUESSES,
    FREE_OF_ACCOUNT,
    MOST_WAITING,
    SECONDS_A_GUESS,
    SECONDS_BETWEEN,
    BasicAuth,
)
from modules.api.services import Services
from modules.flags.credentials import Credentials
from tests.api.conftest import BASE

RIGHT = {"authorization": "Basic " + b64encode(b"ann:secret").decode()}
WRONG = {"authorization": "Basic " + b64encode(b"ann:guess").decode()}


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guarded(clock: Clock) -> BasicAuth:
    return BasicAuth(PlainTextResponse("in"), Credentials(["ann:secret"]), now=clock, seconds_to_wait=0.02)


def requested(app: BasicAuth, address: str = "10.0.0.9") -> TestClient:
    return TestClient(app, base_url=BASE, client=(address, 50_000))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": ""}, 401),
        ({"authorization": "Basic"}, 401),
        ({"authorization": "Basic "}, 401),
        (WRONG, 401),
        ({"authorization": "Basic ann:secret"}, 401),
        ({"authorization": RIGHT["authorization"].replace("Basic", "Bearer")}, 401),
        (RIGHT, 200),
        ({"authorization": RIGHT["authorization"].replace("Basic", "basic ")}, 200),
    ],
)
def test_the_right_password_opens_and_all_else_is_asked_for_it(
    guarded: BasicAuth, headers: dict[str, str], status: int
) -> None:
    answer = requested(guarded).get("/v1/state", headers=headers)

    assert answer.status_code == status
    if status == 401:
        assert answer.headers["www-authenticate"] == 'Basic realm="Palimpsest", charset="UTF-8"'
        assert answer.json()["error"] == "Unauthorized"
        assert answer.json()["hint"]


def test_every_route_asks_for_it_but_healthz(services: Services) -> None:
    flags = replace(services.flags, auth=Credentials(["ann:secret"]))
    api = create_api(replace(services, flags=flags))
    client = TestClient(api, base_url=BASE)
    known = [(method, path) for path, methods in api.openapi()["paths"].items() for method in methods]
    others = ["/", "/docs", "/docs/swagger-ui.css", "/openapi.json", "/config", "/theme.css", "/assets/x.js", "/no",
              "/gradio_api/info", "/gradio_api/file=/etc/passwd", "/login", "/static/img/logo.svg", "//", "/healthz/",
              "/healthz/../v1/state", "/%68ealthz/x", "/internal/ping"]  # fmt: skip
    asked_for = {("get", path) for path in others} | set(known) - {("get", "/healthz")}

    answers = {each: client.request(each[0], each[1]).status_code for each in sorted(asked_for)}
    assert {each for each, status in answers.items() if status != 401} == set()
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/v1/state", headers=RIGHT).status_code == 200


def test_without_passwords_an_empty_or_any_authorization_is_ignored(services: Services) -> None:
    client = TestClient(create_api(services), base_url=BASE)
    for value in ("Basic", "Basic ", "", RIGHT["authorization"], "Bearer x"):
        assert client.get("/internal/ping", headers={"authorization": value}).status_code == 200


def test_a_guesser_is_slowed_down_and_the_right_password_still_opens(guarded: BasicAuth) -> None:
    client = requested(guarded)
    statuses = [client.get("/", headers=WRONG).status_code for _ in range(FREE_GUESSES + 3)]
    assert statuses == [401] * FREE_GUESSES + [429] * 3

    refused = client.get("/", headers=WRONG)
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"] == "TooManyRequests"
    assert client.get("/", headers=RIGHT).status_code == 200  # behind the same address
    assert requested(guarded, "10.0.0.10").get("/", headers=WRONG).status_code == 401  # another address


def test_asking_without_a_password_is_no_guess(guarded: BasicAuth) -> None:
    client = requested(guarded)
    assert {client.get("/").status_code for _ in range(5 * FREE_GUESSES)} == {401}
    assert client.get("/", headers=WRONG).status_code == 401


def test_guesses_are_forgiven_with_time(guarded: BasicAuth, clock: Clock) -> None:
    client = requested(guarded)
    for _ in range(FREE_GUESSES + 1):
        client.get("/", headers=WRONG)
    clock.seconds += 3 * SECONDS_A_GUESS
    assert [client.get("/", headers=WRONG).status_code for _ in range(4)] == [401, 401, 429, 429]


def test_an_ipv6_customer_is_one_address(guarded: BasicAuth) -> None:
    for number in range(FREE_GUESSES):
        requested(guarded, f"2001:db8:1:2::{number + 1}").get("/", headers=WRONG)
    assert requested(guarded, "2001:db8:1:2:ffff::1").get("/", headers=WRONG).status_code == 429
    assert requested(guarded, "2001:db8:1:3::1").get("/", headers=WRONG).status_code == 401


def test_a_browser_that_was_let_in_does_not_wait_behind_a_flood_of_guesses(clock: Clock) -> None:
    app = BasicAuth(PlainTextResponse("in"), Credentials(["ann:secret"]), now=clock, seconds_to_wait=3600)

    async def story() -> None:
        transport = httpx.ASGITransport(app, client=("10.0.0.9", 1))

        def client(**more: Any) -> httpx.AsyncClient:
            return httpx.AsyncClient(transport=transport, base_url=BASE, timeout=240, **more)

        async with client() as browser, client() as guesser:
            assert (await browser.get("/", headers=RIGHT)).status_code == 200
            for _ in range(FREE_GUESSES):
                await guesser.get("/", headers=WRONG)
            flood = [asyncio.create_task(guesser.get("/", headers=WRONG)) for _ in range(MOST_WAITING + 20)]
            async with asyncio.timeout(240):
                while sum(task.done() for task in flood) < 20:
                    await asyncio.sleep(0.01)
            assert {task.result().status_code for task in flood if task.done()} == {429}
            waiting = [task for task in flood if not task.done()]
            assert len(waiting) == MOST_WAITING
            assert (await browser.get("/", headers=RIGHT)).status_code == 200  # its cookie skips the queue
            assert (await browser.get("/")).status_code == 401  # and is not a password
            assert (await guesser.get("/", headers=RIGHT)).status_code == 200  # the right one works without it
            for task in waiting:
                task.cancel()

    asyncio.run(story())


@pytest.mark.slow
def test_the_right_password_opens_while_two_hundred_guesses_are_in_flight(clock: Clock) -> None:
    app = BasicAuth(PlainTextResponse("in"), Credentials(["ann:secret"]), now=clock)

    async def story() -> None:
        transport = httpx.ASGITransport(app, client=("10.0.0.9", 1))
        async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=60) as client:
            flood = [asyncio.create_task(client.get("/", headers=WRONG)) for _ in range(200)]
            await asyncio.sleep(0)
            client.cookies.clear()
            right = await client.get("/", headers=RIGHT)
            assert right.status_code == 200
            statuses = [(await answer).status_code for answer in flood]
            assert sorted(statuses) == [401] * FREE_GUESSES + [429] * (200 - FREE_GUESSES)

    asyncio.run(story())


def test_somebody_s_cookie_is_no_licence_to_guess(guarded: BasicAuth) -> None:
    client = requested(guarded)
    assert client.get("/", headers=RIGHT).status_code == 200  # from here on the client sends its cookie
    statuses = [client.get("/", headers=WRONG).status_code for _ in range(FREE_GUESSES + 3)]
    assert statuses == [401] * FREE_GUESSES + [429] * 3
    assert client.get("/", headers=RIGHT).status_code == 200


def test_guesses_about_one_account_are_counted_from_all_addresses_together(guarded: BasicAuth) -> None:
    statuses = [
        requested(guarded, f"10.0.1.{n}").get("/", headers=WRONG).status_code for n in range(FREE_OF_ACCOUNT + 2)
    ]
    assert statuses == [401] * FREE_OF_ACCOUNT + [429] * 2
    assert requested(guarded, "10.0.2.1").get("/", headers=RIGHT).status_code == 200
    other = {"authorization": "Basic " + b64encode(b"bob:guess").decode()}
    assert requested(guarded, "10.0.2.1").get("/", headers=other).status_code == 401  # another account


def test_a_flood_of_guesses_is_looked_at_one_after_another(guarded: BasicAuth, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many arrive at once, from however many addresses: no two within the same hundredth of a second."""
    looked_at: list[int] = []
    naps = 0

    async def nap(seconds: float) -> None:
        nonlocal naps
        naps += seconds == SECONDS_BETWEEN

    monkeypatch.setattr("modules.api.middleware.auth.asyncio.sleep", nap)
    monkeypatch.setattr(Credentials, "admit", lambda self, authorization: looked_at.append(naps) or False)

    async def story() -> None:
        async with AsyncExitStack() as stack:
            asking: list[Any] = []
            for number in range(FREE_OF_ACCOUNT + 40):
                transport = httpx.ASGITransport(guarded, client=(f"10.0.3.{number}", 1))
                client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url=BASE))
                asking.append(client.get("/", headers=WRONG))
            await asyncio.gather(*asking)

    asyncio.run(story())
    assert looked_at[FREE_OF_ACCOUNT:] == list(range(1, 41))


def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(guarded: BasicAuth) -> None:
    cookie = requested(guarded).get("/", headers=RIGHT).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" in TestClient(guarded, base_url="https://127.0.0.1").get("/", headers=RIGHT).headers["set-cookie"]
    forged = {"cookie": "palimpsest_known=abc.def", **RIGHT}
    assert "set-cookie" in requested(guarded).get("/", headers=forged).headers


def test_a_websocket_is_refused_too(guarded: BasicAuth) -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/", "headers": [], "client": ("10.0.0.9", 1)}
    asyncio.run(guarded(scope, receive, send))
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_all_pairs_are_compared_wherever_the_right_one_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    real: Callable[[bytes, bytes], bool] = __import__("hmac").compare_digest

    def counted(a: bytes, b: bytes) -> bool:
        compared.append(len(b))
        return real(a, b)

    credentials = Credentials(["ann:secret", "b:short", "c:" + "long" * 20])
    monkeypatch.setattr("modules.flags.credentials.hmac.compare_digest", counted)
    assert credentials.admit(RIGHT["authorization"])
    assert not credentials.admit(WRONG["authorization"])
    assert compared == [32] * 6  # digests: their length reveals nothing
