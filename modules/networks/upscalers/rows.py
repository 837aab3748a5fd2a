"""A network applied to a picture that is read row by row: only the tiles that are needed are computed."""

from collections.abc import Callable

from modules.images.geometry import Size
from modules.images.large.rows import Rows, Window
from modules.networks.upscalers.bands import Floats, Grid, Pixels, Tiling, enlarged_bands


class NetworkRows:
    """`rows` (RGB), enlarged `scale` times by `network`, which maps a tile (h, w, 3) to values in 0 … 1."""

    channels = 3

    def __init__(self, network: Callable[[Pixels], Floats], rows: Rows, scale: int, tiling: Tiling) -> None:
        self.grid = Grid(tiling.borders(rows.size.height), tiling.borders(rows.size.width))
        self._network = network
        self._rows = rows
        self._scale = scale
        self._tiling = tiling
        self._window: Window | None = None

    @property
    def size(self) -> Size:
        return Size(self._rows.size.width * self._scale, self._rows.size.height * self._scale)

    def read(self, top: int, bottom: int) -> Pixels:
        if self._window is None:
            first = self.grid.band_of(top, self._tiling, self._scale)
            bands = enlarged_bands(self._network, self._rows.read, self._scale, self._tiling, self.grid, first)
            self._window = Window(bands, self.grid.band_start(first, self._tiling, self._scale))
        return self._window.read(top, bottom)
