"""What the panel of models takes with thousands of files: each a LoRA with notes of two programs and a preview.

    python -m tests.bench.bench_cards [--files 5000] [--layers 200]

Palimpsest itself in a process of its own, the page in a headless Chromium. Prints one JSON line:

    start_s         seconds from the command to the first answer
    warm_s          until the notes of all files have been read, which is done in the background
    list_ms         median milliseconds of GET /v1/cards/loras, to the last byte
    list_mb         what it sends
    panel_ms        median milliseconds in the page, from the click that opens the panel to painted cards
    search_ms       … from the last letter of a search to its cards, the pause for the next letter in it
    new_file_s      until a file that has just appeared is listed
"""

import argparse
import io
import json
import shutil
import statistics
import struct
import tempfile
import time
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import FLAGS, opened, palimpsest
from tests.tiny import write_tiny_checkpoint

RUNS = 7
OPEN = """async () => {
    const begun = performance.now();
    document.querySelector('#img2img_networks_button').click();
    while (!document.querySelector('.card')) await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    return performance.now() - begun;
}"""
SEARCH = """async ([text, name]) => {
    const begun = performance.now();
    const box = document.querySelector('#cards_search');
    box.value = text;
    box.dispatchEvent(new Event('input', { bubbles: true }));
    while (!document.querySelector(`.card[data-card="${name}"]`)) await new Promise(requestAnimationFrame);
    return performance.now() - begun;
}"""


def write_lora(folder: Path, number: int, layers: int, picture: bytes) -> None:
    """As kohya's trainers write it, with what Civitai Helper and A1111 lay beside it."""
    name = f"lora-{number:05}"
    tags = {f"tag {tag}": tag + 1 for tag in range(200)}
    header: dict[str, object] = {
        "__metadata__": {"ss_output_name": name, "ss_tag_frequency": json.dumps({"10_x": tags})}
    }
    for layer in range(layers):
        for part in ("lora_down.weight", "lora_up.weight", "alpha"):
            header[f"lora_unet_{layer}.{part}"] = {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]}
    data = json.dumps(header).encode()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.safetensors").write_bytes(struct.pack("<Q", len(data)) + data)
    (folder / f"{name}.preview.png").write_bytes(picture)
    (folder / f"{name}.json").write_text(json.dumps({"activation text": f"word {number}", "preferred weight": 0.8}))
    info = {
        "baseModel": "Illustrious",
        "trainedWords": [f"word {number}"],
        "model": {"name": f"Nice {number}", "tags": ["style"], "description": "<p>" + "lorem ipsum " * 60 + "</p>"},
        "images": [{"url": "x" * 80, "meta": {"prompt": "y" * 800}} for _ in range(8)],
    }
    (folder / f"{name}.civitai.info").write_text(json.dumps(info))


def listed(url: str, anew: bool = False) -> tuple[float, httpx.Response]:
    begun = time.perf_counter()
    answer = httpx.get(f"{url}/v1/cards/loras", params={"anew": anew}, trust_env=False, timeout=600)
    return time.perf_counter() - begun, answer


def settled(url: str) -> float:
    """Seconds until everything is known."""
    begun = time.perf_counter()
    while listed(url)[1].json()["more"]:
        time.sleep(0.1)
    return time.perf_counter() - begun


def in_page(page: Page, url: str, files: int) -> tuple[float, float]:
    opened(page, url)
    opens: list[float] = []
    for _ in range(RUNS):
        opens.append(page.evaluate(OPEN))
        page.keyboard.press("Escape")
        page.evaluate("document.querySelectorAll('.card').forEach((card) => card.remove())")
        page.wait_for_timeout(1200)  # until another look is due
    page.evaluate(OPEN)
    found = [page.evaluate(SEARCH, [f"word {n} ", f"lora-{n:05}"]) for n in range(files - RUNS, files)]
    return statistics.median(opens), statistics.median(found)


def measure(files: int, layers: int) -> dict[str, float]:
    picture = io.BytesIO()
    Image.effect_mandelbrot((256, 384), (-2, -1, 1, 1), 50).save(picture, "PNG")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = folder / "models" / "Stable-diffusion" / "tiny.safetensors"
        checkpoint.parent.mkdir(parents=True)
        loras = folder / "models" / "Lora"
        for number in range(files):
            write_lora(loras / f"style-{number % 20}" / f"artist-{number % 7}", number, layers, picture.getvalue())
        begun = time.perf_counter()
        with palimpsest(folder, write_tiny_checkpoint(checkpoint)) as url, sync_playwright() as playwright:
            start = time.perf_counter() - begun
            warm = settled(url)
            lists = [listed(url) for _ in range(RUNS)]
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            panel, search = in_page(browser.new_page(), url, files)
            browser.close()
            write_lora(loras, files, layers, picture.getvalue())
            begun = time.perf_counter()
            while len(listed(url, anew=True)[1].json()["cards"]) <= files:
                time.sleep(0.05)
            return {
                "files": files,
                "start_s": round(start, 1),
                "warm_s": round(warm, 1),
                "list_ms": round(statistics.median(seconds for seconds, _ in lists) * 1000),
                "list_mb": round(len(lists[0][1].content) / 1e6, 2),
                "panel_ms": round(panel),
                "search_ms": round(search),
                "new_file_s": round(time.perf_counter() - begun, 2),
            }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--layers", type=int, default=200)
    said = parser.parse_args()
    print(json.dumps(measure(said.files, said.layers)))
