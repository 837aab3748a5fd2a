"""The engine: owns a device, a checkpoint and its caches; turns a request into events. There is no other state."""

import io
import logging
import os
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import modules
from modules.catalog import Catalog, Checkpoint
from modules.clip_bpe import ClipBPE
from modules.errors import WebuiError
from modules.events import (
    EngineState,
    Event,
    Failed,
    Finished,
    ImageDone,
    Previewed,
    Staged,
    Started,
    Stepped,
    Stop,
    Warned,
)
from modules.extensions import Extensions
from modules.extensions import load as load_extensions
from modules.images.color import corrected
from modules.images.geometry import Size
from modules.infotext import compose, declared_pairs
from modules.networks.checkpoint import StableDiffusion, load_checkpoint
from modules.networks.device import (
    Place,
    choose_place,
    describe,
    is_out_of_memory,
    release_memory,
    require_finite,
    threads,
)
from modules.networks.files import HashCache, find_checkpoints
from modules.networks.previews import PreviewMap, fit_preview, preview
from modules.networks.tiling import wrapping_around
from modules.networks.vae import decode, to_uint8
from modules.processing.clock import Stopwatch
from modules.processing.conditioning import Conditioning, PromptEncoder
from modules.processing.hires import second_start
from modules.processing.inpaint import (
    Inpainting,
    Prepared,
    begin_inpainting,
    inpainting_input,
    notes,
    prepare,
)
from modules.processing.options import effective, told
from modules.processing.passes import Route, begin, make_route, walk
from modules.processing.plan import CELL, ImagePlan, Pass, Plan, make_plan
from modules.processing.scene import NoiseOf, SourceScene, shaped_noise
from modules.processing.scripts import run_script
from modules.processing.source import SourceEncoder, source_pixels
from modules.processing.unet import Guidance, GuidedUNet
from modules.prompts.tags import take_tags
from modules.request import GenerationRequest
from modules.sampling.timesteps import CFGPP_SCALE
from modules.settings import EXACT, Settings

log = logging.getLogger(__name__)

PROMPT_CACHE_BYTES = 64 * 2**20
SOURCE_CACHE_BYTES = 128 * 2**20
PREVIEW_QUALITY = 85

ShouldStop = Callable[[], Stop]


def create_engine(
    device: str, precision: str, cache_dir: str, extensions_dir: str = "", checkpoint_dirs: str = ""
) -> "Engine":
    """What the engine process builds. `device` is "auto" or "cpu", `precision` "auto" or "full".

    `checkpoint_dirs`, with the system's path separator between them, are where scripts find other checkpoints.
    """
    torch.set_num_threads(threads())
    place = choose_place(use_cpu=device == "cpu", precision="full" if precision == "full" else "autocast")
    extensions = load_extensions(Path(extensions_dir) if extensions_dir else None)
    return Engine(place, Path(cache_dir), extensions, [Path(path) for path in checkpoint_dirs.split(os.pathsep) if path])


class Engine:
    """Runs jobs on one device, one at a time."""

    def __init__(
        self, place: Place, cache_dir: Path, extensions: Extensions, checkpoint_dirs: Sequence[Path] = ()
    ) -> None:
        self._place = place
        self._extensions = extensions
        self._checkpoint_dirs = checkpoint_dirs
        self._hashes = HashCache(cache_dir / "hashes.json")
        self._tokenizer = ClipBPE()
        self._model: StableDiffusion | None = None
        self._loaded: tuple[Path, int] | None = None
        self._preview_map: PreviewMap | None = None
        self._prompts = PromptEncoder(PROMPT_CACHE_BYTES)
        self._sources = SourceEncoder(SOURCE_CACHE_BYTES)

    def load(self, checkpoint: Checkpoint, settings: Settings) -> Iterator[EngineState]:
        """Load `checkpoint` unless it is loaded already; tells what it is doing. A failure leaves no model loaded."""
        device = describe(self._place)
        try:
            stamp = (checkpoint.path.resolve(), _changed(checkpoint.path))
            if self._model is None or self._loaded != stamp:
                yield EngineState("loading", checkpoint.name, device=device)
                self._unload()  # before the new one is read: two may not fit
                self._model = load_checkpoint(checkpoint, self._place, self._tokenizer, self._hashes)
                self._preview_map = fit_preview(self._model.vae)
                self._loaded = stamp
            yield EngineState("ready", checkpoint.name, self._model.hash, device=device)
        except WebuiError as error:
            self._unload()
            yield EngineState("failed", checkpoint.name, message=str(error), device=device)

    def run(
        self,
        request: GenerationRequest,
        settings: Settings,
        checkpoint: Checkpoint,
        should_stop: ShouldStop,
        first_batch: int = 0,
        noise: NoiseOf | None = None,
    ) -> Iterator[Event | EngineState]:
        """Run one job. Ends with Finished or Failed; a person's mistake becomes Failed, other errors are raised.

        Batches before `first_batch` are left out: they were made before the job was cut off. `noise` makes other noise
        to be laid over a source than is drawn.
        """
        clock = Stopwatch()
        try:
            if request.script_name:
                chosen = self._extensions.chosen(request)
                yield from run_script(chosen, self.run, self._found, request, settings, checkpoint, should_stop)
                return
            given, settings = settings, effective(request, settings)
            plan = make_plan(request, settings)
            size = plan.last.size
            yield Started(request.images, len(plan.batches), plan.steps, size.width, size.height, request.seed)
            for state in self.load(checkpoint, settings):
                yield state
                if state.state == "loading":
                    yield Staged(f"loading {state.checkpoint}")
                if state.state == "failed":
                    yield Failed(state.message, field="sd_model_checkpoint")
                    return
            assert self._model is not None
            with wrapping_around(self._model, settings.tiling):
                stopped = yield from self._batches(request, given, settings, plan, should_stop, clock, first_batch, noise)
            yield Finished(clock.total(), dict(clock.seconds), interrupted=stopped)
        except WebuiError as error:
            yield Failed(error.message, error.hint, error.field)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            log.warning("out of memory: %s", error)
            release_memory(self._place.device)
            yield Failed("Memory does not suffice for this size.", "Choose a smaller size or batch size.", "width")

    def _batches(
        self,
        request: GenerationRequest,
        given: Settings,
        settings: Settings,
        plan: Plan,
        should_stop: ShouldStop,
        clock: Stopwatch,
        first_batch: int,
        noise: NoiseOf | None,
    ) -> Generator[Event, None, bool]:
        """All batches from `first_batch` on; returns whether the job was interrupted.

        A batch that is stopped leaves no picture.
        """
        model = self._model
        assert model is not None
        for tag in take_tags(request.prompt)[1]:
            name = ":".join((tag.kind, *tag.positional[:1]))
            yield Warned(f"<{name}> has no effect: network files are not read yet. The tag is left out of the prompt.")
        if plan.source is not None:
            for note in plan.source.picture.notes:
                yield Warned(note)
        prepared = None
        if plan.source is not None and plan.canvas is not None:
            prepared = prepare(plan.source, plan.canvas, plan.asked, settings.img2img_background_color)
            for note in notes(plan.source, plan.canvas, plan.asked, prepared, settings.overlay_inpaint):
                yield Warned(note)
        job = replace(self._job(plan, settings, should_stop, clock), noise=noise)
        colours_of = None
        if plan.source is not None and settings.img2img_color_correction:
            background = settings.img2img_background_color
            colours_of = prepared.image if prepared else source_pixels(plan.source, plan.asked, background)
        for number, images in enumerate(plan.batches[first_batch:], start=first_batch):
            stop, latents, inpainting = yield from self._sampled(job, prepared, number, images)
            if stop is Stop.INTERRUPT:
                return True
            if stop is Stop.SKIP:
                continue
            yield Staged("decoding")
            for place, (image, latent) in enumerate(zip(images, latents, strict=True)):
                with clock.stage("vae_decode"):
                    pixels = to_uint8(decode(model.vae, latent[None]))[0]
                if colours_of is not None:
                    pixels = corrected(pixels, colours_of)
                if inpainting is not None and settings.overlay_inpaint:
                    pixels = inpainting.laid_over(pixels, place, latent)
                if inpainting is not None:
                    pixels = inpainting.cut(pixels)
                yield _done(
                    request, settings, told(request, given, settings, job.noted), plan, prepared, image, pixels, model
                )
        return False

    def _job(self, plan: Plan, settings: Settings, should_stop: ShouldStop, clock: Stopwatch) -> "_Job":
        """Routes and prompts of all passes, which the batches share."""
        model = self._model
        assert model is not None
        passes = [plan.first, plan.hires.second] if plan.hires else [plan.first]
        legs = tuple(
            _Leg(leg, make_route(leg, model, settings), self._prompts.conditioning(model, leg, settings, clock))
            for leg in passes
        )
        job = _Job(model, plan, settings, legs, should_stop, clock)
        job.noted.update(*(leg.conditioning.noted for leg in legs))
        return job

    def _sampled(
        self, job: "_Job", prepared: Prepared | None, number: int, images: Sequence[ImagePlan]
    ) -> Generator[Event, None, tuple[Stop, Tensor, Inpainting | None]]:
        """Walk one batch; returns (how it was stopped, the latents (B, C, h, w) so far, what they were kept from)."""
        model, plan, settings = job.model, job.plan, job.settings
        source = inpainting = None
        if plan.source is not None:
            yield Staged("encoding")
            # Wrapping around changes what the encoder says, and is not part of the cache's keys.
            sources = SourceEncoder(SOURCE_CACHE_BYTES) if settings.tiling else self._sources
            background = settings.img2img_background_color
            image = prepared.image if prepared is not None else None
            source = sources.latents(model, plan, plan.source, images, background, job.clock, image)
            if prepared is not None and plan.canvas is not None:
                inpainting = begin_inpainting(plan, plan.canvas, prepared, source, settings)
                source = inpainting.original
        yield Staged("sampling")
        seen = self._seen_by_inpainting_models(model, plan, prepared, settings, job.clock)
        stop, latents = yield from self._walked(job, job.legs[0], 0, number, images, source, inpainting, seen)
        if not stop and plan.hires is not None:
            require_finite(latents, "The UNet", model.place)
            yield Staged("enlarging")
            source = second_start(model, latents, plan.hires, images, job.clock)
            yield Staged("sampling")
            done = job.legs[0].leg.walk.count
            stop, latents = yield from self._walked(job, job.legs[1], done, number, images, source, None, seen)
        if not stop and inpainting is not None:
            latents = inpainting.finished(latents)
        return stop, latents if stop else require_finite(latents, "The UNet", model.place), inpainting

    def _walked(
        self,
        job: "_Job",
        leg: "_Leg",
        steps_done: int,
        number: int,
        images: Sequence[ImagePlan],
        source: Tensor | None,
        inpainting: Inpainting | None,
        seen: Tensor | None,
    ) -> Generator[Event, None, tuple[Stop, Tensor]]:
        """Walk one pass of a batch; returns (how it was stopped, the latents (B, C, h, w) so far)."""
        model, plan, settings, route = job.model, job.plan, job.settings, leg.route
        shape = (model.latent_channels, leg.leg.size.height // CELL, leg.leg.size.width // CELL)
        multiplier = settings.initial_noise_multiplier if plan.source is not None else 1.0
        shaped = None
        if job.noise is not None and source is not None:
            scene = partial(SourceScene, model, leg.leg, route, source, images, self._prompts, settings, job.clock)
            shaped = partial(shaped_noise, job.noise, scene)
        start = begin(route, plan, images, source, shape, settings, model.place.device, multiplier, shaped)
        row = leg.leg.sampler
        is_cfgpp = row.name == "DDIM CFG++"
        guidance = Guidance(
            plan.cfg_scale / CFGPP_SCALE if is_cfgpp else plan.cfg_scale,
            calls=max(1, leg.leg.walk.count) * (2 if row.second_order else 1),
            levels_are_timesteps=row.timesteps,
            needs_uncond=is_cfgpp,
        )
        unet = GuidedUNet(model, route.model_schedule, leg.conditioning.of(images), guidance, settings, job.clock, seen)
        denoise = unet
        if inpainting is not None:
            denoise = inpainting.around(unet, route.model_schedule, route.walk.sigmas, row.timesteps)
        latents = start.x
        for step in walk(route, start, denoise):
            latents = step.x
            yield Stepped(number, steps_done + step.i + 1, max(plan.steps, steps_done + start.steps))
            stop = job.should_stop()
            if stop:
                return stop, latents
            if settings.live_previews_enable and (step.i + 1) % settings.show_progress_every_n_steps == 0:
                yield self._preview(number, step.denoised[0], plan)
        job.noted.update(unet.noted)
        return Stop.NONE, latents

    def _seen_by_inpainting_models(
        self, model: StableDiffusion, plan: Plan, prepared: Prepared | None, settings: Settings, clock: Stopwatch
    ) -> Tensor | None:
        """What goes into such a model beside the latent; None for others."""
        if not model.is_inpainting:
            return None
        image = None
        if prepared is not None:
            image = prepared.image
        elif plan.source is not None:
            image = source_pixels(plan.source, plan.asked, settings.img2img_background_color)
        return inpainting_input(
            lambda pixels: self._sources.encoded(model, pixels, clock),
            image,
            prepared.mask if prepared is not None else None,
            plan.canvas is None or plan.canvas.is_rounded,
            settings.inpainting_mask_weight,
            Size(plan.size.width // CELL, plan.size.height // CELL),
        )

    def _preview(self, number: int, latent: Tensor, plan: Plan) -> Previewed:
        assert self._preview_map is not None
        small = Image.fromarray(preview(latent, self._preview_map))
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=PREVIEW_QUALITY)
        return Previewed(number, small.width, small.height, buffer.getvalue())

    def _found(self, name: str) -> Checkpoint:
        """Another checkpoint, for a script. Raises WebuiError with the nearest name."""
        return Catalog(tuple(find_checkpoints(self._checkpoint_dirs, self._hashes))).checkpoint(name)

    def _unload(self) -> None:
        self._model = self._loaded = self._preview_map = None
        self._prompts.clear()
        self._sources.clear()
        release_memory(self._place.device)


@dataclass(frozen=True)
class _Leg:
    """A pass with what its batches share."""

    leg: Pass
    route: Route
    conditioning: Conditioning


@dataclass(frozen=True)
class _Job:
    """What a job's batches share. `noted` grows by the settings whose effect shows while they are walked."""

    model: StableDiffusion
    plan: Plan
    settings: Settings
    legs: tuple[_Leg, ...]
    should_stop: ShouldStop
    clock: Stopwatch
    noted: set[str] = field(default_factory=set)
    noise: NoiseOf | None = None


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _done(
    request: GenerationRequest,
    settings: Settings,
    named: Collection[str],
    plan: Plan,
    prepared: Prepared | None,
    image: ImagePlan,
    pixels: NDArray[np.uint8],
    model: StableDiffusion,
) -> ImageDone:
    """The finished picture with the text that makes it again; `named` are the settings to tell about."""
    height, width = pixels.shape[:2]
    is_exact = settings.compatibility == EXACT
    pairs = declared_pairs(request, settings, named) | {
        "Seed": str(image.seed),
        "Size-1": str(plan.asked.width),
        "Size-2": str(plan.asked.height),
        "Model hash": model.hash,
        "Model": model.name,
        "Version": f"Palimpsest {modules.__version__}",
    }
    if plan.subseed_strength > 0:
        pairs["Variation seed"] = str(image.subseed)
    if plan.source is not None:
        if not is_exact:
            pairs["Source hash"] = plan.source.picture.sha256
        if model.is_inpainting:
            pairs["Conditional mask weight"] = str(settings.inpainting_mask_weight)
        else:
            pairs.pop("Conditional mask weight", None)
    if plan.canvas is not None and not is_exact:
        if plan.canvas.mask is not None:
            pairs["Mask hash"] = plan.canvas.mask.sha256
        if plan.canvas.latent_mask is not None:
            pairs["Latent mask hash"] = plan.canvas.latent_mask.sha256
    if plan.canvas is not None and prepared is None:  # nothing was masked: neither an area nor its content
        for key in ("Inpaint area", "Masked area padding", "Masked content"):
            pairs.pop(key, None)
    prompts = (request.prompt, request.negative_prompt)
    if is_exact:  # A1111 keeps no comments
        prompts = (plan.first.prompt, plan.first.negative_prompt)
    infotext = compose(*prompts, pairs)
    return ImageDone(image.index, image.seed, width, height, infotext, pixels.tobytes())
