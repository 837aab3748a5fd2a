"""The Extras tab on Palimpsest itself: a picture is enlarged, sent on, and found in the history with its source."""

import io
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import finished, load, opened, png, shown_picture, submit

pytestmark = pytest.mark.browser
TAB = "extras"


@pytest.fixture
def ready(page: Page, studio: str) -> Page:
    """The tab on a first visit, with the upscalers listed."""
    page.goto(f"{studio}/internal/ping")
    page.evaluate("() => localStorage.clear()")
    opened(page, studio)
    page.click("#tab_extras_button")
    expect(page.locator("#extras_upscaler_1 option", has_text="Nearest")).to_have_count(1)
    return page


def enlarge(page: Page, upscaler: str = "Nearest") -> None:
    page.select_option("#extras_upscaler_1", upscaler)
    submit(page, TAB)
    finished(page, TAB)


def test_a_picture_is_enlarged_compared_and_enlarged_again(ready: Page) -> None:
    load(ready, png(48, 32), TAB)
    ready.fill("#extras_upscaling_resize", "3")
    enlarge(ready)
    expect(ready.locator("#extras_results .facts")).to_have_text("144 × 96")
    assert shown_picture(ready, TAB).info["extras"].startswith("Postprocess upscale by: 3")
    ready.hover("#extras_results .stage")
    ready.click("#extras_compare")
    expect(ready.locator("#extras_results .compare")).to_be_visible()
    ready.click("#extras_send_to_extras")
    expect(ready.locator("#extras_image .source-text")).to_contain_text("144 × 96")


def test_scale_to_and_the_forms_values_survive_a_reload(ready: Page, studio: str) -> None:
    load(ready, png(48, 32), TAB)
    ready.click("#extras_scale_to_tab")
    ready.fill("#extras_upscaling_resize_w", "128")
    ready.fill("#extras_upscaling_resize_h", "64")
    ready.press("#extras_upscaling_resize_h", "Tab")
    ready.select_option("#extras_upscaler_1", "Lanczos")
    opened(ready, studio)
    expect(ready.locator("#extras_image.filled")).to_be_visible()
    expect(ready.locator("#extras_upscaler_1")).to_have_value("Lanczos")
    expect(ready.locator("#extras_upscaling_resize_w")).to_have_value("128")
    submit(ready, TAB)
    finished(ready, TAB)
    expect(ready.locator("#extras_results .facts")).to_have_text("128 × 64")


def test_the_history_knows_the_parent_and_its_parameters_stay(ready: Page) -> None:
    source = io.BytesIO()
    Image.open(io.BytesIO(png(40, 40))).save(source, "png")
    load(ready, source.getvalue(), TAB)
    enlarge(ready)
    ready.click("#tab_history_button")
    expect(ready.locator("#history_open")).to_have_text("Open in Extras")
    expect(ready.locator("#history_sources .history-brought")).to_be_visible()
    ready.click("#history_send_to_extras")
    expect(ready.locator("#extras_image .source-text")).to_contain_text("160 × 160")


def test_a_size_that_is_too_large_is_told_under_its_field(ready: Page) -> None:
    load(ready, png(4000, 3000), TAB)
    ready.fill("#extras_upscaling_resize", "8")
    ready.press("#extras_upscaling_resize", "Tab")
    ready.select_option("#extras_color_fix", "AdaIN")  # which is not made band by band
    ready.click("#extras_generate")
    expect(ready.locator("#extras_form .p-error")).to_contain_text("it needs the whole picture in memory")


def test_a_batch_enlarges_its_files_and_is_found_again_after_a_reload(ready: Page, studio: str) -> None:
    ready.click("#extras_mode_batch")
    ready.select_option("#extras_upscaler_1", "Nearest")
    ready.fill("#extras_upscaling_resize", "2")
    files: list[Any] = [
        {"name": f"{name}.png", "mimeType": "image/png", "buffer": png(24, 16, name)} for name in (1, 2)
    ]
    ready.set_input_files("#extras_batch_files", files=files)
    ready.click("#extras_generate")
    expect(ready.locator("#extras_batch_words")).to_contain_text("finished, 2 files")
    expect(ready.locator("#extras_gallery .thumb")).to_have_count(2)
    opened(ready, studio)
    expect(ready.locator("#extras_mode_batch")).to_have_attribute("aria-selected", "true")
    expect(ready.locator("#extras_gallery .thumb")).to_have_count(2)
    expect(ready.locator("#extras_results .facts")).to_have_text("48 × 32")
