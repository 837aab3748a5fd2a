"""The learning rate over a stage of training."""

import math


def rate_at(top: float, share: float, steps: int, warm_up: int, cooldown: float, floor: float) -> float:
    """Warm-up by steps, then flat, then a cosine down to `floor` of `top` over the last `cooldown` of the time."""
    late = max(0.0, (share - (1 - cooldown)) / cooldown) if cooldown else 0.0
    fall = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, late)))
    return top * min(1.0, (steps + 1) / warm_up) * fall
