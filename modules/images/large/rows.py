"""A picture as rows that are made when they are asked for, and what changes it on the way from top to bottom."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modules.images.geometry import Size

Pixels = NDArray[np.uint8]

LANCZOS_REACH: Final = 3  # source pixels to either side of a result's, where nothing is made smaller


class Rows(Protocol):
    """Read it from top to bottom: `top` never becomes smaller from call to call. The first call may begin anywhere."""

    @property
    def size(self) -> Size: ...

    @property
    def channels(self) -> int:
        """3 for RGB, 4 for RGBA."""
        ...

    def read(self, top: int, bottom: int) -> Pixels:
        """The rows top … bottom - 1: (bottom - top, width, channels)."""
        ...


@dataclass(frozen=True)
class WholeRows:
    """A picture that is in memory: (height, width, channels)."""

    pixels: Pixels

    @classmethod
    def of(cls, image: Image.Image) -> "WholeRows":
        return cls(np.asarray(image))

    @property
    def size(self) -> Size:
        return Size(self.pixels.shape[1], self.pixels.shape[0])

    @property
    def channels(self) -> int:
        return self.pixels.shape[2]

    def read(self, top: int, bottom: int) -> Pixels:
        return self.pixels[top:bottom]


class Window:
    """The last rows of `bands`, which come from top to bottom and begin with row `top`."""

    def __init__(self, bands: Iterator[Pixels], top: int) -> None:
        self._bands = bands
        self._top = top
        self._held: list[Pixels] = []

    def read(self, top: int, bottom: int) -> Pixels:
        while self._held and self._top + len(self._held[0]) <= top:
            self._top += len(self._held.pop(0))
        held = self._top + sum(len(band) for band in self._held)
        while held < bottom:
            band = next(self._bands)
            held += len(band)
            if not self._held and held <= top:
                self._top = held
            else:
                self._held.append(band)
        parts: list[Pixels] = []
        begin = self._top
        for band in self._held:
            part = band[max(top - begin, 0) : bottom - begin]
            if len(part):
                parts.append(part)
            begin += len(band)
            if begin >= bottom:
                break
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


@dataclass(frozen=True)
class Resized:
    """`rows` at another size, with Lanczos: what Pillow makes of the whole picture.

    Where the two heights are no multiples of each other, a pixel in a hundred may differ from it by one: Pillow rounds
    its weights, and a band's begin elsewhere.
    """

    rows: Rows
    size: Size

    @property
    def channels(self) -> int:
        return self.rows.channels

    def read(self, top: int, bottom: int) -> Pixels:
        source, scale = self.rows.size, self.rows.size.height / self.size.height
        if source == self.size:
            return self.rows.read(top, bottom)
        reach = LANCZOS_REACH * max(scale, 1.0) + 1
        first = max(math.floor((top + 0.5) * scale - reach), 0)
        last = min(math.ceil((bottom - 0.5) * scale + reach), source.height)
        strip = Image.fromarray(self.rows.read(first, last))
        box = (0.0, top * scale - first, float(source.width), min(bottom * scale, source.height) - first)
        return np.asarray(strip.resize((self.size.width, bottom - top), Image.Resampling.LANCZOS, box))


@dataclass(frozen=True)
class Nearest:
    """`rows` at another size, each pixel that of the source whose middle is nearest."""

    rows: Rows
    size: Size

    @property
    def channels(self) -> int:
        return self.rows.channels

    def read(self, top: int, bottom: int) -> Pixels:
        source = self.rows.size
        down = _nearest(source.height, self.size.height)[top:bottom]
        across = _nearest(source.width, self.size.width)
        first, last = int(down[0]), int(down[-1]) + 1
        return self.rows.read(first, last)[down - first][:, across]


@dataclass(frozen=True)
class Centered:
    """The middle of `rows`, cut to `size`; black where it is smaller."""

    rows: Rows
    size: Size

    @property
    def channels(self) -> int:
        return self.rows.channels

    def read(self, top: int, bottom: int) -> Pixels:
        inner = self.rows.size
        left, above = (self.size.width // 2 - inner.width // 2, self.size.height // 2 - inner.height // 2)
        canvas = np.zeros((bottom - top, self.size.width, self.channels), np.uint8)
        first, last = max(top, above), min(bottom, above + inner.height)
        if first < last:
            begin, end = max(left, 0), min(left + inner.width, self.size.width)
            part = self.rows.read(first - above, last - above)
            canvas[first - top : last - top, begin:end] = part[:, begin - left : end - left]
        return canvas


@dataclass(frozen=True)
class Blended:
    """`over`, of the same size, laid over `rows` with `opacity` 0 … 1."""

    rows: Rows
    over: Rows
    opacity: float

    @property
    def size(self) -> Size:
        return self.rows.size

    @property
    def channels(self) -> int:
        return self.rows.channels

    def read(self, top: int, bottom: int) -> Pixels:
        below, above = (Image.fromarray(rows.read(top, bottom)) for rows in (self.rows, self.over))
        return np.asarray(Image.blend(below, above, self.opacity))


@dataclass(frozen=True)
class Local:
    """`rows` through a filter that looks at most `reach` rows up and down."""

    rows: Rows
    filter: Callable[[Image.Image], Image.Image]
    reach: int

    @property
    def size(self) -> Size:
        return self.rows.size

    @property
    def channels(self) -> int:
        return self.rows.channels

    def read(self, top: int, bottom: int) -> Pixels:
        first, last = max(top - self.reach, 0), min(bottom + self.reach, self.size.height)
        strip = Image.fromarray(self.rows.read(first, last))
        return np.asarray(self.filter(strip))[top - first : bottom - first]


@dataclass(frozen=True)
class Colors:
    """RGB of `rows`, their alpha left out."""

    rows: Rows
    channels = 3

    @property
    def size(self) -> Size:
        return self.rows.size

    def read(self, top: int, bottom: int) -> Pixels:
        return self.rows.read(top, bottom)[..., :3]


@dataclass(frozen=True)
class WithAlpha:
    """RGB `colors` and the last channel of `alpha`, of the same size."""

    colors: Rows
    alpha: Rows

    @property
    def size(self) -> Size:
        return self.colors.size

    @property
    def channels(self) -> int:
        return 4

    def read(self, top: int, bottom: int) -> Pixels:
        return np.concatenate([self.colors.read(top, bottom), self.alpha.read(top, bottom)[..., -1:]], axis=-1)


def _nearest(length: int, target: int) -> NDArray[np.int64]:
    """For each of `target` pixels the one of `length` that Pillow takes, which adds up its steps as floats."""
    steps = np.full(target, length / target)
    steps[0] *= 0.5
    return np.minimum(np.cumsum(steps).astype(np.int64), length - 1)
