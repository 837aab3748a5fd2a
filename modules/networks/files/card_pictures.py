"""The picture of a model: a file next to it, or a picture in the header of the model's own file."""

from pathlib import Path
from typing import Any, Final, cast

from modules.base.errors import WebuiError
from modules.base.picture import Picture, bytes_of_text
from modules.networks.files.cards import Card
from modules.networks.files.foreign import open_file, parse_json
from modules.networks.files.listing import read_metadata
from modules.networks.files.loras import PICTURES

LARGEST: Final = 64 << 20  # bytes
FIELD: Final = "name"


def picture_of(card: Card) -> Picture:
    """The picture of a model. Raises WebuiError if there is none, or it cannot be read."""
    try:
        if card.picture is not None:
            with open_file(Path(card.picture.path)) as file:
                return Picture.unread(_bounded(file.read(LARGEST + 1)), FIELD)
        if card.has_own:
            return Picture.unread(_bounded(_embedded(card)), FIELD)
    except OSError as error:
        raise WebuiError(f"The picture cannot be read: {error.strerror or error}.", field=FIELD, status=404) from error
    raise WebuiError(f"{card.name} has no picture.", field=FIELD, status=404)


def picture_key(card: Card) -> str:
    """A key made of the picture's location and modification time, different for each picture; "" for none."""
    if card.picture is not None:
        return f"{card.picture.path} {card.picture.changed} {card.picture.size}"
    return f"{card.path} {card.changed} {card.size}" if card.has_own else ""


def _bounded(data: bytes) -> bytes:
    if len(data) > LARGEST:
        raise WebuiError(f"The picture has more than {LARGEST >> 20} MB.", "Save it smaller.", FIELD)
    return data


def _embedded(card: Card) -> bytes:
    """modelspec's thumbnail is a data URL; `ssmd_cover_images` is a JSON list of base64, some of it empty."""
    metadata = read_metadata(card.path)
    thumbnail, covers = (metadata.get(key, "") for key in PICTURES)
    try:
        listed: Any = [thumbnail] if thumbnail else parse_json(covers)
    except ValueError as error:
        raise WebuiError("The picture in the model's file cannot be read.", field=FIELD) from error
    texts = (
        [text for text in cast(list[Any], listed) if isinstance(text, str) and text] if isinstance(listed, list) else []
    )
    if not texts:
        raise WebuiError("The model's file holds no picture.", field=FIELD, status=404)
    return bytes_of_text(texts[0], FIELD)
