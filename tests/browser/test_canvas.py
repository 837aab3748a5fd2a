"""The canvas in a real Chromium, drawn on with real pointers: what is painted is what is sent, and nothing gets
lost.
"""

import io
import json
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, CDPSession, Error, Page, Request, expect

from tests.browser.conftest import (
    PATIENCE,
    START,
    FakeServer,
    finished,
    load,
    opened,
    png,
    settled,
    shown_picture,
    submit,
    wait_for,
)

Point = tuple[float, float]
Mask = NDArray[np.uint8]


def stage(page: Page) -> dict[str, float]:
    """The stage's box on the screen and the camera: {left, top, width, height, scale, x, y}, in CSS pixels."""
    return page.eval_on_selector(
        ".canvas-stage",
        """element => {
            const { left, top, width, height } = element.getBoundingClientRect();
            return { left, top, width, height, ...JSON.parse(element.dataset.camera) };
        }""",
    )


def on_screen(page: Page, point: Point) -> Point:
    """The whole screen pixel nearest to a pixel of the picture."""
    at = stage(page)
    return (
        round(at["left"] + at["x"] + point[0] * at["scale"]),
        round(at["top"] + at["y"] + point[1] * at["scale"]),
    )


def in_picture(page: Page, point: Point) -> Point:
    """The point of the picture at a point of the screen."""
    at = stage(page)
    return (point[0] - at["left"] - at["x"]) / at["scale"], (point[1] - at["top"] - at["y"]) / at["scale"]


def drag(page: Page, *points: Point) -> list[Point]:
    """Draws with the mouse through points of the picture; returns the points it really reached."""
    places = [on_screen(page, point) for point in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()
    return [in_picture(page, place) for place in places]


def mask(page: Page) -> Mask:
    """The mask as saved by the page."""
    page.click("#canvas_more")
    with page.expect_download() as download:
        page.click("#canvas_save_mask")
    page.click("#canvas_more")
    return np.asarray(Image.open(download.value.path()).convert("L"))


def set_slider(page: Page, elem: str, value: int) -> None:
    page.fill(f"#canvas_{elem}", str(value))


def brush(page: Page, pixels: float) -> None:
    """Sets the brush to that diameter in pixels; the slider is logarithmic, up to 2048 at 1000."""
    set_slider(page, "size", round(1000 * math.log(pixels) / math.log(2048)))


def size(page: Page) -> int:
    return int(page.inner_text("label:has(#canvas_size) output").removesuffix(" px"))


def capsule(shape: tuple[int, int], a: Point, b: Point, radius: float) -> NDArray[np.float64]:
    """Distance of each pixel's center from a round brush drawn from a to b; negative inside."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5
    dx, dy = b[0] - a[0], b[1] - a[1]
    t = np.clip(((x - a[0]) * dx + (y - a[1]) * dy) / ((dx * dx + dy * dy) or 1), 0, 1)
    return np.hypot(x - a[0] - t * dx, y - a[1] - t * dy) - radius


def inpaint(page: Page, width: int = 320, height: int = 240, mode: str = "inpaint") -> Page:
    load(page, png(width, height))
    page.click(f"#img2img_{mode}_mode")
    expect(page.locator("#tab_img2img")).to_have_attribute("data-mode", mode)
    settled(page)
    page.eval_on_selector(".canvas-stage", "element => element.scrollIntoView({ block: 'center' })")
    return page


@pytest.fixture
def canvas(open_page: Page) -> Page:
    """The Inpaint mode with a picture of 320 × 240 and a brush of 40 pixels."""
    inpaint(open_page)
    brush(open_page, 40)
    return open_page


def sent(server: FakeServer) -> dict[str, Any]:
    return server.fake.requests[-1]["request"]


def sent_mask(server: FakeServer) -> Mask:
    return np.asarray(Image.open(io.BytesIO(server.fake.pictures[sent(server)["mask"]])).convert("L"))


# what is painted is what is sent


def test_a_painted_mask_is_sent_with_the_source_and_its_fields(canvas: Page, server: FakeServer) -> None:
    a, b = drag(canvas, (80, 60), (240, 180))
    submit(canvas)
    finished(canvas)
    found = sent_mask(server)
    assert found.shape == (240, 320)
    outside = capsule(found.shape, a, b, size(canvas) / 2)
    assert (found[outside < -0.05] == 255).all()
    assert (found[outside > 0.05] == 0).all()
    told = {
        name: sent(server)[name] for name in ("mask_blur", "inpainting_fill", "inpaint_full_res", "soft_inpainting")
    }
    assert told == {"mask_blur": 4, "inpainting_fill": 1, "inpaint_full_res": 0, "soft_inpainting": False}


def test_in_img2img_and_with_an_empty_mask_nothing_about_masks_is_sent(canvas: Page, server: FakeServer) -> None:
    expect(canvas.locator("#canvas_status")).to_contain_text("The mask is empty, so Generate redraws the whole picture")
    submit(canvas)
    finished(canvas)
    assert not {"mask", "mask_blur", "inpainting_fill"} & set(sent(server))
    drag(canvas, (80, 60), (240, 180))
    canvas.click("#img2img_img2img_mode")
    expect(canvas.locator("#canvas_status")).to_contain_text("The mask you painted is kept, but img2img")
    submit(canvas)
    finished(canvas)
    assert not {"mask", "mask_blur", "inpainting_fill"} & set(sent(server))


@pytest.mark.parametrize("ratio", [1, 2])
@pytest.mark.parametrize("shape", [(600, 400), (400, 600)], ids=["landscape", "portrait"])
def test_the_mask_lies_under_the_pointer_at_every_zoom(
    browser: Browser, server: FakeServer, ratio: int, shape: tuple[int, int]
) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, device_scale_factor=ratio)
    page = context.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    inpaint(opened(page, server.url), *shape)
    middle = (shape[0] / 2, shape[1] / 2)
    for zoom in (25, 100, 400):
        page.fill("#canvas_zoom", str(zoom))
        page.keyboard.press("Enter")
        assert stage(page)["scale"] == pytest.approx(zoom / 100 / ratio)
        brush(page, 8 if zoom == 400 else 40)
        reach = 20 if zoom == 400 else 60
        path = (middle[0] - reach, middle[1] - reach / 2), (middle[0] + reach, middle[1] + reach / 2)
        a, b = drag(page, *path)
        found = mask(page)
        outside = capsule(found.shape, a, b, size(page) / 2)
        assert (found[outside < -0.05] == 255).all(), zoom
        assert (found[outside > 0.05] == 0).all(), zoom
        # And it is visible at its place: the pixel under the middle of the stroke has the mask's tint.
        at = on_screen(page, middle)
        shot = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)
        page.click("#canvas_clear")
        settled(page)
        bare = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)
        x, y = int(at[0] * ratio), int(at[1] * ratio)
        assert np.abs(shot[y, x] - bare[y, x]).sum() > 40, zoom
    context.close()


def test_pen_pressure_changes_the_width_and_its_other_end_erases(canvas: Page) -> None:
    session = canvas.context.new_cdp_session(canvas)
    pen(canvas, session, [((60, 60), 1.0), ((260, 60), 1.0)])
    pen(canvas, session, [((60, 160), 0.2), ((260, 160), 0.2)])
    found = mask(canvas)
    across = size(canvas)
    assert abs(int((found[:, 160] > 0)[:110].sum()) - across) <= 1
    assert abs(int((found[:, 160] > 0)[110:].sum()) - across * (0.15 + 0.85 * 0.2)) <= 2


def pen(page: Page, session: CDPSession, points: list[tuple[Point, float]]) -> None:
    for index, (point, force) in enumerate(points):
        x, y = on_screen(page, point)
        kind = "mousePressed" if index == 0 else "mouseMoved"
        event = {"x": x, "y": y, "button": "left", "buttons": 1, "pointerType": "pen", "force": force}
        session.send("Input.dispatchMouseEvent", {"type": kind, **event})
    x, y = on_screen(page, points[-1][0])
    event = {"x": x, "y": y, "button": "left", "pointerType": "pen"}
    session.send("Input.dispatchMouseEvent", {"type": "mouseReleased", **event})


@pytest.fixture
def phone(browser: Browser, server: FakeServer) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, device_scale_factor=2)
    page = context.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    yield inpaint(opened(page, server.url), 320, 240)
    context.close()


def touch(session: CDPSession, kind: str, *points: Point) -> None:
    places = [{"x": x, "y": y, "id": index} for index, (x, y) in enumerate(points)]
    session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})


def test_a_finger_draws_and_two_move_and_zoom(phone: Page) -> None:
    session = phone.context.new_cdp_session(phone)
    brush(phone, 40)
    a, b = on_screen(phone, (100, 120)), on_screen(phone, (220, 120))
    touch(session, "touchStart", a)
    touch(session, "touchMove", b)
    touch(session, "touchEnd")
    painted = mask(phone)
    assert painted[120, 160] == 255
    assert painted[60, 160] == 0
    before = stage(phone)
    middle = (before["left"] + before["width"] / 2, before["top"] + before["height"] / 2)
    touch(session, "touchStart", (middle[0] - 30, middle[1]))
    touch(session, "touchStart", (middle[0] - 30, middle[1]), (middle[0] + 30, middle[1]))
    for gap in (40, 50, 60):
        touch(session, "touchMove", (middle[0] - gap, middle[1] + 20), (middle[0] + gap, middle[1] + 20))
    touch(session, "touchEnd")
    after = stage(phone)
    assert after["scale"] == pytest.approx(before["scale"] * 2, rel=0.02)
    assert (mask(phone) == painted).all()  # the first finger's dot was undone
    if folder := os.environ.get("PALIMPSEST_SCREENSHOTS"):
        phone.screenshot(path=Path(folder) / "canvas-390.png")
    assert phone.evaluate("() => document.documentElement.scrollWidth") <= 390


def test_a_hand_on_the_screen_disturbs_no_pen(phone: Page) -> None:
    session = phone.context.new_cdp_session(phone)
    brush(phone, 30)
    before = stage(phone)
    palm, other = on_screen(phone, (40, 210)), on_screen(phone, (80, 220))
    touch(session, "touchStart", palm)  # first the hand, then the pen, then more of the hand
    touch(session, "touchMove", (palm[0] + 3, palm[1]))
    at = [on_screen(phone, point) for point in ((60, 60), (160, 60), (260, 60))]
    event = {"button": "left", "buttons": 1, "pointerType": "pen", "force": 1.0}
    session.send("Input.dispatchMouseEvent", {"type": "mousePressed", "x": at[0][0], "y": at[0][1], **event})
    session.send("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": at[1][0], "y": at[1][1], **event})
    touch(session, "touchStart", palm, other)
    touch(session, "touchMove", (palm[0] - 20, palm[1]), (other[0] + 20, other[1]))
    session.send("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": at[2][0], "y": at[2][1], **event})
    session.send("Input.dispatchMouseEvent", {"type": "mouseReleased", "x": at[2][0], "y": at[2][1], **event})
    touch(session, "touchEnd")
    assert stage(phone) == before
    found = mask(phone)
    assert found[60, 62:258].all()
    assert not found[90:].any()


def test_a_finger_drags_the_frame_out_of_a_picture_that_is_not_painted_on(phone: Page) -> None:
    phone.click("#img2img_img2img_mode")
    phone.click("#canvas_frame")
    settled(phone)
    phone.eval_on_selector(".canvas-stage", "element => element.scrollIntoView({ block: 'center' })")
    session = phone.context.new_cdp_session(phone)
    x, y = on_screen(phone, (160, 240))
    touch(session, "touchStart", (x, y))
    scale = stage(phone)["scale"]
    for step in range(1, 11):
        touch(session, "touchMove", (x, y + 5 * step))
    touch(session, "touchEnd")
    # To the end, although the page could scroll, and although the stage moves as the message above it grows.
    grown = round(50 / scale / 8) * 8
    expect(phone.locator("#canvas_frame_size")).to_have_text(f"320 × 240 → 320 × {240 + grown}")


# nothing gets lost


# How many documents, and how many tiles of this tab's mask, the browser's memory holds.
IN_MEMORY = """async () => {
    const name = `palimpsest:${location.port}`;
    const answer = (request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
    const database = await answer(indexedDB.open(name, 1));
    const transaction = database.transaction(["documents", "tiles"]);
    const [documents, tiles] = await Promise.all(
        ["documents", "tiles"].map((store) => answer(transaction.objectStore(store).getAll())));
    database.close();
    const tab = sessionStorage.getItem(name);
    const isKept = documents.some((one) => one.tab === tab);
    const own = tiles.filter((one) => one.tab === tab && one.layer === "mask");
    return { documents: documents.length, tiles: isKept ? own.length : null };
}"""


def kept(page: Page, *, is_painted: bool = True) -> None:
    """Waits until what is painted, or that nothing is, is saved: this happens a moment later."""

    def is_saved() -> bool:
        tiles = page.evaluate(IN_MEMORY)["tiles"]
        return tiles is not None and (tiles > 0) is is_painted

    wait_for(is_saved, "the canvas to be saved")


def test_mask_mode_and_picture_survive_a_reload_and_another_tab_of_the_page(canvas: Page, server: FakeServer) -> None:
    drag(canvas, (80, 60), (240, 180))
    before = mask(canvas)
    assert before.any()
    canvas.click("#tab_txt2img_button")
    canvas.click("#tab_img2img_button")
    assert (mask(canvas) == before).all()
    page = opened(canvas, server.url)
    expect(page.locator("#tab_img2img")).to_have_attribute("data-mode", "inpaint")
    page.wait_for_selector("#img2img_image.filled")
    assert (mask(page) == before).all()


def test_two_browser_tabs_do_not_mix(canvas: Page, server: FakeServer) -> None:
    drag(canvas, (80, 60), (240, 180))
    first = mask(canvas)
    other = canvas.context.new_page()
    other.set_default_timeout(PATIENCE * 1000)
    inpaint(opened(other, server.url), 200, 300)
    assert not mask(other).any()
    brush(other, 40)
    drag(other, (100, 100), (100, 200))
    second = mask(other)
    opened(canvas, server.url)
    expect(canvas.locator("#img2img_image .source-text")).to_have_text("320 × 240 PNG")
    assert (mask(canvas) == first).all()
    opened(other, server.url)
    expect(other.locator("#img2img_image .source-text")).to_have_text("200 × 300 PNG")
    assert (mask(other) == second).all()
    other.close()


def test_a_duplicated_browser_tab_goes_on_with_a_copy(canvas: Page, server: FakeServer) -> None:
    drag(canvas, (80, 60), (240, 180))
    before = mask(canvas)
    kept(canvas)
    names = canvas.evaluate("() => ({ ...sessionStorage })")
    other = canvas.context.new_page()
    other.set_default_timeout(PATIENCE * 1000)
    other.goto(f"{server.url}/internal/ping")
    other.evaluate("names => Object.assign(sessionStorage, names)", names)
    opened(other, server.url)
    other.wait_for_selector("#img2img_image.filled")
    assert (mask(other) == before).all()
    other.click("#canvas_clear")
    kept(other, is_painted=False)
    opened(canvas, server.url)
    canvas.wait_for_selector("#img2img_image.filled")
    assert (mask(canvas) == before).all()
    other.close()


def test_a_crashed_tab_comes_back_as_it_was(canvas: Page, server: FakeServer) -> None:
    drag(canvas, (80, 60), (240, 180))
    before = mask(canvas)
    kept(canvas)
    with canvas.expect_event("crash"), suppress(Error):
        canvas.goto("chrome://crash", timeout=3000)
    again = canvas.context.new_page()
    again.set_default_timeout(PATIENCE * 1000)
    opened(again, server.url)
    again.wait_for_selector("#img2img_image.filled")
    assert (mask(again) == before).all()
    again.close()


def bring(page: Page, content: bytes, to: str = "#img2img_file") -> None:
    """Chooses a file: another picture to replace the current one, or a mask."""
    page.set_input_files(to, files=[{"name": "b.png", "mimeType": "image/png", "buffer": content}])


def test_another_picture_asks_what_becomes_of_the_mask(canvas: Page) -> None:
    drag(canvas, (80, 60), (240, 180))
    bring(canvas, png(640, 480, 9))
    question = canvas.locator("#canvas_question")
    expect(question).to_contain_text("The picture was replaced, but the old mask is still here.")
    expect(question).to_contain_text("It was resized from 320 × 240 to 640 × 480.")
    canvas.click("#canvas_keep")
    expect(question).to_be_hidden()
    kept = mask(canvas)
    assert kept.shape == (480, 640)
    assert kept[240, 320] == 255
    bring(canvas, png(640, 480, 8))
    canvas.click("#canvas_drop")
    assert not mask(canvas).any()
    canvas.click("#canvas_undo")
    assert (mask(canvas) == kept).all()


def test_send_to_inpaint_brings_the_result_and_asks_about_the_old_mask(canvas: Page) -> None:
    drag(canvas, (80, 60), (240, 180))
    before = mask(canvas)
    submit(canvas)
    finished(canvas)
    canvas.click("#img2img_img2img_mode")
    canvas.click("#img2img_send_to_inpaint")
    expect(canvas.locator("#tab_img2img")).to_have_attribute("data-mode", "inpaint")
    expect(canvas.locator("#img2img_image .source-text")).to_have_text("256 × 256 PNG")
    expect(canvas.locator("#canvas_question")).to_be_visible()
    canvas.click("#img2img_undo")  # the sent values; picture, mode and mask are as they were
    expect(canvas.locator("#img2img_image .source-text")).to_have_text("320 × 240 PNG")
    canvas.click("#img2img_inpaint_mode")
    assert (mask(canvas) == before).all()


def test_undo_of_a_send_brings_back_mask_mode_and_frame(canvas: Page) -> None:
    drag(canvas, (80, 60), (240, 180))
    before = mask(canvas)
    submit(canvas)
    finished(canvas)
    canvas.click("#img2img_img2img_mode")
    canvas.click("#img2img_intent_expand")
    framed = "320 × 240 → 400 × 304"
    expect(canvas.locator("#canvas_frame_size")).to_have_text(framed)
    canvas.click("#img2img_send_to_inpaint")
    question = canvas.locator("#canvas_question")
    expect(question).to_be_visible()
    expect(canvas.locator("#canvas_frame_panel")).to_be_hidden()
    settled(canvas)
    drag(canvas, (20, 20), (60, 200))  # on the other picture: the old mask is no longer the last step
    canvas.click("#img2img_undo")
    expect(canvas.locator("#img2img_image .source-text")).to_have_text("320 × 240 PNG")
    expect(canvas.locator("#tab_img2img")).to_have_attribute("data-mode", "img2img")
    expect(canvas.locator("#canvas_frame_size")).to_have_text(framed)
    expect(question).to_be_hidden()
    canvas.click("#img2img_inpaint_mode")
    assert (mask(canvas) == before).all()


def hatch(page: Page, strokes: int) -> None:
    """Quick strokes with so little time between them that the button is nearly always down."""
    for index in range(strokes):
        begin(page, (20 + 8 * index, 40), (20 + 8 * index, 200))
        page.wait_for_timeout(270)
        page.mouse.up()


def test_quick_strokes_are_kept_while_they_go_on(canvas: Page, server: FakeServer) -> None:
    brush(canvas, 4)
    hatch(canvas, 6)
    begin(canvas, (200, 40), (200, 200))  # still down when the tab crashes
    canvas.wait_for_timeout(100)
    with canvas.expect_event("crash"), suppress(Error):
        canvas.goto("chrome://crash", timeout=3000)
    again = canvas.context.new_page()
    again.set_default_timeout(PATIENCE * 1000)
    opened(again, server.url)
    again.wait_for_selector("#img2img_image.filled")
    found = mask(again)
    again.close()
    assert [bool(found[120, 20 + 8 * index]) for index in range(5)] == [True] * 5


def test_of_two_tabs_the_one_that_crashed_is_found_again_beside_the_other(canvas: Page, server: FakeServer) -> None:
    drag(canvas, (80, 60), (240, 180))
    before = mask(canvas)
    other = canvas.context.new_page()
    other.set_default_timeout(PATIENCE * 1000)
    inpaint(opened(other, server.url), 200, 300)
    kept(canvas)
    with canvas.expect_event("crash"), suppress(Error):
        canvas.goto("chrome://crash", timeout=3000)
    again = canvas.context.new_page()
    again.set_default_timeout(PATIENCE * 1000)
    opened(again, server.url)
    expect(again.locator("#img2img_image .source-text")).to_have_text("320 × 240 PNG")
    assert (mask(again) == before).all()
    for page in (other, again):
        page.close()


OTHERS = """async ([count, port]) => {
    const request = indexedDB.open(`palimpsest:${port}`, 1);
    await new Promise((resolve) => (request.onsuccess = resolve));
    const transaction = request.result.transaction("documents", "readwrite");
    for (let index = 0; index < count; index++) {
        const picture = { id: String(index), width: 1, height: 1 };
        const document = { tab: `gone-${index}`, picture, mode: "inpaint", frame: null, width: 1, height: 1 };
        transaction.objectStore("documents").put({ ...document, at: Date.now() + 1000 });
    }
    await new Promise((resolve) => (transaction.oncomplete = resolve));
    request.result.close();
}"""


def test_however_old_a_tab_that_is_open_is_not_forgotten(canvas: Page, server: FakeServer) -> None:
    drag(canvas, (80, 60), (240, 60))
    before = mask(canvas)
    kept(canvas)
    canvas.evaluate(OTHERS, [12, server.port])
    other = canvas.context.new_page()
    other.set_default_timeout(PATIENCE * 1000)
    inpaint(opened(other, server.url), 200, 300)  # the oldest are forgotten when a new picture arrives
    wait_for(lambda: other.evaluate(IN_MEMORY)["documents"] <= 10, "the oldest to be forgotten")
    other.close()
    opened(canvas, server.url)
    canvas.wait_for_selector("#img2img_image.filled")
    assert (mask(canvas) == before).all()


def test_without_web_locks_two_tabs_do_not_mix_either(canvas: Page, server: FakeServer) -> None:
    """Plain http from another machine has none, and that is how a studio at home is reached."""
    context = canvas.context
    without = "() => Object.defineProperty(navigator, 'locks', { value: undefined })"
    pages = [context.new_page() for _ in range(2)]
    masks: list[Mask] = []
    for page, shape in zip(pages, ((300, 200), (200, 300)), strict=True):
        page.set_default_timeout(PATIENCE * 1000)
        page.add_init_script(f"({without})()")
        inpaint(opened(page, server.url), *shape)
        expect(page.locator("#canvas_status")).to_contain_text("The mask is empty")
        drag(page, (60, 60), (100, 100))
        masks.append(mask(page))
    for page, shape, before in zip(pages, ("300 × 200", "200 × 300"), masks, strict=True):
        opened(page, server.url)
        expect(page.locator("#img2img_image .source-text")).to_have_text(f"{shape} PNG")
        assert (mask(page) == before).all()
        page.close()


SLOW = """(() => {
    const { request } = LockManager.prototype;
    LockManager.prototype.request = function (...all) {
        return new Promise((resolve) => {
            const look = () => (window.isTime ? resolve(request.apply(this, all)) : setTimeout(look, 20));
            look();
        });
    };
})()"""


def test_a_picture_that_is_quicker_than_the_browsers_memory_finds_the_old_mask(
    canvas: Page, server: FakeServer
) -> None:
    drag(canvas, (80, 60), (240, 180))
    canvas.add_init_script(SLOW)
    canvas.goto(server.url)
    canvas.wait_for_selector("#img2img_file", state="attached")
    load(canvas, png(640, 480, 8))
    canvas.evaluate("() => { window.isTime = true; }")
    canvas.wait_for_selector("body.started")
    expect(canvas.locator("#canvas_question")).to_contain_text("It was resized from 320 × 240 to 640 × 480.")
    expect(canvas.locator("#img2img_image .source-text")).to_have_text("640 × 480 PNG")
    canvas.click("#canvas_keep")
    assert mask(canvas)[240, 320] == 255


# nothing gets lost in the middle of a stroke


def begin(page: Page, *points: Point) -> None:
    """A mouse stroke that has not ended yet."""
    places = [on_screen(page, point) for point in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)


def test_undo_during_a_stroke_takes_back_that_stroke_alone(canvas: Page) -> None:
    drag(canvas, (40, 60), (280, 60))
    first = mask(canvas)
    begin(canvas, (40, 180), (160, 180))
    canvas.keyboard.press("Control+z")
    canvas.mouse.move(*on_screen(canvas, (280, 180)), steps=4)
    canvas.mouse.up()
    assert (mask(canvas) == first).all()
    canvas.hover(".canvas-stage")
    canvas.keyboard.press("Control+y")
    again = mask(canvas)
    assert again[180, 100] == 255
    assert again[60, 100] == 255
    canvas.hover(".canvas-stage")
    canvas.keyboard.press("Control+z")
    canvas.keyboard.press("Control+z")
    assert not mask(canvas).any()


def test_another_mode_during_a_stroke_keeps_it_where_it_was_drawn(canvas: Page) -> None:
    begin(canvas, (40, 60), (280, 60))
    canvas.evaluate("() => document.getElementById('img2img_sketch_mode').click()")  # as a second hand would do
    canvas.mouse.move(*on_screen(canvas, (280, 180)), steps=4)
    canvas.mouse.up()
    canvas.click("#img2img_inpaint_mode")
    found = mask(canvas)
    assert found[60, 160] == 255
    assert not found[150, 280]
    canvas.hover(".canvas-stage")
    canvas.keyboard.press("Control+z")
    assert not mask(canvas).any()


def test_a_picture_that_arrives_during_a_stroke_takes_nothing_of_it(canvas: Page) -> None:
    begin(canvas, (40, 60), (280, 60))
    bring(canvas, png(640, 480, 9))
    expect(canvas.locator("#img2img_image .source-text")).to_have_text("640 × 480 PNG")
    canvas.mouse.up()
    found = mask(canvas)
    assert found.shape == (480, 640)
    assert found[120, 320] == 255
    expect(canvas.locator("#canvas_undo")).to_be_disabled()  # the steps belong to the other picture
    canvas.hover(".canvas-stage")
    canvas.keyboard.press("Control+z")
    assert (mask(canvas) == found).all()
    canvas.click("#img2img_remove")
    bring(canvas, png(320, 240))
    expect(canvas.locator("#img2img_image .source-text")).to_have_text("320 × 240 PNG")
    assert mask(canvas)[60, 160] == 255
    canvas.hover(".canvas-stage")
    canvas.keyboard.press("Control+z")
    assert not mask(canvas).any()
    expect(canvas.locator("#canvas_undo")).to_be_disabled()
    canvas.hover(".canvas-stage")
    canvas.keyboard.press("Control+y")
    assert mask(canvas)[60, 160] == 255
    expect(canvas.locator("#canvas_redo")).to_be_disabled()


def test_a_reload_during_a_stroke_keeps_what_is_drawn_of_it(canvas: Page, server: FakeServer) -> None:
    begin(canvas, (40, 60), (280, 60))
    opened(canvas, server.url)
    canvas.mouse.up()
    canvas.wait_for_selector("#img2img_image.filled")
    found = mask(canvas)
    assert found[60, 160] == 255


def test_zooming_during_a_stroke_leaves_it_under_the_pointer(canvas: Page) -> None:
    begin(canvas, (60, 120), (160, 120))
    canvas.keyboard.down("Alt")
    before = stage(canvas)["scale"]
    canvas.mouse.wheel(0, -100)
    canvas.wait_for_function(
        "s => JSON.parse(document.querySelector('.canvas-stage').dataset.camera).scale > s", arg=before
    )
    canvas.keyboard.up("Alt")
    canvas.mouse.move(*on_screen(canvas, (220, 120)), steps=4)
    canvas.mouse.up()
    found = mask(canvas)
    assert found[120, 62:218].all()
    assert not found[:90].any()
    assert not found[150:].any()


# the frame


def test_a_frame_drawn_out_paints_on_and_one_drawn_in_crops_picture_and_mask(canvas: Page, server: FakeServer) -> None:
    drag(canvas, (160, 120), (240, 180))
    canvas.click("#canvas_clear")
    canvas.click("#canvas_frame")
    drag(canvas, (320, 60), (450, 60))
    drag(canvas, (100, 0), (100, -62))
    expect(canvas.locator("#canvas_frame_size")).to_have_text("320 × 240 → 448 × 304")
    canvas.select_option("#canvas_frame_fill", label="noise shaped like the picture")
    canvas.fill("#canvas_frame_feather", "48")
    canvas.keyboard.press("Tab")
    submit(canvas)
    finished(canvas)
    margins = {"outpaint_left": 0, "outpaint_right": 128, "outpaint_top": 64, "outpaint_bottom": 0}
    expected = {**margins, "outpaint_fill": 2, "outpaint_feather": 48}
    assert {name: value for name, value in sent(server).items() if name.startswith("outpaint")} == expected
    assert "mask" not in sent(server)
    assert "mask_blur" in sent(server)  # the new area is masked
    told = "Generate fills the area added by the frame; the picture itself stays unchanged."
    expect(canvas.locator("#canvas_status")).to_have_text(told)
    canvas.click("#canvas_frame_off")
    canvas.click("#canvas_undo")
    before = mask(canvas)
    canvas.click("#canvas_frame")
    drag(canvas, (0, 0), (64, 40))
    words = canvas.inner_text("#canvas_frame_size")
    width, height = (int(word) for word in words.removeprefix("Crop to ").split(" × "))
    canvas.click("#canvas_crop")
    expect(canvas.locator("#img2img_image .source-text")).to_have_text(f"{width} × {height} PNG")
    assert (mask(canvas) == before[240 - height :, 320 - width :]).all()
    canvas.click("#img2img_undo")
    expect(canvas.locator("#img2img_image .source-text")).to_have_text("320 × 240 PNG")
    assert (mask(canvas) == before).all()


def test_there_is_room_around_a_frame_after_every_refit(canvas: Page, server: FakeServer) -> None:
    def room(page: Page) -> float:
        at = stage(page)
        return min(
            at["x"], at["y"], at["width"] - at["x"] - 320 * at["scale"], at["height"] - at["y"] - 240 * at["scale"]
        )

    canvas.click("#canvas_frame")
    wait_for(lambda: room(canvas) > 20, "room around the frame")
    canvas.click("#img2img_sketch_mode")
    canvas.click("#img2img_img2img_mode")
    wait_for(lambda: room(canvas) > 20, "room around the frame in another mode")
    canvas.click("#img2img_inpaint_mode")
    opened(canvas, server.url)
    expect(canvas.locator("#canvas_frame_panel")).to_be_visible()
    wait_for(lambda: room(canvas) > 20, "room around the frame after a reload")


# steps back


def test_sixty_strokes_are_taken_back_and_brought_again(canvas: Page) -> None:
    brush(canvas, 4)
    for index in range(60):
        drag(canvas, (20 + 4 * index, 40), (20 + 4 * index, 60))
    whole = mask(canvas)
    canvas.hover(".canvas-stage")
    for _ in range(60):
        canvas.keyboard.press("Control+z")
    assert not mask(canvas).any()
    canvas.hover(".canvas-stage")
    for _ in range(60):
        canvas.keyboard.press("Control+y")
    assert (mask(canvas) == whole).all()


def test_keys_choose_tools_and_size_and_move_the_picture(canvas: Page) -> None:
    canvas.hover(".canvas-stage")
    canvas.keyboard.press("e")
    expect(canvas.locator("#canvas_tool_eraser")).to_have_attribute("aria-pressed", "true")
    canvas.keyboard.press("b")
    expect(canvas.locator("#canvas_tool_brush")).to_have_attribute("aria-pressed", "true")
    before = size(canvas)
    canvas.keyboard.press("w")
    assert size(canvas) > before
    canvas.keyboard.press("q")
    canvas.keyboard.press("q")
    assert size(canvas) < before
    start = stage(canvas)
    canvas.keyboard.down("Alt")
    canvas.mouse.wheel(0, -100)
    canvas.keyboard.up("Alt")
    canvas.wait_for_function(
        "s => JSON.parse(document.querySelector('.canvas-stage').dataset.camera).scale > s", arg=start["scale"]
    )
    canvas.keyboard.press("r")
    assert stage(canvas)["scale"] == pytest.approx(start["scale"])
    now = size(canvas)
    canvas.keyboard.down("Control")
    canvas.mouse.wheel(0, -100)
    canvas.keyboard.up("Control")
    wait_for(lambda: size(canvas) > now, "the brush to grow")
    canvas.keyboard.down("f")
    drag(canvas, (100, 100), (150, 120))
    canvas.keyboard.up("f")
    assert stage(canvas)["x"] > start["x"]
    assert not mask(canvas).any()
    canvas.hover(".canvas-stage")
    canvas.keyboard.press("s")
    expect(canvas.locator(".canvas-whole")).to_be_visible()
    canvas.keyboard.press("Escape")
    expect(canvas.locator(".canvas-whole")).to_have_count(0)


# tools


def test_shapes_are_exact_and_alt_takes_away(canvas: Page) -> None:
    canvas.click("#canvas_tool_rectangle")
    a, b = drag(canvas, (40, 40), (280, 200))
    expected = np.zeros((240, 320), np.uint8)
    y, x = np.mgrid[0:240, 0:320] + 0.5
    expected[(x > a[0]) & (x < b[0]) & (y > a[1]) & (y < b[1])] = 255
    canvas.click("#canvas_tool_ellipse")
    canvas.keyboard.down("Alt")
    a, b = drag(canvas, (100, 80), (220, 160))
    canvas.keyboard.up("Alt")
    inside = ((x - (a[0] + b[0]) / 2) / ((b[0] - a[0]) / 2)) ** 2 + ((y - (a[1] + b[1]) / 2) / ((b[1] - a[1]) / 2)) ** 2
    expected[inside < 1] = 0
    assert (mask(canvas) != expected).sum() <= 4  # centers exactly on the edge


def test_the_lasso_fills_what_it_surrounds(canvas: Page) -> None:
    canvas.click("#canvas_tool_lasso")
    drag(canvas, (60, 60), (260, 60), (160, 200))
    found = mask(canvas)
    assert found[100, 160] == 255
    assert found[190, 70] == 0


def test_the_wand_takes_one_color_and_stops_at_another(open_page: Page) -> None:
    picture = Image.new("RGB", (320, 240), (200, 30, 30))
    picture.paste((30, 30, 200), (100, 60, 220, 180))
    content = io.BytesIO()
    picture.save(content, "PNG")
    load(open_page, content.getvalue())
    open_page.click("#img2img_inpaint_mode")
    settled(open_page)
    open_page.click("#canvas_tool_wand")
    open_page.mouse.click(*on_screen(open_page, (160, 120)))
    expected = np.zeros((240, 320), np.uint8)
    expected[60:180, 100:220] = 255
    assert (mask(open_page) == expected).all()


def test_grow_shrink_invert_and_feather(canvas: Page) -> None:
    canvas.click("#canvas_tool_rectangle")
    drag(canvas, (100, 80), (220, 160))
    start = mask(canvas)
    canvas.click("#canvas_more")
    canvas.fill("#canvas_pixels", "10")
    canvas.click("#canvas_grow")
    canvas.click("#canvas_more")
    grown = mask(canvas)
    y, x = np.nonzero(start)
    box = (x.min() - 10, y.min() - 10, x.max() + 10, y.max() + 10)
    y, x = np.nonzero(grown)
    assert (x.min(), y.min(), x.max(), y.max()) == box
    canvas.click("#canvas_more")
    canvas.click("#canvas_shrink")
    canvas.click("#canvas_more")
    assert (mask(canvas) == start).all()
    canvas.click("#canvas_invert")
    assert (mask(canvas) == 255 - start).all()
    canvas.click("#canvas_more")
    canvas.click("#canvas_feather")
    canvas.click("#canvas_more")
    soft = mask(canvas)
    assert ((soft > 0) & (soft < 255)).sum() > 1000
    expect(canvas.locator("#canvas_status")).to_contain_text("Gray areas of the mask")


def test_a_brush_of_half_strength_paints_half_gray_however_often_it_passes(canvas: Page) -> None:
    set_slider(canvas, "strength", 50)
    drag(canvas, (80, 120), (240, 120), (80, 121), (240, 121))
    drag(canvas, (80, 120), (240, 120))
    found = mask(canvas)
    assert set(np.unique(found)) == {0, 128}


def test_a_mask_file_of_another_size_is_resized_and_said(canvas: Page) -> None:
    image = Image.new("L", (160, 120))
    image.paste(255, (40, 30, 80, 60))
    content = io.BytesIO()
    image.save(content, "PNG")
    canvas.click("#img2img_inpaint_upload_mode")
    with canvas.expect_file_chooser():
        canvas.click("#canvas_upload_mask")
    bring(canvas, content.getvalue(), "#canvas_mask_file")
    expect(canvas.locator("#canvas_status")).to_contain_text("The mask was 160 × 120; it was resized to 320 × 240.")
    expected = np.zeros((240, 320), np.uint8)
    expected[60:120, 80:160] = 255
    assert (mask(canvas) == expected).all()


def test_transparency_becomes_the_mask(open_page: Page) -> None:
    picture = Image.new("RGBA", (320, 240), (200, 30, 30, 255))
    picture.paste((0, 0, 0, 0), (100, 60, 220, 180))
    content = io.BytesIO()
    picture.save(content, "PNG")
    load(open_page, content.getvalue())
    open_page.click("#img2img_inpaint_mode")
    settled(open_page)
    open_page.click("#canvas_more")
    open_page.click("#canvas_alpha_mask")
    open_page.click("#canvas_more")
    expected = np.zeros((240, 320), np.uint8)
    expected[60:180, 100:220] = 255
    assert (mask(open_page) == expected).all()


# sketch


def test_a_sketch_is_sent_laid_over_the_source(canvas: Page, server: FakeServer) -> None:
    canvas.click("#img2img_sketch_mode")
    canvas.fill("#canvas_color", "#00ff00")
    a, b = drag(canvas, (80, 60), (240, 180))
    submit(canvas)
    finished(canvas)
    assert "mask" not in sent(server)
    flat = np.asarray(Image.open(io.BytesIO(server.fake.pictures[sent(server)["init_images"][0]])).convert("RGB"))
    source = np.asarray(Image.open(io.BytesIO(png(320, 240))).convert("RGB"))
    outside = capsule(flat.shape[:2], a, b, size(canvas) / 2)
    assert (flat[outside < -0.05] == (0, 255, 0)).all()
    assert (flat[outside > 0.05] == source[outside > 0.05]).all()
    canvas.click("#img2img_inpaint_sketch_mode")
    submit(canvas)
    finished(canvas)
    found = sent_mask(server)
    assert (found[outside < -0.05] == 255).all()
    assert (found[outside > 0.05] == 0).all()


# what travels


def test_a_second_generation_sends_the_request_and_the_new_mask_alone(canvas: Page, server: FakeServer) -> None:
    drag(canvas, (80, 60), (240, 180))
    submit(canvas)
    finished(canvas)
    posts: list[tuple[str, int]] = []

    def note(request: Request) -> None:
        if request.method == "POST":
            posts.append((request.url, len(request.post_data_buffer or b"")))

    canvas.on("request", note)
    submit(canvas)
    finished(canvas)
    assert [url.rsplit("/v1/", 1)[1] for url, _ in posts] == ["jobs"]
    drag(canvas, (80, 180), (240, 60))
    submit(canvas)
    finished(canvas)
    assert [url.rsplit("/v1/", 1)[1] for url, _ in posts] == ["jobs", "pictures", "jobs"]
    assert sum(length for _, length in posts) < 20_000


def test_looks(canvas: Page) -> None:
    """If PALIMPSEST_SCREENSHOTS names a folder, saves pictures of the canvas there for inspection."""
    drag(canvas, (80, 60), (240, 180))
    canvas.click("#canvas_more")
    folder = os.environ.get("PALIMPSEST_SCREENSHOTS")
    for mode in ("light", "dark"):
        if folder:
            canvas.wait_for_timeout(400)  # color transitions take 0.12 s
            canvas.screenshot(path=Path(folder) / f"canvas-{mode}.png")
        canvas.click("#colors")
    nameless = canvas.evaluate(
        """() => [...document.querySelectorAll("#img2img_image button, #img2img_image input")]
            .filter((element) => element.offsetParent !== null && element.ariaHidden !== "true")
            .filter((element) => !(element.textContent.trim() || element.ariaLabel || element.labels?.length))
            .map((element) => element.outerHTML.slice(0, 120))"""
    )
    assert json.dumps(nameless) == "[]"


# on Palimpsest itself


@pytest.mark.slow
def test_what_is_not_masked_keeps_its_bytes(page: Page, studio: str) -> None:
    page.goto(f"{studio}/internal/ping")
    page.evaluate("() => localStorage.clear()")
    opened(page, studio)
    expect(page.locator("#engine_status")).to_contain_text("Ready", timeout=START * 1000)
    inpaint(page, 128, 96)
    page.click("#img2img_detect_image_size_btn")
    page.fill("#img2img_steps input[type=number]", "4")
    page.keyboard.press("Tab")
    page.eval_on_selector(".canvas-stage", "element => element.scrollIntoView({ block: 'center' })")
    brush(page, 24)
    drag(page, (40, 48), (72, 48))
    painted = mask(page)
    submit(page)
    finished(page, milliseconds=START * 1000)
    result = np.asarray(shown_picture(page).convert("RGB"))
    source = np.asarray(Image.open(io.BytesIO(png(128, 96))).convert("RGB"))
    y, x = np.nonzero(painted)
    reach = 10  # the reach in pixels of a mask blur of 4
    near = np.zeros(painted.shape, bool)
    near[max(0, y.min() - reach) : y.max() + reach + 1, max(0, x.min() - reach) : x.max() + reach + 1] = True
    assert (result[~near] == source[~near]).all()
    assert (result[painted > 0] != source[painted > 0]).any()
