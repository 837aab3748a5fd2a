"""What thousands of files cost: a start, a first job, and the panel of models.

    python -m tests.bench.bench_cards [--files 5000] [--checkpoints 50] [--layers 200]

Each file is a LoRA with notes from two programs and a preview; the checkpoints are tiny. Palimpsest itself runs in a
separate process, the page in a headless Chromium. Prints one JSON line:

    first, second   the first start and the one after it, each with
        start_s     seconds from the command to the first answer
        page_s      … to the page with its form in a browser
        job_s       … to the first picture, of a prompt that names the last LoRA
        warm_s      … until the headers and notes of all files are read, which happens in the background
    hashes          files whose hash is known at the end
    list_ms         median milliseconds of GET /v1/cards/loras, to the last byte
    list_mb         what it sends
    panel_ms        median milliseconds in the page, from the click that opens the panel to painted cards
    search_ms       … from the last letter of a search to its cards, including the pause that waits for the next letter
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
from typing import Any

import httpx
import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from safetensors.numpy import save_file

from modules.networks.files.listing import read_header
from modules.server.folders import HASHES
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
    """As kohya's trainers write it, with the files that Civitai Helper and A1111 add beside it."""
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


def write_usable_lora(path: Path, checkpoint: Path) -> None:
    """A LoRA that changes a layer of the text encoder."""
    fc1 = read_header(checkpoint)["cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight"]
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    rows, columns = fc1.shape
    up, down = np.full((rows, 1), 0.01, np.float32), np.ones((1, columns), np.float32)
    save_file({f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}, path)


def drawn(url: str, prompt: str) -> None:
    """Wait for the first picture of a small job."""
    request = {"prompt": prompt, "width": 64, "height": 64, "steps": 1}
    answer = httpx.post(f"{url}/v1/jobs", json={"kind": "txt2img", "request": request}, trust_env=False, timeout=600)
    answer.raise_for_status()
    job = f"{url}/v1/jobs/{answer.json()['id']}"
    while not (told := httpx.get(job, trust_env=False, timeout=600).json())["images"]:
        assert told["status"] in ("queued", "running"), told
        time.sleep(0.02)


def started(url: str, page: Page, begun: float, name: str) -> dict[str, float]:
    """Seconds from `begun` until the server answers."""
    start = time.perf_counter()
    drawn(url, f"a fox <lora:{name}:1>")
    job = time.perf_counter()
    opened(page, url)
    shown = time.perf_counter()
    while listed(url)[1].json()["more"]:
        time.sleep(0.1)
    told = {"start_s": start, "job_s": job, "page_s": start + shown - job, "warm_s": time.perf_counter()}
    return {name: round(seconds - begun, 1) for name, seconds in told.items()}


def in_page(page: Page, files: int) -> tuple[float, float]:
    opens: list[float] = []
    for _ in range(RUNS):
        opens.append(page.evaluate(OPEN))
        page.keyboard.press("Escape")
        page.evaluate("document.querySelectorAll('.card').forEach((card) => card.remove())")
        page.wait_for_timeout(1200)  # until the next check is due
    page.evaluate(OPEN)
    found = [page.evaluate(SEARCH, [f"word {n} ", f"lora-{n:05}"]) for n in range(files - RUNS, files)]
    return statistics.median(opens), statistics.median(found)


def measure(files: int, checkpoints: int, layers: int) -> dict[str, Any]:
    picture = io.BytesIO()
    Image.effect_mandelbrot((256, 384), (-2, -1, 1, 1), 50).save(picture, "PNG")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        checkpoint = folder / "models" / "Stable-diffusion" / "tiny.safetensors"
        checkpoint.parent.mkdir(parents=True)
        write_tiny_checkpoint(checkpoint)
        for number in range(1, checkpoints):
            shutil.copy(checkpoint, checkpoint.with_stem(f"tiny-{number:03}"))
        loras = folder / "models" / "Lora"
        for number in range(files):
            write_lora(loras / f"style-{number % 20}" / f"artist-{number % 7}", number, layers, picture.getvalue())
        write_usable_lora(loras / "usable.safetensors", checkpoint)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        begun = time.perf_counter()
        with palimpsest(folder, checkpoint) as url:
            first = started(url, browser.new_page(), begun, "usable")
        begun = time.perf_counter()
        with palimpsest(folder, checkpoint) as url:
            page = browser.new_page()
            second = started(url, page, begun, "usable")
            lists = [listed(url) for _ in range(RUNS)]
            panel, search = in_page(page, files)
            write_lora(loras, files, layers, picture.getvalue())
            begun = time.perf_counter()
            while len(listed(url, anew=True)[1].json()["cards"]) <= files + 1:
                time.sleep(0.05)
            new_file = time.perf_counter() - begun
        browser.close()
        return {
            "files": files,
            "checkpoints": checkpoints,
            "first": first,
            "second": second,
            "hashes": len(json.loads((folder / HASHES).read_text())),
            "list_ms": round(statistics.median(seconds for seconds, _ in lists) * 1000),
            "list_mb": round(len(lists[0][1].content) / 1e6, 2),
            "panel_ms": round(panel),
            "search_ms": round(search),
            "new_file_s": round(new_file, 2),
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--checkpoints", type=int, default=50)
    parser.add_argument("--layers", type=int, default=200)
    said = parser.parse_args()
    print(json.dumps(measure(said.files, said.checkpoints, said.layers)))
