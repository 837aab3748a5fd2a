"""The loop at one glance: source, prompt, strength, CFG scale, Generate and the result are in view together, and groups
of the form fold.
"""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import FakeServer, finished, load, png, submit

ESSENTIALS = ("prompt", "denoising_strength", "cfg_scale", "generate")
MODES = ("img2img", "sketch", "inpaint", "inpaint_sketch", "inpaint_upload")


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1024, 768), (1920, 1080)])
def test_source_numbers_generate_and_result_are_in_view_together(open_page: Page, width: int, height: int) -> None:
    open_page.set_viewport_size({"width": width, "height": height})
    load(open_page, png(96, 64))
    submit(open_page)
    finished(open_page)
    open_page.evaluate("scrollTo(0, 0)")
    for mode in MODES:
        open_page.click(f"#img2img_{mode}_mode")
        expect(open_page.locator("#tab_img2img")).to_have_attribute("data-mode", mode)
        for name in ESSENTIALS:
            expect(open_page.locator(f"#img2img_{name}")).to_be_in_viewport(ratio=0.99)
        expect(open_page.locator(".canvas-stage")).to_be_in_viewport(ratio=0.6)
        expect(open_page.locator("#img2img_results .stage")).to_be_in_viewport(ratio=0.99)


def test_a_folded_group_says_its_values_and_stays_folded(open_page: Page) -> None:
    headings = {name: open_page.locator(f"#img2img_fold_{name}") for name in ("sampling", "size", "seed")}
    for heading in headings.values():
        expect(heading).to_have_attribute("aria-expanded", "true")
        heading.click()
    expect(open_page.locator("#img2img_steps")).to_be_hidden()
    expect(headings["sampling"]).to_contain_text("steps")
    expect(headings["size"]).to_contain_text(" × ")
    expect(headings["seed"]).to_contain_text("random")
    headings["seed"].click()
    open_page.fill("#img2img_seed input", "1234")
    open_page.keyboard.press("Tab")
    headings["seed"].click()
    expect(headings["seed"]).to_contain_text("1234")
    open_page.reload()
    expect(headings["seed"]).to_have_attribute("aria-expanded", "false")
    expect(headings["seed"]).to_contain_text("1234")


def test_a_group_opens_when_one_of_its_fields_is_wrong(open_page: Page) -> None:
    load(open_page, png(96, 64))
    open_page.click("#img2img_fold_sampling")
    refusal = {"error": "WebuiError", "detail": "Sampling steps: got 900.", "hint": "", "field": "steps"}
    open_page.route("**/v1/jobs", lambda route: route.fulfill(status=422, json=refusal))
    open_page.click("#img2img_generate")
    expect(open_page.locator("#img2img_steps .p-error")).to_be_visible()


def test_what_to_do_with_a_part_waits_for_a_picture(open_page: Page) -> None:
    first = open_page.locator(".intents .p-button").first
    expect(first).to_be_disabled()
    expect(first).to_have_attribute("title", "Drop a picture first.")
    load(open_page, png(96, 64))
    expect(first).to_be_enabled()


def test_a_ladder_makes_siblings_of_one_seed_in_order(open_page: Page, server: FakeServer) -> None:
    expect(open_page.locator("#img2img_ladder_seed")).to_be_disabled()
    load(open_page, png(96, 64))
    before = len(server.fake.requests)
    open_page.click("#img2img_ladder_denoising_strength")
    labels = open_page.locator("#img2img_results .thumb .thumb-label")
    expect(labels).to_have_text(["0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8"])
    sent = [job["request"] for job in server.fake.requests[before:]]
    assert [request["denoising_strength"] for request in sent] == [0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]
    assert len({request["seed"] for request in sent}) == 1
    assert sent[0]["seed"] >= 0
    finished(open_page)
    submit(open_page)  # the next press is an ordinary one
    finished(open_page)
    assert len(server.fake.requests) == before + 8
    open_page.reload()
    expect(labels).to_have_count(7)
