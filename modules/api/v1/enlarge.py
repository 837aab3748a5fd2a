"""Enlarging a result with one click: the available sizes, and the time and memory that each takes on this machine."""

import math
from typing import Annotated, Any, Final, NamedTuple

from fastapi import APIRouter
from pydantic import Field

from modules.api.services import Services
from modules.base.errors import WebuiError
from modules.base.fields import Strict
from modules.images.enlarge import MOST_PIXELS, scaled
from modules.images.geometry import Size
from modules.jobs.learned import redraw_name, redraw_work, work_of
from modules.processing.streamed import BANDED, MOST_STREAMED
from modules.processing.upscale import scale_of
from modules.schema.request import Img2ImgRequest
from modules.schema.request.extras import ExtrasRequest
from modules.schema.upscalers import named, of_pictures
from modules.store.speeds import Run, bytes_for, seconds_for

FACTORS: Final = (2, 4, 8)
SIDES: Final = {"4K": 4096, "8K": 8192, "16K": 16_384, "32K": 32_768}  # pixels of the longer side
REDRAW: Final = "Ultimate SD upscale"
TAKEN: Final = ("prompt", "negative_prompt", "steps", "cfg_scale", "sampler_name", "scheduler", "seed")
COPIES: Final = 5  # of the result's bytes at the same time: bands, picture, message to the other process, file
TILE_PIXELS: Final = 320 * 320  # of the source with its margin
BYTES_A_PIXEL: Final = 12_500  # of a tile, measured with RRDBNet, the largest of the packaged networks
BANDS_BYTES: Final = 500_000_000  # at most, for a picture made in bands: 32768x32768 took 765 MB in total
MODEL_BYTES: Final = 1_500_000_000  # roughly what a checkpoint takes while it redraws
TOO_LARGE: Final = f"more than {MOST_PIXELS // 10**6} megapixels"
Strength = Annotated[float, Field(ge=0.05, le=1)]


class EnlargeBody(Strict):
    """A finished picture, its size and parameters, and how to enlarge it."""

    width: int = Field(ge=1, le=200_000, description="Width of the picture.")
    height: int = Field(ge=1, le=200_000, description="Height of the picture.")
    upscaler: str = Field(max_length=200, description="Name of an upscaler of pictures.")
    denoising_strength: Strength = Field(default=0.3, description="How much a redraw may change.")
    infotext: str = Field(default="", max_length=1_000_000, description="The picture's parameters, for a redraw.")


class _Target(NamedTuple):
    """A row of the menu: its label, the Extras request that makes it, and the result's size."""

    label: str
    request: ExtrasRequest
    size: Size


def routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["extras"])

    @router.post("/enlarge")
    def enlarge(body: EnlargeBody) -> dict[str, Any]:
        """The sizes that a picture can be enlarged to. Each has two jobs: a faithful one, which uses only the upscaler,
        and one that redraws the picture in tiles to add detail. Forecasts are null until such a job has been measured;
        a job with a `reason` is not possible."""
        rows = of_pictures(services.catalog.current.upscalers)
        upscaler = named(body.upscaler, rows, "upscaler").name
        return {
            "targets": [
                {
                    "label": target.label,
                    "width": target.size.width,
                    "height": target.size.height,
                    "faithful": _faithful(services, body, target),
                    "detail": _detail(services, body, target),
                }
                for target in _targets(Size(body.width, body.height), upscaler)
            ]
        }

    return router


def _targets(size: Size, upscaler: str) -> list[_Target]:
    found: list[_Target] = []
    for factor in FACTORS:
        request = ExtrasRequest(upscaler_1=upscaler, upscaling_resize=factor)
        found.append(_Target(f"{factor}×", request, scaled(size, factor)))
    for label, side in SIDES.items():
        factor = -(-100 * side // max(size)) / 100  # rounded up; max_side_length makes it exact
        if not 1 < factor <= 64:
            continue
        request = ExtrasRequest(upscaler_1=upscaler, upscaling_resize=factor, max_side_length=side)
        found.append(_Target(label, request, scaled(size, scale_of(request, size))))
    return found


def _faithful(services: Services, body: EnlargeBody, target: _Target) -> dict[str, Any]:
    size = Size(body.width, body.height)
    row = named(body.upscaler, of_pictures(services.catalog.current.upscalers), "upscaler")
    runs = services.speeds.runs(row.name)
    pixels = target.size.width * target.size.height
    is_banded = row.path is not None or row.function in BANDED
    most = MOST_STREAMED if is_banded else MOST_PIXELS
    reason = row.reason or (f"more than {most // 10**6} megapixels" if pixels > most else "")
    tile = min(size.width * size.height, TILE_PIXELS) * BYTES_A_PIXEL if row.path is not None else 0
    return {
        "kind": "extras",
        "request": target.request.model_dump(exclude={"image"}),
        **_forecast(runs, work_of(row, size, target.request), pixels),
        "memory_bytes": round(min(3 * pixels * COPIES, BANDS_BYTES if is_banded else math.inf) + tile),
        "reason": reason,
    }


def _detail(services: Services, body: EnlargeBody, target: _Target) -> dict[str, Any]:
    """A job that redraws the picture with its own parameters, in tiles of the size the checkpoint was trained on."""
    reason = ""
    request: dict[str, Any] = {}
    checkpoint = None
    try:
        checkpoint = services.admission.checkpoint("")
    except WebuiError as error:
        reason = error.message
    pixels = target.size.width * target.size.height
    if REDRAW not in [script.name for script in services.extensions.scripts("img2img")]:
        reason = "The script that redraws in tiles is not installed."
    elif pixels > MOST_PIXELS:
        reason = TOO_LARGE
    runs: tuple[Run, ...] = ()
    work = 0.0
    if checkpoint is not None:
        fields = services.read_infotext(body.infotext).fields if body.infotext else {}
        request = {name: fields[name] for name in TAKEN if name in fields}
        request["denoising_strength"] = body.denoising_strength
        tile = checkpoint.sizes.rule.native
        request |= {"script_name": REDRAW, "script_args": _arguments(body.upscaler, tile, target.size)}
        runs = tuple(services.speeds.runs(redraw_name(checkpoint.name)))
        steps = Img2ImgRequest.model_fields["steps"].default
        plain = Img2ImgRequest.model_construct(
            steps=request.get("steps", steps), denoising_strength=body.denoising_strength
        )
        work = redraw_work(plain) * pixels
    return {
        "kind": "img2img",
        "request": request,
        **_forecast(runs, work, pixels),
        "memory_bytes": 3 * pixels * COPIES + MODEL_BYTES,
        "reason": reason,
    }


def _arguments(upscaler: str, tile: int, size: Size) -> list[Any]:
    """The arguments of the script in order, with a custom size for the result."""
    return ["", tile, 0, 8, 32, 64, 0.35, 32, upscaler, False, 0, True, 4, 0, 1, size.width, size.height, 1.0]


def _forecast(runs: Any, work: float, pixels: int) -> dict[str, Any]:
    seconds, size = seconds_for(runs, work), bytes_for(runs, pixels)
    return {"seconds": seconds, "disk_bytes": None if size is None else round(size), "runs": len(runs)}
