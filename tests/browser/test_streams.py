"""How the page follows jobs and the engine: it receives each event once, and backs off if nothing answers."""

import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlparse

from playwright.sync_api import Page, Request, expect

from tests.browser.conftest import PATIENCE, FakeServer, finished, load, opened, png, submit, wait_for

PAUSES = (1, 2, 4, 8, 15, 15)  # seconds
SHOWN = """(hidden) => {
    Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def hide(page: Page) -> None:
    page.evaluate(SHOWN, True)


def show(page: Page) -> None:
    page.evaluate(SHOWN, False)


def warned(page: Page) -> list[str]:
    """Every toast about a warning that has appeared since watch_toasts()."""
    return page.evaluate("() => window.toasted")


def watch_toasts(page: Page) -> None:
    page.evaluate(
        """() => {
            window.toasted = [];
            new MutationObserver((changes) => {
                for (const { addedNodes } of changes) {
                    for (const node of addedNodes) {
                        const said = node.dataset?.sentence;
                        if (said?.includes("warning")) window.toasted.push(said);
                    }
                }
            }).observe(document.body, { childList: true, subtree: true });
        }"""
    )


def streams(page: Page, part: str) -> list[Request]:
    """The requests for event streams under `part` from now on."""
    requested: list[Request] = []
    page.on(
        "request",
        lambda request: requested.append(request) if part in request.url and "events" in request.url else None,
    )
    return requested


def prompt_held(page: Page, server: FakeServer, prompt: str, tab: str = "img2img") -> None:
    """A job that waits after three steps."""
    if tab == "img2img":
        load(page, png())
    page.fill(f"#{tab}_prompt textarea", prompt)
    server.fake.held = True
    submit(page, tab)
    expect(page.locator(f"#{tab}_progress")).to_contain_text("step 3 of")


def test_who_comes_back_to_the_page_hears_what_is_new_alone(open_page: Page, server: FakeServer) -> None:
    watch_toasts(open_page)
    prompt_held(open_page, server, "warn mist, warn rain")
    told = ["There is a warning about mist.", "There is a warning about rain."]
    assert warned(open_page) == told
    requested = streams(open_page, "/v1/jobs/")
    for _ in range(2):
        hide(open_page)
        show(open_page)
    until(open_page, lambda: len(requested) == 2, "a stream at each return")
    job = list(server.fake.jobs.values())[-1]
    assert {parse_qs(urlparse(request.url).query)["after"][0] for request in requested} == {str(len(job["log"]))}
    server.fake.held = False
    finished(open_page)
    assert warned(open_page) == told
    expect(open_page.locator("#img2img_results .shot:not(.preview)")).to_be_visible()


def test_a_reload_brings_the_job_back_and_not_its_warnings(open_page: Page, server: FakeServer) -> None:
    prompt_held(open_page, server, "warn mist")
    expect(open_page.locator(".toast")).to_contain_text("mist")
    open_page.goto(f"{server.url}/internal/ping")
    opened(open_page, server.url)
    expect(open_page.locator("#img2img_progress")).to_contain_text("step 3 of")
    expect(open_page.locator(".toast")).to_have_count(0)
    server.fake.held = False
    finished(open_page)


def test_a_job_that_ends_while_nobody_looks_is_there_at_once(open_page: Page, server: FakeServer) -> None:
    prompt_held(open_page, server, "a fox")
    stop_the_clock(open_page)
    requested = streams(open_page, "/v1/jobs/")
    hide(open_page)
    server.fake.held = False
    wait_for(lambda: list(server.fake.jobs.values())[-1]["status"] == "finished", "the job to end")
    open_page.clock.run_for(3_000)
    expect(open_page.locator("#img2img_results .shot:not(.preview)")).to_have_count(1)
    finished(open_page)
    open_page.clock.run_for(120_000)
    assert len(requested) == 1  # it is over, and nothing requests it again


def until(page: Page, ask: Callable[[], bool], what: str) -> None:
    """Like wait_for, but the page's requests are processed meanwhile."""
    end = time.monotonic() + PATIENCE
    while not ask():
        assert time.monotonic() < end, f"waited in vain for {what}"
        page.wait_for_timeout(50)


# Records in `window.pauses` the pauses before another attempt. Timers with other lengths belong to messages.
NOTE_PAUSES = """() => {
    const { setTimeout } = window;
    window.pauses = [];
    window.setTimeout = (action, milliseconds, ...rest) => {
        if ([1, 2, 4, 8, 15].includes(milliseconds / 1000)) window.pauses.push(milliseconds / 1000);
        return setTimeout(action, milliseconds, ...rest);
    };
}"""


def stop_the_clock(page: Page) -> None:
    """The page's timers run when run_for() is called."""
    page.clock.install(time=0)
    page.clock.pause_at(60_000)
    page.evaluate(NOTE_PAUSES)


def refused(page: Page, pattern: str) -> list[Request]:
    """Makes the requests for `pattern` fail from now on; returns the failed ones."""
    failed: list[Request] = []
    page.route(pattern, lambda route: route.abort("connectionrefused"))
    page.on("requestfailed", lambda request: failed.append(request) if "REFUSED" in (request.failure or "") else None)
    return failed


def pauses_double(page: Page, failed: list[Request]) -> None:
    """Each further attempt comes after a pause from PAUSES, by the page's clock."""
    for number, pause in enumerate(PAUSES, start=1):
        until(page, lambda number=number: len(page.evaluate("() => window.pauses")) >= number, f"pause {number}")
        assert page.evaluate("() => window.pauses") == list(PAUSES[:number])
        assert len(failed) == number
        page.clock.run_for(pause * 1000)
    until(page, lambda: len(failed) > len(PAUSES), "the last try")


def test_a_server_that_is_gone_is_asked_ever_less(open_page: Page) -> None:
    stop_the_clock(open_page)
    failed = refused(open_page, "**/v1/state/events")
    hide(open_page)
    show(open_page)
    pauses_double(open_page, failed)
    open_page.unroute("**/v1/state/events")
    hide(open_page)
    show(open_page)  # a person who returns need not wait for the end of a pause
    expect(open_page.locator(".banner")).to_be_hidden()


def test_a_job_whose_stream_breaks_is_asked_for_ever_less(open_page: Page, server: FakeServer) -> None:
    prompt_held(open_page, server, "a fox")
    stop_the_clock(open_page)
    failed = refused(open_page, "**/v1/jobs/*/events*")
    hide(open_page)
    show(open_page)
    pauses_double(open_page, failed)
    open_page.unroute("**/v1/jobs/*/events*")
    server.fake.held = False
    open_page.clock.run_for(20_000)
    finished(open_page)


def test_skip_leaves_a_job_alone_that_still_waits(open_page: Page, server: FakeServer) -> None:
    open_page.click("#tab_txt2img_button")
    prompt_held(open_page, server, "a castle", "txt2img")
    open_page.click("#tab_img2img_button")
    load(open_page, png())
    open_page.fill("#img2img_prompt textarea", "a fox")
    submit(open_page)
    expect(open_page.locator("#img2img_progress")).to_contain_text("In the queue: 1 job ahead")
    open_page.click("#img2img_skip")
    expect(open_page.locator(".toast")).to_contain_text("there is nothing to skip")
    open_page.focus("#img2img_prompt textarea")
    open_page.keyboard.press("Alt+Enter")
    expect(open_page.locator("#img2img_progress")).to_contain_text("In the queue: 1 job ahead")
    server.fake.held = False
    finished(open_page)
    assert [job["status"] for job in list(server.fake.jobs.values())[-2:]] == ["finished", "finished"]
    expect(open_page.locator("#img2img_results .shot:not(.preview)")).to_be_visible()
