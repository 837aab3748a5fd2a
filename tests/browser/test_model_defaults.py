"""A checkpoint's default values for the forms, and the page's hints about sizes and steps that do not suit it."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import FakeServer, expect_number, finished, load, opened, png, submit


def expect_size(page: Page, tab: str, width: int, height: int) -> None:
    """Waits until the form shows this size."""
    expect(page.locator(f"#{tab}_width input[type=number]")).to_have_value(str(width))
    expect(page.locator(f"#{tab}_height input[type=number]")).to_have_value(str(height))


def choose_checkpoint(page: Page, name: str) -> None:
    with page.expect_response(lambda response: response.url.endswith("/v1/checkpoint") and response.ok):
        page.click("#setting_sd_model_checkpoint input")
        page.click(f".option-list li:has-text('{name}')")


@pytest.fixture(autouse=True)
def first_checkpoint(server: FakeServer) -> None:
    server.fake.settings = server.fake.settings.overridden(
        {"sd_model_checkpoint": "palimpsest-starter", "img2img_fix_steps": False}
    )


def test_hires_fix_has_the_checkpoints_values_and_follows_the_next_one(open_page: Page) -> None:
    upscaler = open_page.locator("#txt2img_hr_upscaler input")
    expect(upscaler).to_have_value("Lanczos")
    expect(open_page.locator("#txt2img_denoising_strength input[type=number]")).to_have_value("0.3")
    expect(open_page.locator("#img2img_denoising_strength input[type=number]")).to_have_value("0.6")

    choose_checkpoint(open_page, "watercolor-v3")  # has no defaults: values set by the previous one go back
    expect(upscaler).to_have_value("Latent")
    expect(open_page.locator("#txt2img_denoising_strength input[type=number]")).to_have_value("0.7")
    expect(open_page.locator("#img2img_width input[type=number]")).to_have_value("512")


def test_what_somebody_has_chosen_stays(open_page: Page, server: FakeServer) -> None:
    open_page.click("#tab_txt2img_button")
    open_page.check("#txt2img_enable_hr input")
    open_page.fill("#txt2img_hr_scale input[type=number]", "1.5")
    open_page.fill("#txt2img_steps input[type=number]", "33")
    open_page.keyboard.press("Tab")
    choose_checkpoint(open_page, "watercolor-v3")
    expect(open_page.locator("#txt2img_hr_upscaler input")).to_have_value("Latent")
    expect_number(open_page, "txt2img_hr_scale", 1.5)
    expect_number(open_page, "txt2img_steps", 33)

    choose_checkpoint(open_page, "palimpsest-starter")
    expect(open_page.locator("#txt2img_hr_upscaler input")).to_have_value("Lanczos")
    expect_number(open_page, "txt2img_hr_scale", 1.5)
    expect_number(open_page, "txt2img_steps", 33)
    page = opened(open_page, server.url)  # not even after a reload
    expect(page.locator("#txt2img_steps input[type=number]")).to_have_value("33")


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_a_size_beyond_the_models_is_warned_of_and_one_click_mends_it(open_page: Page, tab: str) -> None:
    open_page.click(f"#tab_{tab}_button")
    warning = open_page.locator(f"#{tab}_size_warning")
    open_page.fill(f"#{tab}_width input[type=number]", "376")
    open_page.keyboard.press("Tab")
    expect(warning).to_have_count(0)
    open_page.fill(f"#{tab}_width input[type=number]", "512")
    open_page.fill(f"#{tab}_height input[type=number]", "512")
    open_page.keyboard.press("Tab")
    expect(warning).to_contain_text("512 × 512 is much larger than this checkpoint's 256 × 256")
    open_page.click(f"#{tab}_use_native")
    expect(warning).to_have_count(0)
    expect_size(open_page, tab, 256, 256)

    choose_checkpoint(open_page, "watercolor-v3")  # 512 for its family
    expect(open_page.locator(f"#{tab}_width input[type=number]")).to_have_value("512")
    open_page.fill(f"#{tab}_width input[type=number]", "768")
    open_page.keyboard.press("Tab")
    expect(warning).to_contain_text("this checkpoint's 512 × 512")


def test_in_img2img_the_sources_proportions_stay_and_a_scale_is_warned_of_too(open_page: Page) -> None:
    load(open_page, png(600, 400))
    open_page.click("#img2img_detect_image_size_btn")
    expect(open_page.locator("#img2img_size_warning")).to_contain_text("600 × 400 is much larger")
    open_page.click("#img2img_use_native")
    expect_size(open_page, "img2img", 312, 208)

    open_page.click("#img2img_tab_resize_by_button")
    expect(open_page.locator("#img2img_size_warning")).to_contain_text("600 × 400 is much larger")


@pytest.mark.parametrize(("strength", "shown"), [("0", "0 of 20 steps"), ("0.3", "20 of 20 steps")])
def test_steps_are_told_as_the_server_walks_them(
    open_page: Page, server: FakeServer, strength: str, shown: str
) -> None:
    server.fake.settings = server.fake.settings.overridden({"img2img_fix_steps": True})
    open_page.fill("#img2img_denoising_strength input[type=number]", strength)
    expect(open_page.locator("#img2img_effective_steps")).to_have_text(shown)


def test_the_size_is_that_of_the_checkpoints_family_unless_somebody_has_chosen_one(open_page: Page) -> None:
    open_page.click("#tab_txt2img_button")
    open_page.fill("#txt2img_height input[type=number]", "320")
    open_page.keyboard.press("Tab")
    choose_checkpoint(open_page, "photo-xl")
    expect_size(open_page, "txt2img", 1024, 320)
    open_page.click("#tab_img2img_button")
    expect_size(open_page, "img2img", 1024, 1024)

    choose_checkpoint(open_page, "watercolor-v3")
    expect(open_page.locator("#img2img_width input[type=number]")).to_have_value("512")
    expect_size(open_page, "txt2img", 512, 320)


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_the_sizes_a_checkpoint_was_trained_on_are_one_choice_away(open_page: Page, tab: str) -> None:
    open_page.click(f"#tab_{tab}_button")
    sizes = open_page.locator(f"#{tab}_trained_sizes")
    offered = sizes.locator("option:not([hidden])")
    expect(offered).to_have_text(["256 × 256"])
    choose_checkpoint(open_page, "photo-xl")
    expect(offered).to_have_count(9)
    open_page.click(f"#{tab}_aspect_lock")  # a chosen size has its own proportions
    sizes.select_option(label="1344 × 768")
    expect_size(open_page, tab, 1344, 768)
    open_page.fill(f"#{tab}_width input[type=number]", "672")
    open_page.keyboard.press("Tab")
    expect(open_page.locator(f"#{tab}_height input[type=number]")).to_have_value("384")
    expect(open_page.locator(f"#{tab}_size_warning")).to_contain_text("is much smaller than this checkpoint's 1024")
    sizes.select_option(label="1344 × 768")  # the same one again
    expect(open_page.locator(f"#{tab}_width input[type=number]")).to_have_value("1344")


def test_sides_are_cut_to_the_familys_unit_and_that_is_said(open_page: Page) -> None:
    open_page.click("#tab_txt2img_button")
    unit = open_page.locator("#txt2img_width input[type=range]")
    expect(unit).to_have_attribute("step", "8")
    choose_checkpoint(open_page, "dit-flow")
    expect(unit).to_have_attribute("step", "16")
    open_page.fill("#txt2img_width input[type=number]", "1000")
    open_page.keyboard.press("Tab")
    expect(open_page.locator("[data-part=size-warning][data-tab=txt2img]")).to_have_text(
        "Sides are multiples of 16: the result is 992 × 1024."
    )


# Types "76" into the width, like a person in the middle of typing when the checkpoint's size arrives: after the page
# has asked the server, after it has put the size into the form, or a moment after Gradio was told.
TYPE = """({ tab, moment }) => {
  const typed = () => {
    const box = document.querySelector(`#${tab}_width input[type=number]`);
    box.focus();
    box.value = "76";
    box.dispatchEvent(new Event("input", { bubbles: true }));
    window.hasTyped = true;
  };
  const after = {
    put: () => typed(),
    told: () => queueMicrotask(typed),
    task: () => setTimeout(typed),
    frame: () => requestAnimationFrame(typed),
  };
  const put = document.getElementById(`${tab}_apply`);
  if (moment === "asked") {
    const ask = window.fetch;
    window.fetch = (path, options) => (String(path).endsWith("/v1/checkpoint") && typed(), ask(path, options));
  } else put.addEventListener("click", after[moment], { capture: true, once: true });
}"""


@pytest.mark.parametrize(
    ("tab", "moment"),
    [("txt2img", "asked"), ("txt2img", "put"), ("img2img", "told"), ("txt2img", "task"), ("txt2img", "frame")],
)
def test_what_is_typed_while_the_checkpoints_size_arrives_stays(
    open_page: Page, server: FakeServer, tab: str, moment: str
) -> None:
    open_page.click(f"#tab_{tab}_button")
    open_page.evaluate(TYPE, {"tab": tab, "moment": moment})
    choose_checkpoint(open_page, "photo-xl")
    expect(open_page.locator(f"#{tab}_height input[type=number]")).to_have_value("1024")
    open_page.wait_for_function("() => window.hasTyped")
    width = open_page.locator(f"#{tab}_width input[type=number]")
    for key in ("End", "8", "Tab"):
        width.press(key)
    expect_size(open_page, tab, 768, 1024)
    if tab == "txt2img":  # Gradio has the value that is shown
        submit(open_page, "txt2img")
        finished(open_page, "txt2img")
        request = server.fake.requests[-1]["request"]
        assert (request["width"], request["height"]) == (768, 1024)


def test_what_only_some_checkpoints_are_shown_has_controls_while_they_are_chosen(
    open_page: Page, server: FakeServer
) -> None:
    scale, depth = open_page.locator("#img2img_image_cfg_scale"), open_page.locator("#depth_image")
    expect(scale).to_be_hidden()
    choose_checkpoint(open_page, "photo-xl")
    expect(scale).to_be_visible()
    load(open_page, png())
    choose_checkpoint(open_page, "dit-flow")
    expect(scale).to_be_hidden()
    expect(depth).to_be_visible()
    open_page.set_input_files("#depth_file", {"name": "depth.png", "mimeType": "image/png", "buffer": png(seed=8)})
    expect(depth.locator("img")).to_be_visible()
    submit(open_page)
    sent = server.fake.requests[-1]["request"]
    assert sent["depth_map"] != sent["init_images"][0]
    assert sent["image_cfg_scale"] == 1.5  # of no effect with other checkpoints, as in A1111
    finished(open_page)

    choose_checkpoint(open_page, "watercolor-v3")
    expect(depth).to_be_hidden()
    submit(open_page)
    assert "depth_map" not in server.fake.requests[-1]["request"]
    finished(open_page)
