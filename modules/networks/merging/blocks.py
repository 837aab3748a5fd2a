"""The weights of a merge per block, in the notation of the "merge block weighted" tools. Does not import torch.

26 values are for Stable Diffusion 1 and 2: BASE, IN00 to IN11, M00, OUT00 to OUT11. 20 values are for XL: BASE, IN00 to
IN08, M00, OUT00 to OUT08; a 21st is for the VAE. As in these tools, the time embedding counts as IN00, the layers after
the last block count as the last OUT, and BASE is everything outside the UNet.
"""

import math
import re
from dataclasses import dataclass
from typing import Final

from modules.base.errors import WebuiError
from modules.networks.files.detect import UNET, VAE

FIELD: Final = "block_weights"
SD_COUNT, XL_COUNT, XL_VAE_COUNT = 26, 20, 21
LARGEST: Final = 10.0  # largest weight, positive or negative
_BLOCK: Final = re.compile(r"(input|output)_blocks\.(\d+)\.")
_BEFORE: Final = ("time_embed.", "label_emb.")  # layers before the input blocks


@dataclass(frozen=True)
class BlockWeights:
    """One weight for each block. If `vae` is None, the VAE uses `base`."""

    base: float
    inputs: tuple[float, ...]
    middle: float
    outputs: tuple[float, ...]
    vae: float | None = None

    @property
    def is_xl(self) -> bool:
        return len(self.inputs) == (XL_COUNT - 2) // 2

    def of(self, key: str) -> float:
        """The weight of a tensor by its key in a checkpoint. Raises WebuiError for a block that has no weight."""
        if key.startswith(VAE):
            return self.base if self.vae is None else self.vae
        if not key.startswith(UNET):
            return self.base
        name = key.removeprefix(UNET)
        if match := _BLOCK.match(name):
            weights, number = (self.inputs if match[1] == "input" else self.outputs), int(match[2])
            if number >= len(weights):
                raise WebuiError(
                    f"{FIELD}: there is no value for the {match[1]} block {number} of the checkpoint.",
                    f"Stable Diffusion 1 and 2 take {SD_COUNT} values, XL {XL_COUNT} or {XL_VAE_COUNT}.",
                    FIELD,
                )
            return weights[number]
        if name.startswith("middle_block."):
            return self.middle
        if name.startswith("out."):
            return self.outputs[-1]
        return self.inputs[0] if name.startswith(_BEFORE) else self.base


def parse_block_weights(text: str) -> BlockWeights | None:
    """Parses numbers separated by commas, spaces or line breaks; None for an empty text.

    Raises WebuiError for a wrong count, or for text that is not a number.
    """
    words = re.split(r"[\s,]+", text.strip().strip(","))
    if words == [""]:
        return None
    weights = [_number(word) for word in words]
    if len(weights) not in (SD_COUNT, XL_COUNT, XL_VAE_COUNT):
        raise WebuiError(
            f"{FIELD}: {len(weights)} values, expected {SD_COUNT} (Stable Diffusion 1 and 2), {XL_COUNT} (XL) or "
            f"{XL_VAE_COUNT} (XL and its VAE).",
            "",
            FIELD,
        )
    side = 12 if len(weights) == SD_COUNT else 9
    middle = side + 1
    outputs = tuple(weights[middle + 1 : middle + 1 + side])
    vae = weights[-1] if len(weights) == XL_VAE_COUNT else None
    return BlockWeights(weights[0], tuple(weights[1:middle]), weights[middle], outputs, vae)


def _number(word: str) -> float:
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not abs(number) <= LARGEST:
        raise WebuiError(f"{FIELD}: {word[:40]!r}: expected a number from {-LARGEST:g} to {LARGEST:g}.", "", FIELD)
    return number
