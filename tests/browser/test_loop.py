"""The artist's loop in a real Chromium: results stay visible, go back in unchanged, and nothing is lost on the way."""

import pytest
from playwright.sync_api import Page, expect

from modules.prompts.styles import Style
from tests.browser.conftest import FakeServer, finished, load, png, settled, submit, wait_for

TOP = "element => element.getBoundingClientRect().top"
BELOW_PROMPTS = """results => results.getBoundingClientRect().top
    - document.querySelector("#img2img_toprow").getBoundingClientRect().bottom"""


def make(page: Page, count: int = 1, **values: object) -> None:
    """Generates in img2img with a source of 96 × 64, which is loaded first if there is none."""
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


# panels that stay visible


def test_the_result_stays_in_sight_beside_a_long_form(open_page: Page) -> None:
    make(open_page)
    open_page.set_viewport_size({"width": 1440, "height": 700})
    scroll_to_the_end(open_page)
    assert open_page.eval_on_selector("#img2img_results", BELOW_PROMPTS) == 8
    assert open_page.eval_on_selector("#img2img_toprow", TOP) == 0
    expect(open_page.locator("#img2img_results .shot:not(.preview)")).to_be_in_viewport()
    expect(open_page.locator("#img2img_generate")).to_be_in_viewport(ratio=1)


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
    assert open_page.eval_on_selector("#img2img_results", BELOW_PROMPTS) == 8


# a picture that is sent on


def paint(page: Page, tool: str = "inpaint") -> None:
    """A stroke across the middle of the stage, in a mode of the canvas."""
    page.click(f"#img2img_{tool}_mode")
    settled(page)
    page.eval_on_selector(".canvas-stage", "element => element.scrollIntoView({ block: 'center' })")
    box = page.locator(".canvas-stage").bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 20, y)
    page.mouse.down()
    page.mouse.move(x + 20, y, steps=4)
    page.mouse.up()


def source_is(page: Page, size: str) -> None:
    expect(page.locator("#img2img_image .source-text")).to_have_text(f"{size} PNG")


def form_is(page: Page, **values: object) -> None:
    for elem, value in values.items():
        expect(page.locator(f"#img2img_{elem} input[type=number]")).to_have_value(str(value))


def starts_anew(page: Page, server: FakeServer, width: int, height: int) -> None:
    """The picture is in plain img2img with its own size, nothing is painted on it, and no mask is sent."""
    expect(page.locator("#tab_img2img")).to_have_attribute("data-mode", "img2img")
    source_is(page, f"{width} × {height}")
    form_is(page, width=width, height=height)
    expect(page.locator("#canvas_question")).to_be_hidden()
    make(page)
    sent = server.fake.requests[-1]["request"]
    assert (sent["width"], sent["height"]) == (width, height)
    assert "mask" not in sent
    assert "inpainting_fill" not in sent
    page.click("#img2img_inpaint_mode")
    expect(page.locator("#canvas_status")).to_contain_text("The mask is empty")


@pytest.mark.parametrize("button", ["img2img_send_to_img2img", "img2img_send_to_img2img_all"])
def test_what_was_inpainted_goes_on_as_a_whole_at_its_size(open_page: Page, server: FakeServer, button: str) -> None:
    make(open_page, width=320, height=192)
    paint(open_page)
    make(open_page)
    assert "mask" in server.fake.requests[-1]["request"]
    form_is(open_page, width=320, height=192)
    open_page.fill("#img2img_width input[type=number]", "256")
    open_page.keyboard.press("Tab")
    open_page.click(f"#{button}")
    starts_anew(open_page, server, 320, 192)


def test_a_sketch_of_the_old_picture_does_not_lie_on_the_one_that_is_sent(open_page: Page, server: FakeServer) -> None:
    make(open_page)
    paint(open_page, "sketch")
    make(open_page)
    open_page.click("#tab_history_button")
    open_page.click("#history_send")
    starts_anew(open_page, server, 256, 256)
    expect(open_page.locator("#canvas_status")).not_to_contain_text("sketch")


def test_png_info_and_txt2img_send_a_picture_that_starts_anew(open_page: Page, server: FakeServer) -> None:
    make(open_page)
    paint(open_page)
    open_page.click("#tab_txt2img_button")
    for elem, value in {"prompt": "a castle", "steps": 2, "width": 192, "height": 320}.items():
        open_page.fill(f"#txt2img_{elem} input[type=number], #txt2img_{elem} textarea", str(value))
        open_page.keyboard.press("Tab")
    submit(open_page, "txt2img")
    finished(open_page, "txt2img")
    open_page.click("#txt2img_send_to_img2img")
    starts_anew(open_page, server, 192, 320)
    paint(open_page)
    open_page.click("#tab_txt2img_button")
    open_page.click("#txt2img_send_to_pnginfo")
    open_page.click("#pnginfo_picture_to_img2img")
    starts_anew(open_page, server, 192, 320)


def test_inpaint_takes_the_size_along_too(open_page: Page) -> None:
    make(open_page, width=320, height=192)
    open_page.fill("#img2img_width input[type=number]", "512")
    open_page.keyboard.press("Tab")
    open_page.click("#img2img_send_to_inpaint")
    expect(open_page.locator("#tab_img2img")).to_have_attribute("data-mode", "inpaint")
    form_is(open_page, width=320, height=192)


# what is taken back


def test_undo_of_a_send_leaves_what_came_later(open_page: Page) -> None:
    make(open_page)
    form_is(open_page, width=256, height=256)
    open_page.fill("#img2img_prompt textarea", "a wolf")
    open_page.click("#img2img_send_to_img2img_all")
    source_is(open_page, "256 × 256")
    load(open_page, png(160, 128, 3))
    source_is(open_page, "160 × 128")
    for elem, value in {"width": 320, "height": 256, "batch_count": 4}.items():
        open_page.fill(f"#img2img_{elem} input[type=number]", str(value))
        open_page.keyboard.press("Tab")
    expect(open_page.locator("#img2img_undo")).to_have_text("Undo send")
    open_page.click("#img2img_undo")
    expect(open_page.locator("#img2img_prompt textarea")).to_have_value("a wolf")  # which Send had overwritten
    source_is(open_page, "160 × 128")
    form_is(open_page, width=320, height=256, batch_count=4)
    expect(open_page.locator(".toast", has_text="The newer picture is kept.")).to_be_visible()


def test_undo_of_a_send_takes_its_size_back_and_redo_brings_it_again(open_page: Page) -> None:
    make(open_page, width=320, height=192)
    open_page.fill("#img2img_height input[type=number]", "256")
    open_page.keyboard.press("Tab")
    open_page.click("#img2img_send_to_img2img")
    source_is(open_page, "320 × 192")
    open_page.fill("#img2img_steps input[type=number]", "7")
    open_page.keyboard.press("Tab")
    open_page.click("#img2img_undo")
    source_is(open_page, "96 × 64")
    form_is(open_page, width=320, height=256, steps=7)
    open_page.locator(".toast").get_by_role("button", name="Redo").click()
    source_is(open_page, "320 × 192")
    form_is(open_page, width=320, height=192, steps=7)
    expect(open_page.locator("#img2img_undo")).to_have_text("Undo send")


def test_a_removed_picture_comes_back_with_its_mask(open_page: Page, server: FakeServer) -> None:
    load(open_page, png(320, 240))
    paint(open_page)
    make(open_page)
    painted = server.fake.requests[-1]["request"]
    open_page.click("#img2img_remove")
    expect(open_page.locator("#img2img_image.filled")).to_have_count(0)
    expect(open_page.locator("#img2img_undo")).to_have_text("Undo remove")
    open_page.fill("#img2img_prompt textarea", "a wolf")
    open_page.click("#img2img_undo")
    source_is(open_page, "320 × 240")
    expect(open_page.locator("#img2img_prompt textarea")).to_have_value("a wolf")
    submit(open_page)
    finished(open_page)
    sent = server.fake.requests[-1]["request"]
    assert (sent["init_images"], sent["mask"]) == (painted["init_images"], painted["mask"])


def test_undo_of_remove_leaves_a_picture_that_was_loaded_since(open_page: Page) -> None:
    load(open_page, png(320, 240))
    open_page.click("#img2img_remove")
    load(open_page, png(96, 64))
    open_page.click("#img2img_undo")
    source_is(open_page, "96 × 64")


def test_a_replaced_picture_comes_back_by_the_message(open_page: Page) -> None:
    load(open_page, png(320, 240))
    open_page.set_input_files(
        "#img2img_file", files=[{"name": "b.png", "mimeType": "image/png", "buffer": png(96, 64)}]
    )
    source_is(open_page, "96 × 64")
    open_page.locator(".toast", has_text="replaced").get_by_role("button", name="Undo").click()
    source_is(open_page, "320 × 240")


def test_png_infos_picture_comes_back_too(open_page: Page) -> None:
    open_page.click("#tab_pnginfo_button")
    load(open_page, png(96, 64), "pnginfo")
    open_page.click("#pnginfo_remove")
    expect(open_page.locator("#pnginfo_image.filled")).to_have_count(0)
    open_page.click("#pnginfo_undo")
    expect(open_page.locator("#pnginfo_image .source-text")).to_have_text("96 × 64 PNG")


def test_settings_that_were_reset_come_back_but_for_what_was_set_since(open_page: Page, server: FakeServer) -> None:
    open_page.click("#tab_settings_button")
    for name, value in {"jpeg_quality": 55, "eta_noise_seed_delta": 31337}.items():
        open_page.fill(f"#setting_{name} input[type=number]", str(value))
        open_page.keyboard.press("Tab")
        wait_for(lambda name=name, value=value: getattr(server.fake.settings, name) == value, name)
    open_page.click("#settings_reset")
    wait_for(lambda: server.fake.settings.eta_noise_seed_delta == 0, "the defaults")
    expect(open_page.locator("#setting_eta_noise_seed_delta input")).to_have_value("0")  # the form has them too
    open_page.locator(".toast").hover()  # it stays as long as the mouse is over it
    open_page.fill("#setting_jpeg_quality input[type=number]", "60")
    open_page.keyboard.press("Tab")
    wait_for(lambda: server.fake.settings.jpeg_quality == 60, "another quality")
    open_page.locator(".toast").get_by_role("button", name="Undo").click()
    wait_for(lambda: server.fake.settings.eta_noise_seed_delta == 31337, "the old seed delta")
    assert server.fake.settings.jpeg_quality == 60
    expect(open_page.locator("#setting_eta_noise_seed_delta input")).to_have_value("31337")


def test_a_frame_that_was_removed_comes_back(open_page: Page) -> None:
    load(open_page, png(320, 240))
    open_page.click("#img2img_intent_expand")
    framed = open_page.inner_text("#canvas_frame_size")
    open_page.click("#canvas_frame_off")
    expect(open_page.locator("#canvas_frame_panel")).to_be_hidden()
    open_page.locator(".toast", has_text="Frame removed.").get_by_role("button", name="Undo").click()
    expect(open_page.locator("#canvas_frame_size")).to_have_text(framed)


def test_a_style_that_was_saved_over_comes_back(open_page: Page, server: FakeServer) -> None:
    server.fake.styles = {"ink": Style("ink", "ink drawing", "color")}
    open_page.click("#img2img_styles_edit_button")
    row = open_page.locator("#img2img_styles_dialog [data-style=ink]")
    row.get_by_role("button", name="Edit ink").click()
    open_page.fill("#img2img_style_prompt", "oil painting")
    open_page.click("#img2img_style_save")
    expect(row).to_contain_text("oil painting")
    toast = open_page.locator(".toast", has_text="Saved the style ink.")
    toast.get_by_role("button", name="Undo").dispatch_event("click")  # the dialog covers it
    expect(row).to_contain_text("ink drawing")
    assert server.fake.styles["ink"] == Style("ink", "ink drawing", "color")
    server.fake.styles.clear()
