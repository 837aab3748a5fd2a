"""One pass of a batch: prompts, schedule, guidance and what wraps them, from a starting latent to a finished one."""

import io
from collections.abc import Generator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import count

import torch
from PIL import Image
from torch import Tensor

from modules.base.errors import WebuiError
from modules.base.events import Event, Previewed, Stepped, Stop, Warned
from modules.extension.hooks import Extension, PassView
from modules.networks.conditioning import Extra, Steering
from modules.networks.files.listing import HashCache
from modules.networks.model import Model
from modules.networks.parts import InParts
from modules.networks.previews import PreviewMap, preview
from modules.processing.clock import Stopwatch
from modules.processing.control import JobControl
from modules.processing.denoise.guidance import BeforePredict, GuidanceOptions, Guided, guidance_options
from modules.processing.denoise.prompts import PromptEncoder, PromptSet
from modules.processing.denoise.refiner import HandedOver, Refiner
from modules.processing.engine.job import Job
from modules.processing.engine.models import JobModels, Origin, require_same_family
from modules.processing.engine.scene import SourceScene, shaped_noise
from modules.processing.masked.inpainting import Inpainting
from modules.processing.plan import ImagePlan, Pass, size_advice
from modules.processing.room import Room
from modules.processing.schedule import PassSchedule, Start, begin, noise_of_refiner, pass_schedule, sample
from modules.processing.shown import CHANNELS as SHOWN_CHANNELS
from modules.processing.shown import KINDS
from modules.sampling.denoise import SplitDenoise, wrapped

PREVIEW_QUALITY = 85
SHORT_PROMPTS = 2000  # characters of both prompts; longer ones take noticeably long


@dataclass(frozen=True)
class Batch:
    """The pictures made at the same time; `number` counts the job's batches from 0."""

    number: int
    images: Sequence[ImagePlan]


@dataclass(frozen=True)
class PassInput:
    """What a pass of a batch starts from.

    index: of the pass.  steps_done: in the passes before.  source: (B, C, h, w), the latents that noise is added to;
    None starts from plain noise.  inpainting: what must not change.  seen: (1, n, h, w), extra input channels of some
    checkpoints (`processing/shown.py`).  control: the job's control units.
    """

    index: int
    steps_done: int
    source: Tensor | None = None
    inpainting: Inpainting | None = None
    seen: Tensor | None = None
    control: JobControl | None = None


@dataclass(frozen=True)
class PassResult:
    """How a pass was stopped, its latents (B, C, h, w) so far, and the model it ended with, maybe the refiner."""

    stop: Stop
    latents: Tensor
    model: Model
    is_refined: bool = False


@dataclass(frozen=True)
class Setup:
    """A pass with what its batches share."""

    request: Pass
    schedule: PassSchedule
    prompts: PromptSet


class PassRunner:
    """Runs the passes of one job."""

    def __init__(self, job: Job, models: JobModels, encoder: PromptEncoder, hashes: HashCache, room: Room) -> None:
        self._job = job
        self._models = models
        self._encoder = encoder
        self._hashes = hashes
        self._room = room
        self._setups: dict[int, Setup] = {}

    def setup(self, index: int) -> Setup:
        """Schedule and prompts of a pass."""
        if index not in self._setups:
            request = self._job.plan.passes[index]
            model = self._models.first(index)
            prompts = self._prompts(model, request)
            self._setups[index] = Setup(request, pass_schedule(request, model, self._job.settings), prompts)
        return self._setups[index]

    def run(self, batch: Batch, given: PassInput) -> Generator[Event, None, PassResult]:
        """Take the steps of one pass."""
        job, models, index = self._job, self._models, given.index
        setup = self.setup(index)
        checkpoint, refiner = job.files.of_pass(index), job.files.refiner
        model = models.first(index)
        previews = models.previews(checkpoint)
        for note in job.findings.unreported():
            yield Warned(note)
        start = self._start(setup, batch, given, model)
        handed = self._guided(setup, batch, given, model)
        views = self._views(setup, given, model)
        denoise: SplitDenoise = handed
        for extension, view in views:
            denoise = wrapped(denoise, partial(extension.wrap_denoise, view=view))
        if given.inpainting is not None:
            schedule = setup.schedule
            is_preserving = setup.request.sampler.timesteps
            denoise = given.inpainting.around(denoise, schedule.noise, schedule.range.sigmas, is_preserving)
        del model  # a refiner may need the memory
        latents, total = start.x, max(job.plan.steps, given.steps_done + start.steps)
        steps = sample(setup.schedule, start, denoise)
        for number in count():
            current = refiner if handed.is_refined and refiner is not None else checkpoint
            models.lay_over_loras(index, current, number)
            if given.control is not None:
                given.control.steps.done = number
            step = next(steps, None)
            if step is None:
                break
            latents = step.x
            yield Stepped(batch.number, given.steps_done + step.i + 1, total)
            stop = job.should_stop()
            if stop:
                return PassResult(stop, latents, handed.model, handed.is_refined)
            settings = job.settings
            if settings.live_previews_enable and (step.i + 1) % settings.show_progress_every_n_steps == 0:
                yield _preview(batch.number, step.denoised[0], previews)
        job.findings.noted.update(handed.noted)
        return PassResult(Stop.NONE, latents, handed.model, handed.is_refined)

    def require_room(self, index: int, images: Sequence[ImagePlan], model: Model) -> None:
        """Raises WebuiError, with the size that fits, if there is not enough memory for a pass."""
        job, setup = self._job, self.setup(index)
        channels, device = model.latent.channels, model.place.device

        def evaluate(side: int) -> None:
            seen = None
            if model.shown:
                seen = torch.zeros(1, SHOWN_CHANNELS[model.shown](channels), side, side, device=device)
            guided = Guided(
                model.with_noise(setup.schedule.noise),
                setup.prompts.of(images[:1]),
                GuidanceOptions(
                    job.plan.cfg_scale,
                    calls=1,
                    image_scale=job.plan.image_cfg_scale,
                    is_batched=job.settings.batch_cond_uncond,
                ),
                Stopwatch(),
                Extra(concat=seen),
            )
            guided(torch.zeros(1, channels, side, side, device=device), setup.schedule.range.sigmas[:1].to(device))

        field, hint = size_advice(job.request, is_second=index == 1)
        self._room.require(model.hash, evaluate, setup.request.size, len(images), model.sizes, hint, field)

    def _prompts(self, model: Model, request: Pass) -> PromptSet:
        """The prompts of a pass. Encoding long ones, or many stages, can be interrupted."""
        is_short = len(request.prompt) + len(request.negative_prompt) <= SHORT_PROMPTS
        is_short = is_short and "[" not in request.prompt + request.negative_prompt
        with nullcontext() if is_short else InParts(self._job.ear.hear):
            prompts = self._encoder.prompts(model, request, self._job.settings, self._job.clock)
        self._job.findings.prompts(prompts, model, self._hashes)
        return prompts

    def _start(self, setup: Setup, batch: Batch, given: PassInput, model: Model) -> Start:
        job, size = self._job, setup.request.size
        shape = (model.latent.channels, model.sizes.cells(size.height), model.sizes.cells(size.width))
        multiplier = job.settings.initial_noise_multiplier if job.plan.source is not None else 1.0
        shaped = None
        if job.noise is not None and given.source is not None:
            scene = partial(
                SourceScene,
                model,
                setup.request,
                setup.schedule,
                given.source,
                batch.images,
                self._encoder,
                job.settings,
                job.clock,
                job.ear.hear,
                given.seen,
            )
            shaped = partial(shaped_noise, job.noise, scene)
        return begin(
            setup.schedule,
            job.plan,
            batch.images,
            given.source,
            shape,
            job.settings,
            model.place.device,
            multiplier,
            shaped,
        )

    def _views(self, setup: Setup, given: PassInput, model: Model) -> list[tuple[Extension, PassView]]:
        """The extensions of the job, with what each sees of a pass."""
        size, steps = setup.request.size, setup.request.steps.count
        return [
            (
                call.extension,
                PassView(
                    self._job.request,
                    call.arguments,
                    given.index == 1,
                    steps,
                    size.width,
                    size.height,
                    model.sizes.cell,
                    model.family.name,
                ),
            )
            for call in self._job.extensions
        ]

    def _before_predict(self, setup: Setup, given: PassInput, model: Model) -> BeforePredict | None:
        """What extensions add to each evaluation, one after the other; None without any."""
        views = self._views(setup, given, model)
        if not views:
            return None

        def before(x: Tensor, sigma: Tensor, extra: Extra) -> Extra:
            for extension, view in views:
                extra = extension.before_predict(x, sigma, extra, view)
            return extra

        return before

    def _guided(self, setup: Setup, batch: Batch, given: PassInput, model: Model) -> HandedOver:
        """The model under guidance, with the refiner that takes over from it."""
        request = setup.request
        plan, settings = self._job.plan, self._job.settings
        options = guidance_options(plan.cfg_scale, request.steps.count, request.sampler, settings, plan.image_cfg_scale)
        steering = () if given.control is None else self._steering(given.control, given.index, request, model)
        extra = Extra(concat=given.seen, token_merging=request.token_merging, controls=steering)
        guided = Guided(
            model.with_noise(setup.schedule.noise),
            setup.prompts.of(batch.images),
            options,
            self._job.clock,
            extra,
            self._before_predict(setup, given, model),
        )
        origin = Origin(model.family, model.name, model.shown)
        return HandedOver(guided, self._refiner(setup, batch, given, options, origin), options)

    def _steering(self, control: JobControl, index: int, request: Pass, model: Model) -> tuple[Steering, ...]:
        """The control units that act in a pass."""
        return control.of_pass(index, request.size, request.steps.count, model, self._job.clock)

    def _refiner(
        self, setup: Setup, batch: Batch, given: PassInput, options: GuidanceOptions, origin: Origin
    ) -> Refiner | None:
        """The refiner of a pass, if any."""
        job, models, index = self._job, self._models, given.index
        refiner, first = job.files.refiner, job.files.of_pass(index)
        if refiner is None or refiner.path.resolve() == first.path.resolve():
            return None
        has_two, only = len(job.plan.passes) == 2, job.settings.hires_fix_refiner_pass
        if has_two and only == ("second pass", "first pass")[index]:
            return None

        def take(calls: int) -> Guided:
            model = models.take(refiner, index)
            require_same_family(origin, model, "Refiner", "refiner_checkpoint")
            if model.shown and model.shown != origin.shown:
                raise WebuiError(
                    f"Refiner: {refiner.name} is {KINDS[model.shown]}, but the one before it is not.",
                    "Choose another.",
                    "refiner_checkpoint",
                )
            if has_two:
                job.findings.noted.add("hires_fix_refiner_pass")
            job.findings.pairs["Refiner"] = f"{model.name} [{model.hash}]"
            if job.files.switch_at is not None:
                job.findings.pairs["Refiner switch at"] = str(job.files.switch_at)
            prompts = self._prompts(model, setup.request)
            seen = given.seen if model.shown else None
            extra = Extra(concat=seen, token_merging=setup.request.token_merging)
            noise = noise_of_refiner(setup.schedule.sampler, model)
            return Guided(
                model.with_noise(noise),
                prompts.of(batch.images),
                options,
                job.clock,
                extra,
                self._before_predict(setup, given, model),
                calls=calls,
            )

        return Refiner(job.files.switch_at, job.settings.refiner_switch_by_sample_steps, take)


def _preview(number: int, latent: Tensor, previews: PreviewMap) -> Previewed:
    small = Image.fromarray(preview(latent, previews))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=PREVIEW_QUALITY)
    return Previewed(number, small.width, small.height, buffer.getvalue())
