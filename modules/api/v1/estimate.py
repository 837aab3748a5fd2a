"""The effect of a form before it is sent."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field, WithJsonSchema

from modules.api.openapi import fields_of
from modules.api.services import Services
from modules.base.errors import WebuiError
from modules.base.fields import Strict
from modules.base.picture import Picture
from modules.infotext.grammar import FormKind
from modules.processing.estimate import estimate
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest

LARGEST_SIDE = 100_000  # pixels
OF_SOURCE = ("resize_by", "outpaint_left", "outpaint_right", "outpaint_top", "outpaint_bottom")


class SourceSize(Strict):
    width: int = Field(ge=1, le=LARGEST_SIDE, description="In pixels.")
    height: int = Field(ge=1, le=LARGEST_SIDE, description="In pixels.")


class EstimateBody(Strict):
    kind: FormKind = Field(description="The kind of job.")
    request: Annotated[dict[str, Any], WithJsonSchema(fields_of(Txt2ImgRequest, Img2ImgRequest))] = Field(
        description="Fields of this kind of job without its pictures; omitted fields use their defaults."
    )
    source: SourceSize | None = Field(default=None, description="Size of the source picture, if there is one.")


def routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["jobs"])

    @router.post("/estimate")
    def estimated(body: EstimateBody) -> dict[str, Any]:
        """The effective steps and sizes of a request, and warnings about checkpoint and source, without running it."""
        request = requested(body)
        settings = services.settings.current.overridden(request.override_settings)
        try:
            sizes = services.catalog.current.checkpoint(settings.sd_model_checkpoint).sizes
        except WebuiError:  # there is no checkpoint, or the selected one was removed
            sizes = None
        return estimate(request, settings, sizes).described()

    return router


def requested(body: EstimateBody) -> GenerationRequest:
    """The request, with a size in place of its source picture. Raises WebuiError for an invalid field."""
    if body.kind == "txt2img":
        return Txt2ImgRequest.parse(body.request)
    if body.source is None:  # values that depend on the source are unknown; the rest is not
        values = {name: value for name, value in body.request.items() if name not in OF_SOURCE}
        return Img2ImgRequest.parse({**values, "init_images": (Picture(b"", "", 1, 1, ""),)})
    source = Picture(b"", "", body.source.width, body.source.height, "")
    return Img2ImgRequest.parse({**body.request, "init_images": (source,)})
