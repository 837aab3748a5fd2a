"""From floats to bytes: rounded to the nearest, or truncated as in A1111."""

import numpy as np
from numpy.typing import NDArray


def to_bytes(values: NDArray[np.floating], is_exact: bool) -> NDArray[np.uint8]:
    """`values` of any shape, clipped to 0 … 255, as bytes. `is_exact` truncates them as A1111 does.

    Truncation darkens a picture by half a level on average, and again in each loop.

    >>> to_bytes(np.array([-1.0, 0.5, 1.6, 254.9]), is_exact=False), to_bytes(np.array([0.5, 1.6]), is_exact=True)
    (array([  0,   0,   2, 255], dtype=uint8), array([0, 1], dtype=uint8))
    """
    held = values.clip(0, 255)
    return (held if is_exact else np.around(held)).astype(np.uint8)
