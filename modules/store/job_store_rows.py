"""Converts jobs and their events to rows of the job store and back; an unreadable row affects no other."""

import json
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from modules.base.errors import WebuiError
from modules.base.events import (
    ENDINGS,
    Event,
    Failed,
    FileSaved,
    Finished,
    ImageSaved,
    LeftOut,
    Parked,
    Started,
    Unkept,
    Warned,
)
from modules.base.fields import Strict
from modules.base.kept import Unreadable, parsed
from modules.base.names import shown
from modules.base.picture import ByName, Picture
from modules.schema.catalog import Checkpoint
from modules.schema.resources import NamedFile, Resources
from modules.schema.settings import Settings
from modules.store.job_store_file import Row

KEPT_EVENTS = {
    kind.__name__: kind for kind in (Started, ImageSaved, FileSaved, Warned, Parked, LeftOut, Unkept, Finished, Failed)
}
READERS = {name: TypeAdapter[Any](kind) for name, kind in KEPT_EVENTS.items()}
PICTURE = re.compile("[0-9a-f]{64}")
JOB_ID = re.compile("[0-9A-Za-z_-]{1,64}")
LATEST = 253_402_300_800.0  # seconds: the year 10000, beyond Python's calendar
NOWHERE = Checkpoint("?", Path("?"))  # placeholder for a checkpoint that cannot be read
NEWER = "The job was created by another version of Palimpsest"


@dataclass(frozen=True)
class StoredJob:
    """A job from the job store.

    `events` are those that are kept, in order; `ended` is True if the last one is an ending.
    `deaths` counts crashes of the engine process, `cuts` counts interruptions of Palimpsest itself, both while the job
    ran and since its last picture. If the request can no longer be read, `request` is None and `reason` says why. A
    finished job's request has no pictures; neither has a failed job's if they are gone, and then `reason` says so.
    `files` are all files that the request names, as they were at admission.
    """

    id: str
    kind: str
    created: float
    request: Strict | None
    settings: Settings
    checkpoint: Checkpoint
    events: tuple[Event, ...]
    ended: bool
    deaths: int
    cuts: int
    reason: str = ""
    files: tuple[NamedFile, ...] = ()


def is_job(row: Row) -> bool:
    """Whether a row has the columns that identify a job."""
    return isinstance(row["id"], str) and JOB_ID.fullmatch(row["id"]) is not None


def event_of(row: Row) -> Event:
    """The event of a row; fields added by another version are ignored. Raises Unreadable."""
    name = row["name"]
    if name not in READERS:
        raise Unreadable(f"there is no event {str(name)[:40]!r}")
    values = _object(row["data"])
    known = {field.name: values[field.name] for field in fields(KEPT_EVENTS[name]) if field.name in values}
    try:
        return READERS[name].validate_python(known)
    except ValidationError as error:
        raise Unreadable(f"it is not a {name}") from error


def stored_job(
    row: Row, requests: Mapping[str, type[Strict]], events: tuple[Event, ...], find: Callable[[str], Picture]
) -> StoredJob:
    """The job of a row. If something cannot be read, the job is not run, and `reason` says why."""
    ending = next((number for number, event in enumerate(events) if isinstance(event, ENDINGS)), None)
    ended = ending is not None or row["state"] == "ended"
    reasons: list[str] = []
    if ended and ending is None:
        reasons.append("The job has ended, but its result can no longer be read.")
    request, settings, checkpoint, files = None, Settings(), NOWHERE, ()
    try:
        values_sent = _object(row["request"])
        settings = _settings(row["settings"])
        checkpoint, files = _checkpoint(row["checkpoint"]), _files(row["checkpoint"])
        kind = requests.get(str(row["kind"]))
        if kind is None or kind.__name__ != row["model"]:
            raise WebuiError(f"{NEWER}: it has no {str(row['model'])[:40]}.")
        if ended:
            request = _request(kind, _without_pictures(values_sent), find)
        if not ended or (ending is not None and isinstance(events[ending], Failed)):  # it may be retried
            request = _request(kind, values_sent, find)
    except Unreadable as reason:
        reasons.append(f"The request can no longer be read: {reason}.")
    except WebuiError as error:
        reasons.append(str(error))
    return StoredJob(
        row["id"],
        str(row["kind"]),
        _time(row["created"]),
        request,
        settings,
        checkpoint,
        events if ending is None else events[: ending + 1],
        ending is not None,
        _count(row["deaths"]),
        _count(row["cuts"]) + (row["state"] == "running"),
        " ".join(reasons),
        files,
    )


def event_text(event: Event) -> str:
    return shown(json.dumps(asdict(event), ensure_ascii=False))  # a message may contain a name that is not UTF-8


def resources_text(resources: Resources) -> str:
    """The first checkpoint and all files, as they were found. Other names are looked up in the request."""
    checkpoint = resources.checkpoint
    values = {"name": checkpoint.name, "path": str(checkpoint.path), "hash": checkpoint.hash}
    files = [[file.name, str(file.path), file.size, file.changed] for file in resources.files]
    return json.dumps({**values, "defaults": dict(checkpoint.defaults), "files": files})


def request_text(request: Strict, keep: Callable[[Picture], object]) -> str:
    def never(sha256: str) -> Picture:
        raise AssertionError(f"the picture {sha256} must not be read while writing")

    return json.dumps(request.model_dump(mode="json", context=ByName(keep, never)), ensure_ascii=False)


def _object(text: Any, names_files: bool = False) -> dict[str, Any]:
    """Raises Unreadable."""
    if not isinstance(text, str):
        raise Unreadable("it is not text")
    value = parsed(text.encode("utf-8"), names_files)
    if not isinstance(value, dict):
        raise Unreadable("it is not a JSON object")
    return cast(dict[str, Any], value)


def _request(kind: type[Strict], values_sent: dict[str, Any], find: Callable[[str], Picture]) -> Strict:
    """Raises WebuiError if a picture is missing, or if another version wrote something unknown."""
    try:
        return kind.model_validate(values_sent, context=ByName(lambda picture: None, find))
    except ValidationError as error:
        count = error.error_count()
        raise WebuiError(f"{NEWER} ({count} fields differ).") from error


def _settings(text: Any) -> Settings:
    known = {name: value for name, value in _object(text).items() if name in Settings.model_fields}
    return Settings().overridden(known)


def _checkpoint(text: Any) -> Checkpoint:
    match _object(text, names_files=True):
        case {"name": str(name), "path": str(path), "hash": str(digest), "defaults": dict(defaults)}:
            if "\0" in path:
                raise Unreadable("the checkpoint's path is invalid")
            plain = {key: value for key, value in defaults.items() if isinstance(value, int | float | str)}
            return Checkpoint(name, Path(path), digest, plain)
        case _:
            raise Unreadable("the checkpoint is invalid")


def _files(text: Any) -> tuple[NamedFile, ...]:
    """The readable files; earlier versions stored none."""
    kept = _object(text, names_files=True).get("files", [])
    found: list[NamedFile] = []
    for each in cast(list[Any], kept) if isinstance(kept, list) else []:
        match each:
            case [str(name), str(path), int(size), int(changed)] if "\0" not in path:
                found.append(NamedFile(name, Path(path), size, changed))
            case _:
                pass  # only used for comparison: without it, a change of that file goes unreported
    return tuple(found)


def _time(value: Any) -> float:
    is_time = isinstance(value, int | float) and math.isfinite(value) and 0 <= value < LATEST
    return float(value) if is_time else time.time()


def _count(value: Any) -> int:
    return max(value, 0) if isinstance(value, int) else 0


def _without_pictures(values_sent: Mapping[str, Any]) -> dict[str, Any]:
    """A finished job does not need them, and they may no longer exist."""

    def is_picture(value: Any) -> bool:
        return isinstance(value, str) and PICTURE.fullmatch(value) is not None

    return {
        name: value
        for name, value in values_sent.items()
        if not is_picture(value) and not (isinstance(value, list) and any(map(is_picture, value)))
    }
