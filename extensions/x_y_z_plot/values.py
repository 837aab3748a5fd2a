"""Parses the text of an axis into values: comma lists with CSV quotes, ranges, steps and counts.

1,3,5    1-5    1-5 (+2)    1-10 [5]    "a, b",c
"""

import csv
import itertools
import re
from collections.abc import Sequence
from io import StringIO
from math import factorial
from typing import Literal

import numpy as np

from modules.base.errors import WebuiError

Grammar = Literal["whole", "number", "text", "orders"]

MOST = 1000  # values of one axis
_WHOLE = r"[+-]?\s*\d+"
_NUMBER = r"[+-]?\s*\d+(?:\.\d*)?"
RANGES = {
    kind: re.compile(
        rf"(?P<start>{number})\s*-\s*(?P<end>{number})"
        rf"(?:\s*\((?P<step>[+-]{number.removeprefix('[+-]?')})\s*\)|\s*\[(?P<count>\d+)\s*\])?"
    )
    for kind, number in (("whole", _WHOLE), ("number", _NUMBER))
}


def listed(text: str) -> list[str]:
    """The items of a comma list; a quoted item may contain commas."""
    return [item.strip() for row in csv.reader(StringIO(text), skipinitialspace=True) for item in row]


def joined(items: Sequence[str]) -> str:
    """The comma list of `items`, quoted where needed."""
    file = StringIO()
    csv.writer(file).writerow(items)
    return file.getvalue().strip()


def values(items: Sequence[str], grammar: Grammar, label: str) -> list[int] | list[float] | list[str]:
    """`items` as values of the axis `label`; for "orders", comma lists of all permutations of the items.

    Raises WebuiError if an item cannot be read, or if there are too many.
    """
    if grammar == "orders":
        if factorial(len(items)) > MOST:
            raise WebuiError(
                f"{label}: {len(items)} words have {factorial(len(items))} orders, at most {MOST} values are allowed."
            )
        return [joined(order) for order in itertools.permutations(items)]
    if grammar == "text":
        return list(items)
    found: list[float] = []
    for item in items:
        if item:
            found += _numbers(item, grammar, label)
        if len(found) > MOST:
            raise WebuiError(f"{label} = {item!r}: more than {MOST} values.", "Use a larger step.")
    return [int(value) for value in found] if grammar == "whole" else found


def _numbers(item: str, grammar: Grammar, label: str) -> list[float]:
    match = RANGES[grammar].fullmatch(item)
    if match is None:
        try:
            return [int(item) if grammar == "whole" else float(item)]
        except ValueError:
            kind = "a whole number" if grammar == "whole" else "a number"
            raise WebuiError(
                f"{label} = {item[:60]!r}: expected {kind}, or a range such as 1-5, 1-5 (+2) or 1-10 [5]."
            ) from None
    start, end = (_number(match[side], grammar) for side in ("start", "end"))
    if match["count"] is not None:
        count = min(int(match["count"]), MOST + 1)
        return np.linspace(start, end, count).tolist()
    step = _number(match["step"], grammar) if match["step"] is not None else 1
    if step == 0:
        raise WebuiError(f"{label} = {item!r}: the step must not be 0.")
    # As in A1111, ranges of whole numbers stop at the end; others may go one step past it.
    stop = end + 1 if grammar == "whole" else end + step
    if (stop - start) / step > MOST:
        raise WebuiError(f"{label} = {item!r}: more than {MOST} values.", "Use a larger step.")
    if grammar == "whole":  # exact: a seed has up to 64 bits, a float only 53
        return list(range(int(start), int(stop), int(step)))
    return np.arange(start, stop, step).tolist()


def _number(text: str, grammar: Grammar) -> int | float:
    plain = "".join(text.split())
    return int(plain) if grammar == "whole" else float(plain)
