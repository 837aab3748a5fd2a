"""What the sampling loop costs beside the forward passes of the same run, on the bundled checkpoint.

    python -m tests.bench.bench_loop [--runs 3] [--pixels 256]

One JSON line per sampler: the median over the runs of a step's milliseconds (from the start of sampling to the last
step, without text encoding), and of the part outside the UNet for sampler, guidance, noise and events, in milliseconds
and in percent. Milliseconds are processor time of the sampling thread, including the UNet: on a busy machine the wall
clock is meaningless. What a sampler prepares once per pass (its Brownian tree, levels and prompts) is divided among the
steps. Live previews are off.
"""

import argparse
import json
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

from modules.base.events import Finished, Staged, Stepped, Stop
from modules.processing.engine import Engine, create_engine
from modules.schema.catalog import Checkpoint
from modules.schema.request import Txt2ImgRequest
from modules.schema.resources import Resources
from modules.schema.sampler_names import SAMPLERS
from modules.schema.settings import Settings

BUNDLED = Path(__file__).resolve().parents[2] / "models" / "Stable-diffusion" / "palimpsest-starter.safetensors"
STEPS = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3, help="runs that count (default: %(default)s)")
    parser.add_argument("--pixels", type=int, default=256)
    parser.add_argument("--only", nargs="*", help="names of samplers (default: all)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache, ExitStack() as stack:
        engine = create_engine("auto", "auto", cache)
        # The engine's clock for its stages.
        stack.enter_context(patch.object(time, "perf_counter", time.thread_time))
        once(engine, "Euler", options.pixels)
        for sampler in SAMPLERS:
            if options.only and sampler.name not in options.only:
                continue
            runs = [once(engine, sampler.name, options.pixels) for _ in range(options.runs)]
            own = statistics.median(loop - unet for loop, unet in runs)
            whole = statistics.median(loop for loop, _ in runs)
            print(
                json.dumps(
                    {
                        "case": "loop",
                        "sampler": sampler.name,
                        "step_ms": round(1000 * whole / STEPS, 2),
                        "own_ms": round(1000 * own / STEPS, 2),
                        "own_percent": round(100 * own / whole, 2),
                    }
                ),
                flush=True,
            )


def once(engine: Engine, sampler: str, pixels: int) -> tuple[float, float]:
    """Seconds of the loop without text encoding, and of the UNet within it."""
    request = Txt2ImgRequest(
        prompt="girl, city background",
        sampler_name=sampler,
        steps=STEPS,
        width=pixels,
        height=pixels,
        seed=1,
        subseed=1,
    )
    settings = Settings(live_previews_enable=False)
    begun = ended = 0.0
    for event in engine.run(request, settings, Resources(Checkpoint(BUNDLED.stem, BUNDLED)), lambda: Stop.NONE):
        if isinstance(event, Staged) and event.stage == "sampling" and not begun:
            begun = time.thread_time()
        if isinstance(event, Stepped):
            ended = time.thread_time()
        if isinstance(event, Finished):
            told = event.timings
            return ended - begun - told.get("text_encoder", 0.0), told["unet"]
    raise SystemExit("the run did not end")


if __name__ == "__main__":
    main()
