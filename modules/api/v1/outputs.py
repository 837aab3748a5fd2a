"""Finished pictures: show, save a copy, download, open in the file manager.

A browser may cache a picture but revalidates it each time: if a day's pictures are deleted, numbering starts again,
and with a fixed seed a new picture gets the name of an old one.
"""

import os
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from pydantic import Field
from starlette.responses import FileResponse, Response, StreamingResponse

from modules.api.middleware.guard import LOCAL_NAMES
from modules.api.openapi import answers
from modules.api.services import Services
from modules.api.v1.pictures import MEDIA_TYPES, PICTURE_HEADERS
from modules.api.v1.reduced import reduced_copy
from modules.base.fields import Strict
from modules.base.names import shown
from modules.flags.checks import has_screen

MOST_AT_ONCE = 1000  # pictures in one zip or one save

OPENERS = {"win32": "explorer", "darwin": "open"}  # elsewhere freedesktop.org's xdg-open


class SaveBody(Strict):
    paths: list[str] = Field(
        min_length=1, max_length=MOST_AT_ONCE, description="Paths of pictures, as in a job's events."
    )


class OpenBody(Strict):
    path: str = Field(default="", description="Path of a picture; empty for the outputs folder.")


def routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1/outputs", tags=["outputs"])
    outputs = services.outputs

    @router.post("/save")
    def save(body: SaveBody) -> dict[str, Any]:
        """Copy pictures to saved/ and add them to its log.csv."""
        for path in body.paths:
            outputs.locate(path)  # raises before anything is copied
        return {"saved": [outputs.relative(outputs.keep(path)) for path in body.paths]}

    @router.get("/zip", response_class=StreamingResponse, responses=answers(["application/zip"]))
    def zipped(
        path: Annotated[list[str], Query(min_length=1, max_length=MOST_AT_ONCE, description="Of pictures.")],
    ) -> StreamingResponse:
        """Several pictures, as a zip."""
        name = f"palimpsest-{date.today().isoformat()}.zip"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
        return StreamingResponse(outputs.zipped(path), media_type="application/zip", headers=headers)

    @router.post("/open")
    def open_folder(body: OpenBody, request: Request) -> dict[str, Any]:
        """Open a picture's folder on this machine's screen; without a screen, return its path."""
        folder = outputs.locate(body.path).parent if body.path else outputs.root
        here = request.client is not None and request.client.host in LOCAL_NAMES
        return {} if here and _shown(folder) else {"folder": shown(str(folder.resolve()))}

    @router.get("/{path:path}", response_class=FileResponse, responses=answers(MEDIA_TYPES.values()))
    @router.head("/{path:path}", include_in_schema=False)
    def picture(
        path: Annotated[str, InPath(description="Path of a picture, as in a job's events.")],
        request: Request,
        reduced: Annotated[bool, Query(description="A small copy, as WebP, of a large picture.")] = False,
    ) -> Response:
        """A saved picture."""
        file = outputs.locate(path)
        headers = {**PICTURE_HEADERS, "Cache-Control": "private, no-cache"}  # no-cache: store, but revalidate
        if reduced:
            return Response(reduced_copy(file, services.thumbnails), media_type="image/webp", headers=headers)
        answer = FileResponse(
            file, media_type=MEDIA_TYPES[file.suffix.lower()], headers=headers, stat_result=file.stat()
        )
        if request.headers.get("if-none-match") == answer.headers["etag"]:
            return Response(status_code=304, headers={**headers, "ETag": answer.headers["etag"]})
        return answer

    return router


def _shown(folder: Path) -> bool:
    """Whether the system's file manager could be opened at `folder`."""
    opener = shutil.which(OPENERS.get(sys.platform, "xdg-open"))
    if opener is None or not has_screen(os.environ) or not folder.is_dir():
        return False
    subprocess.Popen(
        [opener, str(folder)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return True
