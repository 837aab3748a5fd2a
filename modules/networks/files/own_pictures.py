"""The picture that a user chooses for a model, stored as in A1111: `NAME.preview.png` next to the model."""

import io
import os
from pathlib import Path
from typing import Final

from modules.base.disk import FORBIDDEN, FULL, write_new, write_over
from modules.base.errors import WebuiError
from modules.base.names import shown
from modules.base.picture import Picture
from modules.networks.files.cards import Card

ENDING: Final = ".preview.png"
FIELD: Final = "replace"


def preview_path(card: Card) -> Path:
    return card.base.folder / f"{card.base.stem}{ENDING}"


def save_preview(card: Card, picture: Picture, is_replacing: bool) -> Path:
    """Writes `picture` next to the model and returns the path; a PNG is copied unchanged, including its parameters.

    Raises WebuiError if the disk refuses, or, with the field `replace` (409), if the model has a picture and
    `is_replacing` is False; then nothing has changed.
    """
    path = preview_path(card)
    if path.is_symlink():
        raise WebuiError(f"{shown(path.name)} is a link; nothing is written through links.", "Replace its target.")
    if card.picture is not None and not is_replacing:
        raise _taken(card, Path(card.picture.path).name)
    data = picture.data if picture.format == "PNG" else _as_png(picture)
    try:
        (write_over if is_replacing else write_new)(path, data)
    except FileExistsError as error:
        raise _taken(card, path.name) from error
    except OSError as error:
        raise _refused(path, error) from error
    return path


def _taken(card: Card, name: str) -> WebuiError:
    is_same = name.lower() == preview_path(card).name.lower()
    hint = "" if is_same else f"That file stays, and {shown(preview_path(card).name)} is shown instead."
    return WebuiError(f"{card.name} has a thumbnail already: {shown(name)}.", hint, FIELD, 409)


def _as_png(picture: Picture) -> bytes:
    file = io.BytesIO()
    with picture.room():
        picture.open().save(file, "PNG")
    return file.getvalue()


def _refused(path: Path, error: OSError) -> WebuiError:
    folder = shown(str(path.parent))
    if error.errno in FULL:
        return WebuiError(f"The thumbnail cannot be saved in {folder}: the disk is full.", "Free some space.", "", 507)
    if error.errno in FORBIDDEN or not os.access(path.parent, os.W_OK):
        return WebuiError(f"The thumbnail cannot be saved: {folder} is read-only.", "Make it writable.", "", 409)
    return WebuiError(f"The thumbnail cannot be saved in {folder}: {error.strerror or error}.", "", "", 507)
