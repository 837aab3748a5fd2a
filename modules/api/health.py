"""A route for monitoring whether the server runs. Needs no password, because it reveals nothing else."""

from typing import Any

from fastapi import APIRouter

from modules.api.services import Services


def routes(_: Services) -> APIRouter:
    router = APIRouter(tags=["state"])

    @router.get("/healthz")
    async def health() -> dict[str, Any]:
        """Answers `ok` while the server runs. Needs no password."""
        return {"status": "ok"}

    return router
