"""Routes that A1111's own page and some clients use."""

import platform
import sys
from typing import Any

from fastapi import APIRouter

import modules
from modules.api.a1111.lists import public_flags, ram
from modules.api.services import Services


def routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/internal", tags=["A1111: others"])

    @router.get("/sysinfo")
    def sysinfo() -> dict[str, Any]:
        """Information for a bug report: versions, machine, flags and settings; no path, name or password."""
        state = services.queue.state()
        return {
            "Platform": platform.platform(),
            "Python": sys.version.split()[0],
            "Version": modules.__version__,
            "Checkpoint": state.checkpoint,
            "Device": state.device,
            "CPU": platform.machine(),
            "RAM": ram(),
            "Commandline": public_flags(services.flags),
            "Config": services.settings.current.model_dump(),
        }

    return router
