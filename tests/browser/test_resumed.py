"""A server is told to stop, and the page connects to the next one: accepted jobs are shown and continue."""

import re
import signal
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import PATIENCE, finished, opened
from tests.test_app import Studio, studio
from tests.tiny import write_tiny_checkpoint

pytestmark = pytest.mark.slow


def submit(palimpsest: Studio, **request: object) -> str:
    small = {"width": 64, "height": 64, "subseed": 1, "sampler_name": "Euler", **request}
    answer = palimpsest.client.post("/v1/jobs", json={"kind": "txt2img", "request": small})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def test_sigterm_hands_the_running_job_back_and_the_next_start_shows_it(page: Page, tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "models" / "tiny.safetensors")
    outputs = tmp_path / "outputs"
    with studio(tmp_path, "--ckpt", checkpoint) as before:
        long = submit(before, prompt="a fox", seed=100, steps=150, n_iter=100)
        short = submit(before, prompt="a wolf", seed=500, steps=2)
        before.until("a picture", lambda: len(before.job(long)["images"]) >= 1)
        before.process.send_signal(signal.SIGTERM)
        assert before.process.wait(PATIENCE) in (0, -signal.SIGTERM)
        with pytest.raises(httpx.TransportError):
            before.client.get("/internal/ping")
    kept = {file.name: file.read_bytes() for file in outputs.rglob("*.*")}
    for file in outputs.rglob("*.*"):
        with Image.open(file) as image:  # each is complete, and there are no other files
            image.load()

    with studio(tmp_path, "--ckpt", checkpoint) as again:
        page.goto(f"{again.client.base_url}/internal/ping")
        page.evaluate("() => localStorage.clear()")
        opened(page, str(again.client.base_url))
        expect(page.locator(".toast")).to_contain_text("Jobs from before the restart are running now.")
        page.click("#tab_txt2img_button")
        expect(page.locator("#txt2img_progress")).to_contain_text("1 more waiting")
        expect(page.locator("#txt2img_progress")).to_contain_text(re.compile(r"picture \d+ of 100"))
        shown = page.locator("#txt2img_gallery .thumb")
        expect(shown.nth(len(kept))).to_be_visible()  # those from before, and one more
        page.click("#txt2img_interrupt")
        finished(page, "txt2img")
        expect(page.locator("#txt2img_results .facts")).to_contain_text("seed 500")
        assert again.job(long)["status"] == "interrupted"
        assert again.job(short)["status"] == "finished"
        paths = [image["path"].split("/")[-1] for image in again.job(long)["images"]]
    assert paths == [f"{number:05}-{100 + number}.png" for number in range(len(paths))]  # none twice, none missing
    assert set(kept) <= set(paths)
    assert all(kept[file.name] == file.read_bytes() for file in outputs.rglob("*.*") if file.name in kept)
