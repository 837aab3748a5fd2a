"""A1111's options: those with an effect here are settings, the others are stored for clients that read them back."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from modules.a1111.options import NAMES, TOLD_ONLY, KeptOptions, unknown_option, validated
from modules.api.a1111.body import loose_object
from modules.api.a1111.lists import known_sha256, selected, title_of
from modules.api.openapi import JSON, fields_of
from modules.api.services import Services
from modules.base.errors import WebuiError
from modules.base.fields import cut
from modules.schema.catalog import Checkpoint
from modules.schema.settings import Settings

CHECKPOINT = "sd_model_checkpoint"
KEPT = "config-a1111.json"  # beside config.json


def routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/sdapi/v1", tags=["A1111: options"])
    kept = KeptOptions(services.flags.data_dir / KEPT)

    @router.get("/options")
    def options() -> dict[str, Any]:
        """All options by name. A1111's options without effect here are returned as they were last set."""
        values = {**kept.values, **services.settings.current.model_dump()}
        checkpoint = selected(services)
        values[CHECKPOINT] = title_of(services, checkpoint) if checkpoint else values[CHECKPOINT]
        values["sd_checkpoint_hash"] = known_sha256(services, checkpoint) if checkpoint else ""
        values["api_enable_requests"] = services.flags.allow_url_fetch
        return values

    @router.post("/options", openapi_extra=_body())
    async def set_options(request: Request) -> None:
        """Change and save some options. If one name or value is invalid, nothing changes."""
        await run_in_threadpool(change, await loose_object(request))

    def change(body: Mapping[str, Any]) -> None:
        given = {name: value for name, value in body.items() if value is not None and name not in TOLD_ONLY}
        for name in given:
            if name not in Settings.model_fields and name not in NAMES:
                raise unknown_option(name)
        theirs = validated({name: value for name, value in given.items() if name not in Settings.model_fields})
        ours = cut(Settings, {name: value for name, value in given.items() if name in Settings.model_fields})
        chosen = _chosen(services, ours)
        services.settings.current.overridden(ours)  # raises before anything has changed
        ours = services.with_vae(ours)
        kept.change(theirs)
        before = selected(services)
        after = services.settings.change(ours) if ours else services.settings.current
        if chosen is not None and chosen != before:
            services.select_checkpoint(chosen, after)

    return router


def _chosen(services: Services, values: dict[str, Any]) -> Checkpoint | None:
    """The checkpoint in `values`, given by title, file, bare name or hash, which is replaced by its name; None if none.

    A checkpoint that is selected already is removed from `values`. Raises WebuiError if there is no such checkpoint.
    """
    name_sent = values.get(CHECKPOINT)
    if name_sent is None:
        return None
    if not isinstance(name_sent, str):
        raise WebuiError(f"{CHECKPOINT}: expected a name.", field=CHECKPOINT)
    before = selected(services)
    if not name_sent.strip() or (before is None and name_sent == services.settings.current.sd_model_checkpoint):
        del values[CHECKPOINT]  # empty, or a client returns the selected one, which was removed
        return None
    chosen = services.admission.checkpoint(name_sent)
    if chosen == before:
        del values[CHECKPOINT]
    else:
        values[CHECKPOINT] = chosen.name
    return chosen


def _body() -> dict[str, Any]:
    schema = {
        **fields_of(Settings),
        "description": "Options by name, as GET returns them.",
        "additionalProperties": True,
    }
    return {"requestBody": {"required": False, "content": {JSON: {"schema": schema}}}}
