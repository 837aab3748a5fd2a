"""A cache limited by bytes, for use by one owner and one thread."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ByteCache(Generic[K, V]):
    """The most recently used values, up to `limit` bytes. A value larger than the limit is not cached."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._used = 0

    @property
    def used(self) -> int:
        """Total size of the cached values in bytes."""
        return self._used

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def get(self, key: K) -> V | None:
        """The value, which becomes the most recently used; None if it is not cached."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Caches `value` of `size` bytes and removes the least recently used values until all fit."""
        self.discard(key)
        if size > self.limit:
            return
        self._entries[key] = (value, size)
        self._used += size
        while self._used > self.limit:
            _, (_, freed) = self._entries.popitem(last=False)
            self._used -= freed

    def get_or_make(self, key: K, make: Callable[[], V], size: Callable[[V], int]) -> V:
        """The cached value, or a new one by `make`, which is then cached. If `make` raises, the cache is unchanged."""
        if key in self._entries:
            self._entries.move_to_end(key)
            return self._entries[key][0]
        value = make()
        self.put(key, value, size(value))
        return value

    def discard(self, key: K) -> None:
        """Removes a value, if it is cached."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._used -= entry[1]

    def clear(self) -> None:
        self._entries.clear()
        self._used = 0
