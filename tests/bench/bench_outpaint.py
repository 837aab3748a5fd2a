"""How visible the edge of an outpainted picture is, and how near the new part comes to what is really there.

    python -m tests.bench.bench_outpaint [--size 512] [--margin 128] [--steps 20] [--fills 0 1 2 3] [--out FOLDER]

The sources are the middles of larger drawings of the starter's world, so the area beyond their edges is known. The
prompts describe that area, not the subject: a model that reads "girl" paints girls wherever there is room.
One JSON line for each picture and fill:

    kept           whether every byte of the old part is unchanged
    step           across each of the four edges, the mean of the first new pixels minus that of the last old ones,
                   in steps of 255; the largest channel, by side
    step_inside    the same between the last two rows of old pixels: the picture's own change there
    apart          the mean distance (all channels) across the edge, pixel by pixel, by side
    off            distance (CIE L*a*b*, both blurred by 4 pixels) of the new part to the drawing
    detail         fine contrast of the new part divided by the drawing's: below 1 is blurred
    seconds        of the job
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modules.base.picture import Picture
from modules.processing.engine import Engine, create_engine
from modules.schema.intents import intent
from modules.schema.request import OUTPAINT_FILLS, Img2ImgRequest
from modules.starter.spec import FIRST, random_spec
from modules.starter.world import draw, tutorial_start
from tests.bench.bench_img2img import BUNDLED
from tests.bench.bench_intents import Pixels, bytes_of, contrast, distance, rendered

SIDES = ("left", "top", "right", "bottom")
CHOSEN = intent("expand").values


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=512, help="sides of the source in pixels (default: %(default)s)")
    parser.add_argument("--margin", type=int, default=128, help="pixels on each side (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="(default: %(default)s)")
    strength, feather = CHOSEN["denoising_strength"], CHOSEN["outpaint_feather"]
    parser.add_argument("--strength", type=float, default=strength, help="denoising strength (default: %(default)s)")
    parser.add_argument("--feather", type=int, default=feather, help="pixels (default: %(default)s)")
    parser.add_argument("--fills", type=int, nargs="+", default=list(range(len(OUTPAINT_FILLS))), help="(default: all)")
    parser.add_argument("--sources", type=int, default=2, help="how many of the drawings (default: %(default)s)")
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED)
    parser.add_argument("--out", type=Path, help="folder for the pictures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        engine = create_engine("auto", "auto", cache)
        for name, prompt, drawing in list(drawings(options.size + 2 * options.margin))[: options.sources]:
            for fill in options.fills:
                started = time.perf_counter()
                result = outpainted(engine, options, middle(drawing, options.margin), prompt, fill)
                seconds = time.perf_counter() - started
                if options.out:
                    options.out.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(result).save(options.out / f"{name}-{fill}.png")
                line = {"source": name, "fill": OUTPAINT_FILLS[fill], **measured(drawing, result, options.margin)}
                print(json.dumps({**line, "seconds": round(seconds, 1)}), flush=True)


def drawings(size: int) -> Iterator[tuple[str, str, Pixels]]:
    """(name, prompt, pixels)."""
    _, girl = tutorial_start(size)
    yield "girl", "no humans, scenery, flat illustration, city background", bytes_of(girl)
    spec = random_spec(random.Random(5), FIRST, style="flat", background="sunset", portrait=False)
    scene = replace(spec, outlined=False, damage=None)
    yield "scene", "no humans, scenery, flat illustration, sunset background", bytes_of(draw(scene, size))


def middle(drawing: Pixels, margin: int) -> Pixels:
    return np.ascontiguousarray(drawing[margin:-margin, margin:-margin])


def outpainted(engine: Engine, options: argparse.Namespace, source: Pixels, prompt: str, fill: int) -> Pixels:
    values: dict[str, Any] = {f"outpaint_{side}": options.margin for side in SIDES}
    request = Img2ImgRequest(
        prompt=prompt, init_images=(Picture.from_image(Image.fromarray(source)),), seed=1, subseed=1, cfg_scale=5.0,
        sampler_name="DPM++ 2M", scheduler="Karras", steps=options.steps, denoising_strength=options.strength,
        outpaint_fill=fill, outpaint_feather=options.feather, **values,
    )  # fmt: skip
    return rendered(engine, options.checkpoint, request)


def measured(drawing: Pixels, result: Pixels, margin: int) -> dict[str, Any]:
    source = middle(drawing, margin)
    height, width = source.shape[:2]
    old = middle(result, margin).astype(float)
    whole = result.astype(float)
    down, across = slice(margin, margin + height), slice(margin, margin + width)
    edges = {
        "left": (old[:, 0], whole[down, margin - 1], old[:, 1]),
        "top": (old[0], whole[margin - 1, across], old[1]),
        "right": (old[:, -1], whole[down, margin + width], old[:, -2]),
        "bottom": (old[-1], whole[margin + height, across], old[-2]),
    }
    new = np.ones(result.shape[:2], bool)
    new[down, across] = False
    return {
        "kept": bool((old == source).all()),
        "step": {side: largest(beyond - edge) for side, (edge, beyond, _) in edges.items()},
        "step_inside": {side: largest(edge - within) for side, (edge, _, within) in edges.items()},
        "apart": {side: round(float(np.abs(beyond - edge).mean()), 1) for side, (edge, beyond, _) in edges.items()},
        "off": round(distance(result, drawing, new), 2),
        "detail": round(contrast(result, new) / contrast(drawing, new), 2),
    }


def largest(difference: NDArray[np.float64]) -> float:
    """The largest absolute mean of a channel."""
    return round(float(np.abs(difference.mean(axis=0)).max()), 1)


if __name__ == "__main__":
    main()
