"""Reproduces a picture from its own infotext, as a job, and compares the result."""

import math
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Query, Request
from pydantic import Field

from modules.api.clients import client_of
from modules.api.services import Services, models_in
from modules.base.errors import WebuiError
from modules.base.fields import Strict
from modules.base.picture import Picture
from modules.infotext.parse import parse
from modules.infotext.recipe import Recipe, compared, ran_with, recipe
from modules.processing.kinds.generate import IMG2IMG, TXT2IMG
from modules.schema.request import Img2ImgRequest
from modules.store import metadata

SHA256 = "^[0-9a-f]{64}$"


class ReproduceBody(Strict):
    picture: str = Field(pattern=SHA256, description="The id of the picture, from POST /v1/pictures.")
    source: str = Field("", description="The id of its source picture, if that is no longer stored.")
    mask: str = Field("", description="The id of its mask, if that is no longer stored.")


def routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1/reproduce", tags=["reproduce"])

    @router.post("", status_code=201)
    def reproduce(body: ReproduceBody, http_request: Request) -> dict[str, Any]:
        """Reproduce a picture as a job; returns its id. Source and mask are found by their hash, or must be sent."""
        made = recipe_of(body.picture, body.source, body.mask)
        kind = IMG2IMG if isinstance(made.request, Img2ImgRequest) else TXT2IMG
        # PNG, whatever the original was, because the comparison needs exactly what the engine made.
        overrides = {"samples_format": "png", "sd_model_checkpoint": made.checkpoint.name}
        spec = services.admission.admitted(kind, made.request, made.settings.overridden(overrides))
        job = services.submit(client_of(http_request), spec)
        return {"id": job.id, "ahead": job.ahead, "url": f"/v1/jobs/{job.id}", "report": f"/v1/reproduce/{job.id}"}

    @router.get("/{job_id}")
    def report(
        job_id: Annotated[str, Path(description="The id of the job that reproduced it.")],
        picture: Annotated[str, Query(description="As in POST /v1/reproduce.")],
        source: Annotated[str, Query(description="Likewise.")] = "",
        mask: Annotated[str, Query(description="Likewise.")] = "",
    ) -> dict[str, Any]:
        """How close a finished job came to the picture it reproduced."""
        job = services.queue.job(job_id)
        if not job.images:
            raise WebuiError(
                f"The job has made no picture yet; it is {job.status}.", "Ask again when it has finished.", status=409
            )
        made = recipe_of(picture, source, mask)
        again = Picture.from_bytes(services.outputs.locate(job.images[0].path).read_bytes())
        state = services.queue.state()
        found = compared(
            np.array(services.pictures.get(picture).rgb()),
            np.array(again.rgb()),
            (*made.causes, *ran_with(made.text, state.checkpoint_hash, state.device, job.images[0].infotext)),
        )
        return {
            "identical": found.is_identical,
            "pixels": found.pixels,
            "differing": found.differing,
            "largest": found.largest,
            "psnr": found.psnr if found.psnr is not None and math.isfinite(found.psnr) else None,
            "sentences": found.sentences(),
        }

    def recipe_of(picture_id: str, source_id: str, mask_id: str) -> Recipe:
        picture = services.pictures.get(picture_id)
        source, mask = (services.pictures.get(name) if name else None for name in (source_id, mask_id))
        try:
            text = metadata.read(picture).infotext
            catalog = services.catalog.settled(*models_in(parse(text)))
            return recipe(picture, text, catalog, kept, source, mask, services.catalog.known_hash)
        except WebuiError as error:
            hint = "Upload it and send its id." if error.field in ("source", "mask") else error.hint
            raise WebuiError(error.message, hint, error.field, error.status) from error

    def kept(sha256: str) -> Picture | None:
        try:
            return services.pictures.get(sha256)
        except WebuiError:
            return None

    return router
