"""Keys and fields of the form: lists that close, numbers with a comma, and a prompt whose changes can be undone."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import FakeServer, expect_number, expect_prompt, finished, load, png, submit

OPEN = '[role="combobox"][aria-expanded="true"]'


def test_a_list_closes_when_the_focus_goes_on(open_page: Page) -> None:
    lists = open_page.locator(OPEN)
    open_page.click("#img2img_sampling input")
    expect(lists).to_have_count(1)
    for _ in range(3):  # through schedule type and steps
        open_page.keyboard.press("Tab")
        assert lists.count() <= 1
    expect(lists).to_have_count(0)
    assert open_page.input_value("#img2img_sampling input") == "DPM++ 2M"

    open_page.click("#img2img_scheduler input")
    expect(lists).to_have_count(1)
    open_page.click("#img2img_prompt textarea")
    expect(lists).to_have_count(0)


@pytest.mark.parametrize("key", ["", "ArrowDown"])
@pytest.mark.parametrize(
    ("elem", "after"), [("img2img_sampling", "img2img_scheduler"), ("img2img_scheduler", "img2img_steps")]
)
def test_one_tab_leaves_an_open_list(open_page: Page, elem: str, after: str, key: str) -> None:
    open_page.click(f"#{elem} input")
    if key:
        open_page.keyboard.press(key)
    expect(open_page.locator("[data-testid=dropdown-option]").first).to_be_visible()
    open_page.keyboard.press("Tab")
    expect(open_page.locator(f"#{after} input:focus")).to_have_count(1)
    expect(open_page.locator(f"#{elem} {OPEN}")).to_have_count(0)


def test_esc_closes_a_list_and_leaves_the_job_alone(open_page: Page, server: FakeServer) -> None:
    load(open_page, png())
    server.fake.held = True
    submit(open_page)
    expect(open_page.locator("#img2img_interrupt")).to_be_visible()
    open_page.click("#img2img_sampling input")
    open_page.keyboard.press("Escape")
    expect(open_page.locator(OPEN)).to_have_count(0)
    expect(open_page.locator("#img2img_interrupt")).to_have_text("Interrupt")
    assert not any(job["stop"] for job in server.fake.jobs.values())
    server.fake.held = False
    finished(open_page)


@pytest.mark.parametrize(
    ("elem", "typed", "value"),
    [
        ("img2img_cfg_scale", "7,5", 7.5), ("img2img_denoising_strength", "0,35", 0.35), ("img2img_steps", "30", 30),
        ("img2img_width", "1,024", 1024),
    ],
)  # fmt: skip
def test_a_comma_is_read_as_people_write_it(open_page: Page, elem: str, typed: str, value: float) -> None:
    field = open_page.locator(f"#{elem} input[type=number]")
    field.select_text()
    open_page.keyboard.type(typed)
    open_page.keyboard.press("Tab")
    expect_number(open_page, elem, value)


@pytest.mark.parametrize(
    ("elem", "pasted", "value"),
    [("img2img_cfg_scale", "7,5", 7.5), ("img2img_width", "1,024", 1024), ("img2img_height", "1 024,0", 1024)],
)
def test_a_pasted_number_too(open_page: Page, elem: str, pasted: str, value: float) -> None:
    open_page.fill("#img2img_prompt textarea", pasted)
    open_page.locator("#img2img_prompt textarea").select_text()
    open_page.keyboard.press("Control+c")
    open_page.locator(f"#{elem} input[type=number]").select_text()
    open_page.keyboard.press("Control+v")
    open_page.keyboard.press("Tab")
    expect_number(open_page, elem, value)


def test_a_fraction_of_what_is_counted_is_told(open_page: Page) -> None:
    open_page.locator("#img2img_steps input[type=number]").select_text()
    open_page.keyboard.type("7,5")
    open_page.keyboard.press("Tab")
    expect(open_page.locator(".toast")).to_contain_text("Sampling steps: 7.5 is not a whole number; it was set to 8.")
    expect_number(open_page, "img2img_steps", 8)


def test_weights_and_words_that_are_put_into_the_prompt_can_be_taken_back(open_page: Page) -> None:
    area = open_page.locator("#img2img_prompt textarea")
    area.click()
    open_page.keyboard.type("a red fox")
    open_page.keyboard.press("Control+ArrowUp")
    expect_prompt(open_page, "a red (fox:1.1)")
    open_page.keyboard.press("Control+z")
    expect_prompt(open_page, "a red fox")

    open_page.keyboard.press("End")
    open_page.click("#img2img_networks_button")
    open_page.click("[data-card=ink] .card-main")
    expect_prompt(open_page, "a red fox <lora:ink:1>")
    open_page.keyboard.press("Control+z")
    expect_prompt(open_page, "a red fox")
    open_page.keyboard.press("Control+z")  # what was typed before can still be undone
    expect(open_page.locator("#img2img_prompt textarea")).not_to_have_value("a red fox")
