"""Small copies of pictures that are too large to be sent to a page."""

from pathlib import Path

from modules.base.picture import Picture
from modules.images.large.reading import SIDE, reduced
from modules.store.large import key_of, large_picture
from modules.store.thumbnails import Thumbnails, small


def reduced_copy(file: Path, thumbnails: Thumbnails) -> bytes:
    """A small copy of the picture in `file`, as WebP, cached or made now. Raises WebuiError, OSError."""

    def make() -> bytes:
        if large_picture(file) is not None:
            return reduced(file)
        return small(Picture.unread(file.read_bytes(), "path"), SIDE, "path")

    return thumbnails.get(key_of(file), make)
