"""What the sampling loop costs beside the UNet's forward passes, as a share of a step.

    python -m tests.bench.bench_sampler --checkpoint FILE [--pixels 256] [--steps 20]

One JSON line a sampler, processor time on one thread: `own_percent` is everything between the first step and the last
(sampler, guidance, prompt timeline, events) that is not a forward pass; the aim is 1.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modules.catalog import Checkpoint
from modules.events import Failed, Staged, Stop
from modules.networks import checkpoint as checkpoint_module
from modules.processing.engine import Engine, create_engine
from modules.request import Txt2ImgRequest
from modules.settings import Settings

SAMPLERS = ("Euler", "DPM++ 2M", "Euler a", "UniPC", "DPM++ 2M SDE")


class Meter:
    """Processor seconds inside a module's forward, calls included in calls counted once."""

    def __init__(self, module: nn.Module) -> None:
        self.seconds = 0.0
        self._begun = 0.0
        module.register_forward_pre_hook(self._begin)
        module.register_forward_hook(self._end)

    def _begin(self, *_: Any) -> None:
        self._begun = time.process_time()

    def _end(self, *_: Any) -> None:
        self.seconds += time.process_time() - self._begun


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--pixels", type=int, default=256, help="width and height (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    meters: list[Meter] = []
    made = checkpoint_module.UNet2DConditionModel.__init__

    def metered(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        meters.append(Meter(self))

    checkpoint_module.UNet2DConditionModel.__init__ = metered  # the engine keeps its model to itself
    with tempfile.TemporaryDirectory() as cache:
        engine = create_engine("cpu", "full", cache)
        torch.set_num_threads(1)
        for name in SAMPLERS:
            print(json.dumps({"bench": "sampler_loop", "sampler": name, **share(engine, meters, name, options)}))


def share(engine: Engine, meters: list[Meter], name: str, options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of a step and the percent of it that are the loop's own."""
    request = Txt2ImgRequest(
        prompt="a red fox", sampler_name=name, steps=options.steps, width=options.pixels, height=options.pixels,
        seed=1, subseed=1,
    )  # fmt: skip
    checkpoint = Checkpoint(options.checkpoint.stem, options.checkpoint)
    begun = inside = whole = forward = 0.0
    for event in engine.run(request, Settings(live_previews_enable=False), checkpoint, lambda: Stop.NONE):
        assert not isinstance(event, Failed), event
        if event == Staged("sampling"):
            begun, inside = time.process_time(), meters[-1].seconds
        if event == Staged("decoding"):
            whole, forward = time.process_time() - begun, meters[-1].seconds - inside
    return {
        "step_ms": round(1000 * whole / options.steps, 2),
        "own_percent": round(100 * (whole - forward) / whole, 2),
    }


if __name__ == "__main__":
    main()
