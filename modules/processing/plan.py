"""From what was asked to what will be done: request + settings -> plan. Pure arithmetic, no torch, no files.

A plan has nothing optional in it: seeds are drawn, sizes are whole latent cells, denoising strength has become the
step at which the walk begins.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from modules.base.errors import WebuiError
from modules.base.picture import Picture
from modules.images.geometry import Margins, Size
from modules.prompts.schedule import Timing, timing, without_comments
from modules.prompts.tags import NetworkTag, network_tags, take_tags
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest, counted_up
from modules.schema.sampler_names import SamplerName, ScheduleName, resolve_names
from modules.schema.settings import EXACT, Settings

CELL = 8  # pixels of a latent cell's side in SD 1
LARGEST = 8192  # pixels of a side of the second pass
OLD_FIRST_PIXELS, OLD_FIRST_STEP = 512 * 512, 64
MAX_STRENGTH = 0.999  # A1111's clamp: strength 1 still leaves the first step its predecessor
# Steps of a stretched schedule. At a strength so low all levels that are walked are the lowest one but for rounding.
MOST_STRETCHED = 1_000_000


@dataclass(frozen=True)
class Walk:
    """Which part of a schedule is walked: `steps` long, entered at position `first`; `count` steps are taken."""

    steps: int
    first: int

    @property
    def count(self) -> int:
        return max(0, self.steps - self.first)


@dataclass(frozen=True)
class Pass:
    """One walk of a sampler over a whole picture. `is_partial`: it begins with a picture and not with plain noise.

    `networks` are the LoRAs that its prompt names, which is without their tags; `token_merging` the share of tokens
    that self-attention merges.
    """

    sampler: SamplerName
    schedule: ScheduleName
    walk: Walk
    size: Size
    prompt: str
    negative_prompt: str
    timing: Timing
    is_partial: bool
    networks: tuple[NetworkTag, ...] = ()
    token_merging: float = 0.0


@dataclass(frozen=True)
class Enlargement:
    """What lies between the passes of hires fix: the first picture is enlarged to `size` pixels by `upscaler`.

    What sticks out of the second pass's size is cut off, the half of it on each side.
    """

    upscaler: str
    size: Size


@dataclass(frozen=True)
class Hires:
    """Hires fix: a second pass over the enlarged result of the first."""

    enlargement: Enlargement
    second: Pass


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
class Softness:
    """The values of soft inpainting; `modules/processing/soft_inpainting.py` has the formulas.

    Latents are blended by mask ** (sigma ** bias * strength), their magnitudes with the exponent `contrast_boost`;
    the pixels' blend comes from how far latents moved: `threshold` (half), `contrast`, and `mask_influence` in 0 … 1.
    """

    bias: float
    strength: float
    contrast_boost: float
    mask_influence: float
    threshold: float
    contrast: float


@dataclass(frozen=True)
class Frame:
    """What is painted on around the source: `margins` in its pixels, filled by `fill`, an index of OUTPAINT_FILLS.

    Over `feather` pixels the new part leaves the old edge's tone.
    """

    margins: Margins
    fill: int
    feather: int


@dataclass(frozen=True)
class Canvas:
    """What is redrawn of the source, and how it comes back into it. `blur` is (across, down), sigmas in pixels.

    `mask` says it for pixels, and for the latent too unless there is a `latent_mask`; None redraws nothing of the
    source, only what a `frame` adds to it. `content` is an index of MASKED_CONTENTS; `padding` counts where only the
    masked region is worked on. `by_grey` takes greys of the mask for shares of the denoising strength, which `strength`
    is. `color_match` in 0 … 1 tells how far the tone is matched to what lies around. `is_exact`: where A1111 displaces
    or changes what is not masked, so do we.
    """

    mask: Picture | None
    latent_mask: Picture | None
    is_inverted: bool
    is_rounded: bool
    blur: tuple[int, int]
    only_masked: bool
    padding: int
    content: int
    softness: Softness | None
    by_grey: bool = False
    strength: float = 1.0
    color_match: float = 0.0
    frame: Frame | None = None
    is_exact: bool = False


@dataclass(frozen=True)
class Plan:
    """A job, resolved. `size` is the result's (the tile's, where only the masked region is worked on); `asked` what the
    request said, for the infotext and for fitting pictures: A1111 fits to whole pixels, not to whole cells."""

    first: Pass
    hires: Hires | None
    cfg_scale: float
    asked: Size
    batches: tuple[tuple[ImagePlan, ...], ...]
    subseed_strength: float
    seed_resize: Size | None
    source: Source | None
    canvas: Canvas | None

    @property
    def size(self) -> Size:
        """Of the first pass; of the only one without hires fix."""
        return self.first.size

    @property
    def passes(self) -> tuple[Pass, ...]:
        """One, or with hires fix two."""
        return (self.first, self.hires.second) if self.hires else (self.first,)

    @property
    def last(self) -> Pass:
        """The pass whose result is the picture."""
        return self.hires.second if self.hires else self.first

    @property
    def steps(self) -> int:
        """Steps that are walked for a batch, in all passes."""
        return self.first.walk.count + (self.hires.second.walk.count if self.hires else 0)


def img2img_walk(steps: int, strength: float, exact: bool) -> Walk:
    """A1111's step rule for img2img.

    Normally the schedule keeps its length and int(strength * steps) + 1 of its steps are walked: 16 of 20 at 0.75
    (diffusers' pipelines walk 15). `exact` (A1111's `img2img_fix_steps`) stretches the schedule instead so that
    exactly `steps` are walked; at strength 0 it walks none. It grows no longer than `MOST_STRETCHED`.
    """
    clamped = min(strength, MAX_STRENGTH)
    if not exact:
        return Walk(steps, steps - int(clamped * steps) - 1)
    if clamped <= 0:
        return Walk(0, 0)
    stretched = int(min(steps / clamped, MOST_STRETCHED))
    return Walk(stretched, stretched - steps)


def result_size(request: GenerationRequest) -> tuple[Size, Size]:
    """(size of the result in whole cells, size asked for). `resize_by` multiplies the source's size, truncating."""
    width, height = request.width, request.height
    if isinstance(request, Img2ImgRequest) and (request.resize_by is not None or _is_grown(request)):
        picture = Size(request.init_images[0].width, request.init_images[0].height)
        whole = margins(request).around(picture)
        scale = 1.0 if request.resize_by is None else request.resize_by
        width, height = int(whole.width * scale), int(whole.height * scale)
        if scale == 1 and _is_grown(request):  # the old pixels stay as they are: the rest of the last cells is cut
            return _grown_size(whole), whole
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
    """Resolve `request` (its seeds drawn, see `GenerationRequest.resolved`) under `settings`, the effective ones."""
    size, asked = result_size(request)
    source = canvas = None
    walk = Walk(request.steps, 0)
    if isinstance(request, Img2ImgRequest):
        source = Source(request.init_images[0], request.resize_mode)
        canvas = _canvas(request, settings)
        walk = img2img_walk(request.steps, request.denoising_strength, settings.img2img_fix_steps)
    sampler, schedule = resolve_names(request.sampler_name, request.scheduler)
    prompt, networks = _positive(request.prompt, settings)
    negative_prompt = read_prompt(request.negative_prompt, settings)
    # A1111 times edits over the slider's steps, so that in img2img late ones never come; ours over the steps walked.
    steps = _evaluations(sampler, request.steps if settings.compatibility == EXACT else walk.count)
    is_hires = isinstance(request, Txt2ImgRequest) and request.enable_hr
    when = timing(steps, use_old_scheduling=settings.use_old_scheduling, has_hires_pass=is_hires)
    first = Pass(
        sampler, schedule, walk, size, prompt, negative_prompt, when, source is not None, networks,
        settings.token_merging_ratio,
    )  # fmt: skip
    from_w, from_h = request.seed_resize_from_w, request.seed_resize_from_h
    return Plan(
        first=first,
        hires=_hires(request, first, settings) if isinstance(request, Txt2ImgRequest) and request.enable_hr else None,
        cfg_scale=request.cfg_scale,
        asked=asked,
        batches=_batches(request),
        subseed_strength=request.subseed_strength,
        seed_resize=Size(from_w, from_h) if from_w > 0 and from_h > 0 else None,
        source=source,
        canvas=canvas,
    )


def _positive(prompt: str, settings: Settings) -> tuple[str, tuple[NetworkTag, ...]]:
    """The text encoder must not read `<lora:…>` as words; A1111 takes such tags out of the positive prompt alone."""
    text, tags = take_tags(read_prompt(prompt, settings))
    return text, tuple(network_tags(tags))


def read_prompt(prompt: str, settings: Settings) -> str:
    """A prompt without its comments, unless they are text by the settings."""
    return without_comments(prompt) if settings.enable_prompt_comments else prompt


def _evaluations(sampler: SamplerName, steps: int) -> int:
    """Samplers that evaluate twice a step count twice as fast."""
    return steps * (2 if sampler.second_order else 1)


def _hires(request: Txt2ImgRequest, first: Pass, settings: Settings) -> Hires:
    enlarged, size = hires_sizes(request)
    sampler, schedule = resolve_names(
        request.hr_sampler_name or first.sampler.name, request.hr_scheduler or request.scheduler
    )
    steps = request.hr_second_pass_steps or request.steps
    when = timing(
        _evaluations(first.sampler, request.steps),
        _evaluations(sampler, steps),
        use_old_scheduling=settings.use_old_scheduling,
    )
    prompt, networks = _positive(request.hr_prompt or request.prompt, settings)
    second = Pass(
        sampler=sampler,
        schedule=schedule,
        walk=img2img_walk(steps, request.denoising_strength, exact=True),
        size=size,
        prompt=prompt,
        negative_prompt=read_prompt(request.hr_negative_prompt or request.negative_prompt, settings),
        timing=when,
        is_partial=True,
        networks=networks,
        token_merging=settings.token_merging_ratio_hr,
    )
    return Hires(Enlargement(request.hr_upscaler, enlarged), second)


def with_first_size(request: GenerationRequest, settings: Settings) -> GenerationRequest:
    """`request`, or one whose width and height are the first pass's and not, as they once were, the result's.

    A1111's first rule: about as many pixels as 512x512, each side rounded up to a multiple of 64.
    """
    is_old = isinstance(request, Txt2ImgRequest) and request.enable_hr and settings.use_old_hires_fix_width_height
    if not is_old:
        return request
    scale = math.sqrt(OLD_FIRST_PIXELS / (request.width * request.height))
    width, height = (
        math.ceil(scale * side / OLD_FIRST_STEP) * OLD_FIRST_STEP for side in (request.width, request.height)
    )
    update = {"width": width, "height": height, "hr_resize_x": request.width, "hr_resize_y": request.height}
    return request.model_copy(update=update)


def hires_sizes(request: Txt2ImgRequest) -> tuple[Size, Size]:
    """(size in pixels to which the first picture is enlarged, size of the second pass in whole cells).

    Without a size of its own it is `hr_scale` times the first one. With one side, the other follows; with both, the
    picture is enlarged until it covers them, and what sticks out is cut off.
    """
    width, height = request.width, request.height
    target = Size(request.hr_resize_x, request.hr_resize_y)
    if target == (0, 0):
        enlarged = Size(int(width * request.hr_scale), int(height * request.hr_scale))
    elif target.height == 0 or (target.width > 0 and width * target.height < target.width * height):
        enlarged = Size(target.width, target.width * height // width)
    else:
        enlarged = Size(target.height * width // height, target.height)
    cells = Size(enlarged.width // CELL, enlarged.height // CELL)
    if min(target) > 0:  # whole cells stick out
        cells = Size(
            cells.width - max(0, (enlarged.width - target.width) // CELL),
            cells.height - max(0, (enlarged.height - target.height) // CELL),
        )
    if min(cells) < 1 or max(cells) * CELL > LARGEST:
        raise WebuiError(
            f"Hires fix: the result would be {enlarged.width}x{enlarged.height} pixels, expected from {CELL} to "
            f"{LARGEST} on each side.",
            "Choose another scale or size.",
            "hr_scale" if target == (0, 0) else "hr_resize_x",
        )
    return enlarged, Size(cells.width * CELL, cells.height * CELL)


def margins(request: Img2ImgRequest) -> Margins:
    """What is painted on around the source, in its pixels."""
    return Margins(request.outpaint_left, request.outpaint_top, request.outpaint_right, request.outpaint_bottom)


def ignored_size(request: GenerationRequest) -> str:
    """A sentence where width and height were given and say nothing, as the source and its margins make the size."""
    if not isinstance(request, Img2ImgRequest) or not _is_grown(request):
        return ""
    _, asked = result_size(request)
    if not request.model_fields_set & {"width", "height"} or (request.width, request.height) == asked:
        return ""
    return (
        f"width and height ({request.width}x{request.height}) are not used where the picture is painted on: the result "
        f"is the source with its margins, {asked.width}x{asked.height}."
    )


def size_advice(request: GenerationRequest, is_second: bool) -> tuple[str, Callable[[Size], str]]:
    """(the field that makes the size of a pass, how to come to another size)."""
    if is_second:
        return "hr_scale", lambda fitting: f"Set the second pass's size to {fitting.width}x{fitting.height}."
    if isinstance(request, Img2ImgRequest) and _is_grown(request):
        return "outpaint_left", lambda fitting: "Paint on less, or take a smaller copy of the source."
    if isinstance(request, Img2ImgRequest) and request.resize_by is not None:
        wide = request.init_images[0].width

        def by(fitting: Size) -> str:
            share = int(fitting.width / wide * 20) / 20  # the slider's steps
            return f"Set Resize by to {share:g}, or the size to {fitting.width}x{fitting.height}."

        return "resize_by", by
    return "width", lambda fitting: f"Set the size to {fitting.width}x{fitting.height}."


def _is_grown(request: Img2ImgRequest) -> bool:
    """Whether the source's size and what is painted on make the result's size, and not width and height."""
    return request.is_outpainted and request.inpaint_full_res == 0


def _grown_size(whole: Size) -> Size:
    """The whole cells that cover `whole` pixels."""
    if max(whole) > LARGEST:
        raise WebuiError(
            f"Outpainting: the result would be {whole.width}x{whole.height} pixels, expected at most {LARGEST} on each "
            "side.",
            "Paint on less, or take a smaller source.",
            "outpaint_left",
        )
    return Size(-(-whole.width // CELL) * CELL, -(-whole.height // CELL) * CELL)


def _canvas(request: Img2ImgRequest, settings: Settings) -> Canvas | None:
    if request.mask is None and not request.is_outpainted:
        return None
    frame = Frame(margins(request), request.outpaint_fill, request.outpaint_feather)
    by_grey = request.mask_strength_by_grey and request.mask is not None
    is_soft = request.soft_inpainting and not by_grey
    softness = Softness(
        bias=request.mask_blend_power,
        strength=request.mask_blend_scale,
        contrast_boost=request.inpaint_detail_preservation,
        mask_influence=request.composite_mask_influence,
        threshold=request.composite_difference_threshold,
        contrast=request.composite_difference_contrast,
    )
    return Canvas(
        mask=request.mask,
        latent_mask=request.latent_mask,
        is_inverted=request.inpainting_mask_invert == 1,
        is_rounded=request.mask_round and not is_soft and not by_grey,
        blur=request.blur,
        only_masked=request.inpaint_full_res == 1,
        padding=request.inpaint_full_res_padding,
        content=request.inpainting_fill,
        softness=softness if is_soft else None,
        by_grey=by_grey,
        strength=request.denoising_strength,
        color_match=request.inpaint_color_match,
        frame=frame if request.is_outpainted else None,
        is_exact=settings.compatibility == EXACT,
    )


def _batches(request: GenerationRequest) -> tuple[tuple[ImagePlan, ...], ...]:
    # With a variation A1111 holds the seed and counts the variation seed up; without one it counts the seed.
    varied = request.subseed_strength > 0
    images = [
        ImagePlan(i, counted_up(request.seed, 0 if varied else i), counted_up(request.subseed, i))
        for i in range(request.images)
    ]
    return tuple(tuple(images[i : i + request.batch_size]) for i in range(0, len(images), request.batch_size))
