"""The panel of models: what a click on a card does, searching among thousands, and notes saved beside a file."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import FakeServer, expect_prompt, opened, palimpsest, png, prompt
from tests.tiny import write_tiny_checkpoint
from tests.ui.fake_server import some_cards


def card(page: Page, name: str) -> Locator:
    return page.locator(f'[data-card="{name}"] .card-main')


def negative(page: Page) -> str:
    return page.input_value("#img2img_neg_prompt textarea")


def open_panel(page: Page, kind: str = "loras") -> None:
    page.click("#img2img_networks_button")
    page.click(f"#cards_{kind}_button")
    page.wait_for_selector(".card")


def test_a_click_writes_a_model_into_the_prompt_and_another_takes_it_out(open_page: Page) -> None:
    area = open_page.locator("#img2img_prompt textarea")
    area.fill("a fox")
    open_page.fill("#img2img_neg_prompt textarea", "photo, ")
    open_panel(open_page)
    card(open_page, "wash-v2").click()
    expect(area).to_be_focused()
    assert (prompt(open_page), negative(open_page)) == ("a fox <lora:wash-v2:0.8> wet wash", "photo, dry")
    expect(card(open_page, "wash-v2")).to_have_attribute("aria-pressed", "true")
    card(open_page, "ink").click()
    expect_prompt(open_page, "a fox <lora:wash-v2:0.8> wet wash <lora:ink:1>")
    card(open_page, "wash-v2").click()
    assert (prompt(open_page), negative(open_page)) == ("a fox <lora:ink:1>", "photo")
    expect(card(open_page, "wash-v2")).to_have_attribute("aria-pressed", "false")
    area.fill("a <lora:India:0.3>")
    expect(card(open_page, "ink")).to_have_attribute("aria-pressed", "true")


def test_an_embedding_goes_into_the_box_that_was_worked_in_last(open_page: Page) -> None:
    open_page.fill("#img2img_neg_prompt textarea", "photo, ")
    open_panel(open_page, "embeddings")
    card(open_page, "easynegative").click()
    card(open_page, "style (v1)").click()
    assert (prompt(open_page), negative(open_page)) == ("", r"photo, easynegative style \(v1\)")
    card(open_page, "large").click()
    expect(open_page.locator(".toast.bad")).to_contain_text("large: large.pt is made for Stable Diffusion XL.")
    card(open_page, "easynegative").click()
    assert negative(open_page) == r"photo, style \(v1\)"


def test_a_card_chooses_the_checkpoint_or_the_vae(open_page: Page, server: FakeServer) -> None:
    open_panel(open_page, "checkpoints")
    expect(card(open_page, "palimpsest-starter")).to_have_attribute("aria-pressed", "true")
    with open_page.expect_response("**/v1/checkpoint"):
        card(open_page, "other").click()
    expect(card(open_page, "other")).to_have_attribute("aria-pressed", "true")
    assert server.fake.settings.sd_model_checkpoint == "other"
    open_page.click("#cards_vaes_button")
    for expected in ("soft.safetensors", "Automatic"):
        with open_page.expect_response(lambda answer: answer.url.endswith("/v1/settings") and answer.ok):
            card(open_page, "soft.safetensors").click()
        assert server.fake.settings.sd_vae == expected
    server.fake.settings = server.fake.settings.overridden({"sd_model_checkpoint": ""})


def test_one_is_found_among_thousands_by_keys_alone(open_page: Page) -> None:
    open_page.locator("#img2img_prompt textarea").focus()
    open_page.keyboard.press("Control+k")
    expect(open_page.locator("#cards_search")).to_be_focused()
    expect(open_page.locator(".cards-count")).to_have_text("2002 LoRAs")
    assert open_page.locator(".card").count() < 60, "the page holds what is in sight"
    open_page.keyboard.type("many 1717")
    expect(open_page.locator(".cards-count")).to_have_text("1 of 2002 LoRAs")
    open_page.keyboard.press("Enter")
    expect_prompt(open_page, "<lora:z-1717:1>")
    expect(open_page.locator("#cards_search")).to_be_focused()
    open_page.fill("#cards_search", "")
    expect(open_page.locator(".cards-count")).to_have_text("2002 LoRAs")
    open_page.keyboard.press("ArrowDown")
    expect(card(open_page, "ink")).to_be_focused()
    open_page.keyboard.press("End")
    expect(card(open_page, "z-1999")).to_be_focused()
    open_page.keyboard.press("Home")
    open_page.keyboard.press("ArrowUp")
    expect(open_page.locator("#cards_search")).to_be_focused()
    open_page.keyboard.press("Escape")
    expect(open_page.locator("#cards_panel")).to_be_hidden()
    expect(open_page.locator("#img2img_prompt textarea")).to_be_focused()


def test_folders_and_base_models_narrow_the_list(open_page: Page) -> None:
    open_panel(open_page)
    open_page.click("[data-folder=styles]")
    expect(open_page.locator(".cards-count")).to_have_text("2 of 2002 LoRAs")
    open_page.click("[data-folder='styles/ink']")
    expect(open_page.locator(".card")).to_have_count(1)
    open_page.select_option("#cards_family", "?")
    expect(open_page.locator(".cards-none")).to_contain_text("Nothing found.")
    open_page.select_option("#cards_family", "SDXL")
    open_page.click("[data-folder='']")
    expect(open_page.locator(".card")).to_have_count(1)


def test_notes_are_edited_and_saved(open_page: Page, server: FakeServer) -> None:
    server.fake.cards = some_cards()
    open_panel(open_page)
    open_page.fill("#cards_search", "wash-v2")
    card(open_page, "wash-v2").hover()
    open_page.click("[data-card=wash-v2] .card-info")
    dialogue = open_page.locator("#card_dialog")
    expect(dialogue.locator("#card_activation_text")).to_have_attribute("placeholder", "wet wash")
    expect(dialogue).to_contain_text("styles/wash-v2.safetensors")
    dialogue.get_by_text("mist").click()
    dialogue.get_by_text("river").click()
    dialogue.get_by_text("mist").click()
    open_page.fill("#card_notes", "for skies")
    open_page.fill("#card_preferred_weight", "0.65")
    open_page.click("#card_save")
    expect(dialogue).to_be_hidden()
    assert server.fake.cards["loras"][1]["own"] == {
        "activation_text": "river", "notes": "for skies", "preferred_weight": 0.65
    }  # fmt: skip
    expect(open_page.locator("[data-card=wash-v2] .card-words")).to_have_text("river")
    server.fake.cards = some_cards()


class Models(NamedTuple):
    url: str
    folder: Path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    """Palimpsest itself with a tiny checkpoint and a folder for LoRAs."""
    folder = tmp_path_factory.mktemp("models")
    checkpoint = folder / "models" / "Stable-diffusion" / "tiny.safetensors"
    checkpoint.parent.mkdir(parents=True)
    with palimpsest(folder, write_tiny_checkpoint(checkpoint)) as url:
        yield Models(url, folder / "models")


def lora(folder: Path, name: str, **notes: Any) -> Path:
    header = json.dumps({"x.lora_up.weight": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    path.with_suffix(".civitai.info").write_text(json.dumps(notes))
    path.with_name(f"{name}.preview.png").write_bytes(png(96, 128))
    return path


@pytest.mark.slow
def test_a_new_file_is_there_without_a_restart_and_notes_lie_beside_it(page: Page, models: Models) -> None:
    opened(page, models.url)
    page.click("#img2img_networks_button")
    expect(page.locator(".cards-none")).to_contain_text("There are none yet.")
    path = lora(models.folder / "Lora" / "deep", "ink", trainedWords=["ink wash"], baseModel="Pony")
    page.click(".cards-foot button")
    image = page.locator("[data-card=ink] img")
    expect(image).to_be_visible()
    page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=image.element_handle())
    expect(page.locator("[data-card=ink] .card-base")).to_have_text("Pony")
    card(page, "ink").click()
    expect_prompt(page, "<lora:ink:1> ink wash")
    page.click("[data-card=ink] .card-info")
    page.fill("#card_notes", "for skies")
    page.fill("#card_preferred_weight", "0.7")
    page.click("#card_save")
    expect(page.locator("#card_dialog")).to_be_hidden()
    assert json.loads(path.with_suffix(".json").read_text()) == {"notes": "for skies", "preferred weight": 0.7}
    card(page, "ink").click()
    card(page, "ink").click()
    expect_prompt(page, "<lora:ink:0.7> ink wash")


@pytest.mark.slow
def test_a_file_becomes_the_thumbnail_once_that_is_agreed(page: Page, models: Models) -> None:
    path = lora(models.folder / "Lora", "wash")
    preview = path.with_name("wash.preview.png")
    before, other = preview.read_bytes(), png(40, 50)
    opened(page, models.url)
    page.click("#img2img_networks_button")
    page.click(".cards-foot button")
    card(page, "wash").hover()
    page.click("[data-card=wash] .card-info")
    expect(page.locator("#card_preview_result")).to_be_disabled()  # nothing has been generated here
    shown = page.locator("#card_dialog .card-preview img")
    old = shown.get_attribute("src")
    choose = page.locator("#card_dialog input[type=file]")
    for answer, expected in (("#ask_no", before), ("#ask_yes", other)):
        choose.set_input_files({"name": "other.png", "mimeType": "image/png", "buffer": other})
        expect(page.locator("#ask_sentence")).to_contain_text("wash has a thumbnail already: wash.preview.png.")
        page.click(answer)
        if answer == "#ask_yes":
            expect(shown).not_to_have_attribute("src", old or "")
        assert preview.read_bytes() == expected
    expect(page.locator("[data-card=wash] .card-main img")).not_to_have_attribute("src", old or "")
