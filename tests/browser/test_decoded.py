"""The page shows, and people paint on, what the server decoded, however the browser would decode the file."""

import io

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import FORGET, load, opened

# The middle of each quarter of the drawn source: the bytes of the canvas below the mask.
QUARTERS = """() => {
    const canvas = document.querySelector("#img2img_image .canvas-stage canvas");
    const context = canvas.getContext("2d");
    const rows = [];
    for (let y = 0; y < canvas.height; y += 2) for (let x = 0; x < canvas.width; x += 2) rows.push([x, y]);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    const seen = {};
    for (const [x, y] of rows) {
        const at = (y * canvas.width + x) * 4;
        if (data[at + 3] !== 255) continue;
        const key = [data[at], data[at + 1], data[at + 2]].join();
        (seen[key] ??= { count: 0, x: 0, y: 0 }).count++;
        seen[key].x += x;
        seen[key].y += y;
    }
    const large = Object.entries(seen).filter(([, { count }]) => count > 200);
    return Object.fromEntries(large.map(([key, { count, x, y }]) => [key, [x / count, y / count]]));
}"""


def file_of(format: str, turn: int) -> bytes:
    """256x160: red and lime above, blue and black below, and EXIF that rotates it."""
    pixels = np.zeros((160, 256, 3), np.uint8)
    pixels[:80, :128, 0] = pixels[:80, 128:, 1] = pixels[80:, :128, 2] = 255
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"lossless": True} if format == "WEBP" else {}
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format, exif=exif, **options)
    return content.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("format", ["WEBP", "TIFF"])
def test_the_canvas_shows_the_source_upright(page: Page, studio: str, format: str) -> None:
    page.goto(f"{studio}/internal/ping")
    page.evaluate(FORGET)
    opened(page, studio)
    load(page, file_of(format, 6), name=f"photo.{format.lower()}")
    expect(page.locator("#img2img_image .source-text")).to_contain_text("160 × 256")
    page.wait_for_function(f"() => Object.keys(({QUARTERS})()).length >= 4")
    seen = {color: np.array(place) for color, place in page.evaluate(QUARTERS).items()}
    red, lime, blue = seen["255,0,0"], seen["0,255,0"], seen["0,0,255"]
    assert abs(red[1] - blue[1]) < 4  # a quarter turn to the right: blue left of red, lime below
    assert blue[0] < red[0] < lime[0] + 4
    assert lime[1] > red[1]
