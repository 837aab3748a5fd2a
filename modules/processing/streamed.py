"""Pictures upscaled to any size: read, enlarged and written band by band, and continued after a crash."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Final, Protocol

from PIL import Image

from modules.base.disk import refusal, write_over
from modules.base.errors import WebuiError
from modules.base.events import Event, Finished, LargeImageDone, Staged, Started, Stepped, Stop
from modules.images.enlarge import MOST_PIXELS, scaled
from modules.images.filters import denoised, sharpened
from modules.images.geometry import Size
from modules.images.large.draft import Draft
from modules.images.large.formats import FORMATS, LargeFormat, LargeSpec
from modules.images.large.rows import Blended, Centered, Local, Nearest, Pixels, Resized, Rows, WholeRows
from modules.processing.upscale import UpscaleOptions, is_blended, scale_of, target_of
from modules.schema.request.extras import ExtrasRequest
from modules.schema.upscalers import Upscaler

MOST_STREAMED: Final = 32_768 * 32_768  # pixels of a result
MOST_STEPS: Final = 1000  # of the progress bar
SHARPEN_REACH: Final = 16  # rows that the unsharp mask looks up and down, at most
TILES: Final = "tiles.json"  # in the job's folder: the side of the tiles by the upscaler's name


class Enlarges(Protocol):
    """What this needs of `networks.upscalers.enlarger.Enlarger`."""

    def tile_for(self, upscaler: Upscaler) -> int: ...
    def tiles(self, upscaler: Upscaler, size: Size, target: Size, tile: int) -> int: ...
    def rows(
        self, upscaler: Upscaler, source: Rows, target: Size, tile: int = 0, hear: Callable[[float], None] = ...
    ) -> Rows: ...


class _Interrupted(Exception):
    """Raised out of an upscaler's work."""


@dataclass(frozen=True)
class Streamed:
    """One picture to be made from the one that `open` gives.

    infotext: of the result.  texts: all texts of a PNG by key.  plan: names the source and what is done to it.
    """

    request: ExtrasRequest
    open: Callable[[], Image.Image]
    upscalers: tuple[Upscaler, Upscaler]
    format: LargeFormat
    infotext: str
    texts: Mapping[str, str]
    quality: int
    plan: str

    @property
    def used(self) -> tuple[Upscaler, ...]:
        first, second = self.upscalers
        return (first, second) if is_blended(self.request, second) else (first,)


@dataclass(frozen=True)
class _Sizes:
    """The source in memory, and what it becomes: `whole`, and `size` if it is cropped."""

    source: Rows
    whole: Size
    size: Size

    @classmethod
    def of(cls, work: Streamed, hear: Callable[[], None]) -> "_Sizes":
        source = WholeRows.of(denoised(work.open(), work.request.denoise, hear))
        scale, _ = target_of(work.request, source.size)
        return cls(source, scaled(source.size, scale), result_size(work.request, source.size))


def result_size(options: UpscaleOptions, size: Size) -> Size:
    """Of a picture of `size`."""
    scale, crop = target_of(options, size)
    return crop or scaled(size, scale)


def require_streamable(options: UpscaleOptions, size: Size, format: str) -> None:
    """Raises WebuiError if the result of a picture of `size` cannot be made, or not as a file of this format."""
    field = "upscaling_resize_w" if options.resize_mode == 1 else "upscaling_resize"
    whole, result = scaled(size, scale_of(options, size)), result_size(options, size)
    if max(whole.width * whole.height, result.width * result.height) > MOST_STREAMED:
        raise WebuiError(
            f"{field}: {size.width}x{size.height} would become {whole.width}x{whole.height}, more than the limit of "
            f"{MOST_STREAMED // 10**6} megapixels.",
            "Choose a smaller size.",
            field,
        )
    if format not in FORMATS:
        raise WebuiError(
            f"samples_format: a {format.upper()} holds 16383 pixels a side and is made in memory, up to "
            f"{MOST_PIXELS // 10**6} megapixels; this picture would have {result.width}x{result.height}.",
            "Use png, tiff or jpg.",
            "samples_format",
        )
    most = FORMATS[format].most_side
    if max(result) > most:
        raise WebuiError(
            f"samples_format: a {format.upper()} holds {most} pixels a side; this picture would have "
            f"{result.width}x{result.height}.",
            "Use png or tiff.",
            "samples_format",
        )


def streamed(work: Streamed, enlarger: Enlarges, folder: Path, should_stop: Callable[[], Stop]) -> Iterator[Event]:
    """The events of a job; what is done is kept in `folder`, and a second run begins behind it. Raises WebuiError."""
    begun = time.monotonic()
    listener = _Listener(should_stop)
    try:
        sizes = _Sizes.of(work, listener.listen)
    except _Interrupted:
        yield Finished(time.monotonic() - begun, {}, interrupted=True)
        return
    source, size = sizes.source, sizes.size
    tiles = _tiles(work, enlarger, folder)
    spec = LargeSpec(work.format, size, source.channels, work.infotext, dict(work.texts), work.quality)
    draft = Draft(folder, spec, json.dumps([work.plan, tiles]))
    draft.require_room()
    count = sum(enlarger.tiles(row, source.size, sizes.whole, tiles[row.name]) for row in work.used if row.path)
    bands = list(draft.bands())
    steps = max(min(count or -(-size.height // draft.band_rows), MOST_STEPS), 1)
    yield Started(1, 1, steps, *size, seed=0)
    yield Staged("upscaling")
    producer = _Producer(rows_of(work, sizes, enlarger, tiles, listener.hear), bands, listener)
    done, shown, behind = 0, 0, draft.rows_done / size.height
    try:
        for made in producer.made():
            if isinstance(made, _Tile):
                done += 1
                share = behind + (done - 1) / max(count, 1)
            else:
                draft.append(made)
                share = draft.rows_done / size.height if not count else 0.0
            step = min(int(share * steps + 1e-9), steps)
            if step > shown:
                shown = step
                yield Stepped(0, step, steps)
    except _Interrupted:
        yield Finished(time.monotonic() - begun, {}, interrupted=True)
        return
    finally:
        producer.close()
    yield Stepped(0, steps, steps)
    yield Staged("finishing the file")
    file = draft.finished()
    yield LargeImageDone(0, 0, *size, work.infotext, str(file.path), work.format, file.sha256, file.small)
    yield Finished(time.monotonic() - begun, {"upscaling": time.monotonic() - begun})


def rows_of(
    work: Streamed, sizes: _Sizes, enlarger: Enlarges, tiles: Mapping[str, int], hear: Callable[[float], None]
) -> Rows:
    """The result, made when it is read: the same pixels as those of `processing.upscale.processed`."""

    def enlarged(upscaler: Upscaler) -> Rows:
        if upscaler.path is not None:
            network = enlarger.rows(upscaler, sizes.source, sizes.whole, tiles[upscaler.name], hear)
            return Resized(network, sizes.whole)
        return BANDED[str(upscaler.function)](sizes.source, sizes.whole)

    rows = enlarged(work.used[0])
    if len(work.used) == 2:
        rows = Blended(rows, enlarged(work.used[1]), work.request.extras_upscaler_2_visibility)
    if rows.size != sizes.size:
        rows = Centered(rows, sizes.size)
    amount = work.request.sharpen
    return Local(rows, lambda image: sharpened(image, amount), SHARPEN_REACH) if amount > 0 else rows


BANDED: Final[dict[str, Callable[[Rows, Size], Rows]]] = {"lanczos": Resized, "nearest": Nearest}
"""What `modules.images.enlarge` has under these names, for rows."""


def require_banded(upscaler: Upscaler, field: str) -> None:
    """Raises WebuiError for one that needs the whole picture: an extension's function."""
    if callable(upscaler.function) and upscaler.path is None:
        raise WebuiError(
            f"{field}: {upscaler.name} needs the whole picture in memory, and makes up to "
            f"{MOST_PIXELS // 10**6} megapixels.",
            "Choose a smaller size, or another upscaler.",
            field,
        )


def _tiles(work: Streamed, enlarger: Enlarges, folder: Path) -> dict[str, int]:
    """The side of each network's tiles: what the run before has chosen, else what memory suffices for."""
    file = folder / TILES
    try:
        return {str(name): int(side) for name, side in json.loads(file.read_bytes()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        tiles = {row.name: enlarger.tile_for(row) for row in work.used if row.path is not None}
    try:
        write_over(file, json.dumps(tiles).encode())
    except OSError as error:
        raise refusal("The picture", folder, error) from error
    return tiles


class _Tile:
    """A tile is about to be evaluated."""


class _Listener:
    """What the thread that makes bands tells, and whether it is to stop."""

    def __init__(self, should_stop: Callable[[], Stop]) -> None:
        self.made: SimpleQueue[_Tile | Pixels | BaseException | None] = SimpleQueue()
        self.is_closed = threading.Event()
        self._should_stop = should_stop

    def listen(self) -> None:
        if self.is_closed.is_set() or self._should_stop():
            raise _Interrupted

    def hear(self, share: float) -> None:
        self.listen()
        self.made.put(_Tile())


class _Producer:
    """Makes bands on a thread of its own, one ahead of the one that is being written."""

    def __init__(self, rows: Rows, bands: list[tuple[int, int]], listener: _Listener) -> None:
        self._rows = rows
        self._bands = bands
        self._listener = listener
        self._ahead = threading.Semaphore(1)
        self._thread = threading.Thread(target=self._run, name="bands", daemon=True)

    def made(self) -> Iterator[_Tile | Pixels]:
        """Tiles and bands as they come. Raises what the thread raised."""
        self._thread.start()
        while (one := self._listener.made.get()) is not None:
            if isinstance(one, BaseException):
                raise one
            yield one
            if not isinstance(one, _Tile):
                self._ahead.release()

    def close(self) -> None:
        self._listener.is_closed.set()
        self._ahead.release()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            for top, bottom in self._bands:
                self._listener.listen()
                band = self._rows.read(top, bottom)
                self._ahead.acquire()
                self._listener.made.put(band)
            self._listener.made.put(None)
        except BaseException as error:
            self._listener.made.put(error)
