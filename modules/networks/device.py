"""The device and number types that a model computes with, and their failures: not enough memory, and NaN."""

import ctypes
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import psutil
import torch
from torch import Tensor, nn

from modules.base.errors import WebuiError

Precision = Literal["autocast", "full"]
Mode = Literal["whole", "parts", "layers"]

CPU: Final = torch.device("cpu")
_CPU_OUT_OF_MEMORY: Final = ("not enough memory", "can't allocate memory", "failed to allocate")


def _are_ready(*parts: nn.Module) -> None:
    """Does nothing: for parts that are always on the device."""


@dataclass(frozen=True)
class Placement:
    """A device, the number type of each part, and which parts of a checkpoint are on the device.

    The text encoder stays in fp32 on CPUs: this costs 1 % of a job's time, and the prompt is exact.
    mode: "whole" keeps everything there, "parts" only the part in use, "layers" only the denoiser layer in use.
    is_fp8: the denoiser's weights are stored as 8-bit numbers.  tiles_vae: pictures larger than a tile go through the
    VAE in tiles.  ready: moves the given parts to the device; call it before each use of them.
    """

    device: torch.device
    dtype: torch.dtype
    text_dtype: torch.dtype
    vae_dtype: torch.dtype
    mode: Mode = "whole"
    is_fp8: bool = False
    tiles_vae: bool = False
    ready: Callable[..., None] = field(default=_are_ready, compare=False, repr=False)

    @property
    def loaded_to(self) -> torch.device:
        """The device that weights are loaded to."""
        return self.device if self.is_always_there else CPU

    def loaded_as(self, dtype: torch.dtype) -> torch.dtype | None:
        """The number type for loading weights that compute in `dtype`; None keeps the file's."""
        return dtype if self.is_always_there else None

    @property
    def is_always_there(self) -> bool:
        """Whether weights are always on the device, in the type they are used in."""
        return self.mode == "whole" and not self.is_fp8


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 in hardware (AVX512-BF16 or AMX). Without it, fp32 is faster."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # pyright: ignore[reportPrivateUsage]


def choose_placement(use_cpu: bool = False, precision: Precision = "autocast", index: int = 0) -> Placement:
    """The CUDA device `index` if there is one, else the CPU.

    fp16 on CUDA from compute capability 7, bf16 on CPUs that have it; fp32 otherwise and with `precision` "full".
    """
    cuda = torch.cuda.is_available() and not use_cpu
    device = torch.device("cuda", index) if cuda else torch.device("cpu")
    if precision == "full":
        dtype = torch.float32
    elif cuda:
        dtype = torch.float16 if torch.cuda.get_device_capability(index)[0] >= 7 else torch.float32
    else:
        dtype = torch.bfloat16 if cpu_has_bf16() else torch.float32
    return Placement(device, dtype, text_dtype=dtype if cuda else torch.float32, vae_dtype=dtype)


def describe(place: Placement) -> str:
    """One line for the log and the page, as in "CPU, bf16" or "NVIDIA H100, fp16, part by part"."""
    name = torch.cuda.get_device_name(place.device) if place.device.type == "cuda" else "CPU"
    short = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}[place.dtype]
    held = {"whole": "", "parts": ", part by part", "layers": ", layer by layer"}[place.mode]
    return f"{name}, {short}{', weights fp8' if place.is_fp8 else ''}{held}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch raised `error` because an allocation failed; on CPUs it raises a plain RuntimeError for that."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _CPU_OUT_OF_MEMORY)


def available_bytes(device: torch.device) -> int:
    """Bytes that can still be allocated on `device`; on a CPU, within the limits of its container."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + reserved
    free = psutil.virtual_memory().available
    within = container_bytes()
    return free if within is None else min(free, within)


def container_bytes(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes left within the limits of this process's control groups (Linux, cgroup v2); None without a limit.

    Cached files count as free: the system drops them before it refuses memory.
    """
    try:
        inside = proc.read_text(encoding="utf-8").rpartition("::")[2].strip()
    except OSError:
        return None
    folder = root / inside.lstrip("/")
    left: list[int] = []
    for group in (folder, *folder.parents):
        if not group.is_relative_to(root):
            break
        try:
            limit = (group / "memory.max").read_text(encoding="utf-8").strip()
            used = int((group / "memory.current").read_text(encoding="utf-8"))
            stat = dict(line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
        except (OSError, ValueError):  # no limit: the root, or a group without memory accounting
            continue
        if limit.isdecimal():
            left.append(max(0, int(limit) - used + int(stat.get("inactive_file", 0))))
    return min(left, default=None)


def release_memory(device: torch.device) -> None:
    """Returns cached, unused memory to the system, before a second attempt with less."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only; musl returns memory by itself
        if trim is not None:
            trim(0)


def require_finite(x: Tensor, where: str, place: Placement) -> Tensor:
    """Returns `x`; raises WebuiError if it contains NaN or infinity. `where` names its source, such as "The UNet"."""
    # Summing takes one pass without a mask, and rarely overflows by itself.
    if bool(torch.isfinite(x.sum())) or bool(torch.isfinite(x).all()):
        return x
    cure = "The checkpoint may be damaged." if place.dtype == torch.float32 else "Start with --precision full."
    raise WebuiError(f"{where} produced NaN in {str(place.dtype).removeprefix('torch.')}.", cure, status=500)


def threads() -> int:
    """The number of threads for torch: OMP_NUM_THREADS if set, else one per physical core this process may use."""
    configured = os.environ.get("OMP_NUM_THREADS", "")
    if configured.isdecimal() and int(configured) > 0:
        return int(configured)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))
