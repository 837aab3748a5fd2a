"""Uploaded files of batches, on disk by the sha256 of their bytes; nothing is kept in memory.

Unlike `Pictures`, the spool does not check contents: a broken picture is only noticed when the batch reaches it.
"""

import hashlib
import os
import re
import secrets
import threading
from collections.abc import Collection
from pathlib import Path

from modules.base.disk import DRAFT, refusal, sizes_in, sweep
from modules.base.errors import WebuiError

GIBIBYTE = 1 << 30
NAME = re.compile(r"[0-9a-f]{64}")


class Spool:
    """Files under `folder`, at most `limit` bytes; unclaimed ones are removed first, starting with the oldest.

    Safe to use from several threads.
    """

    def __init__(self, folder: Path, limit: int = 32 * GIBIBYTE) -> None:
        self.folder = folder
        self._limit = limit
        self._lock = threading.Lock()
        self._claims: dict[str, frozenset[str]] = {}  # owner -> ids
        self._sizes = _found(folder)  # id -> bytes, the oldest first

    def writer(self) -> "Writer":
        """A new file to write in pieces; call `keep`, or leave its `with` block to discard it."""
        return Writer(self)

    def put(self, data: bytes) -> str:
        """Stores `data`; returns its id."""
        with self.writer() as file:
            file.write(data)
            return file.keep()

    def path(self, file_id: str) -> Path:
        """The path of a file. Raises WebuiError (404) if it does not exist."""
        if not self.has(file_id):
            raise WebuiError(
                f"The file {file_id[:12]!r} no longer exists.", "Upload it again.", field="files", status=404
            )
        return self.folder / file_id

    def has(self, file_id: str) -> bool:
        return NAME.fullmatch(file_id) is not None and (self.folder / file_id).is_file()

    def claim(self, owner: str, ids: Collection[str]) -> None:
        """Keeps these files for `owner` until it releases them. Raises WebuiError (404) if one is missing."""
        with self._lock:
            for file_id in ids:
                self.path(file_id)
            self._claims[owner] = frozenset(ids)

    def release(self, owner: str) -> None:
        """The owner no longer needs its files; they stay as long as there is space."""
        with self._lock:
            self._claims.pop(owner, None)

    def adopt(self, draft: Path, file_id: str, size: int) -> None:
        """Turns the written `draft` into the file `file_id`."""
        with self._lock:
            path = self.folder / file_id
            if path.is_file():
                os.utime(path)
            else:
                self._make_room(size)
                draft.replace(path)
            self._sizes.pop(file_id, None)
            self._sizes[file_id] = size

    def _make_room(self, size: int) -> None:
        claimed = frozenset[str]().union(*self._claims.values())
        excess = sum(self._sizes.values()) + size - self._limit
        for file_id in [file_id for file_id in self._sizes if file_id not in claimed]:
            if excess <= 0:
                return
            (self.folder / file_id).unlink(missing_ok=True)
            excess -= self._sizes.pop(file_id)
        if excess > 0:
            raise WebuiError(
                f"Running batches already use {self._limit >> 30} GB; there is no room for more files.",
                "Wait until one has finished, or use a folder on the server.",
                field="files",
                status=507,
            )


class Writer:
    """A file being written to the spool."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._digest = hashlib.sha256()
        self._draft = spool.folder / f".{secrets.token_hex(8)}{DRAFT}"
        self.size = 0  # bytes
        try:
            spool.folder.mkdir(parents=True, exist_ok=True)
            self._file = self._draft.open("xb")
        except OSError as error:
            raise refusal("The file", spool.folder, error) from error

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._draft.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """Appends `data`. Raises WebuiError, with the reason, if the disk refuses."""
        try:
            self._file.write(data)
        except OSError as error:
            raise refusal("The file", self._spool.folder, error) from error
        self._digest.update(data)
        self.size += len(data)

    def keep(self) -> str:
        """Adds the complete file to the spool; returns its id."""
        file_id = self._digest.hexdigest()
        try:
            self._file.close()
            self._spool.adopt(self._draft, file_id, self.size)
        except OSError as error:
            raise refusal("The file", self._spool.folder, error) from error
        return file_id


def _found(folder: Path) -> dict[str, int]:
    sweep(folder)
    return sizes_in(folder, NAME)
