"""Enlarges pictures of any size by a network: A1111's passes, in tiles that fit in memory."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modules.base.errors import WebuiError
from modules.images.enlarge import passes_to
from modules.images.geometry import Size
from modules.images.large.rows import Colors, Resized, Rows, WholeRows, WithAlpha
from modules.networks.device import Placement, is_out_of_memory, release_memory
from modules.networks.files.foreign import format_of
from modules.networks.files.headers import Stamp, stamp_of
from modules.networks.files.pickles import read_pickle
from modules.networks.files.torch_pickle import Stored
from modules.networks.files.upscalers import PACKAGED
from modules.networks.upscalers.bands import Floats, Grid, Pixels
from modules.networks.upscalers.packaged import Packaged, compact_names, rrdb_names
from modules.networks.upscalers.rows import NetworkRows
from modules.networks.upscalers.spandrel_models import load
from modules.networks.upscalers.tile_sizes import SMALLEST_TILE, largest_tile, tiling_of
from modules.networks.weights import open_weights, read_stored
from modules.schema.upscalers import Upscaler

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor

log = logging.getLogger(__name__)

NESTED: Final = ("model_state_dict", "state_dict", "params_ema", "params-ema", "params", "model", "net")
PREFIXES: Final = ("module.", "netG.")  # of all keys, if a network was saved inside another

Hear = Callable[[float], None]  # called with the fraction done, 0 … 1; may raise to stop


class Enlarger:
    """Enlarges pictures by networks on one device; keeps the most recently used network in memory.

    Networks compute in fp32 on a CPU, with the same results as spandrel and ncnn, and in the placement's number type
    elsewhere.
    """

    def __init__(self, place: Placement) -> None:
        self._place = place
        self._dtype = torch.float32 if place.device.type == "cpu" else place.dtype
        self._held: tuple[Stamp, ImageModelDescriptor[Any]] | None = None

    def functions(self, rows: Iterable[Upscaler], hear: Hear = lambda share: None) -> tuple[Upscaler, ...]:
        """`rows`, in which upscalers with a file get a function that uses it."""
        return tuple(
            row if row.path is None else replace(row, function=partial(self.enlarged, row, hear=hear)) for row in rows
        )

    def enlarged(
        self, upscaler: Upscaler, image: Image.Image, size: tuple[int, int], hear: Hear = lambda share: None
    ) -> Image.Image:
        """`image` (RGB, or RGBA with alpha enlarged by Lanczos), enlarged to at least `size` if the passes suffice.

        As in A1111, the network is applied until the picture is large enough, at most `MOST_PASSES` times. Raises
        WebuiError for an unusable file, or if there is not enough memory.
        """
        image = image if image.mode in ("RGB", "RGBA") else image.convert("RGB")
        rows = self.rows(upscaler, WholeRows.of(image), Size(*size), hear=hear)
        return Image.fromarray(rows.read(0, rows.size.height))

    def rows(
        self, upscaler: Upscaler, source: Rows, target: Size, tile: int = 0, hear: Hear = lambda share: None
    ) -> Rows:
        """Like `enlarged`, but computes rows when they are read. `tile` is the side of the tiles in pixels, 0 for the

        largest that fits in memory. `hear` is called before each tile with the fraction of all tiles done.
        """
        network = self._network(upscaler)
        count, done = 0, 0

        def evaluated(pixels: Pixels) -> Floats:
            nonlocal done
            hear(min(done / count, 1.0))
            done += 1
            return self._evaluated(network, pixels, upscaler.name)

        colors: Rows = source if source.channels == 3 else Colors(source)
        tiling = tiling_of(network, tile or self.tile_for(upscaler))
        for _ in range(passes_to(source.size, target, network.scale)):
            colors = NetworkRows(evaluated, colors, network.scale, tiling)
            count += colors.grid.tiles
        return colors if source.channels == 3 else WithAlpha(colors, Resized(source, colors.size))

    def tiles(self, upscaler: Upscaler, size: Size, target: Size, tile: int) -> int:
        """How many tiles `rows` evaluates for a picture of `size`."""
        network = self._network(upscaler)
        tiling, count = tiling_of(network, tile), 0
        for number in range(passes_to(size, target, network.scale)):
            width, height = (side * network.scale**number for side in size)
            count += Grid(tiling.borders(height), tiling.borders(width)).tiles
        return count

    def tile_for(self, upscaler: Upscaler) -> int:
        """The side, in pixels, of the largest tiles that fit in memory now."""
        return largest_tile(self._network(upscaler), self._place.device)

    def _evaluated(self, network: "ImageModelDescriptor[Any]", tile: Pixels, name: str) -> Floats:
        """The network's result for a tile; computed in quarters if there is not enough memory."""
        try:
            return self._forward(network, tile)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            release_memory(self._place.device)
            side = max(tile.shape[:2]) // 2
            if side < SMALLEST_TILE:
                raise WebuiError(
                    f"Not enough memory for {name}, even in small tiles.", "Close other programs.", status=507
                ) from error
            log.warning("%s is tried again in tiles of %d pixels: %s", name, side, error)
        tiling = tiling_of(network, side)
        rows = NetworkRows(
            lambda part: self._evaluated(network, part, name), WholeRows(tile), network.scale, tiling
        )  # fmt: skip
        return np.divide(rows.read(0, rows.size.height), np.float32(255), dtype=np.float32)

    @torch.inference_mode()
    def _forward(self, network: "ImageModelDescriptor[Any]", tile: Pixels) -> Floats:
        pixels = torch.from_numpy(tile.copy()).to(self._place.device).permute(2, 0, 1)[None]
        result: Tensor = network(pixels.to(self._dtype) / 255)
        return result[0].float().permute(1, 2, 0).cpu().numpy()

    def _network(self, upscaler: Upscaler) -> "ImageModelDescriptor[Any]":
        path = upscaler.path
        if upscaler.reason or path is None:
            raise WebuiError(upscaler.reason or f"{upscaler.name} has no file.", field="upscaler")
        try:
            stamp = stamp_of(path)
            if self._held is None or self._held[0] != stamp:
                self._held = None
                network = load(read_state(path), upscaler.name)
                self._held = (stamp, network.to(self._place.device, self._dtype))
        except OSError as error:
            raise WebuiError(
                f"{path.name} cannot be read: {error.strerror or error}.", "Refresh the list.", "upscaler"
            ) from error
        return self._held[1]


def read_state(path: Path) -> Mapping[str, Tensor]:
    """The weights in an upscaler's file, nothing else. Raises WebuiError if there are none, or the file is damaged."""
    if path.stem in PACKAGED.values() and path.suffix == ".bin":
        names = compact_names if "ANIMAVIDEO" in path.stem else rrdb_names
        return Packaged(path.stem, names).read(path.parent)
    if format_of(path) == "safetensors":
        weights = open_weights(path)
        return _without_prefixes({key: weights.read(key) for key in weights.header})
    state: Any = read_pickle(path)
    while isinstance(state, Mapping) and (inner := next((state[key] for key in NESTED if key in state), None)):
        if not isinstance(inner, Mapping):
            break
        state = inner
    tensors = {str(k): read_stored(path, v) for k, v in dict(state).items() if isinstance(v, Stored)}
    if not tensors:
        raise WebuiError(f"{path.name} holds no weights.", "Use another file.", "upscaler")
    return _without_prefixes(tensors)


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state
