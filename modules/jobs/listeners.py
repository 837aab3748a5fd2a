"""Callbacks for changes."""

import threading
from collections.abc import Callable


class Listeners:
    """Callbacks that are called, in whichever thread the change happens, after each change.

    A callback must be quick and must not raise: it sets a flag or wakes somebody, who then reads what changed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: dict[object, Callable[[], None]] = {}

    def __len__(self) -> int:
        return len(self._callbacks)

    def add(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls `callback` from now on. The returned function ends that, and may be called more than once."""
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
