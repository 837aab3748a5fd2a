"""The shapes of a header's tensors with one prefix."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from modules.base.errors import WebuiError
from modules.networks.files.foreign import FIELD, missing_keys
from modules.networks.files.listing import Header

MOST_LEVELS: Final = 64  # levels of a network, and numbered values of one key


class Shapes:
    """The shapes of the tensors with `prefix`; `name` is the file's name, for messages."""

    def __init__(self, header: Header, prefix: str, name: str) -> None:
        self._shapes = {key.removeprefix(prefix): info.shape for key, info in header.items() if key.startswith(prefix)}
        self._prefix = prefix
        self._name = name

    def of(self, key: str) -> tuple[int, ...]:
        """The shape of a layer's weight, whose first dimensions are its outputs and inputs."""
        if key not in self._shapes:
            raise missing_keys([self._prefix + key], self._name)
        if len(self._shapes[key]) < 2:
            raise self.unusual(f"{self._prefix}{key} has the shape {list(self._shapes[key])}")
        return self._shapes[key]

    def first(self, ending: str) -> str | None:
        """A key with this ending, always the same one; None if there is none."""
        return min((key for key in self._shapes if key.endswith(ending)), default=None)

    def has(self, start: str) -> bool:
        return any(key.startswith(start) for key in self._shapes)

    def count(self, start: str) -> int:
        """How many consecutive numbers follow `start.` in the keys, as in `layers.0`, `layers.1`."""
        numbered = re.compile(re.escape(start) + r"\.(\d+)\.")
        found = len({match[1] for key in self._shapes if (match := numbered.match(key))})
        if found > MOST_LEVELS:
            raise self.unusual(f"it has {found} {start}")
        return found

    def unusual(self, what: str) -> WebuiError:
        return WebuiError(
            f"{self._name} has a layout that cannot be loaded: {what}.", "Use a usual checkpoint.", field=FIELD
        )


def require_divides(parts: int | Sequence[int], widths: Sequence[int], key: str, what: str, name: str) -> None:
    """Raises WebuiError for a number of heads or groups that does not divide its channels."""
    each = [parts] * len(widths) if isinstance(parts, int) else parts
    for part, width in zip(each, widths, strict=True):
        if part < 1 or width % part:
            raise WebuiError(
                f"{name}: {key}={part} does not divide the {what}'s {width} channels.",
                f"Put a {Path(name).stem}.yaml with the right {key} beside the checkpoint.",
                field=FIELD,
            )
