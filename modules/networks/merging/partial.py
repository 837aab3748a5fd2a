"""A safetensors file that is written tensor by tensor, and can be continued after an interruption.

All offsets are known in advance, so the header is written first. A journal next to the file records how many tensors
are on disk. The complete file is renamed to its final name in one step.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from filelock import FileLock, Timeout

from modules.base.disk import append_line, publish, refusal, sync_folder, write_over
from modules.base.errors import WebuiError
from modules.networks.files.foreign import LENGTH_BYTES
from modules.networks.files.listing import LONGEST_HEADER, TensorInfo
from modules.networks.files.torch_pickle import ITEM_BYTES

PARTIAL, JOURNAL, LOCK = ".merging", ".merging-journal", ".merging-lock"  # suffixes; the name also gets a leading dot
SYNC_BYTES: Final = 256 * 2**20  # written between two journal entries: the most that an interruption can lose
SPARE_BYTES: Final = 64 * 2**20  # left free on the disk


class Layout(NamedTuple):
    """The layout of a safetensors file: its first bytes, the order of its tensors, its size in bytes."""

    head: bytes
    order: tuple[str, ...]
    size: int


def lay_out(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> Layout:
    """The layout: wide types first, then by name, as in the safetensors library. Raises WebuiError if the header is
    too large."""
    order = tuple(sorted(tensors, key=lambda key: (-ITEM_BYTES[tensors[key].dtype], key)))
    entries: dict[str, object] = {"__metadata__": {"format": "pt", **metadata}}
    end = 0
    for key in order:
        dtype, shape = tensors[key]
        start, end = end, end + _bytes(tensors[key])
        entries[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    text += b" " * (-len(text) % 8)
    if len(text) > LONGEST_HEADER:
        raise WebuiError(
            f"The merged file's header would have {len(text)} bytes, expected at most {LONGEST_HEADER}.",
            "Do not copy the notes of the checkpoints.",
            "copy_metadata_fields",
        )
    head = len(text).to_bytes(LENGTH_BYTES, "little") + text
    return Layout(head, order, len(head) + end)


def _bytes(info: TensorInfo) -> int:
    count = ITEM_BYTES[info.dtype]
    for side in info.shape:
        count *= side
    return count


class PartialFile:
    """The unfinished file for `target`. Use it in a `with` block; only one process may write to a target at a time.

    `stamp` identifies everything that determines the bytes: a file with another stamp is started anew. Raises
    WebuiError if `target` exists, if someone else is writing it, or if the disk refuses or is too full.
    """

    def __init__(self, target: Path, layout: Layout, stamp: bytes, overwrite: bool) -> None:
        self._target = target
        self._layout = layout
        self._overwrite = overwrite
        self._stamp = hashlib.sha256(layout.head + stamp).hexdigest()
        self._partial, self._journal, lock = (
            target.with_name(f".{target.name}{ending}") for ending in (PARTIAL, JOURNAL, LOCK)
        )
        self._lock_file = lock
        self._lock = FileLock(lock, timeout=0)
        self._unsynced = 0
        self.done = 0  # tensors
        self.is_published = False
        self._stack = contextlib.ExitStack()
        self._file: BinaryIO

    def __enter__(self) -> "PartialFile":
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._stack.enter_context(self._lock)
            self._stack.callback(self._remove_lock)  # before it is released, while nobody else can hold it
        except Timeout as error:
            raise WebuiError(
                f"{self._target.name} is just being merged.", "Wait for it, or use another name."
            ) from error
        except OSError as error:
            raise self.refused(error) from error
        try:
            self._open()
        except OSError as error:
            self._stack.close()
            raise self.refused(error) from error
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        try:
            if not self.is_published and self._unsynced:
                with contextlib.suppress(OSError):  # the disk may be full; the last entry counts
                    self._note()
        finally:
            self._stack.close()

    def write(self, data: memoryview) -> None:
        """Writes the next bytes. Raises WebuiError if the disk refuses."""
        try:
            self._file.write(data)
        except OSError as error:
            raise self.refused(error) from error
        self._unsynced += len(data)

    def end_tensor(self) -> None:
        """Records that the next tensor is complete. Raises WebuiError if the disk refuses."""
        self.done += 1
        if self._unsynced >= SYNC_BYTES:
            try:
                self._note()
            except OSError as error:
                raise self.refused(error) from error

    def publish(self) -> None:
        """Gives the complete file its final name. Raises WebuiError if the name is taken, or the disk refuses."""
        try:
            self._note()
            publish(self._partial, self._target, self._overwrite)
        except FileExistsError as error:
            raise taken(self._target) from error
        except OSError as error:
            raise self.refused(error) from error
        self.is_published = True
        self._file.close()
        self._journal.unlink(missing_ok=True)

    def _remove_lock(self) -> None:
        with contextlib.suppress(OSError):  # Windows does not remove open files
            self._lock_file.unlink(missing_ok=True)

    def refused(self, error: OSError) -> WebuiError:
        """The WebuiError for an OSError from writing."""
        return refusal(self._target.name, self._target.parent, error)

    def _open(self) -> None:
        self.done = self._kept()
        if self.done == len(self._layout.order) and not self._partial.exists() and self._target.exists():
            self.is_published = True  # interrupted between the last two steps
            self._journal.unlink(missing_ok=True)
            return
        if self._target.exists() and not self._overwrite:
            raise taken(self._target)
        self._require_room()
        is_new = self.done == 0
        self._file = self._stack.enter_context(self._partial.open("wb" if is_new else "r+b"))
        write_over(self._journal, f"{self._stamp}\n{self.done}\n".encode())  # drops a line truncated by a crash
        if is_new:
            self._file.write(self._layout.head)
            self._file.truncate(self._layout.size)
            self._note()
            sync_folder(self._target.parent)
        self._file.seek(self._start_of(self.done))

    def _start_of(self, number: int) -> int:
        """The byte offset of tensor `number`; for the number after the last tensor, the end of the file."""
        entries = json.loads(self._layout.head[LENGTH_BYTES:])
        ends = [entries[key]["data_offsets"][1] for key in self._layout.order[:number]]
        return len(self._layout.head) + (ends[-1] if ends else 0)

    def _kept(self) -> int:
        """The number of tensors on disk from an earlier run; 0 for none, or for those of another merge."""
        try:
            lines = self._journal.read_bytes().split(b"\n")[:-1]  # text after the last line break is a truncated line
        except FileNotFoundError:
            return 0
        if not lines or lines[0] != self._stamp.encode():
            return 0
        counts = [int(line) for line in lines[1:] if line.isdigit()]
        done = min(max(counts, default=0), len(self._layout.order))
        if not self._partial.exists():
            return done if done == len(self._layout.order) else 0
        with self._partial.open("rb") as file:
            is_ours = file.read(len(self._layout.head)) == self._layout.head
            return done if is_ours and os.fstat(file.fileno()).st_size == self._layout.size else 0

    def _require_room(self) -> None:
        needed = self._layout.size - self._start_of(self.done) + SPARE_BYTES
        free = shutil.disk_usage(self._target.parent).free
        if self.done == 0 and self._partial.exists():  # from another merge; it will be truncated
            free += self._partial.stat().st_blocks * 512 if hasattr(os.stat_result, "st_blocks") else 0
        if free < needed:
            raise WebuiError(
                f"{self._target.name} needs {needed / 1e9:.1f} GB in {self._target.parent}, and {free / 1e9:.1f} GB "
                "are free.",
                "Free some disk space, or save it as fp16 or fp8.",
                status=507,
            )

    def _note(self) -> None:
        """Syncs everything written so far to disk, and records it in the journal."""
        self._file.flush()
        os.fsync(self._file.fileno())
        append_line(self._journal, str(self.done).encode())
        self._unsynced = 0


def taken(target: Path) -> WebuiError:
    return WebuiError(
        f"custom_name: {target.name} exists already.", "Choose another name, or allow overwriting.", "custom_name", 409
    )


def left_over(target: Path) -> str:
    """A sentence about the files left by a stopped merge, "" if there are none."""
    partial = target.with_name(f".{target.name}{PARTIAL}")
    if not partial.exists():
        return ""
    return f"Merge again to go on where it was stopped; to free the space instead, delete {partial.name}."
