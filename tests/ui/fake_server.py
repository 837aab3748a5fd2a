"""A stand-in for the server: the routes that the page uses, with jobs that paint colored pictures.

`python -m tests.ui.fake_server --port 7999` serves the page with it.
"""

import argparse
import asyncio
import base64
import hashlib
import io
import itertools
import json
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from PIL import Image, ImageDraw, UnidentifiedImageError

from modules.api.a1111.control import routes as controls_of
from modules.api.v1.estimate import EstimateBody, requested
from modules.api.v1.options import sizes_of
from modules.base.errors import WebuiError
from modules.base.fields import params
from modules.base.picture import Picture
from modules.extension.loading import load as load_extensions
from modules.processing.estimate import estimate
from modules.processing.kinds.resolve import MissingNetworks
from modules.prompts.styles import Style, apply_styles, extract_styles, require_styles
from modules.schema.catalog import Catalog, Checkpoint, ControlModel
from modules.schema.settings import Settings
from modules.ui.app import build_page, mount

DEFAULTS = {
    "width": 256, "height": 256, "steps": 20, "cfg_scale": 7.0, "sampler_name": "DPM++ 2M", "scheduler": "Karras",
    "denoising_strength": 0.6, "hr_upscaler": "Lanczos", "hr_second_pass_steps": 10, "hr_denoising_strength": 0.3,
}  # fmt: skip
CHECKPOINTS = (
    Checkpoint("palimpsest-starter", Path("palimpsest-starter"), defaults=DEFAULTS, family="sd1"),
    Checkpoint("watercolor-v3", Path("watercolor-v3"), family="sd1"),
    Checkpoint("photo-xl", Path("photo-xl"), family="sdxl", shown="source"),
    Checkpoint("dit-flow", Path("dit-flow"), family="flux", shown="depth"),
    Checkpoint("broken-model", Path("broken-model")),
)


def painted(width: int, height: int, seed: int, share: float = 1.0) -> Image.Image:
    """A picture that depends on the seed: hills under a sun; `share` below 1 is blurred towards gray."""
    hue = seed * 47 % 255
    image = Image.new("HSV", (width, height), (hue, 70, 235))
    draw = ImageDraw.Draw(image)
    draw.ellipse([width * 0.6, height * 0.12, width * 0.82, height * 0.12 + width * 0.22], fill=(hue + 120, 160, 250))
    for row in range(4):
        base = height * (0.45 + row * 0.15)
        points = [(x, base + (((x + seed * 31 * (row + 1)) % 97) - 48) / 97 * height * 0.1) for x in range(0, width, 9)]
        draw.polygon([(0, height), *points, (width, height)], fill=((hue + 25 * row) % 255, 120, 190 - 40 * row))
    rgb = image.convert("RGB")
    return rgb if share >= 1 else Image.blend(Image.new("RGB", rgb.size, (128, 124, 120)), rgb, share)


def some_cards() -> dict[str, list[dict[str, Any]]]:
    """The answer of /v1/cards for each kind."""
    blank: dict[str, Any] = {
        "alias": "", "title": "", "folder": "", "thumbnail": "", "changed": 1.7e9, "size": 9, "base": "", "family": "",
        "tags": [], "words": "", "negative": "", "about": "", "notes": "", "text": "", "reason": "",
    }  # fmt: skip

    def card(name: str, ending: str = "safetensors", **known: Any) -> dict[str, Any]:
        return {**blank, "name": name, "label": name, "file": f"{name}.{ending}", **known}

    large = "large.pt is made for Stable Diffusion XL."
    return {
        "loras": [
            card("ink", alias="India", text="<lora:ink:1>", folder="styles/ink", base="Pony", family="SDXL"),
            card("wash-v2", text="<lora:wash-v2:0.8>", words="wet wash", negative="dry", folder="styles"),
            *(card(f"z-{number:04}", text=f"<lora:z-{number:04}:1>", folder="many") for number in range(2000)),
        ],
        "embeddings": [
            card("easynegative", "pt", text="easynegative"),
            card("style (v1)", "pt", text=r"style \(v1\)"),
            card("large", "pt", reason=large),
        ],
        "checkpoints": [card("palimpsest-starter"), card("other", base="SD 1", family="SD 1")],
        "vaes": [card("soft.safetensors", label="soft")],
    }


T = TypeVar("T")
HELD_AFTER = 3  # steps


class Fake:
    """State of the stand-in. `pace`: seconds per step. While it is `held`, a batch waits after three steps."""

    def __init__(self, pace: float = 0.12) -> None:
        self.pace = pace
        self.held = False
        self.pictures: dict[str, bytes] = {}
        self.outputs: dict[str, bytes] = {}
        self.infotexts: dict[str, str] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.settings = Settings()
        self.state = {
            "state": "ready",
            "checkpoint": "palimpsest-starter",
            "checkpoint_hash": "ab12cd34ef",
            "message": "",
            "device": "CPU",
        }
        self.changed = asyncio.Event()
        self.numbers = itertools.count(1)
        self.lock = asyncio.Lock()
        self.saved: list[str] = []
        self.requests: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self.styles: dict[str, Style] = {}
        self.cards = some_cards()

    def start(self) -> None:
        """Waiters belong to one event loop: a restarted server needs new ones."""
        self.changed, self.lock = asyncio.Event(), asyncio.Lock()

    async def tell(self) -> None:
        waiting, self.changed = self.changed, asyncio.Event()
        waiting.set()

    async def news(self) -> bool:
        """Waits until something changes, at most one second."""
        try:
            await asyncio.wait_for(self.changed.wait(), 1)
        except TimeoutError:
            return False
        return True

    async def append(self, job: dict[str, Any], name: str, data: dict[str, Any]) -> None:
        job["log"].append((name, {**data, "progress": dict(job["progress"])}))
        await self.tell()

    async def run(self, job: dict[str, Any]) -> None:
        async with self.lock:
            if job["id"] not in self.jobs:
                return
            request, progress = job["request"], job["progress"]
            job["status"] = "running"
            count = request.get("n_iter", 1)
            share = min(request.get("denoising_strength", 1.0), 0.999)
            steps = request.get("steps", 20)
            steps = int(share * steps) + 1 if job["kind"] == "img2img" else steps
            seed = int(request.get("seed", -1))  # a large seed is sent as its digits
            seed = 1234567 if seed == -1 else seed
            width, height = request.get("width", 512), request.get("height", 512)
            progress.update(steps=steps, images=count, stage="encoding")
            await self.append(
                job,
                "started",
                {"images": count, "batches": count, "steps": steps, "width": width, "height": height, "seed": seed},
            )
            await self.append(job, "staged", {"stage": "encoding"})
            for word in ("mist", "rain"):
                if f"warn {word}" in request.get("prompt", ""):
                    await self.append(job, "warned", {"message": f"There is a warning about {word}."})
            await asyncio.sleep(self.pace * 2)
            for index in range(count):
                progress.update(stage="sampling", image=index + 1)
                await self.append(job, "staged", {"stage": "sampling"})
                for step in range(1, steps + 1):
                    await asyncio.sleep(self.pace)
                    while self.held and step > HELD_AFTER and not job["stop"]:
                        await asyncio.sleep(0.02)
                    if job["stop"]:
                        break
                    progress.update(
                        step=step,
                        fraction=(index + step / steps) / count,
                        eta_seconds=(count - index) * (steps - step) * self.pace,
                    )
                    await self.append(job, "stepped", {"batch": index, "step": step, "steps": steps})
                    if step % 2 == 0:
                        small = io.BytesIO()
                        painted(width // 4, height // 4, seed + index, step / steps * 0.9).save(small, "JPEG")
                        data = "data:image/jpeg;base64," + base64.b64encode(small.getvalue()).decode()
                        await self.append(
                            job, "previewed", {"batch": index, "width": width // 4, "height": height // 4, "data": data}
                        )
                if job["stop"] == "skip":
                    job["stop"] = ""
                    continue
                if job["stop"]:
                    break
                progress.update(stage="decoding")
                await self.append(job, "staged", {"stage": "decoding"})
                await asyncio.sleep(self.pace)
                await self.save(job, index, seed + index, width, height)
            if "fail" in request.get("prompt", ""):
                job["status"] = "failed"
                await self.append(
                    job,
                    "failed",
                    {
                        "message": "The engine process ended (killed or out of memory).",
                        "hint": "Make the picture smaller or close other programs; the next job runs.",
                        "field": "",
                    },
                )
                return
            job["status"] = "interrupted" if job["stop"] else "finished"
            await self.append(job, "finished", {"seconds": 2.5, "timings": {}, "interrupted": bool(job["stop"])})

    async def save(self, job: dict[str, Any], index: int, seed: int, width: int, height: int) -> None:
        request = job["request"]
        content = io.BytesIO()
        painted(width, height, seed).save(content, "PNG")
        path = f"{job['kind']}-images/2026-11-25/{next(self.numbers):05d}-{seed}.png"
        self.outputs[path] = content.getvalue()
        negative = request.get("negative_prompt", "")
        text = (
            request.get("prompt", "")
            + (f"\nNegative prompt: {negative}" if negative else "")
            + (
                f"\nSteps: {request.get('steps', 20)}, Sampler: {request.get('sampler_name')}, Schedule type: "
                f"{request.get('scheduler')}, CFG scale: {request.get('cfg_scale')}, Seed: {seed}, "
                f"Size: {width}x{height}, Model hash: ab12cd34ef, Model: palimpsest-starter"
                + (f", Denoising strength: {request['denoising_strength']}" if job["kind"] == "img2img" else "")
                + ", Version: 0.1.0"
            )
        )
        image = {
            "index": index,
            "seed": seed,
            "width": width,
            "height": height,
            "infotext": text,
            "path": path,
            "url": f"/v1/outputs/{path}",
        }
        job["images"].append(image)
        self.infotexts[hashlib.sha256(content.getvalue()).hexdigest()] = text
        await self.append(job, "image_saved", image)


def in_a_loop(make: Callable[[], T]) -> T:
    """Calls `make` while an event loop runs: without one, Gradio starts some for its Blocks and leaves them running."""

    async def made() -> T:
        return make()

    return asyncio.run(made())


def fields_of(text: str) -> tuple[dict[str, Any], list[str]]:
    """A minimal parser for infotexts: enough for the page's tests."""
    lines = text.strip().split("\n")
    pairs = dict(part.split(": ", 1) for part in lines[-1].split(", ") if ": " in part)
    body = "\n".join(lines[:-1])
    prompt, _, negative = body.partition("Negative prompt: ")
    fields: dict[str, Any] = {"prompt": prompt.strip(), "negative_prompt": negative.strip()}
    notes: list[str] = []
    for key, name, convert in (
        ("Steps", "steps", int), ("Sampler", "sampler_name", str), ("Schedule type", "scheduler", str),
        ("CFG scale", "cfg_scale", float), ("Seed", "seed", int), ("Denoising strength", "denoising_strength", float),
    ):  # fmt: skip
        if key in pairs:
            fields[name] = convert(pairs[key])
    if "Size" in pairs:
        fields["width"], fields["height"] = map(int, pairs["Size"].split("x"))
    if fields.get("sampler_name") == "Warp 9":
        fields["sampler_name"] = "Euler"
        notes.append("Sampler 'Warp 9' is not known; Euler is the nearest name.")
    return fields, notes


def refusals(app: FastAPI) -> None:
    """Answers a refused request with a sentence."""

    @app.exception_handler(WebuiError)
    async def refused(_request: Request, error: WebuiError) -> Response:
        return JSONResponse(
            {"error": type(error).__name__, "detail": error.message, "hint": error.hint, "field": error.field},
            error.status,
        )


def state_routes(app: FastAPI, fake: Fake) -> None:
    """The engine's state and the waiting jobs."""

    def state() -> dict[str, Any]:
        waiting = [
            {key: job[key] for key in ("id", "kind", "status", "ahead")}
            for job in fake.jobs.values()
            if job["status"] in ("queued", "running")
        ]
        return {"engine": fake.state, "jobs": waiting}

    @app.get("/internal/ping")
    async def ping() -> dict[str, Any]:
        return {}

    @app.get("/v1/state")
    async def get_state() -> dict[str, Any]:
        return state()

    @app.get("/v1/state/events")
    async def state_events(request: Request) -> Response:
        async def stream() -> AsyncIterator[str]:
            last = ""
            while not await request.is_disconnected():
                now = json.dumps(state())
                if now != last:
                    yield f"event: state\ndata: {now}\n\n"
                    last = now
                if not await fake.news():
                    yield ": still here\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")


def picture_routes(app: FastAPI, fake: Fake) -> None:
    """Uploaded pictures, and what their metadata say."""

    @app.post("/v1/pictures", status_code=201)
    async def upload(request: Request) -> dict[str, Any]:
        content = await request.body()
        if not content:
            raise WebuiError("init_images: the file is empty.", "Choose another picture.", "init_images")
        try:
            image = Image.open(io.BytesIO(content))
            image.load()
        except UnidentifiedImageError as error:
            raise WebuiError(
                "init_images: the file is not a readable picture.", "Choose a PNG, JPEG or WebP picture.", "init_images"
            ) from error
        except OSError as error:
            raise WebuiError(
                "init_images: the file is damaged or cut off.",
                "Open it in an image editor and save it again.",
                "init_images",
            ) from error
        key = hashlib.sha256(content).hexdigest()
        fake.pictures[key] = content
        notes = ["The picture is animated; its first frame is used."] if getattr(image, "n_frames", 1) > 1 else []
        return {
            "id": key,
            "width": image.width,
            "height": image.height,
            "format": image.format,
            "notes": notes,
            "url": f"/v1/pictures/{key}",
        }

    @app.api_route("/v1/pictures/{key}", methods=["GET", "HEAD"])
    async def picture(key: str) -> Response:
        if key not in fake.pictures:
            raise WebuiError("There is no such picture any more.", "Load it again.", "init_images", 404)
        return Response(fake.pictures[key], media_type="image/png", headers={"cache-control": "immutable"})

    @app.get("/v1/pictures/{key}/pixels")
    async def pixels(key: str) -> Response:
        return await picture(key)

    @app.get("/v1/pictures/{key}/detect")
    async def detected(key: str, find: str) -> dict[str, Any]:
        box = {"left": 10, "top": 12, "right": 40, "bottom": 44, "score": 1.0}
        return {"find": find, "boxes": [box] if find == "Faces" else []}

    @app.get("/v1/pictures/{key}/scratches")
    async def scratches(key: str) -> Response:
        mask = Image.new("L", Image.open(io.BytesIO(fake.pictures[key])).size)
        mask.paste(255, (5, 6, 25, 30))
        content = io.BytesIO()
        mask.save(content, "PNG")
        return Response(content.getvalue(), media_type="image/png")

    @app.post("/v1/pictures/{key}/fill", status_code=201)
    async def fill(key: str) -> dict[str, Any]:
        content = io.BytesIO()
        Image.open(io.BytesIO(fake.pictures[key])).transpose(Image.Transpose.ROTATE_180).save(content, "PNG")
        filled = hashlib.sha256(content.getvalue()).hexdigest()
        fake.pictures[filled] = content.getvalue()
        return {"id": filled, "url": f"/v1/pictures/{filled}"}

    @app.get("/v1/pictures/{key}/info")
    async def info(key: str) -> dict[str, Any]:
        text = fake.infotexts.get(key, "")
        fields, _ = fields_of(text) if text else ({}, [])
        kind = "img2img" if "denoising_strength" in fields else "txt2img"
        return {"infotext": text, "items": {"Software": "a stand-in"}, "fields": fields, "kind": kind, "notes": []}


def infotext_routes(app: FastAPI, fake: Fake) -> None:
    """Parsing parameters."""

    @app.post("/v1/infotext")
    async def infotext(body: dict[str, Any]) -> dict[str, Any]:
        fields, notes = fields_of(body["text"])
        settings = {"CLIP_stop_at_last_layers": 2} if "Clip skip: 2" in body["text"] else {}
        reading = {"fields": fields, "settings": settings, "kind": "txt2img", "ignored": {}, "notes": notes}
        if body.get("spelled_out"):
            return {**reading, "styles": []}
        found = extract_styles(fields["prompt"], fields["negative_prompt"], fake.styles.values())
        fields |= {"prompt": found.prompt, "negative_prompt": found.negative_prompt}
        return {**reading, "styles": found.names} if found.names else reading


def card_routes(app: FastAPI, fake: Fake) -> None:
    """Cards of networks and checkpoints."""

    @app.get("/v1/cards/{kind}")
    def cards(kind: str) -> dict[str, Any]:
        return {"cards": fake.cards.get(kind, []), "more": False}

    @app.get("/v1/cards/{kind}/card")
    def card(kind: str, name: str) -> dict[str, Any]:
        found = next(each for each in fake.cards[kind] if each["name"] == name)
        return {"own": {}, "metadata": {"Rank": "16"}, "trained_tags": ["mist", "river"], "problems": [], **found}

    @app.put("/v1/cards/{kind}/card")
    def save_card(kind: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        found = next(each for each in fake.cards[kind] if each["name"] == name)
        found["own"] = found.get("own", {}) | body
        found["words"] = body.get("activation_text", found["words"])
        return card(kind, name)

    @app.post("/sdapi/v1/refresh-{what}")
    def refresh_networks(what: str) -> None:
        """Changes nothing."""


def style_routes(app: FastAPI, fake: Fake) -> None:
    """Styles."""

    @app.get("/v1/styles")
    async def styles() -> list[dict[str, str]]:
        return [style._asdict() for style in fake.styles.values()]

    @app.put("/v1/styles/{name}")
    async def save_style(name: str, body: dict[str, str]) -> list[dict[str, str]]:
        fake.styles[name] = Style(name, body["prompt"], body["negative_prompt"])
        return await styles()

    @app.delete("/v1/styles/{name}")
    async def delete_style(name: str) -> list[dict[str, str]]:
        del fake.styles[name]
        return await styles()

    @app.post("/v1/styles/apply")
    async def apply(body: dict[str, Any]) -> dict[str, str]:
        prompts = apply_styles(body["prompt"], body["negative_prompt"], body["styles"], fake.styles)
        return dict(zip(("prompt", "negative_prompt"), prompts, strict=True))


def control_routes(app: FastAPI, fake: Fake) -> None:
    """The server's own routes for control units, with one ControlNet."""
    models = (ControlModel("control_canny", Path("control_canny.safetensors"), "0123abcd"),)
    catalog: Any = SimpleNamespace(current=Catalog(control_models=models))
    catalog.refresh = lambda: catalog.current
    stored = SimpleNamespace(get=lambda name: Picture.from_bytes(fake.pictures[name], "init_images"))
    app.include_router(controls_of(cast(Any, SimpleNamespace(catalog=catalog, pictures=stored)), None))


def submission(app: FastAPI, fake: Fake) -> None:
    """Submitting a job."""

    @app.post("/v1/jobs", status_code=201)
    async def submit(body: dict[str, Any]) -> dict[str, Any]:
        request = body["request"]
        fake.requests.append(body)
        require_styles(request.get("styles", []), fake.styles)
        if body["kind"] == "img2img" and not request.get("init_images"):
            raise WebuiError(
                "There is no source picture.", "Drop, paste or choose one in the img2img tab.", "init_images"
            )
        if "<lora:gone:1>" in request.get("prompt", "") and not body.get("leave_out_missing"):
            gone = WebuiError("prompt: there is no LoRA 'gone'; did you mean 'ink'?", field="prompt")
            raise MissingNetworks(gone, frozenset(["gone"]))
        if len(request.get("prompt", "")) > 20_000:
            raise WebuiError(
                f"Prompt (prompt): has {len(request['prompt'])} characters, at most 20000 are allowed; shorten it.",
                field="prompt",
            )
        key = f"job{len(fake.jobs) + 1}"
        ahead = sum(job["status"] in ("queued", "running") for job in fake.jobs.values())
        progress = {
            "fraction": 0,
            "step": 0,
            "steps": 0,
            "image": 0,
            "images": request.get("n_iter", 1),
            "stage": "",
            "eta_seconds": None,
            "seconds": 0,
        }
        job = {
            "id": key,
            "kind": body["kind"],
            "request": request,
            "status": "queued",
            "ahead": ahead,
            "log": [],
            "images": [],
            "progress": progress,
            "stop": "",
        }
        fake.jobs[key] = job
        await fake.append(job, "queued", {"ahead": ahead})
        job["task"] = asyncio.create_task(fake.run(job))
        return {"id": key, "ahead": ahead, "url": f"/v1/jobs/{key}"}


def job_routes(app: FastAPI, fake: Fake) -> None:
    """Jobs: list, follow, stop, remove."""

    def shown(job: dict[str, Any]) -> dict[str, Any]:
        return {key: job[key] for key in ("id", "kind", "status", "ahead", "images", "progress")}

    def find(key: str) -> dict[str, Any]:
        if key not in fake.jobs:
            raise WebuiError(f"There is no job {key}.", "It ended before the server was started.", status=404)
        return fake.jobs[key]

    @app.get("/v1/jobs")
    async def jobs() -> list[dict[str, Any]]:
        return [shown(job) for job in reversed(fake.jobs.values())]

    @app.get("/v1/jobs/{key}")
    async def job(key: str) -> dict[str, Any]:
        return shown(find(key))

    @app.get("/v1/jobs/{key}/events")
    async def events(key: str, request: Request) -> Response:
        job = find(key)

        async def stream() -> AsyncIterator[str]:
            sent = int(request.headers.get("last-event-id", request.query_params.get("after", 0)))
            while True:
                while sent < len(job["log"]):
                    name, data = job["log"][sent]
                    sent += 1
                    yield f"id: {sent}\nevent: {name}\ndata: {json.dumps(data)}\n\n"
                    if name in ("finished", "failed"):
                        return
                if not await fake.news():
                    yield ": still here\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")

    @app.post("/v1/jobs/{key}/{what}")
    async def stop(key: str, what: str) -> dict[str, Any]:
        job = find(key)
        if what != "skip" or job["status"] == "running":
            job["stop"] = what
        return {}

    @app.delete("/v1/jobs/{key}")
    async def remove(key: str) -> dict[str, Any]:
        job = fake.jobs[key]
        job["status"] = "interrupted"
        await fake.append(job, "finished", {"seconds": 0, "timings": {}, "interrupted": True})
        del fake.jobs[key]
        return {}


def checkpoint_choice(app: FastAPI, fake: Fake) -> None:
    """Choosing a checkpoint, which takes a second to load."""

    @app.post("/v1/checkpoint", status_code=202)
    async def choose(body: dict[str, str]) -> dict[str, Any]:
        async def load() -> None:
            fake.state = {**fake.state, "state": "loading", "checkpoint": body["name"]}
            await fake.tell()
            await asyncio.sleep(1)
            bad = body["name"] == "broken-model"
            fake.state = {
                **fake.state,
                "state": "failed" if bad else "ready",
                "message": "broken-model.safetensors is cut off; copy it again." if bad else "",
            }
            await fake.tell()

        fake.loading = asyncio.create_task(load())  # type: ignore[attr-defined]
        fake.settings = fake.settings.overridden({"sd_model_checkpoint": body["name"]})
        return {}


def fetch_routes(app: FastAPI, fake: Fake) -> None:
    """Models that can be downloaded."""

    @app.get("/v1/fetch/catalog")
    async def fetch_catalog() -> dict[str, Any]:
        row = {
            "id": "sdxl-base",
            "title": "XL",
            "about": "Large.",
            "kind": "checkpoint",
            "family": "SDXL",
            "size": 10**9,
        }
        return {"offline": False, "entries": [row | {"licence": "mit", "is_here": False}]}

    @app.get("/v1/fetch")
    async def fetches() -> list[dict[str, Any]]:
        return []


def checkpoint_list(app: FastAPI, fake: Fake) -> None:
    """The checkpoints, and an estimate for one."""

    @app.get("/v1/checkpoints")
    @app.post("/v1/checkpoints/refresh")
    async def checkpoints() -> dict[str, Any]:
        rows = [
            {
                "name": one.name, "hash": "ab12cd34ef", "defaults": one.defaults,
                "forms": {kind: one.form_defaults(kind) for kind in ("txt2img", "img2img")},
                "family": one.family, "shown": one.shown, "sizes": sizes_of(one),
            }
            for one in CHECKPOINTS
        ]  # fmt: skip
        return {"checkpoints": rows, "selected": fake.settings.sd_model_checkpoint or CHECKPOINTS[0].name, "vaes": []}

    @app.post("/v1/estimate")
    async def estimated(body: EstimateBody) -> dict[str, Any]:
        request = requested(body)
        settings = fake.settings.overridden(request.override_settings)
        checkpoint = Catalog(CHECKPOINTS).checkpoint(settings.sd_model_checkpoint)
        return estimate(request, settings, checkpoint.sizes).described()


def script_and_setting_routes(app: FastAPI, fake: Fake) -> None:
    """Scripts, settings, counting tokens."""

    @app.get("/v1/scripts")
    async def scripts() -> dict[str, Any]:
        there = load_extensions()
        return {
            "txt2img": there.described("txt2img", Catalog()),
            "img2img": there.described("img2img", Catalog()),
            "problems": fake.problems,
        }

    @app.get("/v1/settings")
    async def settings() -> dict[str, Any]:
        return {"values": fake.settings.model_dump(), "declared": [{"name": name} for name in params(Settings)]}

    @app.post("/v1/settings")
    async def change(body: dict[str, Any]) -> dict[str, Any]:
        fake.settings = fake.settings.overridden(body)
        return fake.settings.model_dump()

    @app.post("/v1/tokens")
    async def tokens(body: dict[str, str]) -> dict[str, Any]:
        count = len(body["text"].replace(",", " , ").split())
        return {"count": count, "capacity": max(75, -(-count // 75) * 75)}


def history_routes(app: FastAPI, fake: Fake) -> None:
    """The pictures in the history."""

    @app.get("/v1/history")
    async def history() -> dict[str, Any]:
        images = [image for job in fake.jobs.values() for image in job["images"]]
        rows = [
            {
                **{key: image[key] for key in ("path", "url", "seed", "width", "height", "infotext")},
                "sha256": hashlib.sha256(fake.outputs[image["path"]]).hexdigest(), "thumbnail": image["url"],
                "kind": "img2img", "made": 1_790_000_000 - 40_000 * at, "source": "", "mask": "", "children": 0,
            }
            for at, image in enumerate(reversed(images))
        ]  # fmt: skip
        return {"pictures": rows, "next": "", "unread": 0}


def output_routes(app: FastAPI, fake: Fake) -> None:
    """The pictures' files."""

    @app.get("/v1/outputs/zip")
    async def zipped(request: Request) -> Response:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for path in request.query_params.getlist("path"):
                archive.writestr(Path(path).name, fake.outputs[path])
        headers = {"content-disposition": 'attachment; filename="palimpsest-2026-11-25.zip"'}
        return Response(content.getvalue(), media_type="application/zip", headers=headers)

    @app.post("/v1/outputs/save")
    async def save(body: dict[str, list[str]]) -> dict[str, Any]:
        fake.saved += body["paths"]
        return {"saved": ["saved/" + Path(path).name for path in body["paths"]]}

    @app.post("/v1/outputs/open")
    async def open_folder(body: dict[str, str]) -> dict[str, Any]:
        return {"folder": "/home/artist/palimpsest/outputs/" + str(Path(body["path"]).parent)}

    @app.get("/v1/outputs/{path:path}")
    async def output(path: str) -> Response:
        if path not in fake.outputs:
            raise WebuiError("There is no such picture.", status=404)
        return Response(fake.outputs[path], media_type="image/png")


# In this order: if two routes match an address, the first one answers.
ROUTES = (
    state_routes,
    picture_routes,
    infotext_routes,
    card_routes,
    style_routes,
    control_routes,
    submission,
    job_routes,
    checkpoint_choice,
    fetch_routes,
    checkpoint_list,
    script_and_setting_routes,
    history_routes,
    output_routes,
)


def create(fake: Fake) -> FastAPI:
    """The routes of the server, and the page."""
    app = FastAPI()
    refusals(app)
    for add in ROUTES:
        add(app, fake)
    paths = [Path(f"{name}.safetensors") for name in ("palimpsest-starter", "watercolor-v3", "broken-model")]
    catalog = Catalog(tuple(Checkpoint(path.stem, path) for path in paths))
    return mount(app, build_page(catalog, fake.settings))


def main() -> None:
    """Serves the stand-in until it is stopped."""
    import uvicorn

    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=7999)
    parser.add_argument("--pace", type=float, default=0.12)
    flags = parser.parse_args()
    uvicorn.run(create(Fake(flags.pace)), port=flags.port, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
