"""Brownian motion from a seed, queried for increments: torchsde's dyadic tree, number for number, with less work.

Li et al. 2020, arXiv 2001.01328. An interval is halved until one end matches a queried level; the increment over a
half is drawn from a seed that depends only on the half's position, so the path is the same whatever is queried, and
when. The tree is that of torchsde's `BrownianInterval(halfway_tree=True, tol=1e-6, pool_size=24)`, which k-diffusion
uses; `tests/sampling/test_brownian.py` compares the two. It needs half as many draws, since both halves of an interval
come from one, and its seeds are computed without the full pool of numpy's seed sequence.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from torch import Tensor

DIGITS = 6  # decimals: levels that agree in these count as the same
POOL_SIZE = 24  # words of numpy's seed sequence
REMEMBERED = 96  # increments; two paths of 24 halvings and their neighbors

# numpy's SeedSequence, after O'Neill 2015, "Developing a seed_seq alternative".
MASK = 0xFFFFFFFF
INIT_A, MULT_A = 0x43B0D7E5, 0x931E8875
INIT_B, MULT_B = 0x8B51F9DD, 0x58F38DED
MIX_L, MIX_R = 0xCA01F9DD, 0x4973F715

Draw = Callable[[int], Tensor]
"""seed -> standard normal numbers of one shape."""


class Seeds:
    """The first word that `SeedSequence(entropy, spawn_key=(a, b), pool_size=POOL_SIZE)` generates, for many (a, b).

    That word depends only on the pool's first one, and the pool before the spawn key only on the entropy.
    """

    def __init__(self, entropy: int) -> None:
        sequence = np.random.SeedSequence(entropy, pool_size=POOL_SIZE)
        self.first = int(sequence.generate_state(1)[0])
        self._pool = int(sequence.pool[0])

    def of(self, *spawn_key: int) -> int:
        """The word of a spawn key; each of its numbers has one word (below 2^32)."""
        pool = self._pool
        for word, (before, after) in zip(spawn_key, _HASHES, strict=False):
            hashed = (word ^ before) * after & MASK
            mixed = (MIX_L * pool - MIX_R * (hashed ^ hashed >> 16)) & MASK
            pool = mixed ^ mixed >> 16
        state = (pool ^ INIT_B) * (INIT_B * MULT_B & MASK) & MASK
        return state ^ state >> 16


def _hash(n: int) -> int:
    """The n-th hash constant."""
    return INIT_A * pow(MULT_A, n, 2**32) & MASK


# Of the pool's first word, for a spawn key's two words: after the pool's own mixing, one round through the pool each.
_HASHES = [(_hash(n), _hash(n + 1)) for n in (POOL_SIZE**2, POOL_SIZE**2 + POOL_SIZE)]


class Interval:
    """An interval of the tree; `middle` is where its halves meet."""

    __slots__ = ("_halves", "depth", "end", "key", "middle", "parent", "start")

    def __init__(self, start: float, end: float, parent: Interval | None, key: int, depth: int) -> None:
        self.start, self.end, self.parent, self.key, self.depth = start, end, parent, key, depth
        self.middle = round(0.5 * (end + start), DIGITS)
        self._halves: tuple[Interval, Interval] | None = None

    @property
    def halves(self) -> tuple[Interval, Interval]:
        if self._halves is None:
            depth = self.depth + 1
            left = Interval(self.start, self.middle, self, 2 * self.key, depth)
            self._halves = left, Interval(self.middle, self.end, self, 2 * self.key + 1, depth)
        return self._halves

    def pieces(self, start: float, end: float) -> list[Interval]:
        """The largest intervals of the tree that cover start … end, in order."""
        if (start, end) == (self.start, self.end):
            return [self]
        left, right = self.halves
        if end <= self.middle:
            return left.pieces(start, end)
        if start >= self.middle:
            return right.pieces(start, end)
        return left.pieces(start, self.middle) + right.pieces(self.middle, end)


class BrownianPath:
    """A Brownian motion over start … end; `draw` makes a seed's numbers."""

    def __init__(self, start: float, end: float, entropy: int, draw: Draw) -> None:
        self._seeds = Seeds(entropy)
        self._draw = draw
        self._whole = Interval(round(start, DIGITS), round(end, DIGITS), None, 0, 0)
        self._increment = draw(self._seeds.first) * math.sqrt(end - start)
        self._remembered: OrderedDict[Interval, Tensor] = OrderedDict()

    def __call__(self, start: float, end: float) -> Tensor:
        """The increment from start to end, start < end, both inside the path's range."""
        start, end = round(start, DIGITS), round(end, DIGITS)
        if start == end:
            return self._increment.new_zeros(self._increment.shape)
        first, *others = self._whole.pieces(start, end)
        total = self._over(first)
        for piece in others:
            total = total + self._over(piece)
        return total

    def _over(self, interval: Interval) -> Tensor:
        parent = interval.parent
        if parent is None:
            return self._increment
        if interval not in self._remembered:
            self._halve(parent)
        self._remembered.move_to_end(interval)
        return self._remembered[interval]

    def _halve(self, interval: Interval) -> None:
        """Draw the increments over both halves: Li et al. 2020, section 4, the Brownian bridge."""
        whole = self._over(interval)
        left, right = interval.halves
        before, after = interval.middle - interval.start, interval.end - interval.middle
        share = 1 / (interval.end - interval.start)
        noise = self._draw(self._seeds.of(interval.key, interval.depth))
        self._remembered[left] = noise.mul_(math.sqrt(before * after * share)).add_((before * whole).mul_(share))
        self._remembered[right] = whole - self._remembered[left]
        while len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
