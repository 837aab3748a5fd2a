"""Builds the engine of the engine process from the flags."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from modules.extension.loading import load as load_extensions
from modules.networks.device import choose_placement, threads
from modules.networks.memory import MemoryMode
from modules.processing.engine.engine import Engine


def create_engine(
    device: str,
    precision: str,
    cache_dir: str,
    extensions_dir: str = "",
    merge_folder: str = "",
    memory: str = "auto",
    vae: str = "auto",
) -> Engine:
    """`device` is "auto" or "cpu", `precision` "auto" or "full", `memory` how checkpoints are held
    (`networks.memory.MemoryMode`), `vae` "auto" or "tiles".

    Jobs bring the files that they name. Merged checkpoints are written into `merge_folder`.
    """
    torch.set_num_threads(threads())
    place = choose_placement(use_cpu=device == "cpu", precision="full" if precision == "full" else "autocast")
    place = replace(place, tiles_vae=vae == "tiles")
    extensions = load_extensions(Path(extensions_dir) if extensions_dir else None)
    folder = Path(merge_folder) if merge_folder else None
    return Engine(place, Path(cache_dir), extensions, folder, memory=cast(MemoryMode, memory))
