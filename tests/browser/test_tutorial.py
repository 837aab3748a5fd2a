"""The best-known img2img tutorial, on the page, with the bundled checkpoint: it shows what the tutorial promises.

    PALIMPSEST_SCREENSHOTS=docs/images python -m pytest tests/browser/test_tutorial.py

leaves `img2img.png` there, the picture at the top of README.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import ROOT, finished, load, opened, palimpsest, shown_picture, submit

pytestmark = pytest.mark.slow

BUNDLED = ROOT / "models" / "Stable-diffusion" / "palimpsest-starter.safetensors"
START = ROOT / "docs" / "images" / "start.png"  # a girl in front of city buildings
PATIENCE = 300_000  # milliseconds; a picture takes 3 s on two idle cores


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Palimpsest with the bundled checkpoint; returns its address."""
    with palimpsest(tmp_path_factory.mktemp("bundled"), BUNDLED) as url:
        yield url


def made(page: Page, prompt: str, strength: float) -> Image.Image:
    """The result of one click on Generate."""
    page.fill("#img2img_prompt textarea", prompt)
    page.fill("#img2img_denoising_strength input[type=number]", str(strength))
    page.keyboard.press("Tab")
    submit(page)
    finished(page, milliseconds=PATIENCE)
    return shown_picture(page).convert("RGB")


def pixels(image: Image.Image) -> NDArray[np.float64]:
    return np.asarray(image, dtype=np.float64)


def pinkness(image: Image.Image) -> float:
    """How much more red and blue than green the upper corners have, where the background is visible."""
    corners = np.concatenate([pixels(image)[:96, :56], pixels(image)[:96, -56:]], axis=1)
    return float((corners[..., 0] / 2 + corners[..., 2] / 2 - corners[..., 1]).mean())


def likeness(one: Image.Image, other: Image.Image) -> float:
    """Correlation of the two pictures' brightness at low resolution: the composition."""
    x, y = (pixels(image.convert("L").resize((32, 32), Image.Resampling.BOX)).ravel() for image in (one, other))
    return float(np.corrcoef(x, y)[0, 1])


def distance(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(pixels(one) - pixels(other)).mean())


def test_the_tutorial_keeps_what_it_promises(page: Page, bundled: str) -> None:
    page.set_viewport_size({"width": 1440, "height": 960})
    opened(page, bundled)
    expect(page.locator("#engine_status")).to_contain_text("Ready", timeout=PATIENCE)
    expect(page.locator("#img2img_width input[type=number]")).to_have_value("256")  # the checkpoint's own defaults
    start = Image.open(START).convert("RGB")
    load(page, START.read_bytes())
    page.fill("#img2img_seed input", "5")

    slight = made(page, "watercolor, light smile, sakura background", 0.3)
    forest = made(page, "watercolor, light smile, forest background", 0.65)
    sakura = made(page, "watercolor, light smile, sakura background", 0.65)
    if folder := os.environ.get("PALIMPSEST_SCREENSHOTS"):
        page.mouse.move(5, 5)
        page.evaluate("() => window.scrollTo(0, 0)")
        page.screenshot(path=Path(folder) / "img2img.png")

    # The same seed with another word: only the difference counts, as pictures may be pink for other reasons.
    assert pinkness(sakura) > pinkness(forest) + 20
    assert likeness(start, sakura) > 0.5
    assert distance(start, slight) < distance(start, sakura)
