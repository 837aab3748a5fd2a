"""What a whole-picture redraw did not mean to change is given back, byte for byte."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modules.images.changes import found_changes, laid_over
from modules.processing.plan import Keeping

Note = Callable[[str], None]


def kept(
    pixels: NDArray[np.uint8], source: Image.Image, keeping: Keeping, note: Note
) -> tuple[NDArray[np.uint8], Image.Image]:
    """`pixels` (H, W, 3) where they were meant to differ from `source` (RGB, same size), the source's bytes elsewhere.

    Also returns the opacity (L) with which the change lies over the source. `note` gets a sentence for the user if
    all or nothing changed.
    """
    before = np.asarray(source)
    changes = found_changes(before, pixels, keeping.sensitivity)
    if not changes.mask.any():
        note(
            "Change only what was asked: nothing changed enough to count, so the result is the source. Raise Denoising "
            "strength or Change sensitivity."
        )
    elif changes.mask.all():
        note(
            "Change only what was asked: nearly everything changed, so nothing was kept. Lower Denoising strength or "
            "paint a mask."
        )
    result, opacity = laid_over(before, changes.aligned, changes.mask, keeping.grow, keeping.feather)
    return result, Image.fromarray(opacity, "L")
