"""`/sdapi/v1/extra-*` and `/png-info`: pictures processed in the request itself, without a job.

If the client disconnects, processing stops after the current picture.
"""

import asyncio
import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from modules.api.a1111.body import filled, loose_object
from modules.api.a1111.extras_jobs import NetworkJobs
from modules.api.a1111.generate import Answer
from modules.api.a1111.leaving import leaving
from modules.api.a1111.pictures import MOST_TOGETHER, Fetch, picture_from, require_count, require_together
from modules.api.clients import client_of
from modules.api.openapi import json_body
from modules.api.services import Services
from modules.base.errors import WebuiError
from modules.base.picture import Picture
from modules.images.enlarge import require_fits
from modules.images.geometry import Size
from modules.infotext.grammar import compose
from modules.infotext.parse import parse
from modules.processing.upscale import scale_of, upscaled
from modules.schema.catalog import Catalog
from modules.schema.settings import Settings
from modules.schema.upscalers import NONE, Upscaler, named, of_pictures
from modules.store import metadata

MOST_PICTURES = 256  # in one batch
AT_ONCE = 2  # pictures enlarged at the same time: a large one takes half a gigabyte


class Extras(BaseModel):
    """Fields that all extras routes share."""

    model_config = ConfigDict(extra="ignore")

    resize_mode: int = Field(
        default=0, ge=0, le=1, description="0 scales by upscaling_resize, 1 resizes to upscaling_resize_w/_h."
    )
    show_extras_results: bool = Field(default=True, description="Whether the response contains the picture.")
    gfpgan_visibility: float = Field(default=0.0, ge=0, le=1, description="Must be 0: there is no face restoration.")
    codeformer_visibility: float = Field(
        default=0.0, ge=0, le=1, description="Must be 0: there is no face restoration."
    )
    codeformer_weight: float = Field(default=0.0, ge=0, le=1, description="Used with codeformer_visibility.")
    upscaling_resize: float = Field(default=2.0, gt=0, le=64, description="Upscaling factor.")
    max_side_length: int = Field(
        default=0, ge=0, le=32_768, description="In resize mode 0: no side gets longer than this; 0 sets no limit."
    )
    upscaling_resize_w: int = Field(default=512, ge=1, le=32_768, description="Width of the result, in resize mode 1.")
    upscaling_resize_h: int = Field(default=512, ge=1, le=32_768, description="Height of the result, in resize mode 1.")
    upscaling_crop: bool = Field(default=True, description="In resize mode 1, crop the result to the exact size.")
    upscaler_1: str = Field(
        default=NONE, max_length=200, description="Name from /sdapi/v1/upscalers; None changes nothing."
    )
    upscaler_2: str = Field(
        default=NONE, max_length=200, description="Second upscaler, blended over the first one's result."
    )
    extras_upscaler_2_visibility: float = Field(
        default=0.0, ge=0, le=1, description="Opacity of the second upscaler's result."
    )
    upscale_first: bool = Field(default=False, description="For face restoration, which is not available.")


class SinglePayload(Extras):
    image: str = Field(default="", description="The picture: base64 or a data URI.")


class FileData(BaseModel):
    data: str = Field(description="The picture: base64 or a data URI.")
    name: str = Field(default="", description="Its file name; not used.")


class BatchPayload(Extras):
    imageList: list[FileData] = Field(  # A1111's name
        default_factory=list[FileData], max_length=MOST_PICTURES, description="The pictures."
    )


class PngInfoPayload(BaseModel):
    image: str = Field(default="", description="The picture file: base64 or a data URI.")


class SingleAnswer(BaseModel):
    html_info: str = Field(description="Description of the processing, as HTML.")
    image: str = Field(description="The picture as base64; empty if show_extras_results is false.")


class BatchAnswer(BaseModel):
    html_info: str = Field(description="Description of the processing of the last picture, as HTML.")
    images: list[str] = Field(description="The pictures in order, as base64.")


class PngInfoAnswer(BaseModel):
    info: str = Field(description="The infotext; empty if the picture has none.")
    items: dict[str, str] = Field(description="All texts in the file, by key.")
    parameters: dict[str, str] = Field(description="Prompt, Negative prompt, and the pairs of the infotext.")


def routes(services: Services, fetch: Fetch | None) -> APIRouter:
    router = APIRouter(prefix="/sdapi/v1", tags=["A1111: extras"])

    slots = asyncio.Semaphore(AT_ONCE)
    networks = NetworkJobs(services)

    def upscalers_of(payload: Extras) -> tuple[Upscaler, Upscaler]:
        return _upscalers(payload, services.catalog.current)

    def single(body: dict[str, Any]) -> tuple[Extras, list[Picture]]:
        payload = filled(SinglePayload, body)
        picture = picture_from(body.get("image"), "image", fetch, Picture.unread)
        _require_together(payload, upscalers_of(payload)[0], [picture], "image")
        return payload, [picture]

    def batch(body: dict[str, Any]) -> tuple[Extras, list[Picture]]:
        require_count(body.get("imageList"), "imageList", MOST_PICTURES)
        payload = filled(BatchPayload, body)
        if not payload.imageList:
            raise WebuiError("imageList: there are no pictures.", "Send at least one.", "imageList")
        pictures: list[Picture] = []
        for number, file in enumerate(payload.imageList):
            pictures.append(picture_from(file.data, f"imageList.{number}", fetch, Picture.unread))
            require_together(pictures, "imageList")
        _require_together(payload, upscalers_of(payload)[0], pictures, "imageList")
        return payload, pictures

    def enlarged(payload: Extras, picture: Picture, field: str) -> tuple[bytes, str]:
        whole = Picture.from_bytes(picture.data, field)
        with whole.room():
            return _processed(payload, upscalers_of(payload), whole, services.settings.current)

    async def answered(
        request: Request, headers: Callable[[dict[str, Any]], tuple[Extras, list[Picture]]], field: str
    ) -> tuple[list[bytes], str]:
        """The upscaled pictures, processed one after another, and a description of the last one as HTML."""
        body = await loose_object(request)
        images: list[bytes] = []
        text = ""
        async with leaving(request) as disconnected:
            payload, pictures = await run_in_threadpool(headers, body)
            del body
            has_network = any(row.path is not None for row in upscalers_of(payload))
            for number, picture in enumerate(pictures):
                name = field.format(number)
                if has_network:
                    client = client_of(request.scope)
                    image, text = await networks.enlarged(payload, picture, name, client, disconnected)
                else:
                    async with slots:
                        if disconnected.done():
                            raise ClientDisconnect
                        image, text = await run_in_threadpool(enlarged, payload, picture, name)
                images.append(image if payload.show_extras_results else b"")
        return images, _as_html(text)

    @router.post("/extra-single-image", openapi_extra=json_body(SinglePayload), response_model=SingleAnswer)
    async def extra_single_image(request: Request) -> Response:
        """Upscale a picture; returns {html_info, image}."""
        [image], text = await answered(request, single, "image")
        return await run_in_threadpool(Answer, {"html_info": text, "image": image if image else ""})

    @router.post("/extra-batch-images", openapi_extra=json_body(BatchPayload), response_model=BatchAnswer)
    async def extra_batch_images(request: Request) -> Response:
        """Upscale several pictures in the same way; returns {html_info, images}."""
        images, text = await answered(request, batch, "imageList.{}")
        return await run_in_threadpool(Answer, {"html_info": text, "images": images})

    @router.post("/png-info", openapi_extra=json_body(PngInfoPayload), response_model=PngInfoAnswer)
    async def png_info(request: Request) -> Response:
        """The texts in a picture: {info: its infotext, items: other texts, parameters: the infotext's pairs}."""
        body = await loose_object(request)
        return await run_in_threadpool(_png_info, body.get("image"), fetch)

    return router


def _upscalers(payload: Extras, catalog: Catalog) -> tuple[Upscaler, Upscaler]:
    """Both upscalers. Raises WebuiError for an unknown one."""
    for name in ("gfpgan_visibility", "codeformer_visibility"):
        if getattr(payload, name) > 0:
            raise WebuiError(f"{name}: there is no face restoration.", "Set it to 0.", name)
    rows = of_pictures(catalog.upscalers)
    return named(payload.upscaler_1, rows, "upscaler_1"), named(payload.upscaler_2, rows, "upscaler_2")


def _require_together(payload: Extras, first: Upscaler, pictures: Sequence[Picture], field: str) -> None:
    """Raises WebuiError for unsupported options and for results that are too large, before decoding any pixel."""
    if first.name == NONE:
        return
    scale_field = "upscaling_resize_w" if payload.resize_mode == 1 else "upscaling_resize"
    pixels = 0.0
    for picture in pictures:
        size = Size(picture.width, picture.height)
        scale = scale_of(payload, size)
        require_fits(size, scale, scale_field)
        pixels += size.width * size.height * scale * scale
    if pixels > MOST_TOGETHER:
        raise WebuiError(
            f"{field}: upscaled, the {len(pictures)} pictures have {pixels / 1e6:.0f} megapixels together; "
            f"at most {MOST_TOGETHER // 10**6} are allowed at once.",
            "Send them in several requests, or choose a smaller size.",
            field,
        )


def _processed(
    payload: Extras, upscalers: tuple[Upscaler, Upscaler], picture: Picture, settings: Settings
) -> tuple[bytes, str]:
    """(the file, its processing as A1111's pairs)."""
    first, second = upscalers
    image = picture.open()
    carried = metadata.read(picture)
    pairs: dict[str, object] = {}
    if first.name != NONE:
        image, pairs = upscaled(payload, image, first, second)
    text = compose("", "", pairs)
    items = {**carried.items, **({metadata.POSTPROCESSING: text} if text else {})}
    flat = image if image.mode == "RGB" or settings.samples_format == "png" else image.convert("RGB")
    return metadata.as_file(flat, carried.infotext, settings, items).data, text


def _png_info(image: Any, fetch: Fetch | None) -> Response:
    if not isinstance(image, str) or not image.strip():
        return Answer({"info": "", "items": {}, "parameters": {}})  # as in A1111: no picture, no text
    read = metadata.read(picture_from(image, "image", fetch, Picture.unread))
    items = {"parameters": read.infotext, **read.items} if read.infotext else read.items
    return Answer({"info": read.infotext, "items": items, "parameters": _parameters(read.infotext)})


def _parameters(text: str) -> Mapping[str, str]:
    if not text:
        return {}
    parsed = parse(text)
    return {"Prompt": parsed.prompt, "Negative prompt": parsed.negative_prompt, **parsed.pairs}


def _as_html(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"
