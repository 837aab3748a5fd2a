"""Whether the server runs, for whoever supervises it. Open to all, as it tells nothing else."""

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
