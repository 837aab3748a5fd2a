"""The rest of A1111's routes: scripts, extensions, the loaded checkpoint, and unsupported ones."""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from modules.a1111.request import REFINER, REFINER_FIELDS, SOFT_FIELDS, SOFT_INPAINTING
from modules.api.a1111.body import loose_object
from modules.api.a1111.lists import selected
from modules.api.a1111.pictures import Fetch, picture_from
from modules.api.openapi import json_body
from modules.api.services import Services
from modules.base.errors import WebuiError
from modules.base.fields import Param, params
from modules.extension import loading
from modules.infotext.grammar import FormKind
from modules.schema.request import Img2ImgRequest

REFINER_IS_ON: Mapping[str, Any] = {
    "label": "Refiner", "value": False, "minimum": None, "maximum": None, "step": None, "choices": None,
}  # fmt: skip
SECONDS_TO_UNLOAD = 30.0  # that a response waits; unloading continues after that
KINDS: tuple[FormKind, ...] = ("txt2img", "img2img")
NOT_OFFERED: Mapping[str, str] = {
    "create/embedding": "Textual inversions can be used here but not created.",
    "create/hypernetwork": "Hypernetworks are not supported.",
    "train/embedding": "Training over HTTP is not supported.",
    "train/hypernetwork": "Training over HTTP is not supported.",
    "server-kill": "Stop the server where you started it, not over HTTP.",
    "server-restart": "Restart the server where you started it, not over HTTP.",
    "server-stop": "Stop the server where you started it, not over HTTP.",
}


class InterrogatePayload(BaseModel):
    image: str = Field(default="", description="The picture: base64 or a data URI.")
    model: str = Field(default="clip", description="Not used: there is no model for it.")


def routes(services: Services, fetch: Fetch | None, loaded: loading.Extensions) -> APIRouter:
    """The routes; `loaded` are the loaded extensions."""
    router = APIRouter(prefix="/sdapi/v1", tags=["A1111: others"])

    @router.get("/scripts")
    def scripts() -> dict[str, list[str]]:
        """The names of the scripts of each form, in lower case, including those that are always on."""
        found = {kind: [script.name.lower() for script in loaded.scripts(kind)] for kind in KINDS}
        found["txt2img"].append(REFINER)
        found["img2img"] += [REFINER, SOFT_INPAINTING]
        return {kind: sorted(names) for kind, names in found.items()}

    @router.get("/script-info")
    def script_info() -> list[dict[str, Any]]:
        """The scripts with their arguments, in the order of script_args."""
        found = [
            {
                "name": described["name"].lower(),
                "is_alwayson": False,
                "is_img2img": kind == "img2img",
                "args": [_argument(argument) for argument in described["args"]],
            }
            for kind in KINDS
            for described in loaded.described(kind, services.catalog.current)
        ]
        declared = params(Img2ImgRequest)
        soft = [_declared(declared[name]) for name in SOFT_FIELDS]
        refiner = [REFINER_IS_ON, *(_declared(declared[name]) for name in REFINER_FIELDS)]
        always = [
            {"name": REFINER, "is_alwayson": True, "is_img2img": False, "args": refiner},
            {"name": REFINER, "is_alwayson": True, "is_img2img": True, "args": refiner},
            {"name": SOFT_INPAINTING, "is_alwayson": True, "is_img2img": True, "args": soft},
        ]
        return [*found, *always]

    @router.get("/extensions")
    def extension_list() -> list[dict[str, Any]]:
        """The loaded extensions."""
        return [
            {
                "name": name, "remote": "", "branch": "", "commit_hash": "", "version": "", "commit_date": "0",
                "enabled": True,
            }
            for name in loaded.loaded
        ]  # fmt: skip

    @router.post("/unload-checkpoint")
    def unload_checkpoint() -> dict[str, Any]:
        """Free the engine's memory once no job is waiting. The next job, or reload-checkpoint, loads again."""
        services.queue.unload(SECONDS_TO_UNLOAD)
        return {}

    @router.post("/reload-checkpoint")
    def reload_checkpoint() -> dict[str, Any]:
        """Load the selected checkpoint if it is not loaded."""
        checkpoint = selected(services) or services.admission.checkpoint("")
        state = services.queue.state()
        if (state.state, state.checkpoint) != ("ready", checkpoint.name):
            services.select_checkpoint(checkpoint, services.settings.current)
        return {}

    @router.post(
        "/interrogate", status_code=404, response_description="Always.", openapi_extra=json_body(InterrogatePayload)
    )
    async def interrogate(request: Request) -> None:
        """Not supported: describing a picture needs a model that does not come with Palimpsest."""
        body = await loose_object(request)
        await run_in_threadpool(_interrogate, body, fetch)

    for name in NOT_OFFERED:
        router.add_api_route(
            f"/{name}",
            _refusing(name),
            methods=["POST"],
            status_code=404,
            response_description="Always.",
            description="Not supported.",
        )
    return router


def _interrogate(body: Mapping[str, Any], fetch: Fetch | None) -> NoReturn:
    if not body.get("image"):
        raise WebuiError("Image not found: image is empty.", "Send one.", "image", status=404)
    picture_from(body["image"], "image", fetch)
    raise WebuiError(
        "interrogate: describing a picture is not supported; there is no model for it.",
        "Write the prompt yourself; /sdapi/v1/png-info reads the prompt stored in a picture.",
        "model",
        status=404,
    )


def _refusing(name: str) -> Callable[[], None]:
    def refuse() -> None:
        raise WebuiError(f"{name}: {NOT_OFFERED[name]}", status=404)

    refuse.__name__ = name.replace("-", "_").replace("/", "_")
    return refuse


def _argument(described: Mapping[str, Any]) -> dict[str, Any]:
    """An argument of an extension's script, in A1111's format."""
    return {
        "label": described.get("label", described["name"]),
        "value": described.get("default"),
        "minimum": described.get("min"),
        "maximum": described.get("max"),
        "step": described.get("step"),
        "choices": list(described.get("choices") or ()) or None,
    }


def _declared(param: Param) -> dict[str, Any]:
    return {
        "label": param.control.label,
        "value": param.default,
        "minimum": param.widget_minimum,
        "maximum": param.widget_maximum,
        "step": param.control.step,
        "choices": None,
    }
