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
        place = (np.arange(length, dtype=np.float32) + 0.5) / (2 * ramp * scale)
        rising = np.clip(place, 0, 1) if self.rises else np.ones(length, np.float32)
        falling = np.clip(place[::-1], 0, 1) if self.falls else np.ones(length, np.float32)
        return rising * falling


def enlarged_bands(
    network: Callable[[Pixels], Floats],
    read: Callable[[int, int], Pixels],
    scale: int,
    tiling: Tiling,
    rows: Sequence[int],
    columns: Sequence[int],
) -> Iterator[Pixels]:
    """The enlarged picture from top to bottom, in bands (rows, width * scale, 3), one for each row of tiles.

    `network` takes a tile (h, w, 3) and gives (h * scale, w * scale, 3) in 0 … 1; `read(top, bottom)` gives rows of the
    source. `rows` and `columns` are the tiles' borders, the source's two ends among them. Nothing that follows changes
    a band, so that it can be written at once; the memory taken is that of one row of tiles.
    """
    across = [_Stretch.of(columns, number, tiling) for number in range(len(columns) - 1)]
    carried: Floats | None = None  # what the row of tiles above gives to the next one
    for number in range(len(rows) - 1):
        down = _Stretch.of(rows, number, tiling)
        source = read(down.seen.start, down.seen.stop)
        strip = np.zeros(((down.used.stop - down.used.start) * scale, columns[-1] * scale, 3), np.float32)
        for tile in across:
            result = network(source[:, tile.seen])[down.cut(scale), tile.cut(scale)]
            where = slice(tile.used.start * scale, tile.used.stop * scale)
            strip[:, where] += result * tile.weights(tiling.ramp, scale)[:, None]
        strip *= down.weights(tiling.ramp, scale)[:, None, None]
        if carried is not None:
            strip[: len(carried)] += carried
        done = len(strip) - (2 * tiling.ramp * scale if down.falls else 0)
        carried = strip[done:].copy()
        yield np.round(np.clip(strip[:done], 0, 1) * 255).astype(np.uint8)
