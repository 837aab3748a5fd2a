"""A Chromium, a page that watches every request it makes, and two servers: a stand-in, and Palimpsest itself."""

import asyncio
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlparse

import httpx
import pytest
import uvicorn
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.ports import free_port
from tests.tiny import write_tiny_checkpoint
from tests.ui.fake_server import Fake, create, painted

ROOT = Path(__file__).resolve().parents[2]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # The last list of features counts, so it repeats what Playwright switches off and these tests need off.
    "--disable-features=AvoidUnnecessaryBeforeUnloadCheckSync,AvoidCorsURLLoaderRestartOnRedirect,Translate,"
    "PaintHolding,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable,MediaRouter,"
    "OptimizationHints,NetworkTimeServiceQuerying,AimEnabled,PreconnectToSearch,DestroyProfileOnBrowserClose,"
    "ThirdPartyStoragePartitioning,LensOverlay,AcceptCHFrame,GlobalMediaControls,"
    # The address bar's lists are web pages since Chromium 150. They take 1.7 s of processor time for every page opened.
    "WebUIOmniboxPopup,WebUIOmniboxAimPopup,WebUIOmniboxFullPopup",
]
PATIENCE = 240.0  # seconds for something that takes milliseconds on an idle machine
START = 180.0  # seconds for a start that takes three: two processes import a lot
HOME = ("127.0.0.1", "localhost")
OWN_SCHEMES = ("data", "blob")


def pytest_itemcollected(item: pytest.Item) -> None:
    """A failed test of this folder is run once more; if it then passes, the run's summary lists it as unsteady."""
    item.add_marker(pytest.mark.browser)
    item.add_marker(pytest.mark.flaky(reruns=1))


def wait_for(ask: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Repeats the check until it succeeds; fails with `what` after that many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ask():
            return
        time.sleep(0.05)
    pytest.fail(f"waited {seconds:.0f} s in vain for {what}")


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/internal/ping", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


class FakeServer:
    """The stand-in on a port, in its own thread; it can be stopped and restarted on the same port."""

    def __init__(self) -> None:
        self.port = free_port()
        self.fake = Fake(pace=0.02)
        self.start()

    def start(self) -> None:
        self.thread = threading.Thread(target=lambda: asyncio.run(self.serve()), daemon=True)
        self.thread.start()
        wait_for(lambda: answers(self.url), "the stand-in to answer")

    async def serve(self) -> None:
        self.fake.start()
        config = uvicorn.Config(create(self.fake), port=self.port, log_level="critical", timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        await self.server.serve()

    def stop(self) -> None:
        self.server.should_exit = self.server.force_exit = True
        self.thread.join(PATIENCE)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass
class Watch:
    """What a page did: the hosts it requested and the errors it reported."""

    hosts: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)

    def attach(self, page: Page) -> None:
        page.on("request", lambda request: self.ask(request.url))
        page.on("websocket", lambda socket: self.ask(socket.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        # Chromium logs each status above 399 by itself; the page shows these, and some tests are about them.
        page.on("console", lambda message: self.note(message.type, message.text))

    def ask(self, url: str) -> None:
        parts = urlparse(url)
        if parts.scheme not in OWN_SCHEMES:
            self.hosts.add(parts.hostname or url)

    def note(self, kind: str, text: str) -> None:
        if kind == "error" and not text.startswith("Failed to load resource"):
            self.errors.append(text)


@pytest.fixture(scope="module")  # stop here: its event loop would keep running, and other tests could not start one
def browser(chromium: str) -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE * 1000)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """One profile for all tests of a file, so that unchanging files are loaded once."""
    opened = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext, watch: Watch) -> Iterator[Page]:
    """A page without memory. At the end, it must have made requests to this machine only and reported no error."""
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE * 1000)
    watch.attach(opened)
    yield opened
    opened.close()
    assert watch.hosts <= set(HOME)
    assert watch.errors == []


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    started = FakeServer()
    yield started
    started.stop()


FORGET = """async () => {
    localStorage.clear();
    for (const { name } of await indexedDB.databases()) {
        const request = indexedDB.deleteDatabase(name);
        await new Promise((resolve) => Object.assign(request, { onsuccess: resolve, onblocked: resolve }));
    }
}"""


@pytest.fixture
def open_page(page: Page, server: FakeServer) -> Page:
    """The page of the stand-in, on a first visit."""
    server.fake.held = False
    page.goto(f"{server.url}/internal/ping")
    page.evaluate(FORGET)
    return opened(page, server.url)


def opened(page: Page, url: str) -> Page:
    """Opens or reloads the page and waits until its scripts have assembled it."""
    page.goto(url)
    page.wait_for_selector("body.started")
    return page


def png(width: int = 96, height: int = 64, seed: int = 5) -> bytes:
    """A small picture file."""
    content = io.BytesIO()
    painted(width, height, seed).save(content, "PNG")
    return content.getvalue()


def load(page: Page, content: bytes, tab: str = "img2img", name: str = "photo.png") -> None:
    """Chooses a picture file in the source area of `tab`."""
    page.set_input_files(f"#{tab}_file", files=[{"name": name, "mimeType": "image/png", "buffer": content}])
    page.wait_for_selector(f"#{tab}_image.filled")


SETTLED = """async () => {
    const stage = document.querySelector(".canvas-stage");
    const now = () => {
        const { top, width, height } = stage.getBoundingClientRect();
        return JSON.stringify([top, width, height, stage.dataset.camera]);
    };
    for (let last = "", same = 0; same < 6; same = last === now() ? same + 1 : 0, last = now())
        await new Promise(requestAnimationFrame);
}"""


def settled(page: Page) -> None:
    """Waits until the stage has grown and the picture is fitted to it: six frames in a row look the same."""
    page.evaluate(SETTLED)


def prompt(page: Page, tab: str = "img2img") -> str:
    return page.input_value(f"#{tab}_prompt textarea")


def expect_prompt(page: Page, text: str, tab: str = "img2img") -> None:
    """Waits until the prompt is `text`: an action's effect on it comes a moment later."""
    expect(page.locator(f"#{tab}_prompt textarea")).to_have_value(text)


def expect_number(page: Page, elem: str, value: float) -> None:
    """Waits until a slider or number field shows `value`."""
    expect(page.locator(f"#{elem} input[type=number]")).to_have_value(f"{value:g}")


def number(page: Page, elem: str) -> float:
    """The value of a slider or number field."""
    return float(page.input_value(f"#{elem} input[type=number]"))


# Records in `window.taken` that the page has noted a job of the tab: a moment after the server's answer, and perhaps a
# moment before the job is over.
NOTE_JOBS = """tab => {
  const note = Storage.prototype.noting ?? Storage.prototype.setItem;
  window.taken = false;
  Storage.prototype.noting = note;
  Storage.prototype.setItem = function (key, value) {
    window.taken ||= key.endsWith(`:jobs.${tab}`);
    return note.call(this, key, value);
  };
}"""


def submit(page: Page, tab: str = "img2img", press: str = "") -> None:
    """Presses Generate, or the keys `press`, and waits until the job is queued and the page follows it."""
    page.evaluate(NOTE_JOBS, tab)
    with page.expect_response(lambda response: response.url.endswith("/v1/jobs") and response.ok):
        page.keyboard.press(press) if press else page.click(f"#{tab}_generate")
    page.wait_for_function("() => window.taken !== false")


def finished(page: Page, tab: str = "img2img", milliseconds: float = PATIENCE * 1000) -> None:
    """Waits until the tab has no job left."""
    gone = "tab => localStorage.getItem(`palimpsest:${location.port}:jobs.${tab}`) === null"
    page.wait_for_function(gone, arg=tab, timeout=milliseconds)
    page.wait_for_selector(f"#{tab}_progress", state="hidden")


def shown_picture(page: Page, tab: str = "img2img") -> Image.Image:
    """The selected result, as saved on the server."""
    url = page.eval_on_selector(f"#{tab}_results .shot:not(.preview)", "image => image.src")
    return Image.open(io.BytesIO(page.request.get(url, fail_on_status_code=True).body()))


@contextmanager
def palimpsest(folder: Path, checkpoint: Path) -> Iterator[str]:
    """Palimpsest itself with its data in `folder`; returns its address."""
    port = free_port()
    flags = ["--port", str(port), "--data-dir", str(folder), "--no-autolaunch", "--use-cpu", "--ckpt", str(checkpoint)]
    log = (folder / "log.txt").open("w")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "webui.py", *flags], cwd=ROOT, stdout=log, stderr=log, env=environment)
    try:
        wait_for(
            lambda: process.poll() is not None or answers(f"http://127.0.0.1:{port}"), "the server to answer", START
        )
        assert process.poll() is None, (folder / "log.txt").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE)
        log.close()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Palimpsest with a tiny checkpoint; returns its address."""
    folder = tmp_path_factory.mktemp("studio")
    models = folder / "models" / "Stable-diffusion"
    models.mkdir(parents=True)
    with palimpsest(folder, write_tiny_checkpoint(models / "tiny.safetensors")) as url:
        yield url
