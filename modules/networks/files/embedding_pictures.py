"""Embeddings inside pictures, as A1111's training saves them: in a text chunk, or in the pixels beside the preview.

Either way the data is the content of a `.pt` file as JSON, with `{"TORCHTENSOR": [[...]]}` for a tensor. In pixels, the
JSON is deflated. The two halves of each byte are the lower four bits of a block to the left of the picture and of one
to its right, each behind a black line; both blocks are XORed with the same sequence. Does not import torch.
"""

import base64
import binascii
import io
import warnings
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modules.base.errors import WebuiError
from modules.base.picture import DAMAGED
from modules.networks.files.foreign import open_file, parse_json
from modules.networks.files.listing import TensorInfo

PICTURES: Final = (".png", ".webp")
_FORMATS: Final = ("PNG", "WEBP")
_CHUNK: Final = "sd-ti-embedding"
_TENSOR: Final = "TORCHTENSOR"
_LARGEST_FILE: Final = 64 * 2**20  # bytes
_MOST_PIXELS: Final = 16_000_000
_LARGEST_TEXT: Final = 32 * 2**20  # bytes of JSON; 75 vectors of XL take 3.5 MB
_LONGEST_BASE64: Final = _LARGEST_TEXT * 4 // 3
_MULTIPLIER, _INCREMENT = 1664525, 1013904223  # of the sequence, modulo 2 ** 32; it starts after 0

Array = NDArray[np.float32]


def is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES


def picture_content(path: Path) -> dict[str, Any] | None:
    """The embedding in a picture, with shapes in place of tensors; None if there is none.

    Raises WebuiError for a damaged embedding; OSError.
    """
    return cast("dict[str, Any] | None", _shapes(_content(path)))


def picture_vectors(path: Path, keys: tuple[str, ...]) -> Array:
    """The tensor at the path `keys`. Raises WebuiError, OSError."""
    content = _content(path)
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    if not isinstance(content, np.ndarray):
        raise _damaged(path)
    return content


def _content(path: Path) -> Any:
    text = _text(path)
    if text is None:
        return None
    try:
        return _arrays(parse_json(text))
    except (ValueError, TypeError, OverflowError) as error:
        raise _damaged(path) from error


def _text(path: Path) -> str | None:
    with open_file(path) as file:
        data = file.read(_LARGEST_FILE + 1)
    if len(data) > _LARGEST_FILE:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
            if image.width * image.height > _MOST_PIXELS:
                return None
            pixels = np.asarray(image.convert("RGB"))
            chunk = cast("Mapping[str, Any]", getattr(image, "text", {})).get(_CHUNK)
    except (*DAMAGED, Image.DecompressionBombError):
        return None
    if isinstance(chunk, str):
        try:
            return base64.b64decode(chunk[:_LONGEST_BASE64], validate=True).decode()
        except (binascii.Error, ValueError) as error:
            raise _damaged(path) from error
    return _text_in_pixels(pixels)


def _text_in_pixels(pixels: NDArray[np.uint8]) -> str | None:
    """The JSON in the pixels; None for a picture without the two black lines, or with other data beside them."""
    bright = (pixels > 0).all(2)
    columns, rows = np.flatnonzero(bright.any(axis=0)), np.flatnonzero(bright.T.any(axis=0))
    if not len(columns):
        return None
    halves = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] & 0x0F
    black = np.flatnonzero(halves.sum((0, 2)) == 0)
    if len(black) < 2:
        return None
    low, high = halves[:, : black[0]], halves[:, black[-1] + 1 :]
    if low.shape != high.shape or not low.size:
        return None
    sequence = _sequence(low.size)
    joined = ((high.reshape(-1) ^ sequence) << 4) | (low.reshape(-1) ^ sequence)
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(joined.tobytes(), _LARGEST_TEXT)
        return text.decode() if unpacking.eof else None
    except (zlib.error, UnicodeDecodeError):
        return None


def _sequence(count: int) -> NDArray[np.uint8]:
    """The lower four bits of a linear congruential generator's numbers modulo 255.

    Each iteration doubles the known numbers: n steps after x comes a^n x + c (a^(n-1) + ... + 1).
    """
    numbers = np.array([_INCREMENT], np.uint64)
    factor, summand = _MULTIPLIER, _INCREMENT  # for one step, then for two, four ...
    while len(numbers) < count:
        later = (numbers * np.uint64(factor) + np.uint64(summand)) % np.uint64(2**32)
        numbers = np.concatenate([numbers, later])
        factor, summand = factor * factor % 2**32, (factor + 1) * summand % 2**32
    return (numbers[:count] % 255 & 0x0F).astype(np.uint8)


def _arrays(value: Any) -> Any:
    """`value` with arrays instead of the JSON form of tensors. Raises ValueError for a ragged tensor."""
    if not isinstance(value, dict):
        return value
    inner = cast("dict[str, Any]", value)
    if _TENSOR in inner:
        return np.asarray(inner[_TENSOR], np.float32)
    return {key: _arrays(each) for key, each in inner.items()}


def _shapes(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return TensorInfo("F32", value.shape)
    if isinstance(value, dict):
        return dict(_shapes_of(cast("dict[str, Any]", value)))
    return value


def _shapes_of(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        yield key, _shapes(value)


def _damaged(path: Path) -> WebuiError:
    return WebuiError(f"{path.name} holds an embedding that is damaged.", "Download it again, as it is.")
