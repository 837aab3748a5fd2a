"""The ControlNets of the latest job stay in memory, so that the next one with the same need not read them again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modules.base.errors import WebuiError
from modules.networks.control.layout import FIELD
from modules.networks.files.loras import Stamp, stamp_of
from modules.networks.model import Model


class _Key(NamedTuple):
    """A file as it is, for the models of one family and shape, on one device."""

    stamp: Stamp
    family: str
    text_width: int
    place: str


class ControlNetCache:
    """Holds the networks that the job at hand uses; those of the job before go first."""

    def __init__(self) -> None:
        self._loaded: dict[_Key, Any] = {}

    def take(self, paths: Sequence[Path], model: Model) -> tuple[Any, ...]:
        """The networks in these files, for `model`; what is in none of them is let go before any is read.

        Raises WebuiError if a file is gone, damaged, or made for another family.
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
