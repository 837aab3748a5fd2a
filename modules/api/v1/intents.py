"""Presets for common tasks on part of a picture, as values of request fields."""

from typing import Any

from fastapi import APIRouter

from modules.api.services import Services
from modules.schema.intents import INTENTS


def routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["intents"])

    @router.get("/intents")
    async def intents() -> dict[str, Any]:
        """Fill, expand, add, remove, replace background: the field values of each, and what it requires first."""
        return {"intents": [intent.described() for intent in INTENTS]}

    return router
