"""Uploaded source pictures on disk, by the sha256 of their bytes, so that they survive a reload and a restart."""

import contextlib
import hashlib
import os
import re
import threading
from collections import Counter
from pathlib import Path

from modules.base.disk import refusal, sizes_in, sweep, write_over
from modules.base.errors import WebuiError
from modules.base.picture import Picture

GIBIBYTE = 1 << 30
SUFFIX = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tiff", "AVIF": "avif"}
NAME = re.compile(r"([0-9a-f]{64})\.(png|jpg|webp|gif|bmp|tiff|avif)")


class Pictures:
    """Pictures under `folder`, at most `limit` bytes; the least recently used are removed first.

    Safe to use from several threads. The folder may be emptied at any time.
    """

    def __init__(self, folder: Path, limit: int = 2 * GIBIBYTE) -> None:
        self._folder = folder
        self._limit = limit
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        self._sizes = _found(folder)  # name -> bytes, least recently used first

    def put(self, picture: Picture, held: bool = False) -> Path:
        """Stores `picture`; returns the path of its file. Raises WebuiError, with the reason, if the disk refuses.

        `held`: it is not removed until it is released as often as it was held.
        """
        name = f"{picture.sha256}.{SUFFIX[picture.format]}"
        path = self._folder / name
        with self._lock:
            try:
                if path.is_file() and path.stat().st_size == len(picture.data):
                    os.utime(path)
                else:
                    write_over(path, picture.data)
            except OSError as error:
                raise refusal("The source picture", self._folder, error) from error
            self._sizes.pop(name, None)
            self._sizes[name] = len(picture.data)
            if held:
                self._held[picture.sha256] += 1
            self._make_room()
        return path

    def path(self, sha256: str) -> Path:
        """The file of a picture. Raises WebuiError (404) if it does not exist."""
        with self._lock:
            for name in [name for name in self._sizes if name.startswith(f"{sha256}.")]:
                path = self._folder / name
                size = self._sizes.pop(name)
                if path.is_file():
                    self._sizes[name] = size  # now the most recently used
                    with contextlib.suppress(OSError):
                        os.utime(path)
                    return path
        raise WebuiError(
            f"The source picture {sha256[:12]!r} no longer exists.",
            "Drop, paste or choose it again.",
            field="init_images",
            status=404,
        )

    def get(self, sha256: str) -> Picture:
        """The picture with this sha256. Raises WebuiError (404) if it does not exist or has changed."""
        path = self.path(sha256)
        try:
            data = path.read_bytes()
        except OSError:
            data = b""  # unreadable or missing: treated like a changed file
        if hashlib.sha256(data).hexdigest() != sha256:
            with self._lock:
                self._sizes.pop(path.name, None)
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            raise WebuiError(
                f"The source picture {sha256[:12]!r} was damaged on the disk.",
                "Drop, paste or choose it again.",
                field="init_images",
                status=404,
            )
        return Picture.checked_before(data, sha256)

    def lying(self, picture: Picture) -> Picture:
        """`picture`, backed by its file instead of bytes in memory. Raises WebuiError (404) if it does not exist."""
        return picture.lying_at(self.path(picture.sha256))

    def hold(self, sha256: str) -> None:
        """Keeps this picture, if it exists, from being removed."""
        with self._lock:
            self._held[sha256] += 1

    def release(self, sha256: str) -> None:
        """Undoes one `hold`, or one `put` with `held`."""
        with self._lock:
            self._held[sha256] -= 1
            if self._held[sha256] <= 0:
                del self._held[sha256]

    def _make_room(self) -> None:
        """Removes the least recently used pictures, but never the newest one or one that is held."""
        excess = sum(self._sizes.values()) - self._limit
        for name in list(self._sizes)[:-1]:
            if excess <= 0:
                return
            if name.partition(".")[0] in self._held:
                continue
            (self._folder / name).unlink(missing_ok=True)
            excess -= self._sizes.pop(name)


def _found(folder: Path) -> dict[str, int]:
    sweep(folder)
    return sizes_in(folder, NAME)
