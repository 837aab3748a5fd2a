"""The `info` of a response: what A1111 reports about a finished job."""

from collections.abc import Sequence
from typing import Any

import modules
from modules.infotext.grammar import FIXED_ORDER, LAST, Infotext
from modules.infotext.parse import parse
from modules.jobs.job import Job
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest, counted_up

SIZES = tuple(f"{key}-{side}" for key in ("Size", "Seed resize from") for side in (1, 2))
OF_THE_JOB = frozenset((*FIXED_ORDER, *LAST, *SIZES))  # keys that have their own place in `info`
SHORT_HASH = 10
NO_SIZE = -1  # A1111's value for no size to resize the seed from


def described(
    jobs: Sequence[Job],
    request: GenerationRequest,
    texts: Sequence[str],
    seeds: Sequence[int],
    sheets: int,
    styles: Sequence[str],
    timestamp: str,
    notes: Sequence[str],
) -> dict[str, Any]:
    """All of A1111's keys, and `ignored`: sentences about fields without effect, and the job's warnings.

    `texts` and `seeds` belong to the pictures in the order in which they are sent; `sheets` is the number of grids at
    the start.
    """
    job = jobs[0]
    parsed = [parse(text) for text in texts]
    pairs = parsed[sheets].pairs if len(parsed) > sheets else {}
    of_images = list(seeds[sheets:])
    prompts = _prompts(request, parsed[sheets:])
    first_seed = of_images[0] if of_images else request.seed
    return {
        "prompt": request.prompt,
        "all_prompts": [prompt for prompt, _ in prompts],
        "negative_prompt": request.negative_prompt,
        "all_negative_prompts": [negative for _, negative in prompts],
        "seed": first_seed,
        "all_seeds": of_images,
        "subseed": request.subseed,
        "all_subseeds": [counted_up(request.subseed, number) for number in range(len(of_images))],
        "subseed_strength": request.subseed_strength,
        "width": request.width,
        "height": request.height,
        "sampler_name": request.sampler_name,
        "cfg_scale": request.cfg_scale,
        "steps": request.steps,
        "batch_size": request.batch_size,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": pairs.get("Model", job.checkpoint.stem),
        "sd_model_hash": pairs.get("Model hash", job.checkpoint.hash[:SHORT_HASH]) or None,
        "sd_vae_name": pairs.get("VAE"),
        "sd_vae_hash": pairs.get("VAE hash"),
        "seed_resize_from_w": request.seed_resize_from_w or NO_SIZE,
        "seed_resize_from_h": request.seed_resize_from_h or NO_SIZE,
        "denoising_strength": _strength(request),
        "extra_generation_params": {key: value for key, value in pairs.items() if key not in OF_THE_JOB},
        "index_of_first_image": sheets,
        "infotexts": list(texts),
        "styles": list(styles),
        "job_timestamp": timestamp,
        "clip_skip": job.settings.CLIP_stop_at_last_layers,
        "is_using_inpainting_conditioning": isinstance(request, Img2ImgRequest) and "Conditional mask weight" in pairs,
        "version": pairs.get("Version", modules.__version__),
        "ignored": list(notes),
    }


def _prompts(request: GenerationRequest, parsed: Sequence[Infotext]) -> list[tuple[str, str]]:
    """The prompt of each picture, since a script may use a different one for each."""
    if request.script_name:
        return [(text.prompt, text.negative_prompt) for text in parsed]
    return [(request.prompt, request.negative_prompt)] * len(parsed)


def _strength(request: GenerationRequest) -> float | None:
    if isinstance(request, Img2ImgRequest) or (isinstance(request, Txt2ImgRequest) and request.enable_hr):
        return request.denoising_strength
    return None
