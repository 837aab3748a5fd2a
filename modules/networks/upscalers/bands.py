"""Applies a network to a picture of any size: overlapping tiles, blended without seams, one row of tiles at a time.

Each tile is evaluated with a margin of its neighbors' pixels. Near the border between two tiles, their results fade
into each other; further out, where the edge of the margin affects the result, they are not used.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Tiling:
    """The sizes of tiles, in source pixels.

    tile: side of a tile without its margin.  margin: pixels around the tile that the network also sees.
    ramp: pixels on either side of a border over which two tiles fade into each other; at most `margin`.
    """

    tile: int = 256
    margin: int = 32
    ramp: int = 8

    def borders(self, length: int) -> list[int]:
        """The borders of tiles along a side of `length`: evenly spaced, no tile larger than `tile`.

        >>> Tiling(tile=100).borders(250)
        [0, 83, 167, 250]
        """
        count = max(1, -(-length // self.tile))
        return [round(i * length / count) for i in range(count + 1)]


class _Stretch(NamedTuple):
    """Tile `number` along one axis, in source pixels: the part the network sees, and the part of the result used."""

    seen: slice
    used: slice
    rises: bool  # whether the previous tile fades into it
    falls: bool

    @classmethod
    def of(cls, borders: Sequence[int], number: int, tiling: Tiling) -> "_Stretch":
        begin, end, length = borders[number], borders[number + 1], borders[-1]
        return cls(
            slice(max(0, begin - tiling.margin), min(length, end + tiling.margin)),
            slice(max(0, begin - tiling.ramp), min(length, end + tiling.ramp)),
            number > 0,
            end < length,
        )

    def cut(self, scale: int) -> slice:
        """The used part of the network's result."""
        return slice((self.used.start - self.seen.start) * scale, (self.used.stop - self.seen.start) * scale)

    def weights(self, ramp: int, scale: int) -> Floats:
        """The weights of the used part's pixels: they rise and fall over 2 * ramp source pixels around a border."""
        length = (self.used.stop - self.used.start) * scale
        if ramp == 0:
            return np.ones(length, np.float32)
        place = (np.arange(length, dtype=np.float32) + 0.5) / (2 * ramp * scale)
        rising = np.clip(place, 0, 1) if self.rises else np.ones(length, np.float32)
        falling = np.clip(place[::-1], 0, 1) if self.falls else np.ones(length, np.float32)
        return rising * falling


@dataclass(frozen=True)
class Grid:
    """The borders of a picture's tiles, including the picture's edges, in source pixels."""

    rows: Sequence[int]
    columns: Sequence[int]

    @property
    def tiles(self) -> int:
        return (len(self.rows) - 1) * (len(self.columns) - 1)

    def band_of(self, row: int, tiling: Tiling, scale: int) -> int:
        """The number of the band that contains row `row` of the enlarged picture."""
        ends = [(end - tiling.ramp) * scale for end in self.rows[1:-1]]
        return sum(end <= row for end in ends)

    def band_start(self, number: int, tiling: Tiling, scale: int) -> int:
        """The first row of a band in the enlarged picture."""
        return (self.rows[number] - (tiling.ramp if number else 0)) * scale


def enlarged_bands(
    network: Callable[[Pixels], Floats],
    read: Callable[[int, int], Pixels],
    scale: int,
    tiling: Tiling,
    grid: Grid,
    first: int = 0,
) -> Iterator[Pixels]:
    """The enlarged picture from top to bottom, in bands (rows, width * scale, 3), one for each row of tiles.

    `network` maps a tile (h, w, 3) to (h * scale, w * scale, 3) in 0 … 1; `read(top, bottom)` returns rows of the
    source. Bands are final when yielded, so they can be written immediately; memory holds one row of tiles, as bytes.
    `first` leaves out the bands before it; the others are the same.
    """
    across = [_Stretch.of(grid.columns, number, tiling) for number in range(len(grid.columns) - 1)]
    begin = max(first - 1, 0) if tiling.ramp else first  # the band above fades into the first band
    carried: Floats | None = None  # the contribution of the row of tiles above to the next row
    for number in range(begin, len(grid.rows) - 1):
        down = _Stretch.of(grid.rows, number, tiling)
        tiles = _evaluated(network, read(down.seen.start, down.seen.stop), down, across, scale)
        band, carried = _joined(tiles, down, across, carried, tiling.ramp, scale)
        if number >= first:
            yield band
        del band  # lets the caller free it while the next band is made


def _evaluated(
    network: Callable[[Pixels], Floats], source: Pixels, down: _Stretch, across: Sequence[_Stretch], scale: int
) -> Iterator[Floats]:
    for tile in across:
        yield network(source[:, tile.seen])[down.cut(scale), tile.cut(scale)]


def _joined(
    tiles: Iterator[Floats],
    down: _Stretch,
    across: Sequence[_Stretch],
    carried: Floats | None,
    ramp: int,
    scale: int,
) -> tuple[Pixels, Floats]:
    """(the finished pixel rows of a row of tiles, its weighted contribution to the rows below)."""
    width, ramped = across[-1].used.stop * scale, 2 * ramp * scale
    height = (down.used.stop - down.used.start) * scale
    done = height - (ramped if down.falls else 0)
    band = np.empty((done, width, 3), np.uint8)
    below = np.empty((height - done, width, 3), np.float32)
    weights = down.weights(ramp, scale)[:, None, None]
    left: Floats | None = None  # the contribution of the tile to the left to the next tile
    for tile, result in zip(across, tiles, strict=False):
        whole = result * tile.weights(ramp, scale)[:, None]
        if left is not None:
            whole[:, : left.shape[1]] += left
        end = whole.shape[1] - (ramped if tile.falls else 0)
        left = whole[:, end:].copy()
        whole = whole[:, :end] * weights
        where = slice(tile.used.start * scale, tile.used.start * scale + end)
        if carried is not None:
            whole[: len(carried)] += carried[:, where]
        band[:, where] = np.round(np.clip(whole[:done], 0, 1) * 255)
        below[:, where] = whole[done:]
    return band, below
