"""The same requests on the accelerator and on the CPU in fp32: same bytes twice, how far apart, how long.

    python -m tests.bench.bench_device

One JSON line per case and precision, on the bundled checkpoint at 256x256, 20 steps: seconds of two runs after a
warm-up run, whether they gave the same bytes, and the mean and the largest difference from the CPU's picture in steps
of 255, with PSNR. On a machine without CUDA, the CPU is compared with itself. The engine is called directly, so only
torch, diffusers and transformers must be installed.
"""

import io
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from modules.base.events import Failed, ImageDone, Stop
from modules.base.picture import Picture
from modules.processing.engine import Engine, create_engine
from modules.schema.catalog import Checkpoint
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = Checkpoint("palimpsest-starter", ROOT / "models" / "Stable-diffusion" / "palimpsest-starter.safetensors")
START = ROOT / "docs" / "images" / "start.png"
COMMON = {
    "prompt": "watercolor, light smile, Sakura background",
    "steps": 20,
    "cfg_scale": 7.0,
    "width": 256,
    "height": 256,
    "seed": 5,
    "subseed": 1,
    "scheduler": "Karras",
}

Pixels = npt.NDArray[np.int64]


def as_picture(image: Image.Image) -> Picture:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return Picture.from_bytes(buffer.getvalue())


def requests() -> dict[str, GenerationRequest]:
    start = as_picture(Image.open(START).convert("RGB").resize((256, 256)))
    white = Image.new("L", (256, 256))
    white.paste(255, (60, 60, 200, 180))
    source = {**COMMON, "init_images": (start,)}
    return {
        "txt2img, DPM++ 2M": Txt2ImgRequest(sampler_name="DPM++ 2M", **COMMON),
        "txt2img, DPM++ 2M SDE": Txt2ImgRequest(sampler_name="DPM++ 2M SDE", **COMMON),
        "img2img 0.6, DPM++ 2M": Img2ImgRequest(sampler_name="DPM++ 2M", denoising_strength=0.6, **source),
        "img2img 0.6, Euler a": Img2ImgRequest(sampler_name="Euler a", denoising_strength=0.6, **source),
        "inpaint 0.8, DPM++ 2M": Img2ImgRequest(
            sampler_name="DPM++ 2M", denoising_strength=0.8, mask=as_picture(white), **source
        ),
        "txt2img, four of 512x512": Txt2ImgRequest(
            sampler_name="DPM++ 2M", **{**COMMON, "width": 512, "height": 512, "batch_size": 4}
        ),
    }


def run(engine: Engine, request: GenerationRequest) -> tuple[Pixels, float]:
    begun = time.perf_counter()
    pixels: list[Pixels] = []
    for event in engine.run(request, Settings(), Resources(BUNDLED), lambda: Stop.NONE):
        if isinstance(event, Failed):
            raise SystemExit(f"the job failed: {event.message}")
        if isinstance(event, ImageDone):
            pixels.append(np.frombuffer(event.pixels, np.uint8).astype(np.int64))
    return np.stack(pixels), time.perf_counter() - begun


def main() -> None:
    with tempfile.TemporaryDirectory() as cache:
        cpu = create_engine("cpu", "full", cache)
        ours = {precision: create_engine("auto", precision, cache) for precision in ("auto", "full")}
        for name, request in requests().items():
            reference, seconds = run(cpu, request)
            print(json.dumps({"case": name, "on": "CPU, fp32", "s": round(seconds, 3)}), flush=True)
            for precision, engine in ours.items():
                run(engine, request)
                (one, first), (other, second) = run(engine, request), run(engine, request)
                apart = np.abs(one - reference)
                error = float((apart.astype(float) ** 2).mean())
                row = {
                    "case": name,
                    "on": precision,
                    "s": [round(first, 3), round(second, 3)],
                    "same_bytes_twice": bool(np.array_equal(one, other)),
                    "mean_difference": round(float(apart.mean()), 3),
                    "largest_difference": int(apart.max()),
                    "psnr": round(-10 * float(np.log10(max(error, 1e-9) / 255**2)), 1),
                }
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
