"""The engine: owns a device, a checkpoint and its caches; turns a request into events. There is no other state."""

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from modules.base.errors import WebuiError
from modules.base.events import EngineState, Event, Failed, Finished, Staged, Started, Stop, Warned
from modules.clip.bpe import ClipBPE
from modules.extension.loading import Extensions
from modules.images.geometry import Size
from modules.images.resize import resizes_latents
from modules.networks.control.cache import ControlNetCache
from modules.networks.device import Placement, describe, is_out_of_memory, release_memory
from modules.networks.embeddings import EmbeddingCache
from modules.networks.families import FAMILIES
from modules.networks.files.listing import HashCache
from modules.networks.memory import MemoryMode
from modules.networks.model import Family, MissingVae, Model
from modules.networks.model_cache import ModelCache
from modules.networks.parts import Ear, InParts, Stopped, is_large
from modules.networks.upscalers.enlarger import Enlarger
from modules.processing.clock import Stopwatch
from modules.processing.control import JobControl, described
from modules.processing.control_maps import MapCache
from modules.processing.denoise.prompts import PromptEncoder
from modules.processing.engine.batch import BatchRunner, Common
from modules.processing.engine.infotext import made_by
from modules.processing.engine.job import Job, ShouldStop
from modules.processing.engine.job_files import job_files, offered_embeddings
from modules.processing.engine.kept_latents import KeptLatents, kept_latents
from modules.processing.engine.memory import limits, plan_sentence
from modules.processing.engine.models import JobModels
from modules.processing.engine.passes import Batch, PassRunner
from modules.processing.engine.scene import NoiseOf
from modules.processing.engine.warnings import ignored_tags, lacking_abilities
from modules.processing.kinds.merge import MergeRequest
from modules.processing.kinds.resolve import CatalogNames
from modules.processing.kinds.words import WordReader
from modules.processing.masked.notes import notes
from modules.processing.masked.prepare import prepare
from modules.processing.merging import Merger
from modules.processing.options import effective
from modules.processing.plan import Plan, ignored_size, make_plan, with_first_size, with_upscaler
from modules.processing.room import Room
from modules.processing.scripts import run_script
from modules.processing.source import SOURCE_CACHE_BYTES, SourceEncoder, source_pixels
from modules.schema.catalog import Catalog, Checkpoint, Vae
from modules.schema.request import GenerationRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from modules.schema.upscalers import Upscaler

log = logging.getLogger(__name__)

PROMPT_CACHE_BYTES = 64 * 2**20


class Engine:
    """Runs jobs on one device, one at a time."""

    def __init__(
        self,
        place: Placement,
        cache_dir: Path,
        extensions: Extensions,
        merge_folder: Path | None = None,
        families: Sequence[Family] = FAMILIES,
        memory: MemoryMode = "auto",
    ) -> None:
        self._place = place
        self._extensions = extensions
        self._cache_dir = cache_dir
        self._hashes = HashCache(cache_dir / "hashes.json")
        self._merge_folder = merge_folder or cache_dir
        tokenizer = ClipBPE()
        self._reader = WordReader(tokenizer)
        self._model_cache = ModelCache(place, tokenizer, self._hashes, families, memory)
        self._embeddings = EmbeddingCache()
        self._prompts = PromptEncoder(PROMPT_CACHE_BYTES, self._embeddings)
        self._sources = SourceEncoder(SOURCE_CACHE_BYTES)
        self._room = Room(place.device)
        self.enlarger = Enlarger(place)
        self._control_nets = ControlNetCache()
        self._maps = MapCache()  # of control units

    def upscalers(self, catalog: Catalog, hear: Callable[[float], None]) -> tuple[Upscaler, ...]:
        """The upscalers: networks from `catalog`, the others from the extensions installed here.

        A network calls `hear` with the fraction done, 0 … 1, before each tile; `hear` may raise to stop it.
        """
        networks = [row for row in catalog.upscalers if row.path is not None]
        return (*self._extensions.upscalers, *self.enlarger.functions(networks, hear))

    def load(self, checkpoint: Checkpoint, settings: Settings, vae: Vae | None = None) -> Iterator[EngineState]:
        """Load `checkpoint` unless it is loaded, with `vae` if it contains none; report its state."""
        device = describe(self._place)
        self._model_cache.limits = limits(settings)
        try:
            if checkpoint not in self._model_cache:
                yield EngineState("loading", checkpoint.name, device=device)
            try:
                model = self._model_cache.take(checkpoint).model
            except MissingVae as error:
                if vae is None:
                    cure = "Choose one as SD VAE in the settings, or use a complete checkpoint."
                    raise WebuiError(error.message, cure, error.field) from error
                model = self._model_cache.take(checkpoint, vae).model
            device = describe(model.place)
            yield EngineState("ready", checkpoint.name, model.hash, device=device, text_width=model.text_width)
        except WebuiError as error:
            yield EngineState("failed", checkpoint.name, message=str(error), device=device)

    def run(
        self,
        request: GenerationRequest,
        settings: Settings,
        resources: Resources,
        should_stop: ShouldStop,
        first_batch: int = 0,
        noise: NoiseOf | None = None,
    ) -> Iterator[Event | EngineState]:
        """Run one job. Ends with Finished or Failed; a user's mistake becomes Failed, other errors are raised.

        `resources` are all files that the request names, as `kinds.resolve` finds them; no others are used. Batches
        before `first_batch` are skipped: they were made before the job was interrupted. `noise` replaces the noise
        that is added to a source.
        """
        clock = Stopwatch()
        checkpoint = resources.checkpoint
        try:
            sizes = self._model_cache.family_of(checkpoint).sizes
            ear = Ear(should_stop)
            upscalers = self.upscalers(resources.catalog, lambda share: ear.hear())
            if request.script_name:
                chosen = self._extensions.chosen(request)
                names = CatalogNames(resources.catalog, self._reader)
                yield from run_script(
                    chosen, self.run, names, request, settings, resources, should_stop, sizes, upscalers
                )
                return
            given, settings = settings, effective(request, settings)
            request = with_first_size(request, settings)
            plan = with_upscaler(make_plan(request, settings, sizes), settings.upscaler_for_img2img, upscalers)
            files = job_files(request, plan, settings, resources, self._hashes)
            calls = self._extensions.calls(request)
            latents = KeptLatents(None)
            if noise is None:
                latents = kept_latents(self._cache_dir, request, settings, resources, self._place)
            job = Job(
                request,
                given,
                settings,
                plan,
                files,
                should_stop,
                ear,
                clock,
                latents,
                noise,
                calls,
                upscalers,
                resources,
            )
            job.findings.loras(files.lora_hashes)
            job.findings.extensions(calls)
            self._embeddings.offer(offered_embeddings(files, resources.catalog.embeddings))
            size = plan.last.size
            yield Started(request.images, len(plan.batches), plan.steps, size.width, size.height, request.seed)
            is_ready = yield from self._loading(checkpoint, settings, resources.vae)
            if is_ready:
                stopped = yield from self._loaded(job, first_batch)
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
            yield Failed("Not enough memory for this size.", "Choose a smaller size or batch size.", "width")

    def merge(self, request: MergeRequest, resources: Resources, should_stop: ShouldStop) -> Iterator[Event]:
        """Merge checkpoints into a file in the folder for merged ones. Raises WebuiError."""
        return Merger(resources.catalog, self._hashes, self._merge_folder).run(request, should_stop)

    def _loading(
        self, checkpoint: Checkpoint, settings: Settings, vae: Vae | None
    ) -> Generator[Event | EngineState, None, bool]:
        """Load the checkpoint; returns whether it can be used."""
        self._model_cache.limits = limits(settings)
        intended = plan_sentence(checkpoint.name, self._model_cache.forecast(checkpoint))
        if intended:
            log.info("%s", intended)
            yield Staged(intended)
        for state in self.load(checkpoint, settings, vae):
            yield state
            if state.state == "loading":
                yield Staged(f"loading {state.checkpoint}")
            if state.state == "failed":
                yield Failed(state.message, field="sd_model_checkpoint")
                return False
        return True

    def _loaded(self, job: Job, first_batch: int) -> Generator[Event, None, bool]:
        """The job once its checkpoint is loaded; returns whether it was interrupted."""
        for sentence in job.files.notes:
            yield Warned(sentence)
        with ExitStack() as wrapped:
            models = JobModels(self._model_cache, job, wrapped)
            if _is_large_job(job.plan, models.first(0)):
                wrapped.enter_context(InParts(job.ear.hear))
            return (yield from self._batches(job, models, first_batch))

    def _batches(self, job: Job, models: JobModels, first_batch: int) -> Generator[Event, None, bool]:
        """All batches from `first_batch` on; returns whether the job was interrupted.

        A batch that is stopped leaves no picture.
        """
        plan, settings = job.plan, job.settings
        for sentence in (*ignored_tags(job.request, plan, settings), *lacking_abilities(job, models.first(0).family)):
            yield Warned(sentence)
        if plan.source is not None:
            for note in (*plan.source.picture.notes, *filter(None, [ignored_size(job.request, plan.sizes)])):
                yield Warned(note)
        passes = PassRunner(job, models, self._prompts, self._hashes, self._room)
        passes.require_room(0, plan.batches[0], models.first(0))
        prepared = colors_of = None
        if plan.source is not None:
            job.ear.hear()
            background = settings.img2img_background_color
            if plan.canvas is not None:
                prepared = prepare(plan.source, plan.canvas, plan.requested, background, plan.sizes)
                keeps = settings.overlay_inpaint
                for note in notes(plan.source, plan.canvas, plan.requested, prepared, keeps, plan.sizes):
                    yield Warned(note)
            if settings.img2img_color_correction:
                colors_of = (
                    prepared.image if prepared else source_pixels(plan.source, plan.requested, background, plan.sizes)
                )
        control = None
        if job.request.controlnet:
            background = settings.img2img_background_color
            control = JobControl(job.request, plan, job.resources, background, self._control_nets, self._maps, prepared)
            job.findings.pairs |= described(job.request, job.is_exact)
        common = Common(made_by(job, models.first(0)), prepared, colors_of, control)
        batches = BatchRunner(job, common, models, passes, self._sources, self._place)
        for number, images in enumerate(plan.batches[first_batch:], start=first_batch):
            job.ear.is_in_batch = True
            try:
                stop = yield from batches.run(Batch(number, images))
            except Stopped as stopped:
                stop = stopped.stop
            if stop is Stop.INTERRUPT:
                return True
        return False


def _is_large_job(plan: Plan, model: Model) -> bool:
    """Whether the job's computations are split into parts between which it can be stopped."""
    sizes = [each.size for each in plan.passes]
    if plan.source is not None and resizes_latents(plan.source.resize_mode):
        sizes.append(Size(plan.source.picture.width, plan.source.picture.height))
    pixels = max(size.width * size.height for size in sizes) * len(plan.batches[0])
    weights = sum(part.numel() for part in model.parts["denoiser"].parameters())
    return is_large(pixels, weights, model.place.device)
