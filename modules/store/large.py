"""Pictures in the outputs folder that are too large to decode: their headers, and reduced copies."""

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

# `Image.open` rejects very large pictures before their size is known, so these readers parse only the headers.
READERS: Final = {".png": PngImageFile, ".jpg": JpegImageFile, ".jpeg": JpegImageFile, ".tiff": TiffImageFile}
SHOWN_AS_FILES: Final = (".png", ".jpg", ".jpeg", ".webp")  # formats that browsers display


@dataclass(frozen=True)
class LargePicture:
    """A picture file whose pixels are not decoded."""

    width: int
    height: int
    info: dict[Any, Any]

    def text(self) -> dict[Any, Any]:
        return self.info


def large_picture(path: Path) -> LargePicture | None:
    """The picture in a file if it is too large to decode, else None. Raises WebuiError, OSError."""
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
    """Whether a browser gets a reduced copy, because it cannot decode the file, or only too slowly."""
    return width * height > MAX_PIXELS or Path(path).suffix.lower() not in SHOWN_AS_FILES


def key_of(path: Path) -> str:
    """The key of a file's reduced copy in `Thumbnails`; it changes when the file changes."""
    status: os.stat_result = path.stat()
    return f"large {status.st_size} {status.st_mtime_ns}"
