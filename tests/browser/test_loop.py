"""The artist's loop in a real Chromium: results stay in sight, go back in as they are, nothing is lost on the way."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import FakeServer, finished, load, png, submit

pytestmark = pytest.mark.browser

TOP = "element => element.getBoundingClientRect().top"


def make(page: Page, count: int = 1, **values: object) -> None:
    """Generates in img2img with a source of 96 × 64, which is loaded first where there is none."""
    if not page.locator("#img2img_image.filled").count():
        load(page, png(96, 64))
    for elem, value in {"prompt": "a fox", "steps": 3, "batch_count": count, **values}.items():
        page.fill(f"#img2img_{elem} input[type=number], #img2img_{elem} textarea", str(value))
        page.keyboard.press("Tab")
    submit(page)
    finished(page)


def scroll_to_the_end(page: Page) -> None:
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    assert page.evaluate("scrollY") > 100


# panels that stay in sight


def test_the_result_stays_in_sight_beside_a_long_form(open_page: Page) -> None:
    make(open_page)
    open_page.set_viewport_size({"width": 1440, "height": 700})
    scroll_to_the_end(open_page)
    assert open_page.eval_on_selector("#img2img_results", TOP) == 8
    expect(open_page.locator("#img2img_results .shot:not(.preview)")).to_be_in_viewport()


def test_the_chosen_picture_stays_in_sight_beside_a_long_history(open_page: Page, server: FakeServer) -> None:
    make(open_page, 9)
    open_page.set_viewport_size({"width": 1000, "height": 560})
    open_page.click("#tab_history_button")
    expect(open_page.locator("#history_grid .thumb >> nth=8")).to_be_visible()
    scroll_to_the_end(open_page)
    assert open_page.eval_on_selector("#history_detail", TOP) == 8


def test_a_panel_higher_than_the_window_shows_its_end_too(open_page: Page) -> None:
    make(open_page)
    open_page.set_viewport_size({"width": 1440, "height": 520})
    open_page.click("#img2img_results .result > .infotext-box summary")
    scroll_to_the_end(open_page)
    end = open_page.locator("#img2img_html_info dl > div >> nth=-1")
    end.hover()
    expect(end).to_be_in_viewport()
    assert open_page.eval_on_selector("#img2img_results", TOP) == 8
