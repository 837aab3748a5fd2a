"""A mask on a source much larger than the result: unmasked parts keep their size and their bytes."""

import io

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import START, FakeServer, finished, load, opened, png, settled, shown_picture, submit

NOTE, OTHER = "#img2img_area_note", "#img2img_area_other"


def area(page: Page, name: str) -> None:
    expect(page.locator(f"#img2img_inpaint_full_res label:has-text('{name}') input")).to_be_checked()


def dot(page: Page) -> None:
    """One click of the brush in the middle of the picture."""
    settled(page)
    page.eval_on_selector(".canvas-stage", "element => element.scrollIntoView({ block: 'center' })")
    box = page.locator(".canvas-stage").bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


@pytest.mark.parametrize("mode", ["inpaint", "inpaint_sketch", "inpaint_upload"])
def test_only_masked_is_chosen_and_said_and_goes_with_the_large_picture(open_page: Page, mode: str) -> None:
    load(open_page, png(900, 600))
    expect(open_page.locator(NOTE)).to_have_count(0)  # nothing is masked in img2img
    open_page.click(f"#img2img_{mode}_mode")
    area(open_page, "Only masked")
    expect(open_page.locator(NOTE)).to_contain_text("the rest of the 900 × 600 source stays unchanged")
    load(open_page, png(256, 200, seed=6), name="small.png")
    area(open_page, "Whole picture")
    expect(open_page.locator(NOTE)).to_have_count(0)


def test_an_intent_and_a_scale_lead_there_too_and_are_sent(open_page: Page, server: FakeServer) -> None:
    load(open_page, png(900, 600))
    open_page.click("#img2img_intent_fill")
    area(open_page, "Only masked")
    dot(open_page)
    submit(open_page)
    finished(open_page)
    assert server.fake.requests[-1]["request"]["inpaint_full_res"] == 1

    open_page.click("#img2img_tab_resize_by_button")
    area(open_page, "Whole picture")  # the source's own size
    open_page.fill("#img2img_scale input[type=number]", "0.5")
    open_page.keyboard.press("Tab")
    area(open_page, "Only masked")


def test_whoever_wants_the_whole_picture_has_it(open_page: Page, server: FakeServer) -> None:
    load(open_page, png(900, 600))
    open_page.click("#img2img_inpaint_mode")
    area(open_page, "Only masked")
    open_page.click(OTHER)
    area(open_page, "Whole picture")
    expect(open_page.locator(NOTE)).to_contain_text("resizes all of the 900 × 600 source to 256 × 256")
    page = opened(open_page, server.url)
    page.wait_for_selector("#img2img_image.filled")
    area(page, "Whole picture")
    page.check("#img2img_inpaint_full_res label:has-text('Only masked') input")
    expect(page.locator(OTHER)).to_have_text("Use Whole picture")
    load(page, png(900, 620, seed=8), name="next.png")  # with another picture, the page may choose again
    area(page, "Only masked")


@pytest.mark.slow
def test_what_is_not_masked_of_a_large_source_keeps_size_and_bytes(page: Page, studio: str) -> None:
    page.goto(f"{studio}/internal/ping")
    page.evaluate("() => localStorage.clear()")
    opened(page, studio)
    expect(page.locator("#engine_status")).to_contain_text("Ready", timeout=START * 1000)
    content = png(1200, 900)
    load(page, content)
    page.fill("#img2img_width input[type=number]", "128")
    page.fill("#img2img_height input[type=number]", "128")
    page.fill("#img2img_steps input[type=number]", "2")
    page.keyboard.press("Tab")
    page.click("#img2img_inpaint_mode")
    area(page, "Only masked")
    dot(page)
    submit(page)
    finished(page, milliseconds=START * 1000)
    result = np.asarray(shown_picture(page).convert("RGB")).astype(int)
    source = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    assert result.shape == source.shape
    changed = (result != source).any(axis=2)
    assert 0 < changed.mean() < 0.2
    assert not changed[:200].any()
