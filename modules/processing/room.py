"""Whether a picture of a given size fits in memory, checked before the work starts.

On a CPU the system kills a process that allocates too much, instead of reporting an error. The memory of the UNet is
measured once per checkpoint, at a small size, on the machine it runs on. It grows with the number of latent cells,
since attention is computed in pieces; the VAE needs no check, because it works in tiles if memory is short.
"""

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil
import torch

from modules.base.errors import WebuiError
from modules.images.geometry import Size
from modules.networks.device import available_bytes, release_memory
from modules.schema.sizes import SizeRule

ASKED_FROM: Final = 128 * 128  # cells of all pictures made at the same time; fewer fit wherever the model does
MEASURED_AT: Final = 64  # cells of a side
LEFT_FREE: Final = 0.1  # of the free memory: other things need some too
LOOKS: Final = 0.001  # seconds between two readings of the process's memory
GIGABYTE: Final = 1e9
CLEAR_REFS: Final = Path("/proc/self/clear_refs")
STATUS: Final = Path("/proc/self/status")

Evaluate = Callable[[int], object]  # runs the UNet once for one picture of a square latent with this side, in cells


class Room:
    """The measured memory per picture, by checkpoint."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._bytes: dict[str, float] = {}  # checkpoint -> bytes per cell

    def require(
        self,
        checkpoint: str,
        evaluate: Evaluate,
        size: Size,
        batch: int,
        rule: SizeRule,
        hint: Callable[[Size], str],
        field: str,
    ) -> None:
        """Raises WebuiError, with a size that fits, if `batch` pictures of `size` pixels need more than is free."""
        cells = rule.cells(size.width) * rule.cells(size.height) * batch
        if cells <= ASKED_FROM:
            return
        if checkpoint not in self._bytes:
            self._bytes[checkpoint] = peak_bytes(self._device, lambda: evaluate(MEASURED_AT)) / MEASURED_AT**2
        needed, free = self._bytes[checkpoint] * cells, available_bytes(self._device)
        if needed <= free * (1 - LEFT_FREE):
            return
        fitting = largest(size, rule, free * (1 - LEFT_FREE) / needed)
        measured = MEASURED_AT * rule.cell
        at_once = "" if batch == 1 else f", {batch} at a time"
        raise WebuiError(
            f"The picture would be {size.width}x{size.height} pixels{at_once}: sampling takes about "
            f"{needed / GIGABYTE:.1f} GB of memory (measured here at {measured}x{measured}), "
            f"and {free / GIGABYTE:.1f} GB are free. {fitting.width}x{fitting.height} fits.",
            hint(fitting),
            field,
        )


def largest(size: Size, rule: SizeRule, share: float) -> Size:
    """`size` in whole cells with the same aspect ratio and at most `share` of its cells.

    >>> largest(Size(4096, 2048), SizeRule(cell=8, multiple_of=8, native=512), 0.25)
    Size(width=2048, height=1024)
    """
    scale = math.sqrt(share)
    return Size(*(max(rule.multiple_of, rule.floor(int(side * scale + 1e-6))) for side in size))


def peak_bytes(device: torch.device, work: Callable[[], object]) -> int:
    """The peak of additional memory during `work`, in bytes."""
    release_memory(device)
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    before = psutil.Process().memory_info().rss
    if reset_high_water_mark():
        work()
        return high_water_mark() - before
    return peak_seen(work) - before


def reset_high_water_mark() -> bool:
    """Whether the system counts this process's peak from now on (proc(5): clear_refs, Linux alone)."""
    try:
        CLEAR_REFS.write_text("5", encoding="ascii")
    except OSError:  # another system, or a sandbox that does not let a process do this
        return False
    return True


def high_water_mark() -> int:
    """The largest resident memory since the mark was reset, in bytes (proc(5): VmHWM)."""
    lines = dict(line.split(":", 1) for line in STATUS.read_text(encoding="ascii", errors="replace").splitlines())
    return int(lines["VmHWM"].removesuffix("kB")) * 1024


def peak_seen(work: Callable[[], object]) -> int:
    """The largest resident memory that a second thread saw during `work`, in bytes.

    A peak between two readings is missed. What `work` returns is still held at the last one.
    """
    process = psutil.Process()
    seen: list[int] = []
    done = threading.Event()

    def look() -> None:
        while not done.wait(LOOKS):
            seen.append(process.memory_info().rss)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        result = work()
        seen.append(process.memory_info().rss)
        del result
    finally:
        done.set()
        watcher.join()
    return max(seen)
