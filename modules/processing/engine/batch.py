"""One batch of a job: encode the source, run the passes, decode, and paste the original back."""

import logging
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from modules.base.errors import WebuiError
from modules.base.events import Event, ImageDone, Staged, Stop, Warned
from modules.images.color import corrected
from modules.images.geometry import Size
from modules.networks.device import Placement, is_out_of_memory, require_finite
from modules.networks.model import Model
from modules.networks.posterior import Posterior
from modules.networks.vae import NoRoomForVae, to_uint8
from modules.processing.control import JobControl
from modules.processing.engine.infotext import finished_picture
from modules.processing.engine.job import Job
from modules.processing.engine.kept_latents import KeptPass
from modules.processing.engine.models import JobModels, Origin, require_same_family
from modules.processing.engine.passes import Batch, PassInput, PassResult, PassRunner
from modules.processing.hires import second_start
from modules.processing.kinds.resolve import require_pictures
from modules.processing.masked.inpainting import Inpainting, begin_inpainting
from modules.processing.masked.latents import inpainting_input
from modules.processing.masked.prepare import Prepared
from modules.processing.plan import Keeping
from modules.processing.shown import depth_input, source_input
from modules.processing.source import SOURCE_CACHE_BYTES, SourceEncoder, fitted_pixels, source_pixels
from modules.processing.unchanged import kept
from modules.schema.settings import MASK, Settings
from modules.schema.upscalers import named

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Common:
    """What the pictures of all batches have in common.

    made_by: the infotext's entries about the checkpoint.  prepared: the pictures of an inpainting job.  colors_of: the
    picture whose colors the results get, if a setting says so.  control: the job's control units,
    None without any.
    """

    made_by: Mapping[str, str]
    prepared: Prepared | None
    colors_of: Image.Image | None
    control: JobControl | None = None


class BatchRunner:
    """Makes the batches of one job."""

    def __init__(
        self, job: Job, common: Common, models: JobModels, passes: PassRunner, sources: SourceEncoder, place: Placement
    ) -> None:
        self._job = job
        self._common = common
        self._models = models
        self._passes = passes
        # Tiling changes the encoder's output and is not part of the cache's keys.
        self._sources = SourceEncoder(SOURCE_CACHE_BYTES) if job.settings.tiling else sources
        self._kept_sources = sources
        self._place = place

    def run(self, batch: Batch) -> Generator[Event, None, Stop]:
        """Make the pictures of one batch; returns how it was stopped. Raises Stopped from within a computation."""
        job = self._job
        result, inpainting = yield from self._sampled(batch)
        if result.stop:
            job.latents.forget(batch.number, batch.images)
            return result.stop
        yield Staged("decoding")
        try:
            yield from self._decoded(batch, result, inpainting)
        except (RuntimeError, MemoryError, NoRoomForVae) as error:
            if not isinstance(error, NoRoomForVae) and not is_out_of_memory(error):
                raise
            log.warning("out of memory while decoding: %s", error)
            raise WebuiError(
                "Not enough memory to decode the sampled picture.",
                "The sampled latents are kept: close other programs, then retry the job, which only decodes them.",
                "width",
                status=507,
            ) from error
        job.latents.forget(batch.number, batch.images)
        return Stop.NONE

    def _decoded(self, batch: Batch, result: PassResult, inpainting: Inpainting | None) -> Generator[Event, None, None]:
        """Decode the sampled latents. Raises NoRoomForVae, and torch's errors if memory runs out."""
        job, common, settings = self._job, self._common, self._job.settings
        for number, (image, latent) in enumerate(zip(batch.images, result.latents, strict=True)):
            if number:
                job.ear.hear()
            with job.clock.stage("vae_decode"):
                pixels = decoded(result.model, latent, job.is_exact)
            if common.colors_of is not None:
                pixels = corrected(pixels, common.colors_of, job.is_exact)
            painted = pixels
            if inpainting is not None and settings.overlay_inpaint:
                pixels = inpainting.laid_over(pixels, number, latent)
            if inpainting is not None:
                pixels = inpainting.cut(pixels)
            changed = None
            if job.plan.keeping is not None:
                pixels, changed = self._without_drift(pixels, job.plan.keeping)
                yield from map(Warned, job.findings.unreported())
            done = finished_picture(job, common.made_by, common.prepared, image, pixels)
            yield done
            if changed is not None and MASK in settings.beside:
                yield from _beside(done, {MASK: changed.convert("RGB")}, settings, job.request.images)
            if inpainting is not None:
                layers = inpainting.beside(number, latent, painted, settings)
                yield from _beside(done, layers, settings, job.request.images)

    def _without_drift(self, pixels: NDArray[np.uint8], keeping: Keeping) -> tuple[NDArray[np.uint8], Image.Image]:
        """`pixels` over the source, where they changed, and the opacity of the change."""
        job, plan = self._job, self._job.plan
        assert plan.source is not None
        height, width = pixels.shape[:2]
        background = job.settings.img2img_background_color
        fitted = fitted_pixels(plan.source, plan.requested, background).crop((0, 0, width, height))
        return kept(pixels, fitted, keeping, job.findings.note)

    def _sampled(self, batch: Batch) -> Generator[Event, None, tuple[PassResult, Inpainting | None]]:
        """Sample one batch; returns (its result, the inpainting that held its latents)."""
        job, prepared = self._job, self._common.prepared
        plan = job.plan
        source = inpainting = None
        model = self._models.first(0)
        if plan.source is not None:
            yield Staged("encoding")
            background = job.settings.img2img_background_color
            image = prepared.image if prepared is not None else None
            source = self._sources.latents(model, plan, plan.source, batch.images, background, job.clock, image)
            if prepared is not None and plan.canvas is not None:
                inpainting = begin_inpainting(plan, plan.canvas, prepared, source, job.settings)
                source = inpainting.original
            job.ear.hear()
        kept = job.latents.find(batch.number, batch.images)
        if kept is not None:
            del model
            log.info("Batch %d goes on with the latents that were kept of pass %d.", batch.number, kept.index)
            result = self._restored(kept)
        else:
            yield Staged("sampling")
            seen = self._seen(model, plan.first.size)
            del model  # a refiner may need its memory
            result = yield from self._passes.run(batch, PassInput(0, 0, source, inpainting, seen, self._common.control))
            self._keep(batch, 0, result)
        if not result.stop and plan.hires is not None and (kept is None or kept.index == 0):
            result = yield from self._second(batch, result)
            self._keep(batch, 1, result)
        if not result.stop:
            latents = result.latents if inpainting is None else inpainting.finished(result.latents)
            result = replace(result, latents=require_finite(latents, "The network", self._place))
        return result, inpainting

    def _keep(self, batch: Batch, index: int, result: PassResult) -> None:
        """Have what came of a pass on the disk until it is decoded."""
        findings = self._job.findings
        if not result.stop and bool(result.latents.isfinite().all()):
            noted, pairs = frozenset(findings.noted), dict(findings.pairs)
            kept = KeptPass(index, result.is_refined, result.latents, noted, pairs)
            self._job.latents.keep(batch.number, batch.images, kept)

    def _restored(self, kept: KeptPass) -> PassResult:
        """What a pass came to before the job was cut off or found no memory."""
        job = self._job
        job.findings.noted.update(kept.noted)
        job.findings.pairs.update(kept.pairs)
        model = self._models.last(kept.index, kept.is_refined)
        return PassResult(Stop.NONE, kept.latents.to(self._place.device), model, kept.is_refined)

    def _second(self, batch: Batch, first: PassResult) -> Generator[Event, None, PassResult]:
        """The second pass of hires fix, over the enlarged result of the first."""
        job, plan = self._job, self._job.plan
        assert plan.hires is not None
        require_finite(first.latents, "The network", self._place)
        checkpoint = job.files.of_pass(1)
        if not self._models.is_loaded(checkpoint):
            yield Staged(f"loading {checkpoint.name}")
        model = self._models.first(1)
        origin = Origin(first.model.family, first.model.name, first.model.shown)
        require_same_family(origin, model, "Hires checkpoint", "hr_checkpoint_name")
        if job.files.second is not None:
            job.findings.pairs["Hires checkpoint"] = f"{model.name} [{model.hash}]"
        self._passes.require_room(1, batch.images, model)
        yield Staged("enlarging")
        upscaler = named(plan.hires.enlargement.upscaler, job.upscalers, "hr_upscaler")
        source = second_start(
            first.model, model, first.latents, plan.hires, upscaler, batch.images, job.clock, job.is_exact, job.ear.hear
        )
        yield Staged("sampling")
        seen = self._seen(model, plan.hires.second.size)
        del model
        return (
            yield from self._passes.run(
                batch, PassInput(1, plan.first.steps.count, source, None, seen, self._common.control)
            )
        )

    def _seen(self, model: Model, size: Size) -> Tensor | None:
        """The model's extra input channels in a pass of `size` pixels; None for most models."""
        if not model.shown:
            return None
        job, prepared = self._job, self._common.prepared
        plan, settings = job.plan, job.settings
        require_pictures(job.request, model.shown, model.name)
        cells = Size(*map(model.sizes.cells, size))
        if model.shown == "depth":
            assert plan.source is not None
            return depth_input(plan.source, prepared, plan.requested, cells).to(self._place.device)
        image = None
        if prepared is not None:
            image = prepared.image
        elif plan.source is not None:
            image = source_pixels(plan.source, plan.requested, settings.img2img_background_color, plan.sizes)

        def encoded(pixels: Tensor) -> Posterior:
            return self._kept_sources.encoded(model, pixels, job.clock)

        if model.shown == "source":
            assert image is not None
            return source_input(encoded, image, model.latent, cells)
        return inpainting_input(
            encoded,
            image,
            prepared.mask if prepared is not None else None,
            plan.canvas is None or plan.canvas.is_rounded,
            settings.inpainting_mask_weight,
            cells,
            model.sizes.cell,
        )


def decoded(model: Model, latent: Tensor, is_exact: bool) -> NDArray[np.uint8]:
    """A finished latent (C, h, w) as pixels (H, W, 3)."""
    return to_uint8(model.decode(latent[None]), is_exact)[0]


def _beside(done: ImageDone, layers: Mapping[str, Image.Image], settings: Settings, images: int) -> Iterator[ImageDone]:
    """The pictures that go with one, such as its mask. Their index is its own plus once or twice the count."""
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
