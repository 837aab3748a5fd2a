"""The engine: owns a device, a checkpoint and its caches; turns a request into events. There is no other state."""

import io
import logging
import os
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import modules
from modules.base.errors import WebuiError
from modules.base.events import (
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
from modules.clip.bpe import ClipBPE
from modules.extension.loading import Extensions
from modules.extension.loading import load as load_extensions
from modules.images.color import corrected
from modules.images.geometry import Size
from modules.images.resize import LATENT_UPSCALE
from modules.infotext.grammar import compose
from modules.infotext.write import declared_pairs
from modules.networks.checkpoint import MissingVae, StableDiffusion
from modules.networks.device import (
    Place,
    choose_place,
    describe,
    is_out_of_memory,
    release_memory,
    require_finite,
    threads,
)
from modules.networks.embeddings import EmbeddingCache
from modules.networks.files.embeddings import embedding_hash
from modules.networks.files.listing import HashCache, find_checkpoints, find_vaes
from modules.networks.files.loras import LoraFiles, Wanted, lora_hash, stamp_of
from modules.networks.model_cache import ModelCache, Stamps
from modules.networks.parts import Ear, InParts, Stopped, is_large
from modules.networks.previews import PreviewMap, preview
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
from modules.processing.passes import Route, begin, make_route, model_schedule, walk
from modules.processing.plan import (
    CELL,
    ImagePlan,
    Pass,
    Plan,
    ignored_size,
    make_plan,
    read_prompt,
    size_advice,
    with_first_size,
)
from modules.processing.room import Room
from modules.processing.scene import NoiseOf, SourceScene, shaped_noise
from modules.processing.scripts import run_script
from modules.processing.source import SourceEncoder, source_pixels
from modules.processing.unet import Guidance, GuidedUNet, Refined, Refiner
from modules.prompts.lora_arguments import Window
from modules.prompts.tags import NETWORK_KINDS, NetworkTag, take_tags
from modules.sampling.timesteps import CFGPP_SCALE
from modules.schema.catalog import OWN_VAE, Catalog, Checkpoint, Embedding, Vae
from modules.schema.request import GenerationRequest, Txt2ImgRequest
from modules.schema.settings import EXACT, Settings

log = logging.getLogger(__name__)

PROMPT_CACHE_BYTES = 64 * 2**20
SOURCE_CACHE_BYTES = 128 * 2**20
PREVIEW_QUALITY = 85
SHORT_PROMPTS = 2000  # letters of both; longer ones take more than a moment

ShouldStop = Callable[[], Stop]


def create_engine(
    device: str,
    precision: str,
    cache_dir: str,
    extensions_dir: str = "",
    checkpoint_dirs: str = "",
    lora_dirs: str = "",
    embedding_dirs: str = "",
    vae_dirs: str = "",
) -> "Engine":
    """What the engine process builds. `device` is "auto" or "cpu", `precision` "auto" or "full".

    `checkpoint_dirs`, with the system's path separator between them, are where scripts find other checkpoints;
    `lora_dirs` and `embedding_dirs` where the LoRAs and embeddings lie that prompts name, `vae_dirs` where the VAEs do
    that the setting names.
    """
    torch.set_num_threads(threads())
    place = choose_place(use_cpu=device == "cpu", precision="full" if precision == "full" else "autocast")
    extensions = load_extensions(Path(extensions_dir) if extensions_dir else None)
    dirs = (_paths(checkpoint_dirs), _paths(lora_dirs), _paths(embedding_dirs), _paths(vae_dirs))
    return Engine(place, Path(cache_dir), extensions, *dirs)


def _paths(joined: str) -> list[Path]:
    return [Path(path) for path in joined.split(os.pathsep) if path]


class Engine:
    """Runs jobs on one device, one at a time."""

    def __init__(
        self,
        place: Place,
        cache_dir: Path,
        extensions: Extensions,
        checkpoint_dirs: Sequence[Path] = (),
        lora_dirs: Sequence[Path] = (),
        embedding_dirs: Sequence[Path] = (),
        vae_dirs: Sequence[Path] = (),
    ) -> None:
        self._place = place
        self._extensions = extensions
        self._checkpoint_dirs = checkpoint_dirs
        self._vae_dirs = vae_dirs
        self._hashes = HashCache(cache_dir / "hashes.json")
        self._model_cache = ModelCache(place, ClipBPE(), self._hashes)
        self._loras = LoraFiles(lora_dirs)
        self._embeddings = EmbeddingCache(embedding_dirs)
        self._prompts = PromptEncoder(PROMPT_CACHE_BYTES, self._embeddings)
        self._sources = SourceEncoder(SOURCE_CACHE_BYTES)
        self._room = Room(place.device)

    def load(self, checkpoint: Checkpoint, settings: Settings) -> Iterator[EngineState]:
        """Load `checkpoint` unless it is loaded already; tells what it is doing."""
        device = describe(self._place)
        try:
            if checkpoint not in self._model_cache:
                yield EngineState("loading", checkpoint.name, device=device)
            try:
                model = self._model_cache.take(checkpoint).model
            except MissingVae as error:
                vae = self._vaes(settings, _Cast(checkpoint)).get(checkpoint.path)
                if vae is None:
                    cure = "Choose one as SD VAE in the settings, or use a complete checkpoint."
                    raise WebuiError(error.message, cure, error.field) from error
                model = self._model_cache.take(checkpoint, vae).model
            width = model.text_encoder.config.hidden_size
            yield EngineState("ready", checkpoint.name, model.hash, device=device, text_width=width)
        except WebuiError as error:
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
            request = with_first_size(request, settings)
            plan = make_plan(request, settings)
            cast = self._cast(request, checkpoint)
            vaes = self._vaes(settings, cast)
            networks, pairs, missing = self._networks(plan, settings)
            self._embeddings.look()
            size = plan.last.size
            yield Started(request.images, len(plan.batches), plan.steps, size.width, size.height, request.seed)
            for state in self.load(checkpoint, settings):
                yield state
                if state.state == "loading":
                    yield Staged(f"loading {state.checkpoint}")
                if state.state == "failed":
                    yield Failed(state.message, field="sd_model_checkpoint")
                    return
            for sentence in missing:
                yield Warned(sentence)
            with ExitStack() as wrapped:
                job = _Job(
                    request,
                    plan,
                    settings,
                    cast,
                    vaes,
                    should_stop,
                    Ear(should_stop),
                    clock,
                    wrapped,
                    networks,
                    pairs=pairs,
                    noise=noise,
                )
                if self._is_large(job):
                    wrapped.enter_context(InParts(job.ear.hear))
                stopped = yield from self._batches(job, request, given, first_batch)
            yield Finished(clock.total(), dict(clock.seconds), interrupted=stopped)
        except Stopped:  # before the first batch
            yield Finished(clock.total(), dict(clock.seconds), interrupted=True)
        except WebuiError as error:
            yield Failed(error.message, error.hint, error.field)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            log.warning("out of memory: %s", error)
            release_memory(self._place.device)
            yield Failed("Memory does not suffice for this size.", "Choose a smaller size or batch size.", "width")

    def _batches(
        self, job: "_Job", request: GenerationRequest, given: Settings, first_batch: int
    ) -> Generator[Event, None, bool]:
        """All batches from `first_batch` on; returns whether the job was interrupted.

        A batch that is stopped leaves no picture.
        """
        plan, settings = job.plan, job.settings
        for name in _unusable_tags(request, settings):
            yield Warned(f"<{name}> has no effect: there are no networks of this kind. The tag is left out.")
        for note in dict.fromkeys(note for leg in plan.passes for tag in leg.networks for note in _unread(tag)):
            yield Warned(note)
        if plan.source is not None:
            for note in (*plan.source.picture.notes, *filter(None, [ignored_size(request)])):
                yield Warned(note)
        self._require_room(job, 0, plan.batches[0], self._taken(job, job.cast.main, 0))
        prepared = None
        if plan.source is not None:
            job.ear.hear()
        if plan.source is not None and plan.canvas is not None:
            prepared = prepare(plan.source, plan.canvas, plan.asked, settings.img2img_background_color)
            for note in notes(plan.source, plan.canvas, plan.asked, prepared, settings.overlay_inpaint):
                yield Warned(note)
        colours_of = None
        if plan.source is not None and settings.img2img_color_correction:
            background = settings.img2img_background_color
            colours_of = prepared.image if prepared else source_pixels(plan.source, plan.asked, background)
        made_by = self._made_by(job)
        shown = _Shown(request, given, made_by, prepared, colours_of)
        for number, images in enumerate(plan.batches[first_batch:], start=first_batch):
            job.ear.is_in_batch = True
            try:
                stop = yield from self._batch(job, shown, number, images)
            except Stopped as stopped:
                stop = stopped.stop
            if stop is Stop.INTERRUPT:
                return True
        return False

    def _batch(
        self, job: "_Job", shown: "_Shown", number: int, images: Sequence[ImagePlan]
    ) -> Generator[Event, None, Stop]:
        """The pictures of one batch; returns how it was stopped. Raises Stopped out of a computation."""
        settings, request, prepared = job.settings, shown.request, shown.prepared
        is_exact = settings.compatibility == EXACT
        walked, inpainting = yield from self._sampled(job, prepared, number, images)
        if walked.stop:
            return walked.stop
        yield Staged("decoding")
        for place, (image, latent) in enumerate(zip(images, walked.latents, strict=True)):
            if place:
                job.ear.hear()
            with job.clock.stage("vae_decode"):
                pixels = to_uint8(decode(walked.model.vae, latent[None]), is_exact)[0]
            if shown.colours_of is not None:
                pixels = corrected(pixels, shown.colours_of, is_exact)
            painted = pixels
            if inpainting is not None and settings.overlay_inpaint:
                pixels = inpainting.laid_over(pixels, place, latent)
            if inpainting is not None:
                pixels = inpainting.cut(pixels)
            named = told(request, shown.given, settings, job.noted)
            pairs = {**shown.made_by, **job.pairs}
            done = _done(request, settings, named, job.plan, prepared, image, pixels, pairs)
            yield done
            if inpainting is not None:
                layers = inpainting.beside(place, latent, painted, settings)
                yield from _beside(done, layers, settings, request.images)
        return Stop.NONE

    def _is_large(self, job: "_Job") -> bool:
        """Whether the job's computations are to be made in parts that hear a stop."""
        plan, model = job.plan, self._taken(job, job.cast.main, 0)
        sizes = [leg.size for leg in plan.passes]
        if plan.source is not None and plan.source.resize_mode == LATENT_UPSCALE:
            sizes.append(Size(plan.source.picture.width, plan.source.picture.height))
        pixels = max(size.width * size.height for size in sizes) * len(plan.batches[0])
        return is_large(pixels, sum(part.numel() for part in model.unet.parameters()), model.place.device)

    def _conditioning(self, job: "_Job", model: StableDiffusion, leg: Pass) -> Conditioning:
        """The prompts of a pass. Long ones, and those with many stages, hear a stop while they are read."""
        is_short = len(leg.prompt) + len(leg.negative_prompt) <= SHORT_PROMPTS
        is_short = is_short and "[" not in leg.prompt + leg.negative_prompt
        with nullcontext() if is_short else InParts(job.ear.hear):
            return self._prompts.conditioning(model, leg, job.settings, job.clock)

    def _made_by(self, job: "_Job") -> dict[str, str]:
        """What the infotext says of the checkpoint."""
        model = self._taken(job, job.cast.main, 0)
        said = {"Model hash": model.hash, "Model": model.name}
        if model.vae_hash:
            said |= {"VAE hash": model.vae_hash, "VAE": model.vae_name}
        if job.plan.source is not None and model.is_inpainting:
            said["Conditional mask weight"] = str(job.settings.inpainting_mask_weight)
        if job.plan.source is not None and job.settings.save_init_img:
            said["Init image hash"] = job.plan.source.picture.pixels_md5
        return said

    def _cast(self, request: GenerationRequest, checkpoint: Checkpoint) -> "_Cast":
        """The checkpoints that a request names. Raises WebuiError with the nearest name."""

        def named(name: str, field: str) -> Checkpoint | None:
            if name.strip().lower() in ("", "none"):
                return None
            try:
                return self._found(name, checkpoint)
            except WebuiError as error:
                raise WebuiError(error.message, error.hint, field) from error

        second = None
        if isinstance(request, Txt2ImgRequest) and request.enable_hr:
            second = named(request.hr_checkpoint_name, "hr_checkpoint_name")
        return _Cast(
            main=checkpoint,
            second=second,
            refiner=named(request.refiner_checkpoint, "refiner_checkpoint"),
            switch_at=request.refiner_switch_at,
        )

    def _vaes(self, settings: Settings, cast: "_Cast") -> dict[Path, Vae]:
        """The VAEs that take the places of checkpoints' own, by the checkpoints' paths.

        Raises WebuiError with the nearest name.
        """
        if settings.sd_vae == OWN_VAE:
            return {}
        checkpoints = [each for each in (cast.main, cast.second, cast.refiner) if each is not None]
        beside = [*self._checkpoint_dirs, *(checkpoint.path.parent for checkpoint in checkpoints)]
        catalog = Catalog(vaes=find_vaes(self._vae_dirs, beside, self._hashes))
        found = {checkpoint.path: catalog.vae_for(settings.sd_vae, checkpoint) for checkpoint in checkpoints}
        return {path: vae for path, vae in found.items() if vae is not None}

    def _networks(
        self, plan: Plan, settings: Settings
    ) -> tuple[tuple[tuple[Wanted, ...], ...], dict[str, str], tuple[str, ...]]:
        """(the LoRAs of each pass, what the infotext says of them, sentences about those that are not here).

        Raises WebuiError with the nearest name, where the settings do not have A1111's way: to draw without it.
        """
        if not any(leg.networks for leg in plan.passes):
            return tuple(() for _ in plan.passes), {}, ()
        catalog = Catalog(loras=self._loras.found(self._hashes))
        hashes: dict[str, str] = {}
        missing: dict[str, None] = {}

        def wanted(tag: NetworkTag) -> Wanted | None:
            try:
                lora = catalog.lora(tag.name)
            except WebuiError as error:
                if settings.compatibility != EXACT:
                    raise
                missing[f"{error.message} The picture is made without it."] = None
                return None
            try:
                hashes[tag.name] = lora_hash(lora, self._hashes)
                return Wanted(tag.name, stamp_of(lora.path), tag.te, tag.unet, tag.dyn_dim, tag.blocks)
            except WebuiError as error:
                raise WebuiError(f"prompt: the LoRA {tag.name!r}: {error.message}", error.hint, "prompt") from error
            except OSError as error:
                raise WebuiError(
                    f"prompt: the LoRA {tag.name!r} cannot be read: {error.strerror or error}.", "", "prompt"
                ) from error

        networks = tuple(tuple(filter(None, map(wanted, leg.networks))) for leg in plan.passes)
        told = {"Lora hashes": ", ".join(f"{name}: {digits}" for name, digits in hashes.items())} if hashes else {}
        return networks, told, tuple(missing)

    def _taken(self, job: "_Job", checkpoint: Checkpoint, index: int) -> StableDiffusion:
        """A checkpoint as a pass of the job wants it."""
        with job.ear.deaf():  # weights are changed as a whole or not at all
            loaded = self._model_cache.take(checkpoint, job.vaes.get(checkpoint.path), job.stamps)
            model = replace(loaded.model, networks=loaded.patch.changed(job.networks[index]).networks)
        for note in loaded.patch.notes:
            job.notes.setdefault(note, False)
        # The same VAE from a file may serve two checkpoints; it is wrapped by the first alone.
        if job.settings.tiling and model.hash not in job.wrapping:
            job.wrapping.add(model.hash)
            job.wrapped.enter_context(wrapping_around(model))
        return model

    def _leg(self, job: "_Job", index: int) -> "_Leg":
        """Route and prompts of a pass, which the batches share."""
        if index not in job.legs:
            leg = job.plan.passes[index]
            model = self._taken(job, job.cast.of(index), index)
            conditioning = self._conditioning(job, model, leg)
            job.noted.update(conditioning.noted)
            self._tell_words(job, conditioning, model)
            job.legs[index] = _Leg(leg, make_route(leg, model, job.settings), conditioning)
        return job.legs[index]

    def _tell_words(self, job: "_Job", conditioning: Conditioning, model: StableDiffusion) -> None:
        """Have the infotext name the embeddings in a prompt, with the names' signs that it needs itself left out.

        Those that cannot be used are told in notes.
        """
        for word in conditioning.unusable:
            why = word.unusable_with(model.text_encoder.config.hidden_size)
            job.notes.setdefault(f"The embedding {word.name!r} has no effect: {why}", False)
        job.words.update(dict.fromkeys(conditioning.words))
        try:
            hashes = [(word.name, embedding_hash(word, self._hashes)) for word in job.words]
        except OSError as error:
            raise WebuiError(f"prompt: an embedding is gone: {error.strerror or error}.", "", "prompt") from error
        if hashes:
            told = [f"{name.replace(':', '').replace(',', '')}: {digits}" for name, digits in hashes]
            job.pairs["TI hashes"] = ", ".join(told)

    def _refiner(self, job: "_Job", index: int, leg: "_Leg", images: Sequence[ImagePlan]) -> Refiner | None:
        """What takes over in a pass, if anything does."""
        refiner, settings = job.cast.refiner, job.settings
        if refiner is None or refiner.path.resolve() == job.cast.of(index).path.resolve():
            return None
        if len(job.plan.passes) == 2 and settings.hires_fix_refiner_pass == ("second pass", "first pass")[index]:
            return None

        def take() -> Refined:
            model = self._taken(job, refiner, index)
            if model.is_inpainting and not self._taken(job, job.cast.of(index), index).is_inpainting:
                raise WebuiError(
                    f"Refiner: {refiner.name} is an inpainting checkpoint, the one it takes over from is not.",
                    "Choose another.",
                    "refiner_checkpoint",
                )
            if len(job.plan.passes) == 2:
                job.noted.add("hires_fix_refiner_pass")
            job.pairs["Refiner"] = f"{model.name} [{model.hash}]"
            if job.cast.switch_at is not None:
                job.pairs["Refiner switch at"] = str(job.cast.switch_at)
            conditioning = self._conditioning(job, model, leg.leg)
            self._tell_words(job, conditioning, model)
            return Refined(model, model_schedule(leg.route.sampler, model), conditioning.of(images))

        return Refiner(job.cast.switch_at, settings.refiner_switch_by_sample_steps, take)

    def _sampled(
        self, job: "_Job", prepared: Prepared | None, number: int, images: Sequence[ImagePlan]
    ) -> Generator[Event, None, tuple["_Walked", Inpainting | None]]:
        """Walk one batch; returns (what came of it, what its latents were kept from)."""
        plan, settings = job.plan, job.settings
        source = inpainting = None
        model = self._taken(job, job.cast.main, 0)
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
            job.ear.hear()
        yield Staged("sampling")
        seen = self._seen_by_inpainting_models(model, plan, prepared, settings, job.clock)
        del model  # a refiner may need its memory
        walked = yield from self._walked(job, 0, 0, number, images, source, inpainting, seen)
        if not walked.stop and plan.hires is not None:
            require_finite(walked.latents, "The UNet", self._place)
            second = job.cast.of(1)
            if second not in self._model_cache:
                yield Staged(f"loading {second.name}")
            model = self._taken(job, second, 1)
            if job.cast.second is not None:
                job.pairs["Hires checkpoint"] = f"{model.name} [{model.hash}]"
            self._require_room(job, 1, images, model)
            yield Staged("enlarging")
            is_exact = settings.compatibility == EXACT
            source = second_start(
                walked.model, model, walked.latents, plan.hires, images, job.clock, is_exact, job.ear.hear
            )
            yield Staged("sampling")
            done = plan.first.walk.count
            seen = self._seen_by_inpainting_models(model, plan, prepared, settings, job.clock)
            del model
            walked = yield from self._walked(job, 1, done, number, images, source, None, seen)
        if not walked.stop:
            latents = walked.latents if inpainting is None else inpainting.finished(walked.latents)
            walked = walked._replace(latents=require_finite(latents, "The UNet", self._place))
        return walked, inpainting

    def _walked(
        self,
        job: "_Job",
        index: int,
        steps_done: int,
        number: int,
        images: Sequence[ImagePlan],
        source: Tensor | None,
        inpainting: Inpainting | None,
        seen: Tensor | None,
    ) -> Generator[Event, None, "_Walked"]:
        """Walk one pass of a batch."""
        plan, settings = job.plan, job.settings
        leg = self._leg(job, index)
        route = leg.route
        checkpoint = job.cast.of(index)
        model = self._taken(job, checkpoint, index)
        previews = self._model_cache.take(checkpoint, job.vaes.get(checkpoint.path), job.stamps).previews
        for note in job.untold():
            yield Warned(note)
        shape = (model.latent_channels, leg.leg.size.height // CELL, leg.leg.size.width // CELL)
        multiplier = settings.initial_noise_multiplier if plan.source is not None else 1.0
        shaped = None
        if job.noise is not None and source is not None:
            scene = partial(
                SourceScene, model, leg.leg, route, source, images, self._prompts, settings, job.clock, job.ear.hear
            )
            shaped = partial(shaped_noise, job.noise, scene)
        start = begin(route, plan, images, source, shape, settings, model.place.device, multiplier, shaped)
        row = leg.leg.sampler
        is_cfgpp = row.name == "DDIM CFG++"
        guidance = Guidance(
            plan.cfg_scale / CFGPP_SCALE if is_cfgpp else plan.cfg_scale,
            calls=max(1, leg.leg.walk.count) * (2 if row.second_order else 1),
            levels_are_timesteps=row.timesteps,
            needs_uncond=is_cfgpp,
            token_merging=leg.leg.token_merging,
        )
        unet = GuidedUNet(
            model,
            route.model_schedule,
            leg.conditioning.of(images),
            guidance,
            settings,
            job.clock,
            seen,
            self._refiner(job, index, leg, images),
        )
        del model, shaped  # a refiner may need the memory
        denoise = unet
        if inpainting is not None:
            denoise = inpainting.around(unet, route.model_schedule, route.walk.sigmas, row.timesteps)
        latents = start.x
        refiner = job.cast.refiner
        steps = walk(route, start, denoise)
        for number_of_step in count():
            current = refiner if unet.is_refined and refiner is not None else checkpoint
            self._lay_over_loras(job, index, current, number_of_step)
            step = next(steps, None)
            if step is None:
                break
            latents = step.x
            yield Stepped(number, steps_done + step.i + 1, max(plan.steps, steps_done + start.steps))
            stop = job.should_stop()
            if stop:
                return _Walked(stop, latents, unet.model)
            if settings.live_previews_enable and (step.i + 1) % settings.show_progress_every_n_steps == 0:
                yield _preview(number, step.denoised[0], previews)
        job.noted.update(unet.noted)
        return _Walked(Stop.NONE, latents, unet.model)

    def _lay_over_loras(self, job: "_Job", index: int, checkpoint: Checkpoint, step: int) -> None:
        """Have those LoRAs of a pass in the UNet's weights that act in a step, if not all of them do in all steps."""
        tags, networks = job.plan.passes[index].networks, job.networks[index]
        if all(tag.window == Window() for tag in tags):
            return
        acting = tuple(
            one if tag.window.start <= step < tag.window.stop else replace(one, unet=0.0)
            for tag, one in zip(tags, networks, strict=True)
        )
        self._model_cache.take(checkpoint, job.vaes.get(checkpoint.path), job.stamps).patch.changed(acting)

    def _require_room(self, job: "_Job", index: int, images: Sequence[ImagePlan], model: StableDiffusion) -> None:
        """Raises WebuiError, with the size that fits, if memory does not suffice for a pass."""
        leg = self._leg(job, index)

        def evaluate(side: int) -> None:
            shown = torch.zeros(1, 1 + model.latent_channels, side, side, device=model.place.device)
            unet = GuidedUNet(
                model,
                leg.route.model_schedule,
                leg.conditioning.of(images[:1]),
                Guidance(job.plan.cfg_scale, calls=1),
                job.settings,
                Stopwatch(),
                shown if model.is_inpainting else None,
            )
            x = torch.zeros(1, model.latent_channels, side, side, device=model.place.device)
            unet(x, leg.route.walk.sigmas[:1].to(x.device))

        field, hint = size_advice(job.request, is_second=index == 1)
        self._room.require(model.hash, evaluate, leg.leg.size, len(images), hint, field)

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

    def _found(self, name: str, beside: Checkpoint | None = None) -> Checkpoint:
        """Another checkpoint, also one in the folder of `beside`. Raises WebuiError with the nearest name."""
        folders = [*self._checkpoint_dirs, *([beside.path.parent] if beside is not None else [])]
        return Catalog(tuple(find_checkpoints(folders, self._hashes))).checkpoint(name)


@dataclass(frozen=True)
class _Leg:
    """A pass with what its batches share."""

    leg: Pass
    route: Route
    conditioning: Conditioning


@dataclass(frozen=True)
class _Cast:
    """The checkpoints of a job: the first pass's, another one for the second, and the one that takes over on the way.

    It does from the share `switch_at` of a pass on; None is at once.
    """

    main: Checkpoint
    second: Checkpoint | None = None
    refiner: Checkpoint | None = None
    switch_at: float | None = None

    def of(self, index: int) -> Checkpoint:
        """The checkpoint that a pass begins with."""
        return self.main if index == 0 or self.second is None else self.second


@dataclass(frozen=True)
class _Job:
    """What a job's batches share. `vaes` stand in the places of checkpoints' own, by these' paths.

    While they are walked, `noted` grows by the settings whose effect shows, `pairs` by what the infotext is to say of
    networks and other checkpoints, and `wrapped` by the checkpoints whose pictures continue at the opposite edge, which
    are in `wrapping` by their hashes. `networks` are the LoRAs of each pass, `notes` what is to be said about them, and
    whether it was; `words` the embeddings in the prompts. `stamps` are the model
    files as the job first took them.
    """

    request: GenerationRequest
    plan: Plan
    settings: Settings
    cast: _Cast
    vaes: Mapping[Path, Vae]
    should_stop: ShouldStop
    ear: Ear
    clock: Stopwatch
    wrapped: ExitStack
    networks: tuple[tuple[Wanted, ...], ...]
    legs: dict[int, _Leg] = field(default_factory=dict)
    noted: set[str] = field(default_factory=set)
    pairs: dict[str, str] = field(default_factory=dict)
    wrapping: set[str] = field(default_factory=set)
    notes: dict[str, bool] = field(default_factory=dict)
    words: dict[Embedding, None] = field(default_factory=dict)
    noise: NoiseOf | None = None
    stamps: Stamps = field(default_factory=Stamps)

    def untold(self) -> list[str]:
        """Notes that nobody has heard yet; from now on they are told."""
        new = [note for note, is_told in self.notes.items() if not is_told]
        self.notes.update(dict.fromkeys(new, True))
        return new


@dataclass(frozen=True)
class _Shown:
    """What the pictures of all batches have in common: the texts' parts, and what lies over and under them.

    `given` are the settings before the request had its say, `colours_of` the picture whose colours they get.
    """

    request: GenerationRequest
    given: Settings
    made_by: Mapping[str, str]
    prepared: Prepared | None
    colours_of: Image.Image | None


class _Walked(NamedTuple):
    """A pass that was walked: how it was stopped, the latents (B, C, h, w) so far, and the model it ended with."""

    stop: Stop
    latents: Tensor
    model: StableDiffusion


def _unread(tag: NetworkTag) -> list[str]:
    """Sentences about the arguments of a LoRA's tag that mean nothing."""
    return [f"{argument[:60]!r} in <lora:{tag.name}> has no effect: it is not understood." for argument in tag.unread]


def _unusable_tags(request: GenerationRequest, settings: Settings) -> list[str]:
    """`kind:name` of the tags for which there are no networks, in the prompts that are read."""
    texts = [request.prompt]
    if isinstance(request, Txt2ImgRequest) and request.enable_hr:
        texts.append(request.hr_prompt)
    tags = [tag for text in texts for tag in take_tags(read_prompt(text, settings))[1]]
    return [":".join((tag.kind, *tag.positional[:1])) for tag in tags if tag.kind not in NETWORK_KINDS]


def _preview(number: int, latent: Tensor, previews: PreviewMap) -> Previewed:
    small = Image.fromarray(preview(latent, previews))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=PREVIEW_QUALITY)
    return Previewed(number, small.width, small.height, buffer.getvalue())


def _beside(done: ImageDone, layers: Mapping[str, Image.Image], settings: Settings, images: int) -> Iterator[ImageDone]:
    """What belongs to a picture. Its index is the picture's and the number of pictures, or twice that."""
    for number, (suffix, layer) in enumerate(layers.items(), 1):
        yield replace(
            done,
            index=done.index + number * images,
            width=layer.width,
            height=layer.height,
            pixels=layer.tobytes(),
            suffix=suffix,
            shown=settings.beside[suffix],
        )


def _done(
    request: GenerationRequest,
    settings: Settings,
    named: Collection[str],
    plan: Plan,
    prepared: Prepared | None,
    image: ImagePlan,
    pixels: NDArray[np.uint8],
    made_by: Mapping[str, str],
) -> ImageDone:
    """The finished picture with the text that makes it again.

    `named` are the settings to tell about, `made_by` pairs about the networks.
    """
    height, width = pixels.shape[:2]
    is_exact = settings.compatibility == EXACT
    pairs = declared_pairs(request, settings, named)
    pairs.pop("Conditional mask weight", None)
    pairs |= {
        "Seed": str(image.seed),
        "Size-1": str(plan.asked.width),
        "Size-2": str(plan.asked.height),
        **made_by,
        "Version": f"Palimpsest {modules.__version__}",
    }
    if plan.subseed_strength > 0:
        pairs["Variation seed"] = str(image.subseed)
    if plan.source is not None and not is_exact:
        pairs["Source hash"] = plan.source.picture.sha256
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
        prompts = (read_prompt(request.prompt, settings), read_prompt(request.negative_prompt, settings))
    infotext = compose(*prompts, pairs)
    return ImageDone(image.index, image.seed, width, height, infotext, pixels.tobytes())
