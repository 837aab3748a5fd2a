"""A finished picture with the infotext that reproduces it."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

import modules
from modules.base.events import ImageDone
from modules.infotext.grammar import compose
from modules.infotext.write import declared_pairs
from modules.networks.model import Model
from modules.processing.engine.job import Job
from modules.processing.masked.prepare import Prepared
from modules.processing.options import named_settings
from modules.processing.plan import ImagePlan, read_prompt
from modules.schema.request import Img2ImgRequest

OF_CHECKPOINTS = ("Conditional mask weight", "Image CFG scale")  # told by those that have it


def made_by(job: Job, model: Model) -> dict[str, str]:
    """The infotext's entries about the first pass's checkpoint."""
    pairs = {"Model hash": model.hash, "Model": model.name}
    if model.vae_hash:
        pairs |= {"VAE hash": model.vae_hash, "VAE": model.vae_name}
    if job.plan.source is not None and model.shown == "mask":
        pairs["Conditional mask weight"] = str(job.settings.inpainting_mask_weight)
    if isinstance(job.request, Img2ImgRequest) and model.shown == "source":
        is_said = job.request.image_cfg_scale is not None or not job.is_exact  # where it is null, A1111 writes nothing
        pairs |= {"Image CFG scale": str(job.plan.image_cfg_scale)} if is_said else {}
    if job.plan.source is not None and job.settings.save_init_img:
        pairs["Init image hash"] = job.plan.source.picture.pixels_md5
    return pairs


def finished_picture(
    job: Job, made_by: Mapping[str, str], prepared: Prepared | None, image: ImagePlan, pixels: NDArray[np.uint8]
) -> ImageDone:
    """Picture `image` of `pixels` (H, W, 3), with its infotext."""
    height, width = pixels.shape[:2]
    request, settings, plan = job.request, job.settings, job.plan
    pairs = declared_pairs(request, settings, named_settings(request, job.given, settings, job.findings.noted))
    for key in OF_CHECKPOINTS:
        pairs.pop(key, None)
    pairs |= {
        "Seed": str(image.seed),
        "Size-1": str(plan.requested.width),
        "Size-2": str(plan.requested.height),
        **made_by,
        **job.findings.pairs,
        "Version": f"Palimpsest {modules.__version__}",
    }
    if plan.subseed_strength > 0:
        pairs["Variation seed"] = str(image.subseed)
    if plan.source is not None and not job.is_exact:
        pairs["Source hash"] = plan.source.picture.sha256
        if plan.source.depth is not None:
            pairs["Depth map hash"] = plan.source.depth.sha256
    if plan.canvas is not None and not job.is_exact:
        if plan.canvas.mask is not None:
            pairs["Mask hash"] = plan.canvas.mask.sha256
        if plan.canvas.latent_mask is not None:
            pairs["Latent mask hash"] = plan.canvas.latent_mask.sha256
    if plan.canvas is not None and prepared is None:  # nothing was masked
        for key in ("Inpaint area", "Masked area padding", "Masked content"):
            pairs.pop(key, None)
    prompts = (request.prompt, request.negative_prompt)
    if job.is_exact:  # A1111 keeps no comments
        prompts = (read_prompt(request.prompt, settings), read_prompt(request.negative_prompt, settings))
    return ImageDone(image.index, image.seed, width, height, compose(*prompts, pairs), pixels.tobytes())
