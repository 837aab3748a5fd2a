"""Batches: upload files, start, follow, stop, download the results."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field, ValidationError, WithJsonSchema
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.responses import Response, StreamingResponse

from modules.api.openapi import answers, bytes_body, fields_of, json_or_form_body
from modules.api.services import Services
from modules.api.sse import NOTHING_NEW, EventStream, event_text
from modules.api.v1.jobs import EVENTS_AT_ONCE, LastEventId, event_data
from modules.base.errors import WebuiError
from modules.base.events import Previewed
from modules.base.fields import Strict, shortened
from modules.base.picture import MAX_BYTES
from modules.jobs.batch.batch import Batch
from modules.jobs.batch.files import MOST_FILES
from modules.jobs.batch.intake import BatchIntake, Files, UploadedFile
from modules.jobs.batch.options import BatchOptions
from modules.jobs.batch.state import FileState
from modules.schema.request import Img2ImgRequest
from modules.schema.request.extras import ExtrasRequest
from modules.store.spool import NAME

BLOCK = 1 << 20  # bytes of an uploaded file to hold in memory at a time
FILES, MASKS, BATCH = "files", "masks", "batch"  # the parts of a form
BatchId = Annotated[str, Path(description="The id from POST /v1/batches.")]


class FileBody(Strict):
    """An uploaded file: its name in the batch, and its id."""

    name: str = Field(min_length=1, max_length=1000, description="File name; texts and masks are matched by it.")
    id: str = Field(pattern=f"^{NAME.pattern}$", description="The id from POST /v1/batches/files.")


class BatchBody(Strict):
    """The inputs of a batch. Files and folder may be combined."""

    kind: Literal["img2img", "extras"] = Field(
        default="img2img", description="The kind of job that each file becomes. Extras takes no masks and texts."
    )
    request: Annotated[dict[str, Any], WithJsonSchema(fields_of(Img2ImgRequest, ExtrasRequest))] = Field(
        default_factory=dict, description="The fields of a job of this kind, without pictures."
    )
    options: BatchOptions = BatchOptions()
    files: list[FileBody] = Field(
        default_factory=list,
        max_length=2 * MOST_FILES,
        description="Uploaded pictures, texts, tables and zips.",
    )
    folder: str = Field(default="", max_length=1000, description="Folder on the server, such as inputs/holiday.")
    masks: list[FileBody] = Field(
        default_factory=list,
        max_length=2 * MOST_FILES,
        description="One mask for all, or one per picture with the same name.",
    )
    mask_folder: str = Field(default="", max_length=1000, description="Folder of masks on the server.")
    leave_out_missing: bool = Field(
        default=False, description="Remove tags of missing LoRAs from the prompt instead of failing."
    )


def _models_in(form: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the models in a form; a name may be a hash."""
    settings = form.get("override_settings")
    overrides = cast(dict[str, Any], settings) if isinstance(settings, dict) else {}
    named = (overrides.get("sd_model_checkpoint"), overrides.get("sd_vae"), form.get("refiner_checkpoint"))
    return tuple(name for name in named if isinstance(name, str))


def routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1/batches", tags=["batches"])
    intake = services.intake

    _add_bringing(router, intake)
    _add_running(router, services)

    @router.post("", status_code=201, openapi_extra=json_or_form_body(BatchBody, (FILES, MASKS), BATCH))
    async def start(request: Request) -> dict[str, Any]:
        """Start a batch from a JSON object, or from a form with `files`, `masks`, and the JSON object as `batch`."""
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            body = await _from_form(request)
        else:
            body = _parsed(await request.body())
        return await run_in_threadpool(begin, body)

    def begin(body: BatchBody) -> dict[str, Any]:
        batch = intake.start(
            body.request,
            body.options,
            services.settings.current,
            services.catalog.settled(*_models_in(body.request)),
            Files([UploadedFile(file.name, file.id) for file in body.files], body.folder),
            Files([UploadedFile(mask.name, mask.id) for mask in body.masks], body.mask_folder),
            body.leave_out_missing,
            body.kind,
        )
        return {"id": batch.id, "total": batch.total, "url": f"/v1/batches/{batch.id}", "notes": batch.notes}

    async def _from_form(request: Request) -> BatchBody:
        """Add the files of a form to the spool one by one; Starlette keeps large ones on disk until then."""
        async with request.form(max_files=MOST_FILES, max_fields=10) as form:
            text = form.get(BATCH, "{}")
            body = _parsed(text.encode() if isinstance(text, str) else await text.read())
            uploads: dict[str, list[FileBody]] = {FILES: list(body.files), MASKS: list(body.masks)}
            for part, value in form.multi_items():
                if part in uploads and isinstance(value, UploadFile):
                    uploads[part].append(FileBody(name=value.filename or "file", id=await _spooled(value)))
                elif part != BATCH:
                    raise WebuiError(
                        f"the part {part[:80]!r} of the form: expected {FILES}, {MASKS} or {BATCH}.", field=part[:80]
                    )
        return body.model_copy(update=uploads)

    async def _spooled(upload: UploadFile) -> str:
        with intake.spool.writer() as file:
            while block := await upload.read(BLOCK):
                if file.size + len(block) > MAX_BYTES:
                    raise _too_large()
                await run_in_threadpool(file.write, block)
            return await run_in_threadpool(file.keep)

    return router


def _add_bringing(router: APIRouter, intake: BatchIntake) -> None:
    """Routes for the inputs of a batch: uploaded files, and folders on the server."""

    @router.post("/files", status_code=201, openapi_extra=bytes_body("A picture, .txt, .csv or .zip."))
    async def bring(request: Request) -> dict[str, Any]:
        """Upload a file (picture, .txt, .csv, .zip): the body is its bytes. It is not checked yet."""
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > MAX_BYTES:
            raise _too_large()
        with await run_in_threadpool(intake.spool.writer) as file:
            block = bytearray()
            async for chunk in request.stream():
                block += chunk
                if file.size + len(block) > MAX_BYTES:
                    raise _too_large()
                if len(block) >= BLOCK:
                    await run_in_threadpool(file.write, bytes(block))
                    block.clear()
            await run_in_threadpool(file.write, bytes(block))
            return {"id": await run_in_threadpool(file.keep), "bytes": file.size}

    @router.head("/files/{file_id}", status_code=204)
    def is_here(file_id: Annotated[str, Path(description="The sha256 of its bytes.")]) -> None:
        """Check whether a file is already on the server and need not be uploaded."""
        intake.spool.path(file_id)

    @router.get("/folders")
    def folders() -> dict[str, Any]:
        """The folders on the server that a batch may read."""
        return {"folders": intake.folders.names()}


def _add_running(router: APIRouter, services: Services) -> None:
    """Routes for batches that have started."""
    intake = services.intake

    @router.get("")
    def batches() -> list[dict[str, Any]]:
        """The remembered batches, newest first."""
        return [batch.summary() for batch in intake.batches.batches()]

    @router.get("/{batch_id}")
    def batch(batch_id: BatchId) -> dict[str, Any]:
        """The progress of a batch, and the outcome of each file."""
        found = intake.batches.batch(batch_id)
        return {**found.summary(), "files": [described(file) for file in found.files()]}

    @router.get("/{batch_id}/events", status_code=200, response_class=EventStream, responses=NOTHING_NEW)
    async def events(
        batch_id: BatchId,
        last_event_id: LastEventId = "",
        after: Annotated[int, Query(ge=0, le=MOST_FILES, description="How many files you already have.")] = 0,
    ) -> Response:
        """The outcomes of files, from the start or after the number `after`, and the progress of the batch."""
        batch = intake.batches.batch(batch_id)
        if re.fullmatch(r"[0-9]{1,9}", last_event_id):
            after = int(last_event_id)
            if batch.ended and after >= len(batch.settled()):
                return Response(status_code=204)  # tells an EventSource not to connect again
        return EventStream(BatchFeed(batch, after), services.streams)

    @router.post("/{batch_id}/stop")
    def stop(batch_id: BatchId) -> dict[str, Any]:
        """Stop the batch. Finished files are kept."""
        intake.batches.batch(batch_id).stop()
        return {}

    @router.post("/{batch_id}/skip")
    def skip(batch_id: BatchId) -> dict[str, Any]:
        """Skip to the next file."""
        intake.batches.batch(batch_id).skip()
        return {}

    @router.delete("/{batch_id}")
    def remove(batch_id: BatchId) -> dict[str, Any]:
        """Stop a batch, waiting or running."""
        intake.batches.batch(batch_id).stop()
        return {}

    @router.get("/{batch_id}/zip", response_class=StreamingResponse, responses=answers(["application/zip"]))
    def zipped(batch_id: BatchId) -> StreamingResponse:
        """The results so far, as a zip."""
        paths = [path for path in intake.batches.batch(batch_id).pictures() if _is_there(services, path)]
        if not paths:
            raise WebuiError("There are no results yet.", "Wait for the first file.", "id", status=404)
        name = f"palimpsest-batch-{date.today().isoformat()}.zip"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
        return StreamingResponse(services.outputs.zipped(paths), media_type="application/zip", headers=headers)


def described(file: FileState) -> dict[str, Any]:
    """A file of a batch as JSON."""
    return {
        "index": file.index,
        "name": file.name,
        "outcome": file.outcome.replace(" ", "_"),
        "sentence": file.sentence,
        "notes": file.notes,
        "source": file.source,
        "pictures": [event_data(picture) for picture in file.pictures],
        "earlier": file.earlier,
    }


class BatchFeed:
    """The events of a batch for one client: numbered `file` events, `batch` after each change, `previewed` for the
    current picture. The first `after` files are skipped."""

    def __init__(self, batch: Batch, after: int) -> None:
        self.listeners = batch.listeners
        self.over = False
        self._batch = batch
        self._read = after
        self._sent: dict[str, Any] = {}
        self._previewed = ("", 0)

    def read(self) -> str:
        batch = self._batch
        ended = batch.ended  # read first, so files finished before the end are included below
        texts: list[str] = []
        for file in batch.settled(self._read)[:EVENTS_AT_ONCE]:
            self._read += 1
            texts.append(event_text("file", described(file), self._read))
        summary = batch.summary()
        timeless: dict[str, Any] = {**summary, "seconds": 0, "eta_seconds": 0}
        if timeless["current"]:
            progress = {**timeless["current"]["progress"], "seconds": 0, "eta_seconds": 0}
            timeless["current"] = {**timeless["current"], "progress": progress}
        if timeless != self._sent:  # a change of the times alone is not sent
            self._sent = timeless
            texts.append(event_text("batch", summary))
        texts += self._preview()
        self.over = (ended or batch.is_parked) and self._read >= len(batch.settled())
        return "".join(texts)

    def _preview(self) -> list[str]:
        current = self._batch.current
        if current is None:
            return []
        job = current[1]
        entries = [entry for entry in job.entries() if isinstance(entry.event, Previewed)]
        if not entries or self._previewed == (job.id, entries[-1].number):
            return []
        self._previewed = (job.id, entries[-1].number)
        return [event_text("previewed", event_data(entries[-1].event))]


def _parsed(data: bytes) -> BatchBody:
    try:
        return BatchBody.model_validate_json(data or b"{}")
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or BATCH
        message = str(first["msg"])
        if first["type"] == "json_invalid":
            raise WebuiError(f"The body is not JSON: {message}.", "Send a JSON object.") from error
        value = "" if first["type"] == "missing" else f" = {shortened(repr(first['input']))}"
        raise WebuiError(
            f"{field}{value}: {message[:1].lower()}{message[1:]}.", field=field.rpartition(".")[2]
        ) from error


def _is_there(services: Services, path: str) -> bool:
    try:
        services.outputs.locate(path)
    except WebuiError:
        return False
    return True


def _too_large() -> WebuiError:
    return WebuiError(
        f"files: the file is larger than the limit of {MAX_BYTES >> 20} MB.",
        "Split large zips, or put the pictures in a folder under inputs on the server.",
        "files",
        status=413,
    )
