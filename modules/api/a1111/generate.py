"""`/sdapi/v1/txt2img` and `/img2img`: submit a job, wait for its end, return its pictures.

If the client disconnects, its job is stopped unless it saves something to disk. A waiting client takes no thread.
"""

import asyncio
import base64
import io
import json
import random
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from modules.a1111.loose import listed_styles, strict
from modules.a1111.request import translated
from modules.api.a1111.body import filled, loose_object
from modules.api.a1111.info import described
from modules.api.a1111.leaving import ended, leaving
from modules.api.a1111.payloads import PAYLOADS, Answering, Generated, echoed
from modules.api.a1111.pictures import CollectedImage, Collector, Fetch, require_count, with_pictures
from modules.api.a1111.tasks import Tasks
from modules.api.clients import client_of
from modules.api.middleware.body_limit import release_body
from modules.api.openapi import json_body
from modules.api.services import Services
from modules.base.errors import WebuiError
from modules.base.events import Failed, Warned
from modules.extension.loading import Extensions
from modules.images.grid import grid
from modules.infotext.grammar import FormKind
from modules.jobs.job import Job, JobSpec
from modules.prompts.tags import take_tags
from modules.schema.catalog import Checkpoint
from modules.schema.request import SEED_RANGE, GenerationRequest, counted_up
from modules.schema.settings import Settings
from modules.store.metadata import as_file

MOST_SOURCES = 64
OUR_FAULT = re.compile(r"\(id [0-9a-f]+ in the log\)")  # part of every sentence about an error of Palimpsest itself


@dataclass(frozen=True)
class ParsedRequest:
    """A parsed body, with one request for each source picture. `known` are the named styles that exist."""

    kind: FormKind
    requests: tuple[GenerationRequest, ...]
    answering: Answering
    parameters: Mapping[str, Any]
    styles: tuple[str, ...]
    known: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Pending:
    """A job and the collector of its pictures."""

    job: Job
    collector: Collector


class Answer(Response):
    """JSON in ASCII, so that any text from a client can be encoded.

    Bytes, or a list of them, become base64 without being scanned for characters to escape.
    """

    media_type = "application/json"

    def render(self, content: Mapping[str, Any]) -> bytes:
        return b"{" + b",".join(_json(name) + b":" + _json(value) for name, value in content.items()) + b"}"


def routes(services: Services, tasks: Tasks, fetch: Fetch | None, scripts: Extensions) -> APIRouter:
    router = APIRouter(prefix="/sdapi/v1", tags=["A1111: generate"])
    studio = _Studio(services, tasks, fetch, scripts)

    @router.post("/txt2img", openapi_extra=json_body(PAYLOADS["txt2img"]), response_model=Generated)
    async def txt2img(request: Request) -> Response:
        """Make pictures from a prompt; returns {images, parameters, info} when they are finished."""
        return await studio.made("txt2img", request)

    @router.post("/img2img", openapi_extra=json_body(PAYLOADS["img2img"]), response_model=Generated)
    async def img2img(request: Request) -> Response:
        """Make pictures from a picture and a prompt; returns {images, parameters, info} when they are finished."""
        return await studio.made("img2img", request)

    return router


class _Studio:
    def __init__(self, services: Services, tasks: Tasks, fetch: Fetch | None, scripts: Extensions) -> None:
        self._services = services
        self._tasks = tasks
        self._fetch = fetch
        self._scripts = scripts
        self._draw = random.SystemRandom()

    async def made(self, kind: FormKind, request: Request) -> Response:
        timestamp = datetime.now().strftime("%Y%m%d%H%M%S")
        body = await loose_object(request)
        left = threading.Event()
        async with leaving(request) as disconnected:
            disconnected.add_done_callback(lambda _: left.set())
            parsed, pending = await run_in_threadpool(self._begun, kind, body, client_of(request.scope), left)
            del body
            release_body(request.scope)
            over = asyncio.gather(*(ended(one.job) for one in pending))
            try:
                await asyncio.wait((over, disconnected), return_when=asyncio.FIRST_COMPLETED)
                if disconnected.done():
                    await run_in_threadpool(_abandon, pending)
                await over
            finally:
                over.cancel()
                for one in pending:
                    self._services.savers.forget(one.job.id)
            if disconnected.done():
                raise ClientDisconnect
        return await run_in_threadpool(_answer, parsed, pending, timestamp)

    def _begun(
        self, kind: FormKind, body: dict[str, Any], client: str, left: threading.Event
    ) -> tuple[ParsedRequest, list[Pending]]:
        """Queue the jobs of a body.

        Its texts are released on return, because many clients with large bodies may be waiting.
        """
        parsed = self._parsed(kind, body, left)
        pending = self._submit(parsed, client)
        return replace(parsed, requests=()), pending

    def _parsed(self, kind: FormKind, body: Mapping[str, Any], left: threading.Event) -> ParsedRequest:
        """Parse a body. Raises WebuiError for anything invalid in it."""
        answering = filled(Answering, dict(body))
        values, notes = strict(kind, body)
        if kind == "img2img" and not values.get("init_images"):
            lacking = "there is a mask but no source picture" if values.get("mask") else "it is empty"
            raise WebuiError(f"Init image not found: init_images: {lacking}.", "Send one.", "init_images", status=404)
        require_count(values.get("init_images"), "init_images", MOST_SOURCES)
        values = with_pictures(values, self._fetch, left.is_set)
        styles = listed_styles(values.pop("styles", []))
        if str(values.pop("disable_extra_networks", False)).lower() in ("true", "1"):
            values |= {name: take_tags(str(values[name]))[0] for name in ("prompt", "hr_prompt") if name in values}
        sources = values.get("init_images", [])
        first = translated(
            kind, {**values, **({"init_images": sources[:1]} if sources else {})}, self._services.settings.current
        )
        notes += [f"{name} has no effect here." for name in first.ignored if name in PAYLOADS[kind].model_fields]
        known = self._services.styles.styles() if styles else {}
        notes += [f"There is no style {name[:80]!r}." for name in styles if name not in known]
        return ParsedRequest(
            kind,
            self._spread(first.request, sources),
            answering,
            echoed(kind, body, answering.include_init_images),
            tuple(styles),
            tuple(name for name in styles if name in known),
            tuple(notes),
        )

    def _spread(self, request: GenerationRequest, sources: Sequence[Any]) -> tuple[GenerationRequest, ...]:
        """One request for each source and batch; their pictures have the seeds they would have in one batch."""
        if len(sources) < 2:
            return (request,)
        update = {
            name: self._draw.randrange(SEED_RANGE) for name in ("seed", "subseed") if getattr(request, name) == -1
        }
        drawn = request.model_copy(update=update)
        step = 0 if drawn.subseed_strength else 1
        return tuple(
            drawn.model_copy(
                update={
                    "init_images": (source,),
                    "seed": counted_up(drawn.seed, number * step),
                    "subseed": counted_up(drawn.subseed, number),
                    "n_iter": 1,
                    "batch_size": 1,
                }
            )
            for number, source in enumerate(list(sources) * request.n_iter)
        )

    def _submit(self, parsed: ParsedRequest, client: str) -> list[Pending]:
        services = self._services
        kind, settings = services.queue.kinds.named(parsed.kind), services.settings.current
        specs = [services.admission.admitted(kind, each, settings, styles=parsed.known) for each in parsed.requests]
        if not parsed.answering.override_settings_restore_afterwards:
            self._keep(parsed, specs[0].resources.checkpoint)
        pending: list[Pending] = []
        try:
            for spec in specs:
                pending.append(self._submitted(parsed.answering, client, spec))
        except WebuiError:
            for one in pending:
                one.job.interrupt()
            raise
        if parsed.answering.force_task_id:
            self._tasks.name(parsed.answering.force_task_id, [one.job for one in pending])
        return pending

    def _submitted(self, answering: Answering, client: str, spec: JobSpec) -> Pending:
        services = self._services
        collector = Collector(
            services.savers.default,
            to_disk=answering.save_images and not answering.do_not_save_samples,
            to_client=answering.send_images,
        )
        is_kept = collector.keeps(spec.kind, spec.settings)
        job = services.savers.submit(lambda: services.submit(client, spec, is_kept), collector)
        return Pending(job, collector)

    def _keep(self, parsed: ParsedRequest, checkpoint: Checkpoint) -> None:
        """Make the overrides of a request permanent, as its client requested."""
        kept = {name: value for name, value in parsed.requests[0].override_settings.items() if name != "compatibility"}
        if "sd_model_checkpoint" in kept:
            kept["sd_model_checkpoint"] = checkpoint.name
        if kept:
            self._services.settings.change(self._services.with_vae(kept))


def _json(value: Any) -> bytes:
    """
    >>> _json([b"abc", b""])
    b'["YWJj",""]'
    """
    if isinstance(value, bytes):
        return b'"' + base64.b64encode(value) + b'"'
    if isinstance(value, list) and value and all(isinstance(item, bytes) for item in value):
        return b"[" + b",".join(map(_json, value)) + b"]"
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")


def failure(job: Job) -> WebuiError | None:
    """Why a finished job has no pictures to return; None if it succeeded or was stopped."""
    if not job.ended:
        return WebuiError("Palimpsest was stopped while the job was queued.", "Send it again.", status=503)
    ending = job.entries()[-1].event
    if not isinstance(ending, Failed):
        return None
    status = 500 if OUR_FAULT.search(ending.message) else 422
    return WebuiError(ending.message, ending.hint, ending.field, status)


def _abandon(pending: Sequence[Pending]) -> None:
    """Stop the jobs of a disconnected client, the last one first, so none of them starts meanwhile."""
    for one in reversed(pending):
        if one.collector.keeps(one.job.kind, one.job.settings):
            one.collector.forsake()
        else:
            one.job.interrupt()


def _answer(parsed: ParsedRequest, pending: Sequence[Pending], timestamp: str) -> Response:
    for one in pending:
        if error := failure(one.job):
            raise error
    made = [made for one in pending for made in one.collector.made()]
    sheets = [each for each in made if each.image.sheet]
    singles = [each for each in made if not each.image.sheet]
    request = pending[0].job.request
    ordered = [*sheets, *singles]
    images = [each.data for each in ordered]
    # A mask follows its picture and has no text of its own in the response.
    texts = [each.image.infotext for each in ordered if not each.image.suffix]
    seeds = [each.image.seed for each in ordered if not each.image.suffix]
    singles = [each for each in singles if not each.image.suffix]
    count = len(sheets)
    if _has_grid(parsed, sheets, singles):
        images.insert(0, _grid(singles, pending[0].job.settings))
        texts.insert(0, singles[0].image.infotext)
        seeds.insert(0, singles[0].image.seed)
        count = 1
    warnings = [e.event.message for one in pending for e in one.job.entries() if isinstance(e.event, Warned)]
    notes = (*parsed.notes, *dict.fromkeys(warnings))
    info = described([one.job for one in pending], request, texts, seeds, count, parsed.styles, timestamp, notes)
    sent = images if parsed.answering.send_images else []
    return Answer({"images": sent, "parameters": dict(parsed.parameters), "info": json.dumps(info)})


def _has_grid(parsed: ParsedRequest, sheets: Sequence[CollectedImage], singles: Sequence[CollectedImage]) -> bool:
    """Whether a grid comes first: A1111 adds one to several pictures, except for clients that save nothing."""
    answering = parsed.answering
    return (
        answering.save_images
        and answering.send_images
        and not answering.do_not_save_grid
        and not sheets
        and len(singles) > 1
    )


def _grid(singles: Sequence[CollectedImage], settings: Settings) -> bytes:
    pictures = [_opened(made.data) for made in singles]
    text = singles[0].image.infotext
    return as_file(grid(pictures), text, settings).data


def _opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")
