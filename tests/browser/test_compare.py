"""A result beside its source, or beside a pinned result: slider, difference, and a key to hold."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import finished, load, png, submit


def made(page: Page) -> None:
    load(page, png(96, 64))
    submit(page)
    finished(page)
    expect(page.locator("#img2img_results .shot:not(.preview)")).to_be_visible()


def test_the_source_is_seen_while_a_key_is_held_even_from_the_prompt(open_page: Page) -> None:
    made(open_page)
    compare = open_page.locator("#img2img_results .compare")
    open_page.focus("#img2img_prompt textarea")
    open_page.keyboard.down("F2")
    expect(compare).to_have_attribute("data-view", "held")
    expect(compare.locator("img")).to_be_visible()
    expect(open_page.locator("#img2img_hold")).to_have_attribute("title", "Hold to see the source (F2)")
    open_page.keyboard.up("F2")
    expect(compare).to_be_hidden()


def test_a_pinned_result_is_what_later_ones_are_compared_with(open_page: Page) -> None:
    made(open_page)
    results = open_page.locator("#img2img_results")
    first = results.locator(".shot:not(.preview)").get_attribute("src") or ""
    results.locator(".stage").hover()
    open_page.click("#img2img_pin")
    open_page.click("#img2img_difference")
    # the pinned picture itself is compared with its source
    expect(results.locator(".compare-label.right")).to_contain_text("of the pixels are the same")
    open_page.click("#img2img_difference")
    submit(open_page)
    finished(open_page)
    expect(results.locator(".thumb")).to_have_count(2)
    expect(results.locator(".thumb.pinned")).to_have_count(1)
    results.locator(".stage").hover()
    open_page.click("#img2img_compare")
    expect(results.locator(".compare img")).to_have_attribute("src", first)
    expect(results.locator(".compare-label.left")).to_have_text("A")
    open_page.click("#img2img_difference")
    expect(results.locator(".compare-label.right")).to_contain_text("of the pixels are the same")
    open_page.reload()  # the pin is kept
    expect(results.locator(".thumb.pinned")).to_have_count(1)
    results.locator(".thumb.pinned").click()
    results.locator(".stage").hover()
    open_page.click("#img2img_pin")
    expect(results.locator(".thumb.pinned")).to_have_count(0)
