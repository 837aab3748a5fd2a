"""Whether there is enough memory for the pictures of a request."""

from collections.abc import Callable
from math import sqrt
from pathlib import Path

import psutil

from modules.base.errors import WebuiError
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.schema.sizes import SizeRule

BYTES_PER_PIXEL = 1000  # that sampling and decoding take at least, for each picture of a batch, in fp32
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def require_memory(request: GenerationRequest, rule: SizeRule, free: Callable[[], int] | None = None) -> None:
    """Raises WebuiError, with a size that fits, if there is not enough memory for the pictures of `request`.

    A lower bound: what it rejects is too large, what it accepts may still be. A graphics card's memory is not known
    here; machines with one usually have about as much RAM.
    """
    width, height = _largest(request)
    needed = width * height * request.batch_size * BYTES_PER_PIXEL
    available = (free or free_memory)()
    if needed <= available:
        return
    shrink = sqrt(available / needed)
    fitting = tuple(max(64, rule.floor(int(side * shrink))) for side in (width, height))
    smaller = f"; or a smaller batch_size than {request.batch_size}" if request.batch_size > 1 else ""
    batch = f" in batches of {request.batch_size}" if request.batch_size > 1 else ""
    raise WebuiError(
        f"width, height: pictures of {width}x{height}{batch} need at least {needed / 1e9:.1f} GB of memory, "
        f"and {available / 1e9:.1f} GB are free.",
        f"The largest size of this shape that fits is {fitting[0]}x{fitting[1]}{smaller}.",
        "width",
    )


def free_memory() -> int:
    """Bytes free for a new job, in the machine or in the container this runs in."""
    free = psutil.virtual_memory().available
    for file in CGROUP_LIMITS:
        if file.is_file() and (text := file.read_text(encoding="utf-8").strip()).isdecimal():
            return min(free, int(text))
    return free


def _largest(request: GenerationRequest) -> tuple[int, int]:
    """Width and height of the largest picture that is sampled for `request`, in pixels."""
    width, height = request.width, request.height
    if isinstance(request, Img2ImgRequest) and request.resize_by is not None and request.init_images:
        source = request.init_images[0]
        return int(source.width * request.resize_by), int(source.height * request.resize_by)
    if isinstance(request, Txt2ImgRequest) and request.enable_hr:
        if request.hr_resize_x or request.hr_resize_y:
            return (
                request.hr_resize_x or round(width * request.hr_resize_y / height),
                request.hr_resize_y or round(height * request.hr_resize_x / width),
            )
        return int(width * request.hr_scale), int(height * request.hr_scale)
    return width, height
