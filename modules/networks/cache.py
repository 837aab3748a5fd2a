"""A cache bounded by bytes; whoever makes one owns it, and it is not shared between threads."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ByteCache(Generic[K, V]):
    """The values used last, as many as fit into `limit` bytes. A value larger than the limit is not kept."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._used = 0

    @property
    def used(self) -> int:
        """Bytes of all values held."""
        return self._used

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def get(self, key: K) -> V | None:
        """The value, which thereby becomes the most recent; None if it is not held."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Hold `value` of `size` bytes and let go of the least recent ones until all fit."""
        self.discard(key)
        if size > self.limit:
            return
        self._entries[key] = (value, size)
        self._used += size
        while self._used > self.limit:
            _, (_, freed) = self._entries.popitem(last=False)
            self._used -= freed

    def get_or_make(self, key: K, make: Callable[[], V], size: Callable[[V], int]) -> V:
        """The value held, or a new one by `make`, held from now on. If `make` raises, the cache is as before."""
        if key in self._entries:
            self._entries.move_to_end(key)
            return self._entries[key][0]
        value = make()
        self.put(key, value, size(value))
        return value

    def discard(self, key: K) -> None:
        """Let go of one value, if it is held."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._used -= entry[1]

    def clear(self) -> None:
        self._entries.clear()
        self._used = 0
