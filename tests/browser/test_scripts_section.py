"""The Script section on the page: controls from the server's description, values kept and sent, errors at their
fields.
"""

from playwright.sync_api import Page, expect

from tests.browser.conftest import FakeServer, finished, load, opened, png, submit


def test_a_script_is_chosen_set_kept_and_sent(open_page: Page, server: FakeServer) -> None:
    page = open_page
    page.click("#tab_txt2img_button")
    section = page.locator("#txt2img_settings .script")
    page.select_option("#txt2img_script_list", "X/Y/Z plot")
    page.select_option("#txt2img_script_x_type", label="Sampler")
    section.locator('[data-arg="x_values"] button').click()
    assert page.input_value("#txt2img_script_x_values").startswith("DPM++ 2M,DPM++ SDE,")
    page.fill("#txt2img_script_x_values", "Euler,Heun")
    page.check("#txt2img_script_include_lone_images")
    page.fill("#txt2img_script_margin_size", "8")
    page.keyboard.press("Tab")
    opened(page, server.url)
    page.click("#tab_txt2img_button")
    expect(page.locator("#txt2img_script_list")).to_have_value("X/Y/Z plot")
    expect(page.locator("#txt2img_script_x_values")).to_have_value("Euler,Heun")
    submit(page, "txt2img")
    finished(page, "txt2img")
    request = server.fake.requests[-1]["request"]
    assert request["script_name"] == "X/Y/Z plot"
    assert request["script_args"] == [
        9, "Euler,Heun", [], 0, "", [], 0, "", [], True, True, False, False, False, False, False, 8, False,
    ]  # fmt: skip
    page.select_option("#txt2img_script_list", "")
    submit(page, "txt2img")
    assert "script_name" not in server.fake.requests[-1]["request"]
    finished(page, "txt2img")


def test_an_axis_that_cannot_be_had_is_not_listed_and_the_others_keep_their_numbers(open_page: Page) -> None:
    open_page.click("#tab_txt2img_button")
    open_page.select_option("#txt2img_script_list", "X/Y/Z plot")
    options = open_page.locator("#txt2img_script_x_type option")
    listed = {option.text_content(): option.get_attribute("value") for option in options.all()}
    assert {"Face restore", "Styles"} & set(listed) == set()
    assert (listed["Seed"], listed["Size"]) == ("1", "41")  # A1111's numbers


def test_directions_are_ticked(open_page: Page, server: FakeServer) -> None:
    load(open_page, png())
    open_page.select_option("#img2img_script_list", "Outpainting mk2")
    open_page.uncheck("#img2img_script_direction input[value=up]")
    open_page.uncheck("#img2img_script_direction input[value=down]")
    submit(open_page)
    finished(open_page)
    assert server.fake.requests[-1]["request"]["script_args"] == ["", 128, 8, ["left", "right"], 1, 0.05]


def test_a_broken_extension_is_told_in_the_section(page: Page, server: FakeServer) -> None:
    server.fake.problems = ["The extension 'foo' could not be loaded (SyntaxError: x); everything else works."]
    opened(page, server.url)
    expect(page.locator("#img2img_settings .script-problems")).to_contain_text("could not be loaded (SyntaxError")
    server.fake.problems = []
