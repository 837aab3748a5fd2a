"""A large picture on its way to the disk: written band by band, and continued at the last whole band after a crash.

The folder of a draft holds `bands`, to which each band is appended; `small`, the picture reduced; and `state.json`,
which says how much of both is whole. It is written after them, so that what it says is on the disk.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from modules.base.disk import refusal, write_all, write_over
from modules.base.errors import WebuiError
from modules.images.large.formats import FORMATS, LargeSpec
from modules.images.large.rows import Pixels

BANDS, SMALL, STATE = "bands", "small", "state.json"
FEWEST_BANDS: Final = 64  # of a picture, so that progress shows and little is lost by a crash
FEWEST_ROWS: Final = 16  # of a band
MOST_BAND: Final = 24 << 20  # bytes of pixels
SMALL_SIDE: Final = 512  # pixels, at most, of the reduced picture
SPARE: Final = 256 << 20  # bytes of the disk that are left free


@dataclass(frozen=True)
class State:
    """What is whole: rows of the picture, bytes of the bands and of the reduced picture. `plan` names the work."""

    plan: str
    rows: int = 0
    bytes: int = 0
    small: int = 0
    checksum: int = 1


class WrittenFile(NamedTuple):
    """A finished file. `small`: the picture reduced, as WebP."""

    path: Path
    sha256: str
    small: bytes


class Draft:
    """One picture in `folder`, whose name nobody else uses. `plan` is a text that says how its pixels are made."""

    def __init__(self, folder: Path, spec: LargeSpec, plan: str) -> None:
        self._folder = folder
        self._spec = spec
        self._format = FORMATS[spec.format]
        self._factor = _power_of_two(max(spec.size) / SMALL_SIDE)
        asked = json.dumps([asdict(spec), plan, self._factor, self.band_rows])
        self._state = self._kept(hashlib.sha256(asked.encode()).hexdigest())

    @property
    def rows_done(self) -> int:
        return self._state.rows

    @property
    def band_rows(self) -> int:
        """Rows of each band but the last."""
        unit = max(self._format.unit, self._factor, FEWEST_ROWS)
        a_row = self._spec.size.width * self._spec.channels
        most = min(MOST_BAND // a_row, -(-self._spec.size.height // FEWEST_BANDS))
        return max(most // unit, 1) * unit

    def bands(self) -> Iterator[tuple[int, int]]:
        """(top, bottom) of each band that is missing."""
        for top in range(self._state.rows, self._spec.size.height, self.band_rows):
            yield top, min(top + self.band_rows, self._spec.size.height)

    def require_room(self) -> None:
        """Raises WebuiError (507) if the disk has no room for what is missing."""
        size = self._spec.size
        whole = size.width * size.height * self._spec.channels * self._format.bytes_a_value
        needed = whole - self._state.bytes + SPARE
        free = shutil.disk_usage(_existing(self._folder)).free
        if needed > free:
            raise WebuiError(
                f"{size.width}x{size.height} as {self._spec.format.upper()} may take {needed / 1e9:.1f} GB of disk "
                f"space, and {free / 1e9:.1f} GB are free.",
                "Free some disk space, or choose a smaller size.",
                "upscaling_resize",
                status=507,
            )

    def append(self, pixels: Pixels) -> None:
        """The next band: (rows, width, channels). It is on the disk when this returns. Raises WebuiError."""
        is_first = self._state.rows == 0
        data, checksum = self._format.band(self._spec, pixels, self._state.checksum, is_first)
        if is_first:
            data = self._format.head(self._spec) + data
        small = np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).reduce(self._factor)).tobytes()
        with self._refusing():
            state = replace(
                self._state,
                rows=self._state.rows + len(pixels),
                bytes=self._written(BANDS, self._state.bytes, data),
                small=self._written(SMALL, self._state.small, small),
                checksum=checksum,
            )
            write_over(self._folder / STATE, json.dumps(asdict(state)).encode())
        self._state = state

    def finished(self) -> WrittenFile:
        """The whole file, in the draft's folder. Raises WebuiError."""
        with self._refusing():
            self._written(BANDS, self._state.bytes, self._format.tail(self._state.checksum))
            path = self._folder / BANDS
            if self._format.assembled is not None:
                path = self._folder / "whole"
                self._format.assembled(self._spec, self._folder / BANDS, path)
                with path.open("rb+") as file:
                    os.fsync(file.fileno())
            with path.open("rb") as file:
                return WrittenFile(path, hashlib.file_digest(file, "sha256").hexdigest(), self._small())

    def _small(self) -> bytes:
        width, height = (-(-side // self._factor) for side in self._spec.size)
        pixels = np.frombuffer((self._folder / SMALL).read_bytes(), np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels.reshape(height, width, self._spec.channels)).save(file, "WEBP", quality=85)
        return file.getvalue()

    def _written(self, name: str, at: int, data: bytes) -> int:
        """Writes `data` behind the first `at` bytes of a file, durably; returns its length."""
        handle = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        try:
            os.ftruncate(handle, at)
            os.lseek(handle, at, os.SEEK_SET)
            write_all(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
        return at + len(data)

    def _kept(self, plan: str) -> State:
        """What the folder holds of this work; nothing if it was begun otherwise, or cannot be read."""
        with contextlib.suppress(OSError, ValidationError):
            state = TypeAdapter(State).validate_json((self._folder / STATE).read_bytes())
            files = {name: (self._folder / name).stat().st_size for name in (BANDS, SMALL)}
            if state.plan == plan and files[BANDS] >= state.bytes and files[SMALL] >= state.small:
                return state
        return State(plan)

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            yield
        except OSError as error:
            raise refusal("The picture", self._folder, error) from error


def _power_of_two(least: float) -> int:
    factor = 1
    while factor < least:
        factor *= 2
    return factor


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.exists())
