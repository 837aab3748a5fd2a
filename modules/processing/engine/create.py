"""What the engine process builds from its flags."""

import os
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from modules.extension.loading import load as load_extensions
from modules.networks.device import choose_place, threads
from modules.networks.memory import Asked
from modules.processing.engine.engine import Engine


def create_engine(
    device: str,
    precision: str,
    cache_dir: str,
    extensions_dir: str = "",
    checkpoint_dirs: str = "",
    lora_dirs: str = "",
    embedding_dirs: str = "",
    vae_dirs: str = "",
    memory: str = "auto",
    vae: str = "auto",
) -> Engine:
    """`device` is "auto" or "cpu", `precision` "auto" or "full", `memory` how checkpoints are held
    (`networks.memory.Asked`), `vae` "auto" or "tiles".

    `checkpoint_dirs`, with the system's path separator between them, are where scripts find other checkpoints;
    `lora_dirs` and `embedding_dirs` where the LoRAs and embeddings lie that prompts name, `vae_dirs` where the VAEs do
    that the setting names.
    """
    torch.set_num_threads(threads())
    place = choose_place(use_cpu=device == "cpu", precision="full" if precision == "full" else "autocast")
    place = replace(place, tiles_vae=vae == "tiles")
    extensions = load_extensions(Path(extensions_dir) if extensions_dir else None)
    dirs = (_paths(checkpoint_dirs), _paths(lora_dirs), _paths(embedding_dirs), _paths(vae_dirs))
    return Engine(place, Path(cache_dir), extensions, *dirs, memory=cast(Asked, memory))


def _paths(joined: str) -> list[Path]:
    return [Path(path) for path in joined.split(os.pathsep) if path]
