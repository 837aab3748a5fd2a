"""Callbacks for changes."""

import threading
from collections.abc import Callable


class Listeners:
    """Callbacks that are called after each change, in the thread that made the change.

    A callback must be quick and must not raise: it should set a flag or wake a thread that then reads what changed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: dict[object, Callable[[], None]] = {}

    def __len__(self) -> int:
        return len(self._callbacks)

    def add(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls `callback` from now on. The returned function removes it again and may be called more than once."""
        key = object()
        with self._lock:
            self._callbacks[key] = callback

        def remove() -> None:
            with self._lock:
                self._callbacks.pop(key, None)

        return remove

    def call(self) -> None:
        with self._lock:
            callbacks = tuple(self._callbacks.values())
        for callback in callbacks:
            callback()
