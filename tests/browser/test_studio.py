"""The steps of the guide on Palimpsest itself, with a tiny checkpoint: picture in, picture out, and on from there."""

import re
from urllib.parse import unquote

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watch, finished, load, opened, png, shown_picture, submit

pytestmark = pytest.mark.slow
MASK = png(64, 64)  # its brightness
LOADING = 90_000  # milliseconds the engine may take to start on a busy machine


@pytest.fixture
def ready(page: Page, studio: str) -> Page:
    """The page on a first visit, with the checkpoint loaded."""
    page.goto(f"{studio}/internal/ping")
    page.evaluate("() => localStorage.clear()")
    opened(page, studio)
    expect(page.locator("#engine_status")).to_contain_text("Ready", timeout=LOADING)
    return page


def fill(page: Page, **values: object) -> None:
    for elem, value in values.items():
        page.fill(f"#{elem} textarea, #{elem} input[type=number]", str(value))
        page.keyboard.press("Tab")


def test_a_picture_becomes_another_and_that_one_the_next_source(ready: Page, studio: str) -> None:
    load(ready, png(96, 64))
    ready.click("#img2img_detect_image_size_btn")
    fill(ready, img2img_prompt="watercolor, light smile, Sakura background", img2img_neg_prompt="fog")
    fill(ready, img2img_steps=4, img2img_cfg_scale=5, img2img_denoising_strength=0.7, img2img_seed=11)
    expect(ready.locator("#img2img_effective_steps")).to_have_text("3 of 4 steps")
    expect(ready.locator("#img2img_token_counter")).to_have_text(re.compile(r"^[1-9]\d*/75$"))
    submit(ready)
    expect(ready.locator("#img2img_results .facts")).to_contain_text("96 × 64 · seed 11", timeout=LOADING)
    finished(ready, milliseconds=LOADING)
    first = shown_picture(ready)
    assert first.size == (96, 64)
    assert str(first.info["parameters"]).startswith(
        "watercolor, light smile, Sakura background\nNegative prompt: fog\n"
    )

    ready.hover("#img2img_results .stage")
    ready.click("#img2img_compare")
    expect(ready.locator("#img2img_results .compare")).to_be_visible()
    ready.click("#save_img2img")
    expect(ready.locator(".toast")).to_contain_text("Saved as")

    ready.click("#img2img_send_to_img2img_all")
    expect(ready.locator(".toast")).to_contain_text(["Saved as", "The picture and its parameters are in img2img."])
    fill(ready, img2img_seed=12)
    submit(ready)
    expect(ready.locator("#img2img_results .facts")).to_contain_text("seed 12", timeout=LOADING)
    finished(ready, milliseconds=LOADING)
    assert shown_picture(ready).tobytes() != first.tobytes()

    ready.click("#img2img_send_to_pnginfo")
    expect(ready.locator(".infotext-prompt >> visible=true")).to_have_text("watercolor, light smile, Sakura background")
    ready.click("#pnginfo_send_to_txt2img")
    expect(ready.locator("#txt2img_seed input")).to_have_value("12")
    expect(ready.locator("#txt2img_width input[type=number]")).to_have_value("96")


def test_txt2img_goes_on_in_img2img(ready: Page) -> None:
    ready.click("#tab_txt2img_button")
    fill(ready, txt2img_prompt="a castle", txt2img_steps=3, txt2img_width=64, txt2img_height=64, txt2img_batch_count=2)
    submit(ready, "txt2img", press="Control+Enter")
    expect(ready.locator("#txt2img_gallery .thumb")).to_have_count(2, timeout=LOADING)
    finished(ready, "txt2img", LOADING)
    ready.click("#txt2img_send_to_img2img")
    expect(ready.locator("#img2img_image .source-text")).to_have_text("64 × 64 PNG")


def test_the_picture_in_the_page_is_the_file_itself(ready: Page, studio: str) -> None:
    ready.click("#tab_txt2img_button")
    fill(ready, txt2img_prompt="a castle", txt2img_steps=2, txt2img_width=64, txt2img_height=64)
    submit(ready, "txt2img")
    expect(ready.locator("#txt2img_results .shot:not(.preview)")).to_be_visible(timeout=LOADING)
    url = unquote(ready.eval_on_selector("#txt2img_results .shot:not(.preview)", "image => image.src"))
    assert re.fullmatch(rf"{studio}/v1/outputs/txt2img-images/\d{{4}}-\d\d-\d\d/\d{{5}}-\d+\.png", url)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"no picture", "picture"), (png()[:300], "damaged or cut off")],
    ids=["zero bytes", "no picture", "truncated"],
)
def test_a_picture_that_cannot_be_used_is_told_and_the_server_works_on(ready: Page, content: bytes, words: str) -> None:
    ready.set_input_files("#img2img_file", files=[{"name": "x.png", "mimeType": "image/png", "buffer": content}])
    told = ready.locator("#img2img_image > .p-error")
    expect(told).to_contain_text(words)
    expect(told).not_to_contain_text("Traceback")
    load(ready, png(80, 64))
    expect(told).to_be_hidden()


def test_a_prompt_of_100000_characters_is_refused_below_its_box(ready: Page) -> None:
    load(ready, png())
    ready.fill("#img2img_prompt textarea", "a " * 50_000)
    ready.click("#img2img_generate")
    expect(ready.locator("#img2img_prompt .p-error")).to_contain_text("100000 characters")
    ready.click("#img2img_clear_prompt")
    expect(ready.locator("#img2img_prompt .p-error")).to_have_count(0)


def test_no_source_is_told_at_its_place(ready: Page) -> None:
    ready.click("#img2img_generate")
    expect(ready.locator("#img2img_image > .p-error")).to_contain_text("There is no source picture.")


def test_settings_are_the_servers(ready: Page, studio: str) -> None:
    ready.click("#tab_settings_button")
    ready.check("#setting_samples_format label:has-text('webp') input")
    expect(ready.locator("#settings_status")).to_have_text("Saved")
    assert ready.request.get(f"{studio}/v1/settings").json()["values"]["samples_format"] == "webp"
    ready.click("#settings_reset")
    expect(ready.locator("#setting_samples_format label:has-text('png') input")).to_be_checked()


def test_a_plot_comes_back_as_one_sheet(ready: Page, studio: str) -> None:
    ready.click("#tab_txt2img_button")
    fill(ready, txt2img_prompt="a castle", txt2img_steps=2, txt2img_width=64, txt2img_height=64)
    ready.select_option("#txt2img_script_list", "X/Y/Z plot")
    ready.select_option("#txt2img_script_x_type", label="Steps")
    ready.fill("#txt2img_script_x_values", "0-2")
    ready.click("#txt2img_generate")
    expect(ready.locator("#tab_txt2img .p-error:visible")).to_contain_text("Sampling steps (steps) = 0")
    ready.fill("#txt2img_script_x_values", "1-2")
    submit(ready, "txt2img")
    expect(ready.locator("#txt2img_results .facts")).to_contain_text("128 × 7", timeout=LOADING)
    finished(ready, "txt2img", LOADING)
    expect(ready.locator("#txt2img_gallery .thumb")).to_have_count(1)
    url = ready.eval_on_selector("#txt2img_results .shot:not(.preview)", "image => image.src")
    assert "/v1/outputs/txt2img-grids/" in url
    assert "X Type: Steps, X Values: 1-2" in str(shown_picture(ready, "txt2img").info["parameters"])


LISTEN = """
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) =>
        window.violations.push(`${event.violatedDirective}: ${event.blockedURI} in ${event.sourceFile}`));
"""


def test_nothing_the_page_does_is_against_its_content_security_policy(page: Page, studio: str, watch: Watch) -> None:
    page.add_init_script(LISTEN)
    answer = page.goto(studio)
    assert answer
    policy = answer.headers["content-security-policy"]
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
    page.wait_for_selector("body.started")
    expect(page.locator("#engine_status")).to_contain_text("Ready", timeout=LOADING)
    page.click("#tab_img2img_button")  # an earlier test may have left the page on another tab
    load(page, png(96, 64))
    page.click("#img2img_inpaint_mode")
    page.set_input_files("#canvas_mask_file", files=[{"name": "m.png", "mimeType": "image/png", "buffer": MASK}])
    fill(page, img2img_prompt="a castle", img2img_steps=8, img2img_width=64, img2img_height=64, img2img_seed=41)
    submit(page)
    expect(page.locator("#img2img_results .facts")).to_contain_text("seed 41", timeout=LOADING)
    finished(page, milliseconds=LOADING)
    page.focus("#img2img_results .stage")
    page.keyboard.press("Enter")  # full screen
    page.keyboard.press("Escape")
    with page.expect_download():
        page.click("#img2img_download")
    page.click("#img2img_styles_edit_button")
    page.keyboard.press("Escape")
    page.click("#img2img_batch_mode")
    page.click("#img2img_sketch_mode")
    page.click("#img2img_send_to_pnginfo")
    expect(page.locator(".pnginfo-text .infotext-prompt")).to_have_text("a castle")
    for tab in ("txt2img", "history", "settings"):
        page.click(f"#tab_{tab}_button")
    page.click("#tab_history_button")
    expect(page.locator("#history_detail img").first).to_be_visible()
    page.click("#colors")
    assert page.evaluate("() => window.violations") == []
    assert watch.errors == []
    # A script smuggled into the page's text must gain nothing.
    page.evaluate(
        "() => document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=\"window.caught = 1\">')"
    )
    page.evaluate(
        "() => { const s = document.createElement('script'); s.text = 'window.caught = 2'; document.body.append(s); }"
    )
    page.wait_for_function("() => window.violations.length >= 2")
    assert page.evaluate("() => window.caught") is None
    assert all("Content Security Policy" in error for error in watch.errors)
    watch.errors.clear()


def test_a_picture_is_made_again_and_told_to_be_identical(ready: Page) -> None:
    load(ready, png(96, 64))
    fill(ready, img2img_prompt="a castle", img2img_steps=4, img2img_width=64, img2img_height=64, img2img_seed=21)
    submit(ready)
    expect(ready.locator("#img2img_results .facts")).to_contain_text("seed 21", timeout=LOADING)
    finished(ready, milliseconds=LOADING)
    ready.click("#img2img_send_to_pnginfo")
    ready.click("#pnginfo_reproduce")
    expect(ready.locator(".pnginfo-report")).to_have_text("Identical: every pixel is the same.", timeout=LOADING)


def test_the_history_knows_where_a_picture_came_from_and_leads_back_to_source_and_mask(ready: Page) -> None:
    load(ready, png(96, 64, seed=77))
    fill(ready, img2img_prompt="a fox", img2img_steps=3, img2img_width=64, img2img_height=64, img2img_seed=31)
    submit(ready)
    expect(ready.locator("#img2img_results .facts")).to_contain_text("seed 31", timeout=LOADING)
    finished(ready, milliseconds=LOADING)
    ready.click("#img2img_send_to_inpaint")
    expect(ready.locator("#img2img_image .source-text")).to_have_text("64 × 64 PNG")
    ready.set_input_files("#canvas_mask_file", files=[{"name": "m.png", "mimeType": "image/png", "buffer": MASK}])
    fill(ready, img2img_prompt="a wolf", img2img_seed=32)
    submit(ready)
    expect(ready.locator("#img2img_results .facts")).to_contain_text("seed 32", timeout=LOADING)
    finished(ready, milliseconds=LOADING)

    ready.click("#img2img_img2img_mode")
    load(ready, png(32, 32))
    fill(ready, img2img_prompt="something else", img2img_seed=-1)
    ready.click("#tab_history_button")
    thumbs = ready.locator("#history_grid .history-thumb")
    expect(thumbs.nth(0)).to_have_attribute("title", re.compile(r"-32\.png: a wolf$"))
    expect(thumbs.nth(1).locator(".history-count")).to_have_text("1")
    thumbs.nth(0).click()
    expect(ready.locator("#history_detail .facts")).to_contain_text("64 × 64 · seed 32")
    expect(ready.locator("#history_sources .history-thumb")).to_have_count(1)
    expect(ready.locator("#history_sources .history-brought img")).to_be_visible()
    ready.click("#history_sources .history-thumb")
    expect(ready.locator("#history_detail .facts")).to_contain_text("seed 31")
    ready.click("#history_children .history-thumb")
    ready.click("#history_open")
    expect(ready.locator("#tab_img2img")).to_be_visible()
    expect(ready.locator("#img2img_image .source-text")).to_have_text("64 × 64 PNG")
    expect(ready.locator("#img2img_seed input")).to_have_value("32")
    expect(ready.locator("#img2img_inpaint_mode")).to_have_attribute("aria-selected", "true")
    expect(ready.locator("#canvas_question")).to_be_hidden()  # the mask is this picture's
    submit(ready)  # the same again, from what was opened
    finished(ready, milliseconds=LOADING)
    expect(ready.locator("#img2img_results .facts")).to_contain_text("seed 32")
    ready.click("#tab_history_button")
    expect(ready.locator("#history_sources .history-thumb >> visible=true")).to_have_count(1)
    assert len(pictures_of(ready, "a wolf")) == 1  # to the byte: two files, one picture


def test_the_history_opens_an_outpainted_picture_with_its_frame_and_another_without(ready: Page) -> None:
    load(ready, png(96, 64, seed=78))
    fill(ready, img2img_prompt="a hare", img2img_steps=2, img2img_width=64, img2img_height=64, img2img_seed=771)
    submit(ready)
    expect(ready.locator("#img2img_results .facts")).to_contain_text("seed 771", timeout=LOADING)
    finished(ready, milliseconds=LOADING)
    ready.click("#img2img_intent_expand")
    fill(ready, img2img_seed=772)
    submit(ready)
    expect(ready.locator("#img2img_results .facts")).to_contain_text("seed 772", timeout=LOADING)
    finished(ready, milliseconds=LOADING)
    size = ready.locator("#canvas_frame_size")
    for seed, has_frame in ((771, False), (772, True)):
        ready.click("#tab_history_button")
        ready.locator(f"#history_grid .history-thumb[title*='-{seed}.png']").click()
        expect(ready.locator("#history_detail .facts")).to_contain_text(f"seed {seed}")
        ready.click("#history_open")
        expect(ready.locator("#img2img_seed input")).to_have_value(str(seed))
        if has_frame:
            expect(size).to_have_text("96 × 64 → 128 × 80")
            expect(ready.locator("#img2img_width input[type=number]")).to_have_value("96")
            expect(ready.locator("#img2img_height input[type=number]")).to_have_value("64")
            expect(ready.locator("#img2img_use_proportions")).to_be_hidden()
        else:
            expect(ready.locator("#canvas_frame_panel")).to_be_hidden()


def pictures_of(page: Page, prompt: str) -> list[str]:
    rows = page.evaluate("async () => (await (await fetch('/v1/history')).json()).pictures")
    return [row["sha256"] for row in rows if row["infotext"].startswith(prompt)]
