"""The five intents on the page: the form shows what one has set, the page says so, and it can be undone."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from modules.base.fields import params
from modules.schema.intents import INTENTS, Intent, intent
from modules.schema.request import Img2ImgRequest
from modules.ui.form import elem_id
from tests.browser.conftest import FakeServer, finished, load, number, opened, png, settled, submit, wait_for

DECLARED = params(Img2ImgRequest)


# Fields whose controls belong to the frame, not the form.
OF_FRAME = {"outpaint_fill": "#canvas_frame_fill", "outpaint_feather": "#canvas_frame_feather"}


def shown(page: Page, name: str) -> Any:
    """The value of a field as a person sees it."""
    if name in OF_FRAME:
        return int(page.input_value(OF_FRAME[name]))
    param = DECLARED[name]
    block = f"#{elem_id(param, 'img2img')}"
    if param.control.kind == "radio":
        assert isinstance(param.control.choices, tuple)
        return param.control.choices.index(page.inner_text(f"{block} label:has(input:checked)").strip())
    if page.locator(f"{block} input[type=checkbox]").count():
        return page.is_checked(f"{block} input[type=checkbox]")
    return number(page, elem_id(param, "img2img"))


def shows(page: Page, values: dict[str, Any]) -> None:
    wait_for(lambda: {name: shown(page, name) for name in values} == values, f"the form to show {values}")


@pytest.fixture
def studio_page(open_page: Page) -> Page:
    """The img2img tab with a picture."""
    load(open_page, png(320, 240))
    return open_page


def choose(page: Page, wanted: Intent) -> None:
    page.click(f"#img2img_intent_{wanted.name}")


def test_each_sets_the_form_and_says_what_it_did_and_asks_for(studio_page: Page, server: FakeServer) -> None:
    line = studio_page.locator("#img2img_intent_line")
    for wanted in INTENTS:
        choose(studio_page, wanted)
        shows(studio_page, dict(wanted.values))
        for words in (wanted.label, wanted.description, wanted.ask, wanted.sentence, wanted.words):
            expect(line).to_contain_text(words)
    expect(studio_page.locator("#tab_img2img")).to_have_attribute("data-mode", "inpaint")
    expect(studio_page.locator("#canvas_frame_panel")).to_be_visible()  # Expand has opened it


def test_what_it_set_is_sent(studio_page: Page, server: FakeServer) -> None:
    wanted = intent("remove")
    choose(studio_page, wanted)
    stage = studio_page.locator(".canvas-stage")
    stage.scroll_into_view_if_needed()
    settled(studio_page)
    box = stage.bounding_box()
    assert box
    ask = studio_page.locator("#img2img_intent_line .intents-ask")
    expect(ask).to_be_visible()
    studio_page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(ask).to_be_hidden()  # it has been done
    submit(studio_page)
    finished(studio_page)
    sent = server.fake.requests[-1]["request"]
    assert {name: sent[name] for name in wanted.values} == dict(wanted.values)


def test_a_choice_is_taken_back_and_what_was_changed_since_stays(studio_page: Page, server: FakeServer) -> None:
    before = {name: shown(studio_page, name) for name in intent("add").values}
    choose(studio_page, intent("add"))
    shows(studio_page, dict(intent("add").values))
    undo = studio_page.locator("#img2img_undo")
    expect(undo).to_have_text("Undo: Add")
    undo.click()
    shows(studio_page, before)
    expect(studio_page.locator("#img2img_intent_line")).to_be_hidden()
    expect(studio_page.locator("#tab_img2img")).to_have_attribute("data-mode", "img2img")
    expect(undo).to_be_hidden()

    choose(studio_page, intent("add"))
    shows(studio_page, dict(intent("add").values))
    studio_page.fill("#img2img_denoising_strength input[type=number]", "0.42")
    studio_page.keyboard.press("Tab")
    studio_page.fill("#img2img_prompt textarea", "a straw hat")
    shows(studio_page, {"denoising_strength": 0.42})
    opened(studio_page, server.url)
    shows(studio_page, {**intent("add").values, "denoising_strength": 0.42})
    undo.click()
    shows(studio_page, {**before, "denoising_strength": 0.42})
    expect(studio_page.locator("#img2img_prompt textarea")).to_have_value("a straw hat")


def test_expand_begins_with_a_margin_so_that_the_picture_stays(studio_page: Page, server: FakeServer) -> None:
    choose(studio_page, intent("expand"))
    expect(studio_page.locator("#canvas_frame_size")).to_have_text("320 × 240 → 400 × 304")
    expect(studio_page.locator("#img2img_intent_line .intents-ask")).to_be_hidden()
    submit(studio_page)
    finished(studio_page)
    sent = server.fake.requests[-1]["request"]
    margins = {name: sent[f"outpaint_{name}"] for name in ("left", "right", "top", "bottom")}
    assert margins == {"left": 40, "right": 40, "top": 32, "bottom": 32}


def test_to_take_back_a_choice_loses_no_frame_and_no_mode_that_is_in_use(studio_page: Page) -> None:
    studio_page.click("#canvas_frame")
    choose(studio_page, intent("expand"))
    studio_page.click("#img2img_undo")
    expect(studio_page.locator("#canvas_frame_size")).to_contain_text("Drag an edge")  # the frame as before
    studio_page.click("#canvas_frame_off")
    choose(studio_page, intent("expand"))
    expect(studio_page.locator("#canvas_frame_panel")).to_be_visible()
    shows(studio_page, dict(intent("expand").values))
    studio_page.click("#img2img_undo")
    expect(studio_page.locator("#canvas_frame_panel")).to_be_hidden()
    shows(studio_page, {"outpaint_feather": 32})
