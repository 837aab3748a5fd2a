"""From request and settings to the plan. Pure arithmetic, no torch, no files.

Nothing in a plan is optional: seeds are drawn, sizes are whole latent cells, and denoising strength has become the
first step of the pass.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from modules.images.geometry import Size
from modules.processing.plan.records import (
    Canvas,
    Enlargement,
    Frame,
    Hires,
    ImagePlan,
    Keeping,
    Pass,
    Plan,
    Softness,
    Source,
    StepRange,
)
from modules.processing.plan.sizes import hires_sizes, margins, result_size
from modules.processing.plan.steps import img2img_steps
from modules.prompts.edited_tags import windows
from modules.prompts.lora_arguments import Window
from modules.prompts.schedule import Timing, timing, without_comments
from modules.prompts.tags import HypernetworkTag, NetworkTag, hypernetwork_tags, network_tags, take_tags
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest, counted_up
from modules.schema.sampler_names import SamplerName, resolve_names
from modules.schema.settings import EXACT, Settings
from modules.schema.sizes import SizeRule
from modules.schema.upscalers import NONE, Upscaler, named, of_pictures


def make_plan(request: GenerationRequest, settings: Settings, sizes: SizeRule) -> Plan:
    """Resolve `request` (its seeds drawn, see `GenerationRequest.resolved`) under `settings`, the effective ones.

    `sizes` is the rule of the checkpoint's family.
    """
    size, requested = result_size(request, sizes)
    source = canvas = keeping = None
    image_scale = 1.0
    taken = StepRange(request.steps, 0)
    if isinstance(request, Img2ImgRequest):
        source = Source(request.init_images[0], request.resize_mode, request.depth_map)
        image_scale = image_scale if request.image_cfg_scale is None else request.image_cfg_scale
        canvas = _canvas(request, settings)
        keeping = _keeping(request) if canvas is None else None
        taken = img2img_steps(request.steps, request.denoising_strength, settings.img2img_fix_steps)
    sampler, schedule = resolve_names(request.sampler_name, request.scheduler)
    negative_prompt = read_prompt(request.negative_prompt, settings)
    # A1111 times edits over the slider's steps, so late ones never happen in img2img; we use the steps taken.
    steps = _evaluations(sampler, request.steps if settings.compatibility == EXACT else taken.count)
    is_hires = isinstance(request, Txt2ImgRequest) and request.enable_hr
    when = timing(steps, use_old_scheduling=settings.use_old_scheduling, has_hires_pass=is_hires)
    prompt = _positive(request.prompt, settings, when, taken, sampler)
    first = Pass(
        sampler, schedule, taken, size, prompt.text, negative_prompt, when, source is not None, prompt.loras,
        prompt.hypernetworks, settings.token_merging_ratio,
    )  # fmt: skip
    from_w, from_h = request.seed_resize_from_w, request.seed_resize_from_h
    return Plan(
        first=first,
        hires=_hires(request, first, settings, sizes)
        if isinstance(request, Txt2ImgRequest) and request.enable_hr
        else None,
        cfg_scale=request.cfg_scale,
        requested=requested,
        batches=_batches(request),
        subseed_strength=request.subseed_strength,
        seed_resize=Size(from_w, from_h) if from_w > 0 and from_h > 0 else None,
        source=source,
        canvas=canvas,
        sizes=sizes,
        image_cfg_scale=image_scale,
        keeping=keeping,
    )


class _Positive(NamedTuple):
    """A prompt without its tags, and the tags."""

    text: str
    loras: tuple[NetworkTag, ...]
    hypernetworks: tuple[HypernetworkTag, ...]


def _positive(prompt: str, settings: Settings, when: Timing, taken: StepRange, sampler: SamplerName) -> _Positive:
    """Remove `<lora:…>` tags, which are not for the text encoder; like A1111, from the positive prompt only.

    In A1111 prompt editing around a tag has no effect; here the LoRA acts in the steps whose prompt contains it.
    """
    read = read_prompt(prompt, settings)
    text, tags = take_tags(read)
    loras = network_tags(tags)
    edited = [Window()] * len(loras)
    if loras and "[" in read and settings.compatibility != EXACT:
        edited = windows(read, when, _evaluations(sampler, 1))
    timed = tuple(
        tag._replace(window=tag.window.of(taken.count).within(window))
        for tag, window in zip(loras, edited, strict=True)
    )
    return _Positive(text, timed, tuple(hypernetwork_tags(tags)))


def read_prompt(prompt: str, settings: Settings) -> str:
    """A prompt without its comments, unless a setting keeps them."""
    return without_comments(prompt) if settings.enable_prompt_comments else prompt


def _evaluations(sampler: SamplerName, steps: int) -> int:
    """Evaluations of `steps` steps: twice as many for second-order samplers."""
    return steps * (2 if sampler.second_order else 1)


def with_upscaler(plan: Plan, name: str, upscalers: Sequence[Upscaler]) -> Plan:
    """`plan` with what makes its source larger, by its name. Raises WebuiError for an unknown one."""
    if plan.source is None or name == NONE:
        return plan
    upscaler = named(name, of_pictures(upscalers), "upscaler_for_img2img")
    return replace(plan, source=replace(plan.source, upscaler=upscaler))


def _hires(request: Txt2ImgRequest, first: Pass, settings: Settings, sizes: SizeRule) -> Hires:
    enlarged, size = hires_sizes(request, sizes)
    sampler, schedule = resolve_names(
        request.hr_sampler_name or first.sampler.name, request.hr_scheduler or request.scheduler
    )
    steps = request.hr_second_pass_steps or request.steps
    when = timing(
        _evaluations(first.sampler, request.steps),
        _evaluations(sampler, steps),
        use_old_scheduling=settings.use_old_scheduling,
    )
    taken = img2img_steps(steps, request.denoising_strength, exact=True)
    prompt = _positive(request.hr_prompt or request.prompt, settings, when, taken, sampler)
    second = Pass(
        sampler=sampler,
        schedule=schedule,
        steps=taken,
        size=size,
        prompt=prompt.text,
        negative_prompt=read_prompt(request.hr_negative_prompt or request.negative_prompt, settings),
        timing=when,
        is_partial=True,
        loras=prompt.loras,
        hypernetworks=prompt.hypernetworks,
        token_merging=settings.token_merging_ratio_hr,
    )
    return Hires(Enlargement(request.hr_upscaler, enlarged), second)


def _canvas(request: Img2ImgRequest, settings: Settings) -> Canvas | None:
    if request.mask is None and not request.is_outpainted:
        return None
    frame = Frame(margins(request), request.outpaint_fill, request.outpaint_feather)
    by_gray = request.mask_strength_by_grey and request.mask is not None
    is_soft = request.soft_inpainting and not by_gray
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
        is_rounded=request.mask_round and not is_soft and not by_gray,
        blur=request.blur,
        only_masked=request.inpaint_full_res == 1,
        padding=request.inpaint_full_res_padding,
        content=request.inpainting_fill,
        softness=softness if is_soft else None,
        by_gray=by_gray,
        strength=request.denoising_strength,
        color_match=request.inpaint_color_match,
        frame=frame if request.is_outpainted else None,
        is_exact=settings.compatibility == EXACT,
    )


def _keeping(request: Img2ImgRequest) -> Keeping | None:
    if not request.keep_unchanged:
        return None
    return Keeping(request.change_sensitivity, request.change_grow, request.change_feather)


def _batches(request: GenerationRequest) -> tuple[tuple[ImagePlan, ...], ...]:
    # With a variation A1111 keeps the seed and increments the variation seed; without one it increments the seed.
    varied = request.subseed_strength > 0
    images = [
        ImagePlan(i, counted_up(request.seed, 0 if varied else i), counted_up(request.subseed, i))
        for i in range(request.images)
    ]
    return tuple(tuple(images[i : i + request.batch_size]) for i in range(0, len(images), request.batch_size))
