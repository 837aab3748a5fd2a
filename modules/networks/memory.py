"""How much memory a checkpoint takes, and how to hold it on the device: whole, part by part or layer by layer."""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from modules.base.errors import WebuiError
from modules.networks.device import Mode, Placement
from modules.networks.files.ggufs import header_of

MemoryMode = Literal["auto", "whole", "parts", "parts-sdxl", "layers"]
Fp8 = Literal["Disable", "Enable for SDXL", "Enable"]

LEFT_FREE: Final = 2 * 2**30  # bytes reserved for the computation itself
LARGE: Final = 2 * 2**30  # number of weights of a part: SDXL's UNet has 2.6 billion, those of SD 1 and 2 have 0.9
_STORED: Final = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1}
_NOT_LOADED: Final = "model_ema"  # a second copy of the weights for training
_ON_DISK: Final = 2  # bytes per number in a file whose header is not read
_PART_OF_WHOLE: Final = 0.8  # the denoiser's share of a checkpoint in most families
_LAYER_OF_WHOLE: Final = 0.05


@dataclass(frozen=True)
class Needs:
    """Bytes of a checkpoint's weights in the type they compute in: all, the largest part, the largest tensor."""

    whole: int
    part: int
    layer: int

    def of(self, mode: Mode) -> int:
        return {"whole": self.whole, "parts": self.part, "layers": self.layer}[mode]

    def beside(self, other: "Needs") -> "Needs":
        """Of both together, with `other` a part of its own."""
        return Needs(self.whole + other.whole, max(self.part, other.part), max(self.layer, other.layer))


def needs_of(path: Path, place: Placement) -> Needs:
    """From the header of a safetensors file, or the size of any other file or folder; 0 if it does not exist."""
    size = place.dtype.itemsize
    try:
        header = header_of(path) if path.is_file() else None
        if header is not None:
            parts: Counter[str] = Counter()
            largest = 0
            for key, info in header.items():
                part = key.partition(".")[0]
                if info.dtype in _STORED and part != _NOT_LOADED:
                    numbers = math.prod(info.shape)
                    parts[part] += numbers
                    largest = max(largest, numbers)
            return Needs(parts.total() * size, max(parts.values(), default=0) * size, largest * size)
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        whole = sum(file.stat().st_size for file in files) // _ON_DISK * size
    except (OSError, WebuiError):  # loading reports this error
        return Needs(0, 0, 0)
    return Needs(whole, int(whole * _PART_OF_WHOLE), int(whole * _LAYER_OF_WHOLE))


def mode_for(needs: Needs, free: int, memory: MemoryMode, place: Placement) -> Mode:
    """How to hold a checkpoint when `free` bytes are available, unless the command line decides.

    "parts-sdxl" means checkpoints of the size of Stable Diffusion XL.
    """
    if memory == "parts-sdxl":
        memory = "parts" if is_large(needs, place) else "auto"
    if memory != "auto":
        return memory
    if needs.whole + LEFT_FREE <= free:
        return "whole"
    return "parts" if needs.part + LEFT_FREE <= free else "layers"


def is_large(needs: Needs, place: Placement) -> bool:
    """Whether a checkpoint has the size of Stable Diffusion XL."""
    return needs.part // place.dtype.itemsize >= LARGE


def takes_fp8(needs: Needs, setting: Fp8, place: Placement) -> bool:
    """Whether the denoiser's weights are stored as 8-bit numbers."""
    return setting == "Enable" or (setting == "Enable for SDXL" and is_large(needs, place))
