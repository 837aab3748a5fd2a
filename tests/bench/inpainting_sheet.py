"""The picture in docs/inpainting.md: one source and mask, redrawn in each way with the bundled checkpoint.

python -m tests.bench.inpainting_sheet [--out docs/images/inpainting.png]
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from modules.base.events import Failed, ImageDone, Stop
from modules.base.picture import Picture
from modules.processing.engine import Engine, create_engine
from modules.schema.catalog import Checkpoint
from modules.schema.request import Img2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from modules.starter.sheets import save, sheet

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = Checkpoint("palimpsest-starter", ROOT / "models" / "Stable-diffusion" / "palimpsest-starter.safetensors")
START = ROOT / "docs" / "images" / "start.png"
SIDE = 256
PROMPT = "girl, red hair, light smile, city background, flat illustration"
BEHIND = "city background, flat illustration"
MARGIN = 48


def redrawn(engine: Engine, **fields: Any) -> Image.Image:
    request = Img2ImgRequest(**{"prompt": PROMPT, "seed": 5, "subseed": 1, "denoising_strength": 0.9, **fields})
    for event in engine.run(request, Settings(), Resources(BUNDLED), lambda: Stop.NONE):
        if isinstance(event, Failed):
            raise SystemExit(f"the job failed: {event.message}")
        if isinstance(event, ImageDone):
            return Image.frombytes("RGB", (event.width, event.height), event.pixels)
    raise SystemExit("the job made no picture")


def cells(engine: Engine) -> dict[str, Image.Image]:
    """A title and a picture each."""
    source = Image.open(START).convert("RGB").resize((SIDE, SIDE))
    mask = Image.new("L", source.size)
    ImageDraw.Draw(mask).ellipse((60, 25, 200, 110), fill=255)
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, SIDE).astype(np.uint8), (SIDE, 1)))
    soft = mask.filter(ImageFilter.GaussianBlur(9))
    tint = Image.blend(source, Image.new("RGB", source.size, (230, 40, 80)), 0.5)
    picture, masked = Picture.from_image(source), Picture.from_image(mask)
    base: dict[str, Any] = {"init_images": (picture,), "width": SIDE, "height": SIDE}
    outward = {f"outpaint_{side}": MARGIN for side in ("left", "right")}
    painted_on = redrawn(engine, init_images=(picture,), prompt=BEHIND, **outward)
    return {
        "source, mask tinted": Image.composite(tint, source, mask),
        "original": redrawn(engine, mask=masked, inpainting_fill=1, **base),
        "fill": redrawn(engine, mask=masked, inpainting_fill=0, **base),
        "latent noise": redrawn(engine, mask=masked, inpainting_fill=2, **base),
        "only masked": redrawn(engine, mask=masked, inpaint_full_res=1, **base),
        "soft inpainting": redrawn(engine, mask=Picture.from_image(soft), mask_blur=0, soft_inpainting=True, **base),
        "gray sets strength: 0 to 0.9 across": redrawn(
            engine, mask=Picture.from_image(ramp), mask_blur=0, mask_strength_by_grey=True, **base
        ),
        f"painted on, {MARGIN} px at each side": painted_on.resize((SIDE, SIDE * SIDE // painted_on.width)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "inpainting.png")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        made = cells(create_engine("auto", "auto", cache))
    tiles: list[np.ndarray[Any, np.dtype[np.float32]]] = []
    for image in made.values():
        tile = Image.new("RGB", (SIDE, SIDE), (40, 40, 44))
        tile.paste(image, (0, (SIDE - image.height) // 2))
        tiles.append(np.asarray(tile, np.float32) / np.float32(255))
    save(sheet(tiles, 4, list(made)), options.out)
    print(f"{len(tiles)} pictures in {options.out}")


if __name__ == "__main__":
    main()
