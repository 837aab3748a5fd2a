"""What a person notes about a model, kept as A1111's editor of cards keeps it: in a JSON beside the model's file."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from modules.base.disk import FORBIDDEN, FULL, write_over
from modules.base.errors import WebuiError
from modules.base.names import shown
from modules.networks.files.foreign import LARGEST_NOTE, parse_json, read_text

# Fields of ours and A1111's keys.
KEYS: Final[Mapping[str, str]] = {
    "description": "description",
    "sd_version": "sd version",
    "activation_text": "activation text",
    "preferred_weight": "preferred weight",
    "negative_text": "negative text",
    "notes": "notes",
}


def read_own(path: Path) -> dict[str, Any]:
    """All that the JSON at `path` holds, {} where there is none. Raises WebuiError for one that cannot be read."""
    try:
        content = parse_json(read_text(path, LARGEST_NOTE))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise _unreadable(path, reason) from error
    if not isinstance(content, dict):
        raise _unreadable(path, "it holds no JSON object")
    return cast(dict[str, Any], content)


def save_own(path: Path, changes: Mapping[str, Any]) -> None:
    """Put `changes`, by the names of `KEYS`, into the JSON at `path`; what else it holds stays.

    Raises WebuiError, and the file is as it was, if it cannot be read or written.
    """
    if path.is_symlink():
        raise WebuiError(f"{shown(path.name)} is a link; notes are not written through links.", "Edit its target.")
    content = read_own(path)
    content.update({KEYS[name]: value for name, value in changes.items()})
    try:
        write_over(path, as_json(content))
    except OSError as error:
        raise _refused(path, error) from error


def as_json(content: Mapping[str, Any]) -> bytes:
    """As A1111 writes it; halves of surrogate pairs, which UTF-8 cannot hold, as escapes."""
    text = json.dumps(content, indent=4, ensure_ascii=False)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(content, indent=4).encode("ascii")


def _unreadable(path: Path, reason: str) -> WebuiError:
    return WebuiError(
        f"{shown(path.name)} cannot be read, so nothing is written into it: {reason}.", "Repair or remove that file."
    )


def _refused(path: Path, error: OSError) -> WebuiError:
    folder = shown(str(path.parent))
    if error.errno in FULL:
        return WebuiError(f"The notes cannot be saved in {folder}: the disk is full.", "Free some space.", status=507)
    if error.errno in FORBIDDEN or not os.access(path.parent, os.W_OK):
        return WebuiError(f"The notes cannot be saved: {folder} is read-only.", "Make it writable.", status=409)
    return WebuiError(f"The notes cannot be saved in {folder}: {error.strerror or error}.", status=507)
