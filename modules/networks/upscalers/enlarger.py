"""Pictures enlarged by a network, whatever their size: A1111's passes, in tiles that memory suffices for."""

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
from modules.networks.device import Placement, available_bytes, is_out_of_memory, release_memory
from modules.networks.files.foreign import format_of
from modules.networks.files.loras import Stamp, stamp_of
from modules.networks.files.pickles import read_pickle
from modules.networks.files.torch_pickle import Stored
from modules.networks.files.upscalers import PACKAGED
from modules.networks.upscalers.bands import Floats, Pixels, Tiling, enlarged_bands
from modules.networks.upscalers.packaged import Packaged, compact_names, rrdb_names
from modules.networks.upscalers.spandrel_models import load
from modules.networks.weights import open_weights, read_stored
from modules.schema.upscalers import Upscaler

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor

log = logging.getLogger(__name__)

LARGEST_TILE: Final = 256
SMALLEST_TILE: Final = 32
BYTES_A_PIXEL: Final = 24_000  # of the source, at most, while a 4x network works on it (measured: RRDBNet 12 500)
NESTED: Final = ("model_state_dict", "state_dict", "params_ema", "params-ema", "params", "model", "net")
PREFIXES: Final = ("module.", "netG.")  # of all keys, where a network was saved inside of another

Hear = Callable[[float], None]  # is told the share that is done, 0 … 1, and may raise to stop


class Enlarger:
    """Enlarges pictures by networks on one device; holds the network that it used last.

    Networks compute in fp32 on a CPU, where their results are those of spandrel and ncnn, and in the place's number
    type elsewhere.
    """

    def __init__(self, place: Placement) -> None:
        self._place = place
        self._dtype = torch.float32 if place.device.type == "cpu" else place.dtype
        self._held: tuple[Stamp, ImageModelDescriptor[Any]] | None = None

    def functions(self, rows: Iterable[Upscaler], hear: Hear = lambda share: None) -> tuple[Upscaler, ...]:
        """`rows`, those with a file given the function that works with it."""
        return tuple(
            row if row.path is None else replace(row, function=partial(self.enlarged, row, hear=hear)) for row in rows
        )

    def enlarged(
        self, upscaler: Upscaler, image: Image.Image, size: tuple[int, int], hear: Hear = lambda share: None
    ) -> Image.Image:
        """`image` (RGB, or RGBA, whose alpha Lanczos enlarges) at least at `size`, unless that is too far to go.

        As in A1111 the network is applied until the picture is large enough, at most `MOST_PASSES` times. Raises
        WebuiError for a file that cannot be used, or if memory does not suffice.
        """
        network = self._network(upscaler)
        colors = image.convert("RGB")
        passes = passes_to(Size(*image.size), Size(*size), network.scale)
        for number in range(passes):
            colors = self._pass(network, colors, upscaler.name, lambda share, n=number: hear((n + share) / passes))
        if image.mode == "RGBA":
            colors.putalpha(image.getchannel("A").resize(colors.size, Image.Resampling.LANCZOS))
        return colors

    def _pass(self, network: "ImageModelDescriptor[Any]", image: Image.Image, name: str, hear: Hear) -> Image.Image:
        source: Pixels = np.asarray(image)
        tile = self._first_tile(network.scale)
        while True:
            try:
                return self._tiled(network, source, Tiling(tile=tile), hear)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                release_memory(self._place.device)
                tile //= 2
                if tile < SMALLEST_TILE:
                    raise WebuiError(
                        f"Not enough memory for {name}, even in small tiles.", "Close other programs.", status=507
                    ) from error
                log.warning("%s is tried again in tiles of %d pixels: %s", name, tile, error)

    def _first_tile(self, scale: int) -> int:
        """The largest power of two that memory suffices for."""
        pixels = available_bytes(self._place.device) / 2 / (BYTES_A_PIXEL * max(scale, 2) ** 2 / 16)
        tile = LARGEST_TILE
        while tile > SMALLEST_TILE and (tile + 2 * Tiling.margin) ** 2 > pixels:
            tile //= 2
        return tile

    def _tiled(self, network: "ImageModelDescriptor[Any]", source: Pixels, tiling: Tiling, hear: Hear) -> Image.Image:
        rows, columns = tiling.borders(source.shape[0]), tiling.borders(source.shape[1])
        count, done = (len(rows) - 1) * (len(columns) - 1), 0

        def evaluated(tile: Pixels) -> Floats:
            nonlocal done
            hear(done / count)
            done += 1
            return self._evaluated(network, tile)

        bands = list(enlarged_bands(evaluated, lambda a, b: source[a:b], network.scale, tiling, rows, columns))
        return Image.fromarray(np.concatenate(bands))

    @torch.inference_mode()
    def _evaluated(self, network: "ImageModelDescriptor[Any]", tile: Pixels) -> Floats:
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
    """The weights of an upscaler's file, nothing else of it. Raises WebuiError if it holds none, or is damaged."""
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
