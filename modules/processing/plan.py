"""From what was asked to what will be done: request + settings -> plan. Pure arithmetic, no torch, no files.

A plan has nothing optional in it: seeds are drawn, sizes are whole latent cells, denoising strength has become the
step at which the walk begins.
"""

from dataclasses import dataclass

from modules.codec import Picture
from modules.errors import WebuiError
from modules.images.geometry import Size
from modules.request import GenerationRequest, Img2ImgRequest
from modules.sampler_names import SamplerName, ScheduleName, resolve_names
from modules.settings import Settings

CELL = 8  # pixels of a latent cell's side in SD 1
MAX_STRENGTH = 0.999  # A1111's clamp: strength 1 still leaves the first step its predecessor


@dataclass(frozen=True)
class Walk:
    """Which part of a schedule is walked: `steps` long, entered at position `first`; `count` steps are taken."""

    steps: int
    first: int

    @property
    def count(self) -> int:
        return max(0, self.steps - self.first)


@dataclass(frozen=True)
class ImagePlan:
    """One picture of the job. `subseed` matters when the variation strength is not 0."""

    index: int
    seed: int
    subseed: int


@dataclass(frozen=True)
class Source:
    """The picture an img2img job starts from, and how it becomes a latent."""

    picture: Picture
    resize_mode: int


@dataclass(frozen=True)
class Plan:
    """A job, resolved. `size` is the result's; `asked` what the request said, for the infotext."""

    prompt: str
    negative_prompt: str
    cfg_scale: float
    sampler: SamplerName
    schedule: ScheduleName
    walk: Walk
    size: Size
    asked: Size
    batches: tuple[tuple[ImagePlan, ...], ...]
    subseed_strength: float
    seed_resize: Size | None
    source: Source | None


def img2img_walk(steps: int, strength: float, exact: bool) -> Walk:
    """A1111's step rule for img2img.

    Normally the schedule keeps its length and int(strength * steps) + 1 of its steps are walked: 16 of 20 at 0.75
    (diffusers' pipelines walk 15). `exact` (A1111's `img2img_fix_steps`) stretches the schedule instead so that
    exactly `steps` are walked; at strength 0 it walks none.
    """
    clamped = min(strength, MAX_STRENGTH)
    if not exact:
        return Walk(steps, steps - int(clamped * steps) - 1)
    if clamped <= 0:
        return Walk(0, 0)
    stretched = int(steps / clamped)
    return Walk(stretched, stretched - steps)


def result_size(request: GenerationRequest) -> tuple[Size, Size]:
    """(size of the result in whole cells, size asked for). `resize_by` multiplies the source's size, truncating."""
    width, height = request.width, request.height
    if isinstance(request, Img2ImgRequest) and request.resize_by is not None:
        picture = request.init_images[0]
        width, height = int(picture.width * request.resize_by), int(picture.height * request.resize_by)
    cut = Size(width // CELL * CELL, height // CELL * CELL)
    if cut.width < CELL or cut.height < CELL:
        raise WebuiError(
            f"Scale (resize_by) = {getattr(request, 'resize_by', None)}: the result would be {width}x{height} pixels, "
            f"at least {CELL}x{CELL} are needed.",
            "Choose a larger scale.",
            "resize_by",
        )
    return cut, Size(width, height)


def make_plan(request: GenerationRequest, settings: Settings) -> Plan:
    """Resolve `request` (its seeds drawn, see `GenerationRequest.resolved`) under `settings`."""
    size, asked = result_size(request)
    source = None
    walk = Walk(request.steps, 0)
    if isinstance(request, Img2ImgRequest):
        source = Source(request.init_images[0], request.resize_mode)
        walk = img2img_walk(request.steps, request.denoising_strength, settings.img2img_fix_steps)
    sampler, schedule = resolve_names(request.sampler_name, request.scheduler)
    from_w, from_h = request.seed_resize_from_w, request.seed_resize_from_h
    return Plan(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        cfg_scale=request.cfg_scale,
        sampler=sampler,
        schedule=schedule,
        walk=walk,
        size=size,
        asked=asked,
        batches=_batches(request),
        subseed_strength=request.subseed_strength,
        seed_resize=Size(from_w, from_h) if from_w > 0 and from_h > 0 else None,
        source=source,
    )


def _batches(request: GenerationRequest) -> tuple[tuple[ImagePlan, ...], ...]:
    # With a variation A1111 holds the seed and counts the variation seed up; without one it counts the seed.
    varied = request.subseed_strength > 0
    images = [
        ImagePlan(i, request.seed if varied else request.seed + i, request.subseed + i) for i in range(request.images)
    ]
    return tuple(tuple(images[i : i + request.batch_size]) for i in range(0, len(images), request.batch_size))
