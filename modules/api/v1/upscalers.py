"""The upscalers of pictures that the Extras tab offers."""

from typing import Any

from fastapi import APIRouter

from modules.api.services import Services
from modules.networks.files.upscalers import install_hint
from modules.schema.upscalers import of_pictures


def routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["extras"])

    @router.get("/upscalers")
    def upscalers() -> dict[str, Any]:
        """The upscalers of pictures in menu order, and how to get the networks that are not installed."""
        rows = of_pictures(services.catalog.current.upscalers)
        return {
            "upscalers": [
                {"name": row.name, "factor": row.factor, "is_network": row.path is not None, "reason": row.reason}
                for row in rows
            ],
            "hint": install_hint(),
        }

    return router
