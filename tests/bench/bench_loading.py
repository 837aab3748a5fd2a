"""Checkpoints of full size, made on the spot with random weights: how long they load, what memory that takes.

    python -m tests.bench.bench_loading [--family sd1|sdxl] [--folder /tmp] [--memory auto] [--precision auto]

Writes a fp16 file of the size of Stable Diffusion 1.5 (2.1 GB) or XL (6.9 GB), and a second one, and deletes them
afterwards. One JSON line per case, each from a fresh process:

    load      seconds of a plain sequential read of the file and of loading it in the engine, both warm; the peak
              increase of resident memory, relative to the file's size, with and without what is mapped from the file
              (which the system can reclaim); seconds of a step of 64x64 pixels
    switch    processor seconds of switching to the other checkpoint, which is loaded, and back
"""

import argparse
import json
import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from modules.base.events import EngineState, Failed, Finished, Stop
from modules.networks.ldm.layout import read_config
from modules.processing.engine import Engine, create_engine
from modules.schema.catalog import Checkpoint
from modules.schema.request import Txt2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from tests.tiny_line import CLIP_G, CLIP_L, TextPlace, Tiny, single_tensors

BLOCK = 2**24
MB = 1e6
REQUEST = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=1, seed=1)


def main() -> None:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # as set by the server
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--family", choices=("sd1", "sdxl"), default="sd1")
    parser.add_argument("--memory", default="auto")
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        files = [Path(folder) / f"{name}.safetensors" for name in ("one", "two")]
        for file in files:
            write_checkpoint(file, options.family)
        for case in (load, switch):
            report(case.__name__, **in_a_process(case, files, options.memory, options.precision))


def report(case: str, **figures: Any) -> None:
    print(json.dumps({"case": case, **figures}), flush=True)


def networks(family: str) -> Tiny:
    """The networks of a family at full size, without values."""
    kinds = {"sd1": [CLIPTextModel], "sdxl": [CLIPTextModel, CLIPTextModelWithProjection]}[family]
    parts = ("text_encoder", "text_encoder_2")
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel.from_config(read_config(family, "unet"))
        vae: Any = AutoencoderKL.from_config(read_config(family, "vae"))
        configs = [CLIPTextConfig(**read_config(family, part)) for part in parts[: len(kinds)]]
        texts = [kind(config) for kind, config in zip(kinds, configs, strict=True)]
    places = {
        "sd1": [TextPlace("cond_stage_model.transformer.text_model.", False)],
        "sdxl": [TextPlace(CLIP_L, False), TextPlace(CLIP_G, True)],
    }
    return Tiny(unet, vae, texts, places[family], parts, {})


def write_checkpoint(path: Path, family: str) -> None:
    """fp16 weights in the original layout, tensor by tensor. Each tensor contains the same random numbers."""
    tensors = single_tensors(networks(family))
    numbers = torch.randn(BLOCK, generator=torch.Generator().manual_seed(1))
    weights, ones = ((numbers * 0.02).half().numpy().tobytes(), torch.ones(BLOCK).half().numpy().tobytes())
    header: dict[str, Any] = {}
    place = 0
    for name, tensor in tensors.items():
        size = 2 * tensor.numel()
        header[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [place, place + size]}
        place += size
    written = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(written).to_bytes(8, "little") + written)
        for tensor in tensors.values():
            source, left = weights if tensor.ndim > 1 else ones, 2 * tensor.numel()
            while left:
                left -= file.write(source[:left])


def in_a_process(case: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(case, arguments)


def resident() -> tuple[float, float]:
    """Megabytes of this process at its peak, and how much of its present memory is mapped from files."""
    told = Path("/proc/self/status").read_text(encoding="utf-8")
    highest, mapped = (int(re.search(rf"{name}:\s+(\d+) kB", told)[1]) / 1e3 for name in ("VmHWM", "RssFile"))  # type: ignore[index]
    return highest, mapped


def plain_read(file: Path) -> float:
    begun = time.perf_counter()
    with file.open("rb", buffering=0) as stream:
        buffer = bytearray(BLOCK)
        while stream.readinto(buffer):
            pass
    return time.perf_counter() - begun


def took(engine: Engine, file: Path) -> None:
    for state in engine.load(Checkpoint(file.stem, file), Settings()):
        if isinstance(state, EngineState) and state.state == "failed":
            raise SystemExit(state.message)


def load(files: list[Path], memory: str, precision: str) -> dict[str, Any]:
    file, size = files[0], files[0].stat().st_size / MB
    plain_read(file)
    read = min(plain_read(file) for _ in range(3))
    with tempfile.TemporaryDirectory() as cache:
        engine = create_engine("auto", precision, cache, memory=memory)
        engine._hashes.short(file)  # the hash is stored, and computed only once
        before, _ = resident()
        begun, spent = time.perf_counter(), time.process_time()
        took(engine, file)
        seconds, processor = time.perf_counter() - begun, time.process_time() - spent
        after, mapped = resident()
        begun = time.perf_counter()
        events = list(engine.run(REQUEST, Settings(), Resources(Checkpoint(file.stem, file)), lambda: Stop.NONE))
        step = time.perf_counter() - begun
        if failed := [each for each in events if isinstance(each, Failed)]:
            raise SystemExit(failed[0].message)
        assert isinstance(events[-1], Finished)
        state = next(each for each in reversed(events) if isinstance(each, EngineState))
    return {
        "device": state.device,
        "machine_load": round(os.getloadavg()[0], 1),
        "file_mb": round(size),
        "read_s": round(read, 2),
        "load_s": round(seconds, 2),
        "load_cpu_s": round(processor, 2),
        "times_read": round(seconds / read, 2),
        "peak_mb": round(after - before),
        "mapped_mb": round(mapped),
        "peak_times_file": round((after - before) / size, 2),
        "peak_unmapped_times_file": round((after - before - mapped) / size, 2),
        "step_s": round(step, 2),
    }


def switch(files: list[Path], memory: str, precision: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as cache:
        engine = create_engine("auto", precision, cache, memory=memory)
        for file in files:
            took(engine, file)
        spent = time.process_time()
        for file in files:
            took(engine, file)
        return {"switch_and_back_cpu_s": round(time.process_time() - spent, 4), "loaded": len(engine._model_cache)}


if __name__ == "__main__":
    main()
