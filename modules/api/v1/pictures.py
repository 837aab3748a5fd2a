"""Source pictures: uploaded once and stored under the sha256 of their bytes, which is their id in requests."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response

from modules.api.openapi import answers, bytes_body
from modules.api.services import Services
from modules.api.v1.info import described_fields, with_styles
from modules.api.v1.units import described_picture
from modules.base.errors import WebuiError
from modules.base.picture import MAX_BYTES, Picture
from modules.images.detect import DETECTOR_NAMES, DETECTORS, detect
from modules.store import metadata

MEDIA_TYPES = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif",
    ".bmp": "image/bmp", ".tiff": "image/tiff", ".avif": "image/avif",
}  # fmt: skip

# A picture never changes under its id, must not be interpreted as anything else, and is only for this site and client.
PICTURE_HEADERS = {
    "Cache-Control": "private, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}

PictureId = Annotated[str, Path(description="The sha256 of the picture's bytes, from POST /v1/pictures.")]
FIELD = "init_images"


def routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1/pictures", tags=["pictures"])
    pictures = services.pictures

    def put(data: bytes) -> dict[str, Any]:
        picture = Picture.from_bytes(data, FIELD)
        pictures.put(picture)
        return described_picture(picture)

    @router.post("", status_code=201, openapi_extra=bytes_body("A picture file."))
    async def add(request: Request) -> dict[str, Any]:
        """Upload a picture: the body is the file's bytes."""
        return await run_in_threadpool(put, await picture_bytes(request, FIELD))

    @router.get("/{picture_id}", response_class=FileResponse, responses=answers(MEDIA_TYPES.values()))
    @router.head("/{picture_id}", include_in_schema=False)
    def picture(picture_id: PictureId) -> FileResponse:
        """The file's bytes as uploaded. HEAD checks whether it is already on the server."""
        path = pictures.path(picture_id)
        return FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers=PICTURE_HEADERS)

    @router.get("/{picture_id}/pixels", response_class=FileResponse, responses=answers(["image/png"]))
    def pixels(picture_id: PictureId) -> Response:
        """The decoded picture as a PNG: upright, in sRGB, the first frame. Show this for painting a mask."""
        picture = pictures.get(picture_id)
        if picture.is_shown_alike:
            return FileResponse(pictures.path(picture_id), media_type="image/png", headers=PICTURE_HEADERS)
        return Response(picture.shown(), media_type="image/png", headers=PICTURE_HEADERS)

    @router.get("/{picture_id}/info")
    def info(picture_id: PictureId) -> dict[str, Any]:
        """The texts in the file, and their meaning as request fields."""
        read = metadata.read(pictures.get(picture_id))
        described = with_styles(services, described_fields(services, services.read_infotext(read.infotext)))
        return {
            "infotext": read.infotext,
            "items": read.items,
            **described,
            "notes": [*read.notes, *described["notes"]],
        }

    @router.get("/{picture_id}/detect")
    def detected(
        picture_id: PictureId,
        find: Annotated[str, Query(max_length=40, description=f"One of {', '.join(DETECTOR_NAMES)}.")] = "Faces",
    ) -> dict[str, Any]:
        """Boxes around the faces of a picture, or around other things, from left to right, in its pixels.

        `score` compares boxes of one kind: a higher score is more certain.
        """
        detector = next((each for each in DETECTORS if each.name.casefold() == find.casefold()), None)
        if detector is None:
            raise WebuiError(f"find = {find!r}: expected one of {', '.join(DETECTOR_NAMES)}.", field="find")
        picture = pictures.get(picture_id)
        found = detect(picture.rgb(services.settings.current.img2img_background_color), detector)
        return {
            "find": detector.name,
            "width": picture.width,
            "height": picture.height,
            "boxes": [{**each.box._asdict(), "score": round(each.score, 3)} for each in found],
        }

    return router


async def picture_bytes(request: Request, field: str) -> bytes:
    """The body, up to the size limit of a picture. Raises WebuiError (413)."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > MAX_BYTES:
        raise _too_large(field)
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BYTES:
            raise _too_large(field)
    return bytes(data)


def _too_large(field: str) -> WebuiError:
    return WebuiError(
        f"{field}: the file is larger than the limit of {MAX_BYTES // 2**20} MB.",
        "Save it smaller, for example as JPEG.",
        field,
        status=413,
    )
