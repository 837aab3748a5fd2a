"""What the canvas costs in a browser: a stroke's way to the screen, memory, the bytes of a second generation.

    python -m tests.bench.bench_canvas [--side 8192] [--chromium /usr/bin/chromium]

One JSON line per case, in headless Chromium with the stand-in server. `stroke`: milliseconds from a pointer event to
the frame that shows it, with a source of `--side` x `--side` pixels; `memory`: bytes of the page's and the graphics
process after 50 strokes that can be undone; `sent`: bytes of a second generation with a new mask on an unchanged source
of half the side.
"""

import argparse
import io
import json
import os
import shutil
import statistics
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.conftest import FLAGS, FakeServer, finished, opened, submit
from tests.ui.fake_server import painted

STROKES = 50
MOVES = 24
PATIENCE = 300_000  # milliseconds: reading a picture of 67 megapixels on two cores

# This runs after the canvas's own frame callback; the message arrives after the frame is painted.
WATCH = """() => {
    const stage = document.querySelector(".canvas-stage");
    window.latencies = [];
    stage.addEventListener("pointermove", (event) => {
        if (!event.buttons) return;
        const at = event.timeStamp;
        requestAnimationFrame(() => {
            const channel = new MessageChannel();
            channel.port1.onmessage = () => window.latencies.push(performance.now() - at);
            channel.port2.postMessage(0);
        });
    });
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--side", type=int, default=8192, help="pixels of the source's sides (default: %(default)s)")
    parser.add_argument("--chromium", default=os.environ.get("CHROMIUM") or shutil.which("chromium"))
    flags = parser.parse_args()
    server = FakeServer()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=flags.chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(PATIENCE)
        opened(page, server.url)
        load(page, flags.side)
        strokes(page, flags.side)
        tell(
            "memory",
            side=flags.side,
            undo_steps=STROKES,
            **{name: round(value / 2**20) for name, value in memory(browser).items()},
            heap_mb=round(page.evaluate("() => performance.memory.usedJSHeapSize") / 2**20),
        )
        load(page, flags.side // 2)
        second_generation(page, flags.side // 2)
        browser.close()
    server.stop()


def tell(case: str, **figures: Any) -> None:
    print(json.dumps({"case": case, **figures}), flush=True)


def load(page: Page, side: int) -> None:
    content = io.BytesIO()
    painted(1024, 1024, 3).resize((side, side), Image.Resampling.BILINEAR).save(content, "JPEG", quality=90)
    page.set_input_files("#img2img_file", [{"name": "s.jpg", "mimeType": "image/jpeg", "buffer": content.getvalue()}])
    page.wait_for_function(
        "side => document.querySelector('.source-text').textContent.startsWith(`${side} `)", arg=side
    )
    page.click("#img2img_inpaint_mode")
    page.wait_for_timeout(4000)
    page.eval_on_selector(".canvas-stage", "element => element.scrollIntoView({ block: 'center' })")
    if page.is_visible("#canvas_drop"):
        page.click("#canvas_drop")


def strokes(page: Page, side: int) -> None:
    """Strokes across the fitted picture, then half as many at 1:1; small and large brushes, hard and soft."""
    page.evaluate(WATCH)
    for where, count in (("fitted", STROKES // 2), ("1:1", STROKES - STROKES // 2)):
        if where == "1:1":
            page.click("#canvas_actual")
        page.evaluate("() => { window.latencies = []; }")
        box = page.locator(".canvas-stage").bounding_box()
        assert box
        for index in range(count):
            page.fill("#canvas_size", str(400 + 20 * (index % 16)))  # 21 to 240 pixels
            page.fill("#canvas_hardness", "100" if index % 2 else "60")
            y = box["y"] + box["height"] * (0.15 + 0.7 * index / count)
            page.mouse.move(box["x"] + box["width"] * 0.3, y)
            page.mouse.down()
            page.mouse.move(box["x"] + box["width"] * 0.7, y + 20, steps=MOVES)
            page.mouse.up()
        page.wait_for_timeout(1000)
        found = sorted(page.evaluate("() => window.latencies"))
        tell(
            "stroke",
            side=side,
            where=where,
            events=len(found),
            median_ms=round(statistics.median(found), 1),
            p95_ms=round(found[int(len(found) * 0.95)], 1),
            most_ms=round(found[-1], 1),
        )


def memory(browser: Browser) -> dict[str, int]:
    """Bytes in memory (proportional set size) by type of Chromium process."""
    session = browser.new_browser_cdp_session()
    found: dict[str, int] = {}
    for process in session.send("SystemInfo.getProcessInfo")["processInfo"]:
        rollup = Path(f"/proc/{process['id']}/smaps_rollup").read_text()
        pss = next(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
        name = f"{process['type'].lower()}_mb"
        found[name] = found.get(name, 0) + pss
    return found


def second_generation(page: Page, side: int) -> None:
    """Bytes of all request bodies for a second job with another mask."""

    def paint(height: float) -> None:
        box = page.locator(".canvas-stage").bounding_box()
        assert box
        page.mouse.move(box["x"] + box["width"] * 0.35, box["y"] + box["height"] * height)
        page.mouse.down()
        for step in range(12):
            turn = 0.1 if step % 2 else -0.1
            x, y = 0.35 + step * 0.025, height + turn
            page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y, steps=4)
        page.mouse.up()

    sent: list[int] = []
    page.on("request", lambda request: sent.append(len(request.post_data_buffer or b"")))
    for hardness in (100, 50):
        page.click("#canvas_clear")
        page.fill("#canvas_hardness", str(hardness))
        page.fill("#canvas_size", "700")
        paint(0.3)
        submit(page)
        finished(page)
        before = len(sent)
        paint(0.7)
        submit(page)
        finished(page)
        tell("sent", side=side, hardness=hardness, bytes=sum(sent[before:]))


if __name__ == "__main__":
    main()
