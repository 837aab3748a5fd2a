"""Keeps the latest maps of control units, so that the next batch, pass or job with the same picture draws none anew."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from modules.images.preprocessors import Pixels

MOST_BYTES: Final = 128 << 20  # of all kept maps: some forty of 1024 x 1024


class MapKey(NamedTuple):
    """What a map depends on.

    picture: sha256 of the pixels, after cropping.  drawn: preprocessor, resolution and its two numbers.  fitted: width,
    height and resize mode of the result.
    """

    picture: str
    drawn: tuple[str, int, float, float]
    fitted: tuple[int, int, str]


class MapCache:
    """Maps by what they depend on; the least recently used are dropped first."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._maps: OrderedDict[MapKey, Pixels] = OrderedDict()

    def taken(self, key: MapKey, draw: Callable[[], Pixels]) -> Pixels:
        """The map of `key`, drawn if it is not kept. It is shared: do not change it."""
        found = self._maps.pop(key, None)
        if found is None:
            found = draw()
            found.setflags(write=False)
        self._maps[key] = found
        while sum(each.nbytes for each in self._maps.values()) > self._most:
            self._maps.popitem(last=False)
        return found
