"""Several results of one send over the canvas: gone through by arrow keys, accepted, discarded."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import finished, load, png, submit

SOURCE = "#img2img_image .source-text"


def send_two(page: Page) -> None:
    load(page, png(96, 64))
    expect(page.locator("#img2img_candidates")).to_be_hidden()
    page.fill("#img2img_batch_count input[type=number]", "2")
    page.keyboard.press("Tab")
    submit(page)
    finished(page)
    expect(page.locator("#img2img_candidates")).to_have_text("2 candidates")


def test_a_candidate_is_accepted_by_the_keyboard_and_taken_back(open_page: Page) -> None:
    send_two(open_page)
    expect(open_page.locator(SOURCE)).to_contain_text("96 × 64")
    open_page.click("#img2img_candidates")
    staged = open_page.locator(".staging")
    expect(staged.locator(".staging-text")).to_have_text("2 of 2")  # the newest, which the result panel shows
    newest = staged.locator("img").get_attribute("src") or ""
    open_page.keyboard.press("ArrowRight")
    expect(staged.locator(".staging-text")).to_have_text("1 of 2")
    expect(staged.locator("img")).not_to_have_attribute("src", newest)
    expect(open_page.locator("#img2img_results .thumb >> nth=0")).to_have_attribute("aria-selected", "true")
    open_page.keyboard.press("Enter")
    expect(staged).to_be_hidden()
    expect(open_page.locator(SOURCE)).to_contain_text("256 × 256")
    expect(open_page.locator("#img2img_candidates")).to_be_hidden()
    open_page.locator(".toast", has_text="The candidate is now the source.").get_by_text("Undo").click()
    expect(open_page.locator(SOURCE)).to_contain_text("96 × 64")
    expect(open_page.locator("#img2img_candidates")).to_be_visible()


def test_discarded_candidates_stay_in_the_strip(open_page: Page) -> None:
    send_two(open_page)
    open_page.click("#img2img_candidates")
    open_page.keyboard.press("Escape")
    expect(open_page.locator(".staging")).to_be_hidden()
    expect(open_page.locator(SOURCE)).to_contain_text("96 × 64")
    expect(open_page.locator("#img2img_results .thumb")).to_have_count(2)
