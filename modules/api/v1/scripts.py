"""The available scripts, for a page that builds their controls."""

from typing import Any

from fastapi import APIRouter

from modules.api.services import Services
from modules.infotext.grammar import FormKind

KINDS: tuple[FormKind, ...] = ("txt2img", "img2img")


def routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["scripts"])

    @router.get("/scripts")
    def scripts() -> dict[str, Any]:
        """By form: names, and arguments in the order of script_args.

        `problems` lists extensions that failed to load.
        """
        catalog = services.catalog.current
        offered = {kind: services.extensions.described(kind, catalog) for kind in KINDS}
        return {**offered, "problems": services.extensions.problems}

    return router
