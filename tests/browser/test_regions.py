"""Boxes over the source: detected, moved by keys, removed, sent to the script Detailer, and painted into the mask."""

import io

from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import FakeServer, finished, load, png, submit


def test_boxes_are_found_moved_and_redrawn_or_become_the_mask(open_page: Page, server: FakeServer) -> None:
    page = open_page
    load(page, png())
    page.click("#img2img_find")
    boxes = page.locator(".canvas-region")
    expect(boxes).to_have_count(1)
    page.click("#img2img_add_box")
    expect(boxes).to_have_count(2)
    page.click("#img2img_redraw_boxes")
    written = page.locator("#img2img_script_boxes")
    expect(written).to_have_value("10, 12, 40, 44\n40, 24, 56, 40")
    boxes.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    expect(written).to_have_value("11, 12, 41, 45\n40, 24, 56, 40")
    page.click('[aria-label="Remove box 2"]')
    expect(written).to_have_value("11, 12, 41, 45")
    submit(page)
    finished(page)
    request = server.fake.requests[-1]["request"]
    assert (request["script_name"], request["script_args"][4]) == ("Detailer", "11, 12, 41, 45")
    page.click("#img2img_boxes_to_mask")
    expect(boxes).to_have_count(0)
    expect(written).to_have_value("")
    page.select_option("#img2img_script_list", "")
    submit(page)
    finished(page)
    mask = server.fake.pictures[server.fake.requests[-1]["request"]["mask"]]
    assert Image.open(io.BytesIO(mask)).convert("L").getbbox() == (11, 12, 41, 45)


def test_scratches_become_the_mask_and_are_filled_in_a_picture_that_can_be_taken_back(
    open_page: Page, server: FakeServer
) -> None:
    page = open_page
    load(page, png())
    size = page.locator("#img2img_image .source-text")
    expect(size).to_contain_text("96 × 64")
    page.select_option("#img2img_find_what", "Scratches")
    page.click("#img2img_find")
    fill = page.locator("#img2img_fill_mask")
    expect(fill).to_be_visible()
    submit(page)
    finished(page)
    request = server.fake.requests[-1]["request"]
    assert Image.open(io.BytesIO(server.fake.pictures[request["mask"]])).convert("L").getbbox() == (5, 6, 25, 30)
    fill.click()
    expect(fill).to_be_hidden()
    submit(page)
    finished(page)
    repaired = server.fake.requests[-1]["request"]
    assert repaired["init_images"] != request["init_images"]
    assert "mask" not in repaired
