"""Repairs a source picture without a model: finds scratches as a mask, and fills a masked area from around it."""

import io
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from modules.api.openapi import answers
from modules.api.services import Services
from modules.api.v1.pictures import PICTURE_HEADERS, PictureId
from modules.base.errors import WebuiError
from modules.base.fields import Strict
from modules.base.picture import Picture
from modules.images.masks import drawn
from modules.images.scratches import SENSITIVITY, filled_in, scratches


class FillBody(Strict):
    mask: str = Field(
        min_length=64, max_length=64, description="The id of a mask of the picture's size; what is not black is filled."
    )


def routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1/pictures", tags=["pictures"])
    pictures = services.pictures

    def background() -> str:
        return services.settings.current.img2img_background_color

    @router.get("/{picture_id}/scratches", response_class=Response, responses=answers(["image/png"]))
    def scratched(
        picture_id: PictureId,
        sensitivity: Annotated[
            float, Query(ge=0, le=1, description="Higher values find fainter scratches.")
        ] = SENSITIVITY,
    ) -> Response:
        """A mask, white where the picture has scratches and dust. Check it first: wires and hair are thin lines too."""
        found = scratches(pictures.get(picture_id).rgb(background()), sensitivity)
        file = io.BytesIO()
        found.save(file, "PNG")
        return Response(file.getvalue(), media_type="image/png", headers=PICTURE_HEADERS)

    @router.post("/{picture_id}/fill", status_code=201)
    def fill(picture_id: PictureId, body: FillBody) -> dict[str, Any]:
        """Fill the masked area from the pixels around it, as a new picture. All other pixels stay as they are."""
        picture, mask = pictures.get(picture_id), pictures.get(body.mask)
        if (picture.width, picture.height) != (mask.width, mask.height):
            raise WebuiError(
                f"mask: it is {mask.width}x{mask.height}, the picture is {picture.width}x{picture.height}.",
                "Send a mask of the picture's size.",
                "mask",
            )
        repaired = Picture.from_image(filled_in(picture.rgb(background()), drawn(mask.open(), rounded=True)))
        pictures.put(repaired)
        return {
            "id": repaired.sha256,
            "width": repaired.width,
            "height": repaired.height,
            "url": f"/v1/pictures/{repaired.sha256}",
        }

    return router
