"""A message disappears when it is no longer true, and never covers anything that is needed."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import FakeServer, finished, load, number, png, settled, submit

STRENGTH = "#img2img_denoising_strength input[type=number]"


def strength(page: Page, value: str) -> None:
    expect(page.locator(STRENGTH)).to_have_value(value)


def mask_mode(page: Page, name: str) -> None:
    expect(page.locator(f"#img2img_mask_mode label:has-text('{name}') input")).to_be_checked()


@pytest.mark.parametrize("size", [(1440, 900), (1000, 420), (390, 844)])
def test_messages_do_not_lie_on_generate(open_page: Page, size: tuple[int, int]) -> None:
    open_page.set_viewport_size({"width": size[0], "height": size[1]})
    for elem, wrong in (("img2img_steps", "900"), ("img2img_cfg_scale", "900"), ("img2img_width", "9")):
        open_page.fill(f"#{elem} input[type=number]", wrong)
        open_page.keyboard.press("Tab")
    expect(open_page.locator(".toast").last).to_contain_text("Width: 9 is not from 64")
    generate = open_page.locator("#img2img_generate").bounding_box()
    assert generate
    for toast in open_page.locator(".toast").all():
        box = toast.bounding_box()
        assert box
        beside = box["x"] >= generate["x"] + generate["width"] or box["x"] + box["width"] <= generate["x"]
        above = box["y"] + box["height"] <= generate["y"] or box["y"] >= generate["y"] + generate["height"]
        assert beside or above
    open_page.set_viewport_size({"width": 1440, "height": 900})


def test_that_the_server_is_gone_is_said_until_it_is_back(open_page: Page, server: FakeServer) -> None:
    load(open_page, png())
    server.stop()
    expect(open_page.locator(".banner")).to_be_visible()
    open_page.fill("#img2img_prompt textarea", "a fox")
    expect(open_page.locator("#img2img_token_counter")).to_have_text("–/75")
    open_page.fill("#img2img_denoising_strength input[type=number]", "0.5")
    expect(open_page.locator("#img2img_effective_steps")).to_have_text("")
    open_page.click("#img2img_generate")
    expect(open_page.locator("#img2img_alert")).to_contain_text("is not responding")
    open_page.set_input_files(
        "#pnginfo_file", files=[{"name": "a.png", "mimeType": "image/png", "buffer": png(seed=9)}]
    )
    expect(open_page.locator("#pnginfo_image > .p-error")).to_contain_text("is not responding")
    server.start()
    expect(open_page.locator(".banner")).to_be_hidden()
    expect(open_page.locator("#img2img_alert")).to_be_hidden()
    expect(open_page.locator("#img2img_token_counter")).to_have_text("2/75")
    expect(open_page.locator("#img2img_effective_steps")).to_have_text("11 of 20 steps")
    expect(open_page.locator("#pnginfo_image > .p-error")).to_be_hidden()


def test_a_refused_field_is_not_complained_of_any_longer_once_a_job_is_sent(open_page: Page) -> None:
    open_page.fill("#img2img_prompt textarea", "x" * 20_001)
    load(open_page, png())
    open_page.click("#img2img_generate")
    wrong = open_page.locator("#img2img_prompt .p-error")
    expect(wrong).to_be_visible()
    open_page.fill("#img2img_prompt textarea", "a fox")
    submit(open_page)
    expect(wrong).to_have_count(0)
    finished(open_page)


def test_saved_is_said_for_a_moment(open_page: Page) -> None:
    open_page.click("#tab_settings_button")
    open_page.fill("#setting_jpeg_quality input[type=number]", "77")
    open_page.keyboard.press("Tab")
    status = open_page.locator("#settings_status")
    expect(status).to_have_text("Saved")
    expect(status).to_have_text("")


@pytest.mark.parametrize("how", ["another mode", "another picture", "no mask"])
def test_what_an_intent_set_is_not_left_to_the_next_ordinary_pass(
    open_page: Page, server: FakeServer, how: str
) -> None:
    load(open_page, png(200, 200))
    before = str(number(open_page, "img2img_denoising_strength"))
    open_page.click("#img2img_intent_add")
    open_page.click("#img2img_intent_replace_background")
    strength(open_page, "1")
    mask_mode(open_page, "Inpaint not masked")
    expect(open_page.locator("#img2img_intent_line")).to_be_visible()
    if how == "another mode":
        open_page.click("#img2img_img2img_mode")
    elif how == "another picture":
        load(open_page, png(200, 200, seed=7), name="other.png")
    else:
        submit(open_page)
        finished(open_page)
        assert server.fake.requests[-1]["request"]["denoising_strength"] == float(before)
    strength(open_page, before)
    mask_mode(open_page, "Inpaint masked")
    expect(open_page.locator("#img2img_intent_line")).to_be_hidden()


def test_an_intents_values_stay_for_its_mask_and_its_help_goes_with_the_job(
    open_page: Page, server: FakeServer
) -> None:
    load(open_page, png(200, 200))
    open_page.click("#img2img_intent_replace_background")
    settled(open_page)
    open_page.eval_on_selector(".canvas-stage", "element => element.scrollIntoView({ block: 'center' })")
    box = open_page.locator(".canvas-stage").bounding_box()
    assert box
    open_page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    submit(open_page)
    expect(open_page.locator("#img2img_intent_line")).to_be_hidden()
    finished(open_page)
    request = server.fake.requests[-1]["request"]
    assert (request["denoising_strength"], request["inpainting_mask_invert"]) == (1, 1)
    strength(open_page, "1")  # for another try
    open_page.click("#img2img_send_to_img2img")
    strength(open_page, "0.6")


def test_what_a_vain_paste_said_goes_with_the_next_that_succeeds(open_page: Page) -> None:
    vain = open_page.locator(".toast", has_text="contains no parameters")
    open_page.fill("#img2img_prompt textarea", "a fox")
    open_page.click("#img2img_paste")
    expect(vain).to_be_visible()
    open_page.fill("#img2img_prompt textarea", "a cat\nSteps: 9, Sampler: Euler, CFG scale: 5, Seed: 4, Size: 64x64")
    open_page.click("#img2img_paste")
    expect(open_page.locator(".toast", has_text="Form filled")).to_be_visible()
    expect(vain).to_have_count(0)


def test_what_a_vain_press_said_goes_with_generate(open_page: Page) -> None:
    load(open_page, png())
    open_page.click("#img2img_reuse_seed")
    vain = open_page.locator(".toast", has_text="no picture yet to take a seed from")
    expect(vain).to_be_visible()
    submit(open_page)
    expect(vain).to_have_count(0)
    finished(open_page)


def test_png_info_names_a_file_that_is_no_picture_and_shows_nothing_else(open_page: Page) -> None:
    open_page.click("#tab_pnginfo_button")
    load(open_page, png(), tab="pnginfo")
    expect(open_page.locator("#pnginfo_picture_to_img2img")).to_be_visible()
    open_page.set_input_files("#pnginfo_file", files=[{"name": "a.txt", "mimeType": "text/plain", "buffer": b"text"}])
    expect(open_page.locator("#pnginfo_image > .p-error")).to_contain_text(
        "Picture: the file is not a readable picture"
    )
    expect(open_page.locator("#pnginfo_image.filled")).to_have_count(0)
    expect(open_page.locator("#pnginfo_picture_to_img2img")).to_have_count(0)
