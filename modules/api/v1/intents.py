"""What people want of a part of a picture, as presets over the fields of a request."""

from typing import Any

from fastapi import APIRouter

from modules.api.services import Services
from modules.schema.intents import INTENTS


def routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["intents"])

    @router.get("/intents")
    async def intents() -> dict[str, Any]:
        """Fill, expand, add, remove, replace background: the field values of each, and what it needs first."""
        return {"intents": [intent.described() for intent in INTENTS]}

    return router
