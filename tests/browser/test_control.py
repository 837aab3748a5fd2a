"""ControlNet units on the page: added, given a picture, previewed, sent, kept, and restored from a finished picture."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from playwright.sync_api import Page, expect

from modules.clip.bpe import ClipBPE
from modules.networks.device import Placement
from modules.networks.files.listing import HashCache
from modules.networks.sd1.checkpoint import load_checkpoint
from modules.schema.catalog import Checkpoint
from tests.browser.conftest import FORGET, FakeServer, finished, load, opened, palimpsest, png, shown_picture, submit
from tests.browser.test_canvas import capsule, drag
from tests.networks.control.test_control_net import saved
from tests.processing.engine.test_control import drawn_from
from tests.tiny import write_tiny_checkpoint

LOADING = 90_000  # milliseconds the engine may take to start on a busy machine
UNIT = "#img2img_control_0"
MAP = f"{UNIT} .control-map img:not([hidden])"
# The share of light pixels of a picture.
LIGHT = """image => {
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  return data.filter((value, at) => at % 4 === 0 && value > 127).length / (width * height);
}"""


def disk() -> bytes:
    """A white disk on black, whose edge is easy to find."""
    image = Image.new("RGB", (64, 64))
    ImageDraw.Draw(image).ellipse((16, 16, 48, 48), fill="white")
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def add_unit(page: Page, tab: str = "img2img") -> None:
    heading = page.locator(f"#{tab}_fold_control")
    if heading.get_attribute("aria-expanded") == "false":
        heading.click()
    count = page.locator(f"#{tab}_group_control .control-unit").count()
    page.click(f"#{tab}_control_add")
    expect(page.locator(f"#{tab}_group_control .control-unit")).to_have_count(count + 1)


def last_request(server: FakeServer) -> dict[str, Any]:
    return server.fake.requests[-1]["request"]


def test_units_are_set_kept_and_sent(open_page: Page, server: FakeServer) -> None:
    page = open_page
    load(page, png())
    expect(page.locator("#img2img_fold_control .group-values")).to_have_text("off")
    add_unit(page)
    expect(page.locator(f"{UNIT} .control-hint, #img2img_group_control .control-hint")).to_be_hidden()
    page.select_option(f"{UNIT}_type", "Canny")
    expect(page.locator(f"{UNIT}_model")).to_have_value("control_canny [0123abcd]")
    page.fill(f"{UNIT}_threshold_a", "40")
    page.keyboard.press("Tab")
    load(page, disk(), "img2img_control_0", "disk.png")
    page.check(f"{UNIT}_pixel_perfect")
    expect(page.locator(f"{UNIT}_processor_res")).to_have_count(0)
    add_unit(page)
    page.uncheck("#img2img_control_1_enabled")
    add_unit(page)
    page.select_option("#img2img_control_2_model", "control_canny [0123abcd]")
    page.fill("#img2img_control_2_weight", "0.5")
    page.keyboard.press("Tab")

    opened(page, server.url)
    expect(page.locator(f"{UNIT}_threshold_a")).to_have_value("40")
    expect(page.locator("#img2img_control_1 .control-body")).to_be_hidden()
    page.click("#img2img_fold_control")
    expect(page.locator("#img2img_fold_control .group-values")).to_have_text("2 units · control_canny · control_canny")
    submit(page)
    finished(page)
    first, second = last_request(server)["controlnet"]
    assert (first["image"], first["module"], first["model"]) == (0, "canny", "control_canny [0123abcd]")
    assert (first["threshold_a"], first["threshold_b"], first["pixel_perfect"]) == (40, -1, True)
    assert (second["image"], second["module"], second["weight"]) == (None, "none", 0.5)
    assert len(last_request(server)["control_images"]) == 1

    page.click("#img2img_fold_control")
    page.click("#img2img_control_2_remove_unit")
    page.click("#img2img_control_0_remove_unit")
    expect(page.locator("#img2img_group_control .control-unit")).to_have_count(1)
    submit(page)
    finished(page)
    assert "controlnet" not in last_request(server)


def test_a_text_units_reset_and_undo_go_together_with_the_form(open_page: Page) -> None:
    add_unit(open_page)
    open_page.select_option(f"{UNIT}_module", "tile_resample")
    expect(open_page.locator(f"{UNIT} .control-about")).to_contain_text("tile_resample")
    open_page.click("#img2img_reset")
    expect(open_page.locator("#img2img_group_control .control-unit")).to_have_count(0)
    open_page.click("#img2img_undo")
    expect(open_page.locator(f"{UNIT} .control-about")).to_contain_text("tile_resample")


@pytest.fixture(scope="module")
def control_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Palimpsest with a tiny checkpoint and a tiny ControlNet for it; returns its address."""
    folder: Path = tmp_path_factory.mktemp("studio")
    for name in ("Stable-diffusion", "ControlNet"):
        (folder / "models" / name).mkdir(parents=True)
    checkpoint = write_tiny_checkpoint(folder / "models" / "Stable-diffusion" / "tiny.safetensors")
    place = Placement(torch.device("cpu"), torch.float32, torch.float32, torch.float32)
    model = load_checkpoint(Checkpoint("tiny", checkpoint), place, ClipBPE(), HashCache(folder / "other.json"))
    saved(drawn_from(model.unet, 1), folder / "models" / "ControlNet" / "canny_lines.safetensors", "")
    with palimpsest(folder, checkpoint) as url:
        yield url


def first_visit(page: Page, url: str) -> None:
    """Opens the page without memory, and waits for the engine."""
    page.goto(f"{url}/internal/ping")
    page.evaluate(FORGET)
    opened(page, url)
    expect(page.locator("#engine_status")).to_contain_text("Ready", timeout=LOADING)


@pytest.mark.slow
def test_a_unit_is_previewed_acts_and_comes_back_with_the_picture(page: Page, control_studio: str) -> None:
    first_visit(page, control_studio)
    load(page, png(64, 64))
    page.click("#img2img_detect_image_size_btn")
    page.fill("#img2img_steps input[type=number]", "2")
    page.keyboard.press("Tab")
    add_unit(page)
    page.select_option(f"{UNIT}_type", "Canny")
    expect(page.locator(f"{UNIT}_model")).to_have_value(re.compile(r"^canny_lines \["))  # the only one of this type
    load(page, disk(), "img2img_control_0", "disk.png")
    page.click(f"{UNIT}_run_preview")
    expect(page.locator(MAP)).to_be_visible()
    edges = page.eval_on_selector(MAP, LIGHT)
    assert 0.001 < edges < 0.1  # lines, not areas

    submit(page)
    info = page.locator("#img2img_html_info")
    expect(info).to_contain_text("Module: canny, Model: canny_lines", timeout=LOADING)
    finished(page, milliseconds=LOADING)

    page.click(f"{UNIT}_remove_unit")
    expect(page.locator(UNIT)).to_have_count(0)
    page.click("#tab_history_button")
    page.click("#history_grid .thumb >> nth=0")
    page.click("#history_open")
    expect(page.locator(f"{UNIT} .source-text")).to_have_text("64 × 64 PNG")
    expect(page.locator(f"{UNIT}_module")).to_have_value("canny")
    page.select_option(f"{UNIT}_model", "None")
    page.click("#img2img_generate")
    expect(page.locator("#img2img_group_control .p-error >> visible=true")).to_contain_text("A unit has no model")


@pytest.mark.slow
def test_lines_drawn_on_the_canvas_are_what_the_control_net_sees(page: Page, control_studio: str) -> None:
    first_visit(page, control_studio)
    for elem, value in {"width": 128, "height": 64, "steps": 2}.items():
        page.fill(f"#img2img_{elem} input[type=number]", str(value))
        page.keyboard.press("Tab")
    add_unit(page)
    page.select_option(f"{UNIT}_type", "Canny")
    page.click(f"{UNIT}_draw")
    expect(page.locator("#img2img_image .source-text")).to_have_text("128 × 64 PNG")
    expect(page.locator("#img2img_denoising_strength input[type=number]")).to_have_value("1")
    expect(page.locator(f"{UNIT}_module")).to_have_value("none")

    page.click("#img2img_generate")
    expect(page.locator("#img2img_group_control .p-error >> visible=true")).to_contain_text("Nothing is painted")
    page.eval_on_selector(".canvas-stage", "element => element.scrollIntoView({ block: 'center' })")
    start, end = drag(page, (20, 32), (100, 32))
    page.click(f"{UNIT}_run_preview")
    expect(page.locator(MAP)).to_be_visible()
    submit(page)
    info = page.locator("#img2img_html_info")
    expect(info).to_contain_text("Module: none, Model: canny_lines", timeout=LOADING)
    finished(page, milliseconds=LOADING)

    seen = re.search(r"Control pictures\s*([0-9a-f]{64})", info.text_content() or "")
    assert seen, info.text_content()
    drawn = np.asarray(Image.open(io.BytesIO(page.request.get(f"{control_studio}/v1/pictures/{seen[1]}").body())))
    outside = capsule((64, 128), start, end, 3)
    assert drawn.shape == (64, 128)
    assert (drawn[outside < -1] == 255).all()
    assert (drawn[outside > 1] == 0).all()

    with_lines = shown_picture(page)
    page.uncheck(f"{UNIT}_enabled")
    page.click("#img2img_results button:has-text('Reuse seed')")
    submit(page)
    expect(info).not_to_contain_text("ControlNet", timeout=LOADING)
    finished(page, milliseconds=LOADING)
    assert with_lines.tobytes() != shown_picture(page).tobytes()
