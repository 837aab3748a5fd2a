"""Arguments of a LoRA tag from A1111's extension "LoRA Block Weight": `lbw=`, `start=`, `stop=`, `step=`.

`lbw` weights the text encoders and each UNet block separately. For Stable Diffusion 1 and 2 it has 26 numbers, one for
each of `BLOCKS`, or 17, one for each block that attends to the prompt; for XL, whose UNet has fewer blocks, 20 or 12.
It may also be the name of one of the extension's presets, which have 17.
"""

import math
import re
from typing import Final, NamedTuple

BLOCKS: Final = (
    "BASE", *(f"IN{number:02}" for number in range(12)), "M00", *(f"OUT{number:02}" for number in range(12)),
)  # fmt: skip
ATTENDING: Final = (
    "BASE", "IN01", "IN02", "IN04", "IN05", "IN07", "IN08", "M00",
    *(f"OUT{number:02}" for number in range(3, 12)),
)  # fmt: skip
XL_BLOCKS: Final = (
    "BASE", *(f"IN{number:02}" for number in range(9)), "M00", *(f"OUT{number:02}" for number in range(9)),
)  # fmt: skip
XL_ATTENDING: Final = (
    "BASE", "IN04", "IN05", "IN07", "IN08", "M00", *(f"OUT{number:02}" for number in range(6)),
)  # fmt: skip
_BY_COUNT: Final = {len(blocks): blocks for blocks in (BLOCKS, ATTENDING, XL_BLOCKS, XL_ATTENDING)}
LAST_STEP: Final = 10_000
_LIMIT: Final = re.compile(r"(?P<steps>[0-9]{1,8})(?:\.0*)?|(?P<share>0?\.[0-9]{1,8})")
_PRESETS: Final = {
    "NONE": "0" * 17, "ALL": "1" * 17, "INS": "11110000000000000", "IND": "10001110000000000",
    "INALL": "11111110000000000", "MIDD": "10001111111100000", "OUTD": "10000000111100000",
    "OUTS": "10000000000011111", "OUTALL": "10000000111111111",
}  # fmt: skip
_HALF: Final = "ALL0.5"
_ALONE: Final = {block: block for block in ATTENDING} | {"MID": "M00"}  # with the prefix N: all other blocks


class Window(NamedTuple):
    """The steps of a pass, counted from 0, in which a LoRA acts: from `start` up to, but not including, `stop`.

    A value between 0 and 1 is a fraction of the steps.
    """

    start: float = 0
    stop: float = LAST_STEP

    def of(self, steps: int) -> "Window":
        """The window in whole steps of a pass of `steps`; a fraction is at least one step, as in the extension."""
        return Window(*(max(1, round(limit * steps)) if 0 < limit < 1 else limit for limit in self))

    def within(self, other: "Window") -> "Window":
        """The steps that are in both windows."""
        return Window(max(self.start, other.start), min(self.stop, other.stop))


def block_weights(text: str) -> tuple[float, ...] | None:
    """The weights of all `BLOCKS` from the value of `lbw=`; None unless it is a preset or one of the counts above.

    A block without a number gets weight 0: the LoRA does not change it.

    >>> dict(zip(BLOCKS, block_weights("OUTS") or ()))["OUT08"], dict(zip(BLOCKS, block_weights("OUTS") or ()))["IN04"]
    (1.0, 0.0)
    """
    name = text.strip().upper()
    if name == _HALF:
        numbers = [0.5] * 17
    elif name in _PRESETS:
        numbers = [float(digit) for digit in _PRESETS[name]]
    elif name.removeprefix("N") in _ALONE:
        numbers = [float((block == _ALONE[name.removeprefix("N")]) != name.startswith("N")) for block in ATTENDING]
    else:
        try:
            numbers = [float(number) for number in text.split(",")]
        except ValueError:
            return None
    blocks = _BY_COUNT.get(len(numbers))
    if blocks is None or not all(map(math.isfinite, numbers)):
        return None
    given = dict(zip(blocks, numbers, strict=True))
    return tuple(given.get(block, 0.0) for block in BLOCKS)


def window(start: str | None, stop: str | None, steps: str | None) -> Window | None:
    """The steps from `start=`, `stop=` and `step=first-last`; None unless all are whole numbers or fractions.

    >>> window("3", None, None), window(None, None, "0.25-10"), window("x", None, None)
    (Window(start=3, stop=10000), Window(start=0.25, stop=10), None)
    """
    if steps is not None:
        first, dash, last = steps.partition("-")
        if not dash:
            return None
        start, stop = first or start, last or stop
    limits = [_limit(text) for text in (start or "0", stop or str(LAST_STEP))]
    return None if limits[0] is None or limits[1] is None else Window(limits[0], limits[1])


def _limit(text: str) -> float | None:
    match = _LIMIT.fullmatch(text.strip())
    if match is None:
        return None
    return min(int(match["steps"]), LAST_STEP) if match["steps"] else float(match["share"])
