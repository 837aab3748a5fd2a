"""The history: finished pictures, newest first, their sources, the pictures made from them, and reopening one.

Pictures are identified by the sha256 of their bytes, never by a path.
"""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.responses import FileResponse, Response

from modules.api.openapi import answers
from modules.api.services import Services
from modules.api.v1.info import described_fields
from modules.api.v1.pictures import MEDIA_TYPES, PICTURE_HEADERS
from modules.api.v1.reduced import reduced_copy
from modules.api.v1.units import described_picture
from modules.base.errors import WebuiError
from modules.base.picture import Picture
from modules.store.history import Cursor, History, HistoryEntry
from modules.store.large import is_shown_reduced
from modules.store.pictures import Pictures
from modules.store.thumbnails import small

SECONDS = 1.5  # that one scan for new files may take
MOST = 200  # pictures on a page
THUMBNAIL = 288  # pixels of the longer side
Sha256 = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="The sha256 of the file's bytes.")]
PLACE = "^([0-9]{1,20}-[0-9a-f]{64})?$"


def routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1/history", tags=["history"])
    history, pictures = services.history, services.pictures

    @router.get("")
    def listed(
        before: Annotated[str, Query(pattern=PLACE, description="`next` of the previous page.")] = "",
        count: Annotated[int, Query(ge=1, le=MOST, description="Pictures on this page.")] = 60,
    ) -> dict[str, Any]:
        """The pictures in the outputs folder, newest first. While some are `unread`, ask again: more will follow."""
        unread = history.look(SECONDS)
        entries = history.page(count, _place(before))
        children = history.counts([entry.sha256 for entry in entries])
        rows = [described(entry) | {"children": children.get(entry.sha256, 0)} for entry in entries]
        last = f"{entries[-1].changed}-{entries[-1].sha256}" if len(entries) == count else ""
        return {"pictures": rows, "next": last, "unread": unread}

    @router.get("/{sha256}", response_class=FileResponse, responses=answers(MEDIA_TYPES.values()))
    def picture(sha256: Sha256) -> FileResponse:
        """The file's bytes."""
        file = history.file(sha256)
        return FileResponse(file, media_type=MEDIA_TYPES[file.suffix.lower()], headers=PICTURE_HEADERS)

    @router.get("/{sha256}/thumbnail", response_class=Response, responses=answers(["image/webp"]))
    def thumbnail(sha256: Sha256) -> Response:
        """A thumbnail of the picture, as WebP."""
        entry = history.find(sha256)
        if entry is not None and is_shown_reduced(entry.path, entry.width, entry.height):
            copy = reduced_copy(history.file(sha256), services.thumbnails)
            return Response(copy, media_type="image/webp", headers=PICTURE_HEADERS)
        picture = Picture.unread(history.file(sha256).read_bytes(), "sha256")
        return Response(small(picture, THUMBNAIL, "sha256"), media_type="image/webp", headers=PICTURE_HEADERS)

    @router.get("/{sha256}/lineage")
    def lineage(sha256: Sha256) -> dict[str, Any]:
        """The sources of a picture, the closest first, and the pictures made from it, newest first."""
        entry = _known(sha256, history)
        sources = [
            described(one) if isinstance(one, HistoryEntry) else _outside(one, pictures)
            for one in history.sources(entry)
        ]
        children = [described(child) for child in history.made_from(sha256)]
        return {"picture": described(entry), "sources": sources, "children": children}

    @router.post("/{sha256}/open")
    def reopen(sha256: Sha256) -> dict[str, Any]:
        """Everything a form needs to continue from here: fields as from POST /v1/infotext with `spelled_out`, source
        and masks as from POST /v1/pictures. `missing` lists what is no longer stored."""
        entry = _known(sha256, history)
        missing: list[str] = []
        # The prompt as written in the picture; styles are not extracted from it.
        form = {**described_fields(services, services.read_infotext(entry.infotext)), "styles": []}
        named = {"source": entry.source, "mask": entry.mask, "latent_mask": entry.latent_mask}
        found = {what: _fetched(what, name, missing, services) if name else None for what, name in named.items()}
        return {"infotext": entry.infotext, **form, **found, "missing": missing}

    return router


def described(entry: HistoryEntry) -> dict[str, Any]:
    """An entry as JSON."""
    return {
        "sha256": entry.sha256,
        "url": f"/v1/history/{entry.sha256}",
        "thumbnail": f"/v1/history/{entry.sha256}/thumbnail",
        **(
            {"reduced": f"/v1/history/{entry.sha256}/thumbnail"}
            if is_shown_reduced(entry.path, entry.width, entry.height)
            else {}
        ),
        "path": entry.path,
        "kind": entry.kind,
        "made": entry.changed / 1e9,
        "seed": entry.seed,
        "width": entry.width,
        "height": entry.height,
        "infotext": entry.infotext,
        "source": entry.source,
        "mask": entry.mask,
    }


def _known(sha256: str, history: History) -> HistoryEntry:
    entry = history.find(sha256)
    if entry is None:
        history.file(sha256)  # raises
        raise AssertionError("a picture without an entry has no file")
    return entry


def _outside(sha256: str, pictures: Pictures) -> dict[str, Any]:
    """An uploaded picture, and whether it is still kept."""
    try:
        pictures.path(sha256)
    except WebuiError:
        return {"sha256": sha256, "url": ""}
    return {"sha256": sha256, "url": f"/v1/pictures/{sha256}"}


def _fetched(what: str, sha256: str, missing: list[str], services: Services) -> dict[str, Any] | None:
    """A picture as a source for jobs; a picture from the outputs is first copied to the stored pictures."""
    try:
        try:
            one = services.pictures.get(sha256)
        except WebuiError:
            one = Picture.from_bytes(services.history.file(sha256).read_bytes(), what)
            services.pictures.put(one)
    except (WebuiError, OSError):
        missing.append(f"The {what.replace('_', ' ')} (sha256 {sha256[:10]}…) is no longer stored.")
        return None
    return described_picture(one)


def _place(text: str) -> Cursor | None:
    if not re.fullmatch(PLACE, text) or not text:
        return None
    changed, _, sha256 = text.partition("-")
    return Cursor(min(int(changed), 2**63 - 1), sha256)
