"""Keeps the ControlNets of the latest job in memory, so that the next job with the same ones does not reload them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modules.base.errors import WebuiError
from modules.networks.control.layout import FIELD
from modules.networks.files.loras import Stamp, stamp_of
from modules.networks.model import Model


class _Key(NamedTuple):
    """A file in its current state, for models of one family and shape, on one device."""

    stamp: Stamp
    family: str
    text_width: int
    place: str


class ControlNetCache:
    """Holds the networks of the current job; those of the job before are freed first."""

    def __init__(self) -> None:
        self._loaded: dict[_Key, Any] = {}

    def take(self, paths: Sequence[Path], model: Model) -> tuple[Any, ...]:
        """The networks in these files, for `model`; all other networks are freed before any file is read.

        Raises WebuiError if a file is missing, damaged, or made for another family.
        """
        load = model.family.load_control
        if load is None:
            raise WebuiError(
                f"ControlNets are not offered for {model.family.label} checkpoints yet.",
                "Remove the control units, or choose a Stable Diffusion checkpoint.",
                FIELD,
            )
        keys = [self._key(path, model) for path in paths]
        self._loaded = {key: net for key, net in self._loaded.items() if key in keys}
        for key, path in zip(keys, paths, strict=True):
            if key not in self._loaded:
                try:
                    self._loaded[key] = load(path, model)
                except OSError as error:
                    raise _unreadable(path, error) from error
        return tuple(self._loaded[key] for key in keys)

    def clear(self) -> None:
        self._loaded.clear()

    def _key(self, path: Path, model: Model) -> _Key:
        try:
            stamp = stamp_of(path)
        except OSError as error:
            raise _unreadable(path, error) from error
        return _Key(stamp, model.family.name, model.text_width, f"{model.place.device} {model.place.dtype}")


def _unreadable(path: Path, error: OSError) -> WebuiError:
    return WebuiError(
        f"The ControlNet {path.name} cannot be read: {error.strerror or error}.", "Refresh the list.", FIELD
    )
