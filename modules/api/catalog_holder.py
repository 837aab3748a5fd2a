"""The most recent catalog of models. Files are examined, and hashed on request, in the background."""

import logging
import threading
from collections.abc import Callable, Hashable
from dataclasses import replace
from pathlib import Path
from typing import Final

from modules.base.names import digits_in, folded, name_in
from modules.jobs.listeners import Listeners
from modules.schema.catalog import Catalog, Checkpoint, Vae

log = logging.getLogger(__name__)

PATIENCE: Final = 2.0  # seconds that a request waits for hashes that are not known yet
PATIENCE_FOR_HEADERS: Final = 5.0  # … and for the headers of LoRAs


class CatalogHolder:
    """The most recent catalog found by `scan`. Thread-safe.

    `known_hash` returns a file's sha256 if it is known, else ""; `hash_of` reads the whole file if necessary, and
    returns "" if it cannot be read. `look_further` examines what a scan skipped because it takes long, and returns
    whether another scan would find more. `stamp` returns a new value after a file in the folders was added, removed or
    changed. `listeners` are called when the catalog has changed.
    """

    def __init__(
        self,
        scan: Callable[[], Catalog],
        known_hash: Callable[[Path], str] = lambda path: "",
        hash_of: Callable[[Path], str] = lambda path: "",
        look_further: Callable[[], bool] = lambda: False,
        stamp: Callable[[], Hashable] = lambda: None,
    ) -> None:
        self.known_hash = known_hash
        self.hash_of = hash_of
        self.listeners = Listeners()
        self._changed = threading.Condition()  # guards the fields below
        self._scan = scan
        self._stamp = stamp
        self._stamped = stamp()
        self._current = scan()
        self._revision = 0
        self._tried: set[Path] = set()  # files whose hash was requested since the last scan
        self._reading: Path | None = None  # the file whose hash is being computed
        self._urgent: set[str] = set()  # case-folded names of files whose hash a request waits for
        self._waiting = 0  # number of requests waiting for hashes; without any, none are computed
        self._in_vain: set[str] = set()  # hashes that a request already waited for without success
        self._look_further = look_further
        self._is_looked = False  # whether `look_further` was called since the last scan
        self._looking = threading.Thread(target=self._look_on, name="looks", daemon=True)
        self._hashing = threading.Thread(target=self._hash_all, name="hashes", daemon=True)

    @property
    def current(self) -> Catalog:
        return self._current

    @property
    def revision(self) -> int:
        """A number that changes with each change of the catalog."""
        return self._revision

    def look(self) -> Catalog:
        """The current catalog; scans the folders only if something in them has changed."""
        return self._current if self._stamp() == self._stamped else self.refresh()

    def refresh(self) -> Catalog:
        """Scan the folders again."""
        stamped = self._stamp()  # before the scan, so the next one sees what changes meanwhile
        found = self._scan()
        with self._changed:
            is_new = found != self._current
            self._current, self._stamped = found, stamped
            self._tried.clear()
            self._is_looked = False
            if is_new:
                self._in_vain.clear()
            self._revision += is_new
            self._changed.notify_all()
        if is_new:
            self.listeners.call()
        return found

    def learn(self, name: str) -> None:
        """Add the hash of the checkpoint `name`, known since it was loaded, so it can be selected by hash."""
        row = next((row for row in self._current.checkpoints if row.name == name and not row.hash), None)
        if row is not None and (sha256 := self.known_hash(row.path)):
            self._note(row.path, sha256)

    def begin(self) -> None:
        """From now on, call `look_further` after each scan, and compute the hashes that requests wait for."""
        self._looking.start()
        self._hashing.start()

    def knowing(self, *names: str) -> Catalog:
        """The catalog, once it is known which files have the hashes in `names`, or that none has.

        Reads files with these names first, then all others, for at most `PATIENCE` seconds, and only once for each
        hash: a missing model must not make every request read all files.
        """
        digits = [found for text in names if (found := digits_in(text))]
        if not digits or self._has_hashes(digits) or not self._hashing.is_alive() or self._in_vain.issuperset(digits):
            return self._current
        with self._changed:
            self._urgent |= {folded(name_in(text)) for text in names}
            self._waiting += 1
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._has_hashes(digits), PATIENCE):
                self._in_vain.update(digits)
            self._waiting -= 1
            return self._current

    def settled(self, *names: str) -> Catalog:
        """The current catalog with the data from file headers and the hashes in `names`, if a few seconds are enough
        to read them."""
        self.look()
        self.complete()
        return self.knowing(*names)

    def complete(self) -> Catalog:
        """The catalog once the headers of all LoRAs have been read, or after `PATIENCE_FOR_HEADERS` seconds."""
        if not self._looking.is_alive():
            while self._look_further():
                self.refresh()
            return self._current
        with self._changed:
            self._changed.wait_for(lambda: all(lora.is_read for lora in self._current.loras), PATIENCE_FOR_HEADERS)
            return self._current

    def _is_busy(self) -> bool:
        return self._reading is not None or self._next() is not None

    def _has_hashes(self, digits: list[str]) -> bool:
        known = [row.hash for row in (*self._current.checkpoints, *self._current.vaes)]
        return not self._is_busy() or all(any(one.startswith(start) for one in known) for start in digits)

    def _next(self) -> Path | None:
        """The file to hash next: one that a request waits for, else the first."""
        rows: list[Checkpoint | Vae] = [*self._current.checkpoints, *self._current.vaes]
        left = [row for row in rows if not row.hash and row.path not in self._tried]
        urgent = (row for row in left if {folded(row.path.name), folded(row.path.stem)} & self._urgent)
        row = next(urgent, None) or next(iter(left), None)
        return row.path if row else None

    def _look_on(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._is_looked)
                self._is_looked = True
            try:
                is_news = self._look_further()
            except Exception:  # no file may end the thread, as in `_hash_all`
                log.exception("Files could not be examined.")
                continue
            if is_news:
                self.refresh()

    def _hash_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting > 0 and self._next() is not None)
                path = self._next()
                assert path is not None
                self._tried.add(path)
                self._reading = path
            sha256 = ""
            try:
                sha256 = self.hash_of(path)
            except Exception:  # no file may end the thread: the next one must be hashed too
                log.exception("The hash of %s cannot be computed.", path)
            self._note(path, sha256, is_read=True)

    def _note(self, path: Path, sha256: str, is_read: bool = False) -> None:
        with self._changed:
            if is_read:
                self._reading = None
            if sha256:
                now = self._current
                checkpoints = tuple(replace(row, hash=sha256) if row.path == path else row for row in now.checkpoints)
                vaes = tuple(replace(row, hash=sha256) if row.path == path else row for row in now.vaes)
                self._current = replace(now, checkpoints=checkpoints, vaes=vaes)
                self._revision += 1
            self._changed.notify_all()
        if sha256:
            self.listeners.call()
