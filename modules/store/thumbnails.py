"""Small copies of pictures, cached in a folder; the least recently used are removed first."""

import contextlib
import hashlib
import io
import logging
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from modules.base.disk import sizes_in, sweep, write_over
from modules.base.errors import WebuiError
from modules.base.picture import DAMAGED, Picture

log = logging.getLogger(__name__)

LIMIT = 256 << 20  # bytes in total; one thumbnail has 10 to 30 kB
MOST_PIXELS = 40_000_000  # in a picture to make a thumbnail of
QUALITY = 82
NAME = re.compile(r"[0-9a-f]{64}\.webp")


def small(picture: Picture, side: int, field: str = "") -> bytes:
    """`picture` with a longer side of at most `side` pixels, as WebP. Raises WebuiError, Busy."""
    if picture.width * picture.height > MOST_PIXELS:
        raise WebuiError(
            f"The picture is {picture.width}x{picture.height}, more than {MOST_PIXELS // 1_000_000} megapixels.",
            "Scale it down.",
            field,
        )
    file = io.BytesIO()
    with picture.room():
        image = picture.open()
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        image.save(file, "WEBP", quality=QUALITY)
        del image
    return file.getvalue()


def is_whole(data: bytes) -> bool:
    """Whether `data` is a picture that can be decoded. For a card's picture this takes a millisecond."""
    try:
        with Image.open(io.BytesIO(data), formats=("WEBP",)) as image:
            image.load()
    except DAMAGED:
        return False
    return True


class Thumbnails:
    """Files in `folder` by key, at most `limit` bytes in total. Safe to use from several threads.

    The folder may be emptied at any time. If it cannot be written, thumbnails are made anew each time.
    """

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self._folder = folder
        self._limit = limit
        self._lock = threading.Lock()
        sweep(folder)
        self._sizes = sizes_in(folder, NAME)  # name -> bytes, least recently used first

    def get(self, key: str, make: Callable[[], bytes]) -> bytes:
        """The bytes stored under `key`, made by `make` if there are none. Use another key when the picture changes."""
        name = f"{hashlib.sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()}.webp"
        path = self._folder / name
        with contextlib.suppress(OSError):
            data = path.read_bytes()
            if is_whole(data):
                os.utime(path)
                self._note(name, len(data))
                return data
            log.warning("The thumbnail %s is damaged; it is made again.", path)
        data = make()
        try:
            write_over(path, data)
        except OSError as error:
            log.info("The thumbnail %s cannot be kept (%s).", path, error)
        else:
            self._note(name, len(data))
        return data

    def _note(self, name: str, size: int) -> None:
        """Marks the file as most recently used; removes the least recently used ones beyond the limit."""
        with self._lock:
            self._sizes.pop(name, None)
            self._sizes[name] = size
            excess = sum(self._sizes.values()) - self._limit if len(self._sizes) > 1 else 0
            for old in list(self._sizes)[:-1] if excess > 0 else ():
                if excess <= 0:
                    return
                excess -= self._sizes.pop(old)
                with contextlib.suppress(OSError):
                    (self._folder / old).unlink()
