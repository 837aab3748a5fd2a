"""The page's behavior, in a real Chromium with a stand-in for the server."""

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, expect

from modules.prompts.styles import Style
from tests.browser.conftest import (
    FakeServer,
    expect_number,
    expect_prompt,
    finished,
    load,
    opened,
    png,
    shown_picture,
    submit,
    wait_for,
)

INFOTEXT = (
    "a quiet harbour\nNegative prompt: fog\n"
    "Steps: 31, Sampler: Euler, Schedule type: Karras, CFG scale: 5.5, Seed: 77, Size: 320x448, Version: v1.10.0"
)


def paste(page: Page, selector: str, text: str) -> None:
    """Pastes a text as from the clipboard."""
    page.eval_on_selector(
        selector,
        """(element, text) => {
            const data = new DataTransfer();
            data.setData("text/plain", text);
            const options = { clipboardData: data, bubbles: true, cancelable: true };
            element.dispatchEvent(new ClipboardEvent("paste", options));
        }""",
        text,
    )


def generate(page: Page, tab: str = "img2img", **values: object) -> None:
    for elem, value in values.items():
        page.fill(f"#{tab}_{elem} input[type=number], #{tab}_{elem} textarea", str(value))
        page.keyboard.press("Tab")
    submit(page, tab)


# forms


def test_the_models_defaults_are_set_on_the_first_visit(open_page: Page) -> None:
    expect(open_page.locator("#img2img_width input[type=number]")).to_have_value("256")
    expect_number(open_page, "img2img_denoising_strength", 0.6)
    assert open_page.input_value("#img2img_scheduler input") == "Karras"


def test_prompt_and_settings_survive_a_reload(open_page: Page, server: FakeServer) -> None:
    open_page.fill("#img2img_prompt textarea", "watercolor, light smile")
    open_page.fill("#img2img_cfg_scale input[type=number]", "11")
    open_page.check("#img2img_resize_mode label:has-text('Crop and resize') input")
    load(open_page, png())
    page = opened(open_page, server.url)
    expect(page.locator("#img2img_prompt textarea")).to_have_value("watercolor, light smile")
    expect(page.locator("#img2img_cfg_scale input[type=number]")).to_have_value("11")
    expect(page.locator("#img2img_resize_mode label:has-text('Crop and resize') input")).to_be_checked()
    page.wait_for_selector("#img2img_image.filled")


def test_the_open_tab_survives_a_reload(open_page: Page, server: FakeServer) -> None:
    open_page.click("#tab_pnginfo_button")
    page = opened(open_page, server.url)
    expect(page.locator("#tab_pnginfo")).to_be_visible()
    expect(page.locator("#tab_img2img")).to_be_hidden()


def test_the_request_holds_what_the_form_shows(open_page: Page, server: FakeServer) -> None:
    load(open_page, png())
    generate(open_page, prompt="a fox", steps=4, seed=9)
    finished(open_page)
    body = server.fake.requests[-1]
    request = body["request"]
    assert body["kind"] == "img2img"
    assert len(request["init_images"][0]) == 64
    sent = {"prompt": "a fox", "steps": 4, "seed": 9, "width": 256, "resize_mode": 0, "denoising_strength": 0.6}
    assert {name: request[name] for name in sent} == sent
    assert "resize_by" not in request  # Resize to is open
    assert "subseed" not in request  # Extra is closed


def test_resize_by_counts_when_it_is_open_and_tells_the_size(open_page: Page, server: FakeServer) -> None:
    load(open_page, png(100, 60))
    open_page.click("#img2img_tab_resize_by_button")
    open_page.fill("#img2img_scale input[type=number]", "1.5")
    expect(open_page.locator("[data-part=size-text]")).to_have_text("from 100 × 60 to 144 × 88")
    generate(open_page, steps=2)
    finished(open_page)
    assert server.fake.requests[-1]["request"]["resize_by"] == 1.5


@pytest.mark.parametrize(
    ("steps", "strength", "shown"),
    [(20, 0.75, "16 of 20 steps"), (20, 0, "1 of 20 steps"), (20, 1, "20 of 20 steps"), (30, 0.5, "16 of 30 steps")],
)
def test_the_steps_really_walked_stand_beside_the_denoising_slider(
    open_page: Page, steps: int, strength: float, shown: str
) -> None:
    open_page.fill("#img2img_steps input[type=number]", str(steps))
    open_page.fill("#img2img_denoising_strength input[type=number]", str(strength))
    expect(open_page.locator("#img2img_effective_steps")).to_have_text(shown)


def test_hires_fix_and_refiner_count_where_they_are_open(open_page: Page, server: FakeServer) -> None:
    open_page.click("#tab_txt2img_button")
    expect(open_page.locator("#txt2img_hr")).to_be_hidden()
    generate(open_page, "txt2img", prompt="a castle", steps=2)
    finished(open_page, "txt2img")
    plain = server.fake.requests[-1]["request"]
    assert not [name for name in plain if name.startswith(("hr_", "refiner_", "enable_", "denoising_"))]

    open_page.check("#txt2img_enable_hr input")
    open_page.fill("#txt2img_hr_scale input[type=number]", "1.5")
    open_page.keyboard.press("Tab")
    expect(open_page.locator("#txt2img_hr_finalres")).to_have_text("from 256 × 256 to 384 × 384")
    open_page.fill("#txt2img_hr_resize_x input[type=number]", "400")
    open_page.fill("#txt2img_hr_resize_y input[type=number]", "200")
    expect(open_page.locator("#txt2img_hr_finalres")).to_have_text("from 256 × 256 to 400 × 200")
    for elem, choice in (("hr_sampler", "LMS"), ("hr_checkpoint", "watercolor-v3")):
        open_page.click(f"#txt2img_{elem} input")
        open_page.click(f".option-list li:has-text('{choice}')")
    open_page.check("#txt2img_enable input")
    open_page.click("#txt2img_checkpoint input")
    open_page.click(".option-list li:has-text('broken-model')")
    open_page.click("#refresh_sd_model_checkpoint")  # a refilled list keeps the choice
    expect(open_page.locator(".toast")).to_contain_text("5 checkpoints available.")
    generate(open_page, "txt2img")
    finished(open_page, "txt2img")
    sent = {
        "enable_hr": True, "hr_scale": 1.5, "hr_resize_x": 400, "hr_resize_y": 200, "hr_sampler_name": "LMS",
        "hr_scheduler": "", "hr_checkpoint_name": "watercolor-v3", "hr_upscaler": "Lanczos", "denoising_strength": 0.3,
        "refiner_checkpoint": "broken-model", "refiner_switch_at": 0.8,
    }  # fmt: skip
    request = server.fake.requests[-1]["request"]
    assert {name: request[name] for name in sent} == sent
    page = opened(open_page, server.url)
    expect(page.locator("#txt2img_hr")).to_be_visible()
    expect(page.locator("#txt2img_checkpoint input")).to_have_value("broken-model")


def test_styles_are_saved_chosen_put_into_the_prompts_and_deleted(open_page: Page, server: FakeServer) -> None:
    open_page.fill("#img2img_prompt textarea", "oil painting of {prompt}")
    open_page.fill("#img2img_neg_prompt textarea", "photo")
    open_page.click("#img2img_styles_edit_button")
    open_page.fill("#img2img_style_name", "oil")
    open_page.click("#img2img_style_save")
    open_page.check("[data-style=oil] input")
    open_page.keyboard.press("Escape")
    expect(open_page.locator("#img2img_styles .chip")).to_have_text("oil")
    open_page.fill("#img2img_prompt textarea", "a fox")
    open_page.fill("#img2img_neg_prompt textarea", "")
    page = opened(open_page, server.url)
    expect(page.locator("#img2img_styles .chip")).to_have_text("oil")
    page.fill("#img2img_neg_prompt textarea", "")  # a busy browser may not have saved it before the reload
    load(page, png())
    generate(page, steps=2)
    finished(page)
    request = server.fake.requests[-1]["request"]
    assert (request["prompt"], request["styles"]) == ("a fox", ["oil"])

    page.click("#img2img_styles_edit_button")
    page.click("#img2img_style_apply")
    expect(page.locator("#img2img_prompt textarea")).to_have_value("oil painting of a fox")
    expect(page.locator("#img2img_neg_prompt textarea")).to_have_value("photo")
    expect(page.locator("#img2img_styles .chip")).to_have_count(0)
    page.click(".toast .p-link")  # Undo
    expect(page.locator("#img2img_prompt textarea")).to_have_value("a fox")
    expect(page.locator("#img2img_styles .chip")).to_have_text("oil")

    server.fake.styles.clear()  # by another program
    submitted = len(server.fake.requests)
    page.click("#img2img_generate")
    expect(page.locator("#img2img_styles .p-error")).to_contain_text("there is no style 'oil'")
    assert len(server.fake.requests) == submitted + 1
    page.click("#img2img_styles .chip button")
    expect(page.locator("[data-part=styles] >> visible=true")).to_have_count(0)


def test_styles_in_pasted_parameters_are_chosen(open_page: Page, server: FakeServer) -> None:
    server.fake.styles = {"fog": Style("fog", "{prompt} in fog", "sun")}
    text = INFOTEXT.replace("a quiet harbour\nNegative prompt: fog", "a quiet harbour in fog\nNegative prompt: sun")
    paste(open_page, "#img2img_prompt textarea", text)
    expect(open_page.locator("#img2img_prompt textarea")).to_have_value("a quiet harbour")
    expect(open_page.locator("#img2img_styles .chip")).to_have_text("fog")
    open_page.click("#img2img_styles_edit_button")
    expect(open_page.locator("[data-style=fog] input")).to_be_checked()
    open_page.click("[data-style=fog] button[title='Delete fog']")
    expect(open_page.locator(".styles-list .p-soft >> visible=true")).to_contain_text("No styles yet.")
    expect(open_page.locator("#img2img_style_apply")).to_be_disabled()
    assert server.fake.styles == {}


def test_ruler_swap_and_lock(open_page: Page) -> None:
    load(open_page, png(640, 360))
    open_page.click("#img2img_detect_image_size_btn")
    expect(open_page.locator("#img2img_width input[type=number]")).to_have_value("640")
    open_page.click("#img2img_res_switch_btn")
    expect(open_page.locator("#img2img_width input[type=number]")).to_have_value("360")
    expect(open_page.locator("#img2img_height input[type=number]")).to_have_value("640")
    open_page.click("#img2img_aspect_lock")
    open_page.fill("#img2img_height input[type=number]", "320")
    expect(open_page.locator("#img2img_width input[type=number]")).to_have_value("184")


def test_a_stretched_source_is_told_and_its_proportions_are_one_click_away(open_page: Page) -> None:
    load(open_page, png(640, 360))
    expect(open_page.locator("[data-part=size-hint]")).to_contain_text("256 × 256 stretches the source (640 × 360).")
    open_page.click("#img2img_use_proportions")
    expect(open_page.locator("#img2img_width input[type=number]")).to_have_value("344")
    expect(open_page.locator("#img2img_height input[type=number]")).to_have_value("192")
    expect(open_page.locator("[data-part=size-hint]")).to_be_empty()


def test_a_number_that_a_slider_has_not_is_told(open_page: Page) -> None:
    open_page.fill("#img2img_width input[type=number]", "0")
    open_page.keyboard.press("Tab")
    expect(open_page.locator(".toast")).to_contain_text("Width: 0 is not from 64 to 2048; it was set to 64.")
    expect(open_page.locator("#img2img_width input[type=number]")).to_have_value("64")
    open_page.click("#tab_history_button")
    expect(open_page.locator(".toast")).to_have_count(0)  # it was about another tab


def test_an_emptied_number_is_the_last_one_again(open_page: Page) -> None:
    steps = open_page.locator("#img2img_steps input[type=number]")
    for typed, kept in (("31", "31"), ("", "31")):
        steps.fill(typed)
        open_page.keyboard.press("Tab")
        expect(steps).to_have_value(kept)
    steps.fill("")
    open_page.click("#img2img_generate")
    expect(steps).to_have_value("31")


def test_a_refused_file_is_told_until_the_picture_before_it_is_used(open_page: Page) -> None:
    load(open_page, png())
    open_page.set_input_files("#img2img_file", files=[{"name": "x.png", "mimeType": "image/png", "buffer": b"text"}])
    told = open_page.locator("#img2img_image > .p-error")
    expect(told).to_have_text("Source picture: the file is not a readable picture. Choose a PNG, JPEG or WebP picture.")
    generate(open_page, steps=2)
    expect(told).to_be_hidden()
    finished(open_page)


def test_tokens_are_counted(open_page: Page) -> None:
    open_page.fill("#img2img_prompt textarea", "one two three")
    expect(open_page.locator("#img2img_token_counter")).to_have_text("3/75")
    open_page.fill("#img2img_prompt textarea", "word " * 80)
    expect(open_page.locator("#img2img_token_counter")).to_have_text("80/150")


def test_pasted_parameters_fill_the_form(open_page: Page) -> None:
    paste(open_page, "#img2img_prompt textarea", INFOTEXT)
    expect(open_page.locator("#img2img_prompt textarea")).to_have_value("a quiet harbour")
    expect(open_page.locator("#img2img_neg_prompt textarea")).to_have_value("fog")
    expect(open_page.locator("#img2img_steps input[type=number]")).to_have_value("31")
    expect(open_page.locator("#img2img_sampling input")).to_have_value("Euler")
    expect(open_page.locator("#img2img_height input[type=number]")).to_have_value("448")
    open_page.click(".toast .p-link")  # Undo
    expect(open_page.locator("#img2img_prompt textarea")).to_have_value("")
    expect(open_page.locator("#img2img_steps input[type=number]")).to_have_value("20")


def test_an_unknown_sampler_in_pasted_parameters_is_told_in_one_sentence(open_page: Page) -> None:
    paste(open_page, "#img2img_prompt textarea", INFOTEXT.replace("Sampler: Euler", "Sampler: Warp 9"))
    expect(open_page.locator(".toast")).to_contain_text("Sampler 'Warp 9' is not known; Euler is the nearest name.")
    expect(open_page.locator("#img2img_sampling input")).to_have_value("Euler")


def test_settings_in_pasted_parameters_become_overrides_that_can_be_taken_away(
    open_page: Page, server: FakeServer
) -> None:
    paste(open_page, "#txt2img_prompt textarea", INFOTEXT.replace("Version", "Clip skip: 2, Version"))
    open_page.click("#tab_txt2img_button")
    expect(open_page.locator("#txt2img_override_settings .chip")).to_have_text("Clip skip: 2")
    generate(open_page, "txt2img", steps=2)
    finished(open_page, "txt2img")
    assert server.fake.requests[-1]["request"]["override_settings"] == {"CLIP_stop_at_last_layers": 2}
    open_page.click("#txt2img_override_settings .chip button")
    generate(open_page, "txt2img")
    finished(open_page, "txt2img")
    assert "override_settings" not in server.fake.requests[-1]["request"]


def test_an_ordinary_text_is_pasted_as_it_is(open_page: Page) -> None:
    open_page.focus("#img2img_prompt textarea")
    open_page.keyboard.insert_text("Steps to the sea, a harbour")
    expect_prompt(open_page, "Steps to the sea, a harbour")


def test_reset_brings_the_defaults_back_and_keeps_the_prompt(open_page: Page) -> None:
    open_page.fill("#img2img_prompt textarea", "a fox")
    open_page.fill("#img2img_steps input[type=number]", "50")
    open_page.fill("#img2img_batch_count input[type=number]", "3")
    open_page.click("#img2img_reset")
    expect(open_page.locator("#img2img_steps input[type=number]")).to_have_value("20")
    expect(open_page.locator("#img2img_batch_count input[type=number]")).to_have_value("1")
    expect_prompt(open_page, "a fox")


def test_attention_keys_weigh_the_word_at_the_cursor(open_page: Page) -> None:
    open_page.fill("#img2img_prompt textarea", "a red fox")
    open_page.eval_on_selector("#img2img_prompt textarea", "element => element.setSelectionRange(3, 3)")
    open_page.keyboard.press("Control+ArrowUp")
    open_page.keyboard.press("Control+ArrowUp")
    expect_prompt(open_page, "a (red:1.2) fox")
    open_page.keyboard.press("Control+ArrowDown")
    open_page.keyboard.press("Control+ArrowDown")
    expect_prompt(open_page, "a red fox")


# jobs


def test_a_job_shows_its_steps_a_preview_and_its_pictures(open_page: Page, server: FakeServer) -> None:
    load(open_page, png())
    server.fake.held = True
    generate(open_page, prompt="a fox", batch_count=2, seed=100)
    words = re.compile(r"Sampling · step \d+ of 13 · picture 1 of 2")
    expect(open_page.locator("#img2img_progress")).to_contain_text(words)
    expect(open_page.locator("#img2img_results .preview")).to_be_visible()
    expect(open_page.locator("#img2img_interrupt")).to_be_visible()
    server.fake.held = False
    finished(open_page)
    expect(open_page.locator("#img2img_gallery .thumb")).to_have_count(2)
    assert "a fox" in open_page.inner_text("#img2img_html_info") or open_page.locator("#img2img_html_info").is_hidden()
    assert shown_picture(open_page).size == (256, 256)
    assert open_page.title() == "Palimpsest"


def test_a_reload_during_a_job_attaches_again(open_page: Page, server: FakeServer) -> None:
    load(open_page, png())
    server.fake.held = True
    generate(open_page, prompt="a fox")
    expect(open_page.locator("#img2img_progress")).to_contain_text("step")
    page = opened(open_page, server.url)
    expect(page.locator("#img2img_progress")).to_contain_text("step")
    server.fake.held = False
    finished(page)
    expect(page.locator("#img2img_results .shot:not(.preview)")).to_be_visible()


def test_the_gallery_survives_a_reload(open_page: Page, server: FakeServer) -> None:
    load(open_page, png())
    generate(open_page, steps=2, batch_count=3)
    finished(open_page)
    page = opened(open_page, server.url)
    expect(page.locator("#img2img_gallery .thumb")).to_have_count(3)


def test_more_jobs_wait_in_line_and_can_be_cancelled(open_page: Page, server: FakeServer) -> None:
    load(open_page, png())
    server.fake.held = True
    generate(open_page, prompt="a fox")
    expect(open_page.locator("#img2img_progress")).to_be_visible()
    submit(open_page)
    submit(open_page)
    expect(open_page.locator("#img2img_progress")).to_contain_text("2 more waiting")
    open_page.click(".progress-waiting button")
    server.fake.held = False
    finished(open_page)
    assert sum(job["status"] == "queued" for job in server.fake.jobs.values()) == 0


def test_keys_generate_skip_and_interrupt(open_page: Page, server: FakeServer) -> None:
    open_page.click("#tab_txt2img_button")
    open_page.fill("#txt2img_prompt textarea", "a castle")
    open_page.fill("#txt2img_batch_count input[type=number]", "3")
    server.fake.held = True
    open_page.focus("#txt2img_prompt textarea")
    submit(open_page, "txt2img", press="Control+Enter")
    expect(open_page.locator("#txt2img_progress")).to_contain_text("picture 1 of 3")
    open_page.keyboard.press("Alt+Enter")
    expect(open_page.locator("#txt2img_progress")).to_contain_text("picture 2 of 3")
    open_page.keyboard.press("Escape")
    finished(open_page, "txt2img")
    server.fake.held = False
    assert list(server.fake.jobs.values())[-1]["status"] == "interrupted"
    assert open_page.input_value("#txt2img_prompt textarea") == "a castle"


def test_a_failed_job_says_why_and_the_form_stays(open_page: Page) -> None:
    open_page.click("#tab_txt2img_button")
    generate(open_page, "txt2img", prompt="fail", steps=2)
    expect(open_page.locator("#txt2img_alert")).to_have_text(
        "The engine process ended (killed or out of memory). Make the picture smaller or close other programs; "
        "the next job runs. Retry"
    )
    finished(open_page, "txt2img")
    generate(open_page, "txt2img", prompt="a castle")
    finished(open_page, "txt2img")
    expect(open_page.locator("#txt2img_alert")).to_be_hidden()


def test_a_server_that_is_gone_is_told_and_found_again(page: Page, watch: object) -> None:
    server = FakeServer()
    opened(page, server.url)
    server.stop()
    expect(page.locator(".banner")).to_be_visible()
    expect(page.locator(".banner")).to_contain_text("The server is not responding.")
    page.click("#img2img_generate")
    expect(page.locator("#img2img_alert")).to_contain_text("The server is not responding.")
    server.start()
    expect(page.locator(".banner")).to_be_hidden()
    server.stop()
    page.goto("about:blank")


# pictures


def test_a_picture_is_dropped_and_pasted(open_page: Page) -> None:
    give = """(element, [kind, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "photo.png", { type: "image/png" }));
        const event = kind === "drop"
            ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
            : new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
        element.dispatchEvent(event);
    }"""
    open_page.eval_on_selector("#img2img_image .source-zone", give, ["drop", list(png(96, 64))])
    expect(open_page.locator("#img2img_image .source-text")).to_have_text("96 × 64 PNG")
    open_page.eval_on_selector("body", give, ["paste", list(png(48, 80))])
    expect(open_page.locator("#img2img_image .source-text")).to_have_text("48 × 80 PNG")


def test_a_known_picture_is_not_sent_twice(open_page: Page) -> None:
    sent: list[str] = []

    def note(request: Request) -> None:
        if request.url.endswith("/v1/pictures"):
            sent.append(request.method)

    open_page.on("request", note)
    load(open_page, png(seed=11))
    open_page.click("#img2img_remove")
    load(open_page, png(seed=11))
    assert sent == ["POST"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "Source picture: the file is empty. Choose another picture."),
        (b"no picture", "Source picture: the file is not a readable picture. Choose a PNG, JPEG or WebP picture."),
        (png()[:200], "Source picture: the file is damaged or cut off. Open it in an image editor and save it again."),
    ],
)
def test_a_picture_that_is_none_is_told_at_its_place_and_the_old_one_stays(
    open_page: Page, content: bytes, sentence: str
) -> None:
    load(open_page, png(96, 64))
    open_page.set_input_files("#img2img_file", files=[{"name": "x.png", "mimeType": "image/png", "buffer": content}])
    expect(open_page.locator("#img2img_image > .p-error")).to_have_text(sentence)
    expect(open_page.locator("#img2img_image .source-text")).to_have_text("96 × 64 PNG")


def test_no_source_picture_is_told_at_its_place(open_page: Page) -> None:
    open_page.click("#img2img_generate")
    expect(open_page.locator("#img2img_image > .p-error")).to_have_text(
        "There is no source picture. Drop, paste or choose one in the img2img tab."
    )
    load(open_page, png())
    expect(open_page.locator("#img2img_image > .p-error")).to_be_hidden()


def test_a_refused_field_is_told_below_it(open_page: Page) -> None:
    load(open_page, png())
    open_page.fill("#img2img_prompt textarea", "x" * 20_001)
    open_page.click("#img2img_generate")
    expect(open_page.locator("#img2img_prompt .p-error")).to_contain_text("at most 20000 are allowed")
    open_page.fill("#img2img_prompt textarea", "short")
    expect(open_page.locator("#img2img_prompt .p-error")).to_have_count(0)


# results


@pytest.fixture
def made(open_page: Page) -> Page:
    """img2img with a source and two results."""
    load(open_page, png(96, 64))
    generate(open_page, prompt="a fox", steps=3, batch_count=2, seed=500)
    finished(open_page)
    return open_page


def test_a_result_goes_back_in_and_comes_out_again(made: Page, server: FakeServer) -> None:
    made.fill("#img2img_prompt textarea", "a wolf")
    server.fake.styles = {"fox": Style("fox", "a fox", "")}  # whose prompts are the picture's own
    made.click("#img2img_send_to_img2img_all")
    expect(made.locator("#img2img_image .source-text")).to_have_text("256 × 256 PNG")
    expect(made.locator("#img2img_prompt textarea")).to_have_value("a fox")
    expect(made.locator("#img2img_styles .chip")).to_have_count(0)
    expect(made.locator("#img2img_seed input")).to_have_value("501")
    server.fake.styles.clear()
    made.click("#img2img_undo")
    expect(made.locator("#img2img_image .source-text")).to_have_text("96 × 64 PNG")
    expect(made.locator("#img2img_prompt textarea")).to_have_value("a wolf")
    expect(made.locator("#img2img_seed input")).to_have_value("500")
    expect(made.locator("#img2img_undo")).to_be_hidden()


def test_twenty_sends_can_be_undone(made: Page) -> None:
    for turn in range(20):
        made.click(f"#img2img_gallery .thumb >> nth={(turn + 1) % 2}")
        made.click("#img2img_send_to_img2img_all")
        expect(made.locator(".toast")).to_have_count(1)
        wait_for(lambda turn=turn: len(made.evaluate(UNDO)) == turn + 1, "the send to be noted")
        expect(made.locator("#img2img_seed input")).to_have_value(str(501 - turn % 2))
    made.fill("#img2img_prompt textarea", "a wolf")  # not made by a send: no undo removes it
    for turn in reversed(range(20)):
        made.click("#img2img_undo")
        expect(made.locator("#img2img_seed input")).to_have_value(str(500 + turn % 2))
        expect(made.locator("#img2img_prompt textarea")).to_have_value("a wolf")
    expect(made.locator("#img2img_image .source-text")).to_have_text("96 × 64 PNG")


def test_a_toasts_undo_goes_with_its_step(made: Page) -> None:
    made.fill("#img2img_prompt textarea", "a wolf")
    made.click("#img2img_send_to_img2img_all")
    first = made.locator(".toast", has_text="The picture and its parameters").get_by_role("button", name="Undo")
    expect(first).to_be_visible()
    made.click("#img2img_send_to_img2img")
    second = made.locator(".toast", has_text="now the img2img source").get_by_role("button", name="Undo")
    expect(second).to_be_visible()
    expect(first).to_have_count(0)  # another step came after it
    made.click("#img2img_undo")
    expect(second).to_have_count(0)
    made.click("#img2img_send_to_img2img")
    second.click()
    expect(second).to_have_count(0)
    assert len(made.evaluate(UNDO)) == 1  # the first send can still be undone
    expect(made.locator("#img2img_prompt textarea")).to_have_value("a fox")


UNDO = "() => JSON.parse(localStorage.getItem(`palimpsest:${location.port}:undo.img2img`) ?? '[]')"


def test_without_parameters_the_form_stays(made: Page) -> None:
    made.fill("#img2img_prompt textarea", "a wolf")
    made.click("#img2img_send_to_img2img")
    expect(made.locator("#img2img_image .source-text")).to_have_text("256 × 256 PNG")
    expect_prompt(made, "a wolf")


def test_txt2img_sends_to_img2img(open_page: Page) -> None:
    open_page.click("#tab_txt2img_button")
    generate(open_page, "txt2img", prompt="a castle", steps=2, seed=3)
    finished(open_page, "txt2img")
    open_page.click("#txt2img_send_to_img2img_all")
    expect(open_page.locator("#tab_img2img")).to_be_visible()
    expect(open_page.locator("#img2img_image .source-text")).to_have_text("256 × 256 PNG")
    expect(open_page.locator("#img2img_prompt textarea")).to_have_value("a castle")


def test_before_and_after(made: Page) -> None:
    made.hover("#img2img_results .stage")
    made.click("#img2img_compare")
    handle = made.locator("#img2img_results .compare-handle")
    expect(handle).to_have_attribute("aria-valuenow", "50")
    handle.press("ArrowRight")
    expect(handle).to_have_attribute("aria-valuenow", "52")
    box = made.locator("#img2img_results .compare").bounding_box()
    assert box
    assert abs(box["width"] - box["height"]) < 1  # over the square result, not over the whole stage
    made.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + 40)
    expect(handle).to_have_attribute("aria-valuenow", "25")


def test_the_whole_screen(made: Page) -> None:
    made.focus("#img2img_results .stage")
    made.keyboard.press("Enter")
    expect(made.locator(".viewer-text")).to_have_text("256 × 256 · seed 501 · 2 of 2")
    scrolls = "() => getComputedStyle(document.documentElement).overflowY !== 'hidden'"
    assert not made.evaluate(scrolls)
    made.keyboard.press("ArrowLeft")
    expect(made.locator(".viewer-text")).to_have_text("256 × 256 · seed 500 · 1 of 2")
    made.keyboard.press("+")
    assert "scale(1.5)" in str(made.get_attribute(".viewer-frame img", "style"))
    made.keyboard.press("Escape")
    expect(made.locator("dialog.viewer")).to_be_hidden()
    assert made.evaluate(scrolls)


def test_a_chosen_picture_of_the_history_comes_into_sight(made: Page) -> None:
    made.set_viewport_size({"width": 390, "height": 500})
    made.click("#tab_history_button")
    for seed in (500, 501):
        made.click(f"#history_grid .thumb >> nth={501 - seed}")
        expect(made.locator("#history_detail .facts")).to_contain_text(f"seed {seed}")
        expect(made.locator(".history-picture")).to_be_in_viewport()


def test_on_a_phone_a_tapped_picture_is_wholly_in_sight(open_page: Page) -> None:
    load(open_page, png(96, 64))
    generate(open_page, prompt="a fox", steps=1, batch_count=24, seed=700)
    finished(open_page)
    open_page.set_viewport_size({"width": 390, "height": 844})
    open_page.click("#tab_history_button")
    for at in (23, 12):
        thumb = open_page.locator("#history_grid .thumb").nth(at)
        thumb.scroll_into_view_if_needed()
        thumb.click()
        expect(thumb).to_have_attribute("aria-selected", "true")
        open_page.wait_for_function("() => document.querySelector('.history-picture')?.complete")
        box = open_page.locator(".history-picture").bounding_box()
        assert box
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 844
    open_page.set_viewport_size({"width": 1440, "height": 900})


def test_seeds_are_reused_and_thrown(made: Page) -> None:
    made.click("#img2img_gallery .thumb >> nth=0")
    made.click("#img2img_random_seed")
    expect(made.locator("#img2img_seed input")).to_have_value("-1")
    made.click("#img2img_reuse_seed")
    expect(made.locator("#img2img_seed input")).to_have_value("500")


def test_save_folder_and_downloads(made: Page, server: FakeServer, tmp_path: Path) -> None:
    made.click("#save_img2img")
    expect(made.locator(".toast", has_text="Saved as saved/")).to_be_visible()
    assert server.fake.saved[-1].endswith("-501.png")
    made.click("#img2img_open_folder")
    expect(made.locator(".toast", has_text="outputs/img2img-images/2026-11-25")).to_be_visible()
    with made.expect_download() as download:
        made.click("#save_zip_img2img")
    assert download.value.suggested_filename == "palimpsest-2026-11-25.zip"
    with made.expect_download() as download:
        made.click("#img2img_download")
    assert download.value.suggested_filename.endswith("-501.png")


def test_png_info_tells_and_sends(made: Page) -> None:
    made.click("#img2img_send_to_pnginfo")
    expect(made.locator(".pnginfo-text .infotext-prompt")).to_have_text("a fox")
    made.click("#pnginfo_send_to_txt2img")
    expect(made.locator("#tab_txt2img")).to_be_visible()
    expect(made.locator("#txt2img_prompt textarea")).to_have_value("a fox")
    made.click("#tab_pnginfo_button")
    made.click("#pnginfo_picture_to_img2img")
    expect(made.locator("#img2img_image .source-text")).to_have_text("256 × 256 PNG")


# checkpoint and settings


def test_the_status_line_tells_what_is_loading(open_page: Page, server: FakeServer) -> None:
    open_page.click("#setting_sd_model_checkpoint input")
    open_page.click(".option-list li:has-text('watercolor-v3')")
    expect(open_page.locator("#engine_status")).to_have_text("Loading watercolor-v3…")
    expect(open_page.locator("#engine_status")).to_contain_text("Ready")
    open_page.click("#setting_sd_model_checkpoint input")
    open_page.click(".option-list li:has-text('broken-model')")
    expect(open_page.locator("#engine_status")).to_contain_text("broken-model.safetensors is cut off; copy it again.")
    page = opened(open_page, server.url)
    expect(page.locator("#setting_sd_model_checkpoint input")).to_have_value("broken-model")


def test_settings_are_kept_at_once_and_refused_below_the_field(open_page: Page, server: FakeServer) -> None:
    open_page.click("#tab_settings_button")
    open_page.fill("#setting_jpeg_quality input[type=number]", "77")
    open_page.keyboard.press("Tab")
    expect(open_page.locator("#settings_status")).to_have_text("Saved")
    wait_for(lambda: server.fake.settings.jpeg_quality == 77, "the setting to be kept")
    field = open_page.locator("#setting_img2img_background_color")
    field.locator("input, textarea").fill("reddish")
    expect(field.locator(".p-error")).to_contain_text("img2img_background_color")
    open_page.click("#settings_reset")
    expect(open_page.locator("#setting_jpeg_quality input[type=number]")).to_have_value("90")


def test_dark_and_light_are_remembered(open_page: Page, server: FakeServer) -> None:
    dark = "() => document.body.classList.contains('dark')"
    assert open_page.evaluate(dark) is False
    open_page.click("#colors")
    assert opened(open_page, server.url).evaluate(dark) is True


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1024, 768), (390, 844)])
def test_nothing_is_wider_than_the_screen(open_page: Page, width: int, height: int) -> None:
    """If PALIMPSEST_SCREENSHOTS names a folder, saves pictures of the page there for inspection."""
    open_page.set_viewport_size({"width": width, "height": height})
    load(open_page, png(640, 480))
    generate(open_page, prompt="watercolor, light smile, Sakura background", steps=3, batch_count=2)
    finished(open_page)
    if folder := os.environ.get("PALIMPSEST_SCREENSHOTS"):
        for mode in ("light", "dark"):
            open_page.wait_for_timeout(400)  # color transitions take 0.12 s
            open_page.screenshot(path=Path(folder) / f"img2img-{width}x{height}-{mode}.png")
            open_page.click("#colors")
    for tab in ("txt2img", "img2img", "pnginfo", "history", "merge", "fetch", "settings"):
        open_page.click(f"#tab_{tab}_button")
        assert open_page.evaluate("() => document.documentElement.scrollWidth") <= width, tab
    open_page.click("#tab_img2img_button")
    for button, element, margin in (
        ("img2img_styles_edit_button", "img2img_styles_dialog", 8),
        ("img2img_networks_button", "cards_panel", 0),
    ):
        open_page.click(f"#{button}")
        box = open_page.locator(f"#{element}").bounding_box()
        assert box, element
        assert box["x"] >= margin, element
        assert box["x"] + box["width"] <= width - margin, element
        assert open_page.eval_on_selector(f"#{element}", "e => e.scrollWidth - e.clientWidth") == 0, element
        open_page.keyboard.press("Escape")


def test_every_control_has_a_name(open_page: Page) -> None:
    nameless = open_page.evaluate(
        """() => [...document.querySelectorAll("button, input, textarea, [role=slider]")]
            .filter((element) => element.offsetParent !== null && element.ariaHidden !== "true")
            .filter((element) => !(element.textContent.trim() || element.ariaLabel || element.labels?.length))
            .map((element) => element.outerHTML.slice(0, 120))"""
    )
    assert nameless == []


@pytest.mark.parametrize(("answer", "jobs"), [("#ask_yes", 1), ("#ask_no", 0), ("Escape", 0)])
def test_a_lora_that_is_not_here_can_be_done_without(
    open_page: Page, server: FakeServer, answer: str, jobs: int
) -> None:
    before = len(server.fake.jobs)
    open_page.click("#tab_txt2img_button")
    open_page.fill("#txt2img_prompt textarea", "a cat <lora:gone:1>")
    open_page.click("#txt2img_generate")
    dialog = open_page.locator("dialog.p-ask")
    expect(dialog).to_contain_text("Generate without it?")
    expect(dialog).to_contain_text("there is no LoRA 'gone'; did you mean 'ink'?")
    if folder := os.environ.get("PALIMPSEST_SCREENSHOTS"):
        open_page.screenshot(path=str(Path(folder) / "ask.png"))
    if answer == "Escape":
        open_page.keyboard.press(answer)
    else:
        open_page.click(answer)
    expect(dialog).to_have_count(0)
    wait_for(lambda: len(server.fake.jobs) == before + jobs, "the job")
    assert bool(server.fake.requests[-1].get("leave_out_missing")) is bool(jobs)
    sentence = open_page.get_by_role("alert").filter(has_text="there is no LoRA 'gone'")
    expect(sentence).to_have_count(1 - jobs)
