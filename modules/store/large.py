"""Pictures in the outputs folder that are too large to be decoded: what their headers say, and small copies of them."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from modules.base.errors import WebuiError
from modules.base.picture import DAMAGED, MAX_BYTES, MAX_PIXELS, texts_of

# Not through `Image.open`, which refuses pictures of many pixels before anything is known of them. These read headers.
READERS: Final = {".png": PngImageFile, ".jpg": JpegImageFile, ".jpeg": JpegImageFile, ".tiff": TiffImageFile}
SHOWN_AS_FILES: Final = (".png", ".jpg", ".jpeg", ".webp")  # by browsers


@dataclass(frozen=True)
class LargePicture:
    """A file whose pixels are not looked at."""

    width: int
    height: int
    info: dict[Any, Any]

    def text(self) -> dict[Any, Any]:
        return self.info


def large_picture(path: Path) -> LargePicture | None:
    """The picture in a file, if it is too large to be read whole; else None. Raises WebuiError, OSError."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        return None
    try:
        image: Image.Image = reader(path)
    except DAMAGED:
        if path.stat().st_size > MAX_BYTES:
            raise WebuiError(f"{path.name} cannot be read.", "Make it again.", "path") from None
        return None
    with image:
        if image.width * image.height <= MAX_PIXELS and path.stat().st_size <= MAX_BYTES:
            return None
        return LargePicture(image.width, image.height, texts_of(image))


def is_shown_reduced(path: str, width: int, height: int) -> bool:
    """Whether a browser gets a reduced copy: it cannot decode the file, or not in a bearable time."""
    return width * height > MAX_PIXELS or Path(path).suffix.lower() not in SHOWN_AS_FILES


def key_of(path: Path) -> str:
    """What the reduced copy of a file is kept under in `Thumbnails`; another one once the file has changed."""
    status: os.stat_result = path.stat()
    return f"large {status.st_size} {status.st_mtime_ns}"
