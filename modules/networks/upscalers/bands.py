"""A network over a picture of any size: tiles that overlap, joined without a seam, row of tiles by row of tiles.

Each tile is evaluated with a margin of its neighbors' pixels. Close to the border of two tiles their results fade
into each other; further out, where the margin's own border shows, they are not used.
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
    """Sizes in pixels of the source.

    tile: side of a tile without its margin.  margin: pixels around it that the network sees besides.
    ramp: pixels on either side of a border over which two tiles fade into each other; at most `margin`.
    """

    tile: int = 256
    margin: int = 32
    ramp: int = 8

    def borders(self, length: int) -> list[int]:
        """Where tiles begin and end along a side of `length`: evenly spread, none larger than `tile`.

        >>> Tiling(tile=100).borders(250)
        [0, 83, 167, 250]
        """
        count = max(1, -(-length // self.tile))
        return [round(i * length / count) for i in range(count + 1)]


class _Stretch(NamedTuple):
    """Tile `number` along one axis, in source pixels: what the network sees of it, and what is used of the result."""

    seen: slice
    used: slice
    rises: bool  # whether it fades in from the tile before
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
        """The used part in the network's result."""
        return slice((self.used.start - self.seen.start) * scale, (self.used.stop - self.seen.start) * scale)

    def weights(self, ramp: int, scale: int) -> Floats:
        """Of the pixels of the used part: they rise and fall over 2 * ramp source pixels around a border."""
        length = (self.used.stop - self.used.start) * scale
        if ramp == 0:
            return np.ones(length, np.float32)
        place = (np.arange(length, dtype=np.float32) + 0.5) / (2 * ramp * scale)
        rising = np.clip(place, 0, 1) if self.rises else np.ones(length, np.float32)
        falling = np.clip(place[::-1], 0, 1) if self.falls else np.ones(length, np.float32)
        return rising * falling


@dataclass(frozen=True)
class Grid:
    """The borders of the tiles of a picture, its two ends among them, in pixels of the source."""

    rows: Sequence[int]
    columns: Sequence[int]

    @property
    def tiles(self) -> int:
        return (len(self.rows) - 1) * (len(self.columns) - 1)

    def band_of(self, row: int, tiling: Tiling, scale: int) -> int:
        """The number of the band that holds row `row` of the enlarged picture."""
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

    `network` takes a tile (h, w, 3) and gives (h * scale, w * scale, 3) in 0 … 1; `read(top, bottom)` gives rows of the
    source. Nothing that follows changes a band, so that it can be written at once; the memory taken is that of one row
    of tiles, in bytes. With `first` the bands before that one are left out, and the others are the same.
    """
    across = [_Stretch.of(grid.columns, number, tiling) for number in range(len(grid.columns) - 1)]
    begin = max(first - 1, 0) if tiling.ramp else first  # the band above fades into the first one
    carried: Floats | None = None  # what the row of tiles above gives to the next one
    for number in range(begin, len(grid.rows) - 1):
        down = _Stretch.of(grid.rows, number, tiling)
        tiles = _evaluated(network, read(down.seen.start, down.seen.stop), down, across, scale)
        band, carried = _joined(tiles, down, across, carried, tiling.ramp, scale)
        if number >= first:
            yield band
        del band  # a caller that is done with it may let it go while the next one is made


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
    """(the finished rows of a row of tiles, what it gives to the rows below, weighted)."""
    width, ramped = across[-1].used.stop * scale, 2 * ramp * scale
    height = (down.used.stop - down.used.start) * scale
    done = height - (ramped if down.falls else 0)
    band = np.empty((done, width, 3), np.uint8)
    below = np.empty((height - done, width, 3), np.float32)
    weights = down.weights(ramp, scale)[:, None, None]
    left: Floats | None = None  # what the tile to the left gives to the next one
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
