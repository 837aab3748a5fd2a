"""The user's own notes about a model, stored as in A1111's card editor: in a JSON next to the model's file."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from modules.base.disk import FORBIDDEN, FULL, write_over
from modules.base.errors import WebuiError
from modules.base.names import shown
from modules.networks.files.foreign import LARGEST_NOTE, parse_json, read_text

# Our fields and A1111's keys.
KEYS: Final[Mapping[str, str]] = {
    "description": "description",
    "sd_version": "sd version",
    "activation_text": "activation text",
    "preferred_weight": "preferred weight",
    "negative_text": "negative text",
    "notes": "notes",
}


# What a checkpoint's network predicts: keys of the JSON next to it, and the choices that set both keys.
PREDICTION, ZERO_SNR = "prediction_type", "zero_terminal_snr"
PREDICTIONS: Final[Mapping[str, tuple[str, bool]]] = {
    "epsilon": ("epsilon", False),
    "v_prediction": ("v_prediction", False),
    "v_prediction_zero_snr": ("v_prediction", True),
}


def prediction_path(checkpoint: Path) -> Path:
    """The JSON that says what a checkpoint (a file or a diffusers folder) predicts."""
    return checkpoint / "defaults.json" if checkpoint.is_dir() else checkpoint.with_suffix(".json")


def written_prediction(checkpoint: Path) -> tuple[Any, Any]:
    """The values of `PREDICTION` and `ZERO_SNR` in that JSON; None for a value that is missing or cannot be read."""
    try:
        content = read_own(prediction_path(checkpoint))
    except WebuiError:
        return None, None
    return content.get(PREDICTION), content.get(ZERO_SNR)


def chosen_prediction(checkpoint: Path) -> str:
    """The name in `PREDICTIONS` of the values in that JSON; "" for no values, or others."""
    word, zero = written_prediction(checkpoint)
    return next((name for name, pair in PREDICTIONS.items() if pair == (word, zero is True)), "")


def save_prediction(checkpoint: Path, choice: str) -> None:
    """Writes a choice of `PREDICTIONS` to that JSON; "" removes the values. Raises like `save_own`."""
    path = prediction_path(checkpoint)
    _require_no_link(path)
    content = read_own(path)
    for key in (PREDICTION, ZERO_SNR):
        content.pop(key, None)
    if choice:
        content[PREDICTION], content[ZERO_SNR] = PREDICTIONS[choice]
    _write(path, content)


def read_own(path: Path) -> dict[str, Any]:
    """The content of the JSON at `path`, {} if the file does not exist. Raises WebuiError if it cannot be read."""
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
    """Writes `changes`, named as in `KEYS`, to the JSON at `path`; its other values stay.

    Raises WebuiError if it cannot be read or written; then the file is unchanged.
    """
    _require_no_link(path)
    content = read_own(path)
    content.update({KEYS[name]: value for name, value in changes.items()})
    _write(path, content)


def _require_no_link(path: Path) -> None:
    if path.is_symlink():
        raise WebuiError(f"{shown(path.name)} is a link; notes are not written through links.", "Edit its target.")


def _write(path: Path, content: Mapping[str, Any]) -> None:
    try:
        write_over(path, as_json(content))
    except OSError as error:
        raise _refused(path, error) from error


def as_json(content: Mapping[str, Any]) -> bytes:
    """JSON formatted as in A1111; lone surrogates, which UTF-8 cannot encode, are escaped."""
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
