"""64-bit seeds in a real Chromium: JavaScript's numbers have 53 bits, so the digits are kept as typed."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import FakeServer, finished, opened, submit, wait_for
from tests.browser.test_page import paste

SEEDS = ("6687881544318117707", "9007199254740993", "18446744073709551614")
LARGEST = 2**64 - 1


def box(page: Page, tab: str = "txt2img", elem: str = "seed") -> str:
    return page.input_value(f"#{tab}_{elem} input[type=number]")


def type_seed(page: Page, seed: str, tab: str = "txt2img", elem: str = "seed") -> None:
    page.click(f"#{tab}_{elem} input[type=number]", click_count=3)
    page.keyboard.type(seed)
    page.keyboard.press("Tab")


def made(page: Page, tab: str = "txt2img") -> None:
    submit(page, tab)
    finished(page, tab)


def sent(server: FakeServer, name: str = "seed") -> int:
    return int(server.fake.requests[-1]["request"][name])


@pytest.fixture
def txt2img(open_page: Page) -> Page:
    open_page.click("#tab_txt2img_button")
    open_page.fill("#txt2img_prompt textarea", "a castle")
    open_page.fill("#txt2img_steps input[type=number]", "2")
    return open_page


@pytest.mark.parametrize("seed", SEEDS)
def test_a_typed_seed_arrives_with_all_its_digits(txt2img: Page, server: FakeServer, seed: str) -> None:
    type_seed(txt2img, seed)
    assert box(txt2img) == seed
    made(txt2img)
    assert sent(server) == int(seed)
    expect(txt2img.locator("#txt2img_results .facts-text")).to_contain_text(f"seed {seed}")
    opened(txt2img, server.url)
    expect(txt2img.locator("#txt2img_seed input")).to_have_value(seed)
    made(txt2img)
    assert sent(server) == int(seed)


def test_a_seed_that_differs_in_its_last_digit_alone_is_another(txt2img: Page, server: FakeServer) -> None:
    for seed in ("6687881544318117707", "6687881544318117708", "7"):
        type_seed(txt2img, seed)
        made(txt2img)
        assert sent(server) == int(seed)


def test_the_seeds_of_a_job_are_told_and_used_again(txt2img: Page, server: FakeServer) -> None:
    type_seed(txt2img, "6687881544318117707")
    txt2img.fill("#txt2img_batch_count input[type=number]", "2")
    made(txt2img)
    txt2img.click("#txt2img_random_seed")
    expect(txt2img.locator("#txt2img_seed input")).to_have_value("-1")
    txt2img.click("#txt2img_results .facts button")
    expect(txt2img.locator("#txt2img_seed input")).to_have_value("6687881544318117708")
    txt2img.click("#txt2img_gallery .thumb >> nth=0")
    txt2img.click("#txt2img_reuse_seed")
    expect(txt2img.locator("#txt2img_seed input")).to_have_value("6687881544318117707")
    made(txt2img)
    assert sent(server) == 6687881544318117707


def test_the_seed_of_a_variation_keeps_its_digits_too(txt2img: Page, server: FakeServer) -> None:
    type_seed(txt2img, "9007199254740993")
    made(txt2img)
    txt2img.click("#txt2img_subseed_show input")
    txt2img.click("#txt2img_reuse_subseed")
    expect(txt2img.locator("#txt2img_subseed input")).to_have_value("9007199254740993")
    made(txt2img)
    assert sent(server, "subseed") == 9007199254740993
    type_seed(txt2img, str(LARGEST), elem="subseed")
    made(txt2img)
    assert sent(server, "subseed") == LARGEST


def test_seeds_in_parameters_and_in_pictures_fill_the_form(txt2img: Page, server: FakeServer) -> None:
    paste(
        txt2img,
        "#txt2img_prompt textarea",
        f"a fox\nSteps: 2, Sampler: Euler, CFG scale: 5, Seed: {LARGEST}, Size: 64x64",
    )
    expect(txt2img.locator("#txt2img_seed input")).to_have_value(str(LARGEST))
    made(txt2img)
    assert sent(server) == LARGEST
    txt2img.click("#txt2img_send_to_pnginfo")
    expect(txt2img.locator(".pnginfo-text")).to_contain_text(str(LARGEST))
    txt2img.click("#tab_txt2img_button")
    txt2img.click("#txt2img_random_seed")
    txt2img.click("#tab_pnginfo_button")
    txt2img.click("#pnginfo_send_to_txt2img")
    expect(txt2img.locator("#txt2img_seed input")).to_have_value(str(LARGEST))
    txt2img.click("#txt2img_send_to_img2img_all")
    expect(txt2img.locator("#img2img_seed input")).to_have_value(str(LARGEST))


def test_the_arrow_keys_count_by_one(txt2img: Page, server: FakeServer) -> None:
    type_seed(txt2img, "6687881544318117707")
    txt2img.focus("#txt2img_seed input")
    txt2img.keyboard.press("ArrowUp")
    assert box(txt2img) == "6687881544318117708"
    made(txt2img)
    assert sent(server) == 6687881544318117708


def test_a_setting_of_64_bits_keeps_its_digits(open_page: Page, server: FakeServer) -> None:
    open_page.click("#tab_settings_button")
    type_seed(open_page, "6687881544318117707", "setting", "eta_noise_seed_delta")
    wait_for(lambda: server.fake.settings.eta_noise_seed_delta == 6687881544318117707, "the setting to arrive")
    opened(open_page, server.url)
    expect(open_page.locator("#setting_eta_noise_seed_delta input")).to_have_value("6687881544318117707")
