"""Arguments of a LoRA's tag that A1111's extension "LoRA Block Weight" has: `lbw=`, `start=`, `stop=`, `step=`.

`lbw` weighs the text encoder and the UNet's blocks apart: 26 numbers, those of `BLOCKS`, or 17, those of the blocks
that attend to the prompt, or the name of one of the extension's presets.
"""

import math
from typing import Final, NamedTuple

BLOCKS: Final = (
    "BASE", *(f"IN{number:02}" for number in range(12)), "M00", *(f"OUT{number:02}" for number in range(12)),
)  # fmt: skip
ATTENDING: Final = (
    "BASE", "IN01", "IN02", "IN04", "IN05", "IN07", "IN08", "M00",
    *(f"OUT{number:02}" for number in range(3, 12)),
)  # fmt: skip
LAST_STEP: Final = 10_000
_PRESETS: Final = {
    "NONE": "0" * 17, "ALL": "1" * 17, "INS": "11110000000000000", "IND": "10001110000000000",
    "INALL": "11111110000000000", "MIDD": "10001111111100000", "OUTD": "10000000111100000",
    "OUTS": "10000000000011111", "OUTALL": "10000000111111111",
}  # fmt: skip
_HALF: Final = "ALL0.5"


class Window(NamedTuple):
    """The steps of a pass, counted from 0, in which a LoRA acts: from `start` on, before `stop`."""

    start: int = 0
    stop: int = LAST_STEP


def block_weights(text: str) -> tuple[float, ...] | None:
    """The weights of all `BLOCKS` that `lbw=` gives; None for what is neither a preset nor 17 or 26 numbers.

    >>> dict(zip(BLOCKS, block_weights("OUTS") or ()))["OUT08"], dict(zip(BLOCKS, block_weights("OUTS") or ()))["IN04"]
    (1.0, 0.0)
    """
    name = text.strip().upper()
    if name == _HALF:
        numbers = [0.5] * 17
    elif name in _PRESETS:
        numbers = [float(digit) for digit in _PRESETS[name]]
    else:
        try:
            numbers = [float(number) for number in text.split(",")]
        except ValueError:
            return None
    if len(numbers) not in (len(ATTENDING), len(BLOCKS)) or not all(map(math.isfinite, numbers)):
        return None
    given = dict(zip(BLOCKS if len(numbers) == len(BLOCKS) else ATTENDING, numbers, strict=True))
    return tuple(given.get(block, 0.0) for block in BLOCKS)


def window(start: str | None, stop: str | None, steps: str | None) -> Window | None:
    """The steps that `start=`, `stop=` and `step=first-last` give; None for what is no whole numbers.

    >>> window("3", None, None), window(None, None, "5-10"), window("x", None, None)
    (Window(start=3, stop=10000), Window(start=5, stop=10), None)
    """
    if steps is not None:
        first, dash, last = steps.partition("-")
        if not dash:
            return None
        start, stop = first or start, last or stop
    numbers = [number.strip() for number in (start or "0", stop or str(LAST_STEP))]
    if not all(number.isascii() and number.isdigit() and len(number) < 9 for number in numbers):
        return None
    return Window(int(numbers[0]), min(int(numbers[1]), LAST_STEP))
