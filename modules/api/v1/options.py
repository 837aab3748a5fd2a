"""Settings and checkpoints."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field, WithJsonSchema

from modules.api.openapi import fields_of
from modules.api.services import Services
from modules.api.v1.scripts import KINDS
from modules.base.fields import Param, Strict, params
from modules.schema.catalog import SHORT_HASH, Catalog, Checkpoint
from modules.schema.settings import Settings

CHECKPOINT = "sd_model_checkpoint"

SomeSettings = Annotated[dict[str, Any], WithJsonSchema(fields_of(Settings))]


class CheckpointBody(Strict):
    name: str = Field(description="A name from GET /v1/checkpoints, a file name, a title or a hash.")


def routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["options"])

    def change(values: dict[str, Any]) -> Settings:
        """Change settings. A new checkpoint is looked up before anything changes, and loaded afterwards."""
        before = services.settings.current
        before.overridden(values)  # raises for a value of the wrong type, such as a list for a name
        values = services.with_vae(values)
        chosen = services.admission.checkpoint(values[CHECKPOINT]) if values.get(CHECKPOINT) else None
        after = services.settings.change({**values, CHECKPOINT: chosen.name} if chosen else values)
        if after.sd_model_checkpoint != before.sd_model_checkpoint:
            checkpoint = chosen or services.admission.checkpoint("")
            services.select_checkpoint(checkpoint, after)
        return after

    @router.get("/settings")
    async def settings() -> dict[str, Any]:
        """The current settings and their declarations."""
        catalog = services.catalog.current
        declared = [described(param, catalog) for param in params(Settings).values()]
        return {"values": services.settings.current.model_dump(), "declared": declared}

    @router.post("/settings")
    def change_settings(values: SomeSettings) -> dict[str, Any]:
        """Change some settings and return all values. If one value is invalid, nothing changes."""
        return change(values).model_dump()

    @router.get("/checkpoints")
    def checkpoints() -> dict[str, Any]:
        """The available checkpoints and the selected one."""
        return listed(services)

    @router.post("/checkpoints/refresh")
    def refresh() -> dict[str, Any]:
        """Rescan the folders."""
        services.catalog.refresh()
        return listed(services)

    @router.post("/checkpoint", status_code=202)
    def choose(body: CheckpointBody) -> dict[str, Any]:
        """Select a checkpoint and load it; follow /v1/state. Selecting it again loads it again."""
        checkpoint = services.admission.checkpoint(body.name)
        after = services.settings.change({CHECKPOINT: checkpoint.name})
        services.select_checkpoint(checkpoint, after)
        return {}

    return router


def listed(services: Services) -> dict[str, Any]:
    """The available checkpoints and VAEs, and the selected checkpoint."""
    catalog = services.catalog.current
    return {
        "checkpoints": [
            {
                "name": checkpoint.name,
                "label": checkpoint.label,
                "reason": checkpoint.reason,
                "defaults": checkpoint.defaults,
                "forms": {kind: checkpoint.form_defaults(kind) for kind in KINDS},
                "family": checkpoint.family,
                "shown": checkpoint.shown,
                "sizes": sizes_of(checkpoint),
                "hash": hash_of(services, checkpoint),
            }
            for checkpoint in catalog.checkpoints
        ],
        "selected": selected(services, catalog),
        "vaes": list(catalog.names("vaes")),
    }


def selected(services: Services, catalog: Catalog) -> str:
    """The name of the selected checkpoint in the catalog; it is kept even if the checkpoint no longer exists."""
    current_name = services.settings.current.sd_model_checkpoint
    if not current_name:
        return catalog.first_checkpoint.name if catalog.checkpoints else ""
    return current_name


def hash_of(services: Services, checkpoint: Checkpoint) -> str:
    """The first `SHORT_HASH` digits of the hash, "" while unknown; hashes are computed in the background."""
    state = services.queue.state()
    loaded = state.checkpoint_hash if state.checkpoint == checkpoint.name else ""
    return (loaded or checkpoint.hash or services.catalog.known_hash(checkpoint.path))[:SHORT_HASH]


def sizes_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """The sizes that a page offers: sides are multiples of `multiple_of`; the first of `trained_on` is the default."""
    sizes = checkpoint.sizes
    return {"multiple_of": sizes.rule.multiple_of, "trained_on": [each._asdict() for each in sizes.trained_on]}


def described(param: Param, catalog: Catalog) -> dict[str, Any]:
    """A declared setting as JSON, with all that a page needs to build its control."""
    control = param.control
    return {
        "name": param.name,
        "label": control.label,
        "kind": control.kind,
        "min": param.widget_minimum,
        "max": param.widget_maximum,
        "step": control.step,
        "choices": catalog.names(control.choices) if isinstance(control.choices, str) else control.choices,
        "default": param.default,
        "description": param.description,
        "section": control.section,
    }
