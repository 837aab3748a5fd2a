"""The one function type that shapes an image, and the pure pieces it is composed of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(x, sigma) -> denoised.

x: (B, C, h, w) fp32, data plus noise of standard deviation sigma ("variance exploding"); sigma: (B,);
denoised: (B, C, h, w), the predicted noise-free latent. Samplers know nothing else of the model.
"""


class Split(NamedTuple):
    """A prediction and its parts. x0: the result of `Denoise`. uncond: the same without the prompt, if computed.

    Both (B, C, h, w) fp32.
    """

    x0: Tensor
    uncond: Tensor | None = None


SplitDenoise = Callable[[Tensor, Tensor], Split]
"""`Denoise` that keeps the unconditional prediction beside the guided one.

Everything that shapes an image is such a function or wraps one: guidance, the refiner, masks, strength per area,
extensions. Samplers get its `joined` form; those whose row sets `needs_uncond` get the function itself.
"""

Wrap = Callable[[Denoise], Denoise]


def joined(denoise: SplitDenoise) -> Denoise:
    """The guided prediction alone: what a sampler takes."""
    return lambda x, sigma: denoise(x, sigma).x0


def split(denoise: Denoise) -> SplitDenoise:
    """`denoise` as a `SplitDenoise` without an unconditional prediction."""
    return lambda x, sigma: Split(denoise(x, sigma))


def wrapped(denoise: SplitDenoise, wrap: Wrap) -> SplitDenoise:
    """`denoise` with `wrap` around its guided prediction; the unconditional one is unchanged."""
    unconds: list[Tensor | None] = []

    def guided_part(x: Tensor, sigma: Tensor) -> Tensor:
        found = denoise(x, sigma)
        unconds.append(found.uncond)
        return found.x0

    outer = wrap(guided_part)

    def call(x: Tensor, sigma: Tensor) -> Split:
        unconds.clear()
        x0 = outer(x, sigma)
        return Split(x0, unconds[-1] if unconds else None)

    return call


def guided(uncond: Tensor, conds: Tensor, parts: Sequence[Sequence[tuple[int, float]]], cfg_scale: float) -> Tensor:
    """Classifier-free guidance with composition (Ho & Salimans 2022, arXiv 2207.12598; Liu et al. 2022, 2206.01714).

    uncond: (B, C, h, w).  conds: (N, C, h, w), the predictions of all prompts of all images.
    parts: for each image its AND parts, (row of conds, weight).
    Result: uncond + sum of weight * cfg_scale * (cond - uncond), (B, C, h, w).

    >>> guided(torch.zeros(1, 1, 1, 1), torch.ones(2, 1, 1, 1), [[(0, 1.0), (1, 0.5)]], 7.0).item()
    10.5
    """
    if all(len(part) == 1 for part in parts) and [part[0][0] for part in parts] == list(range(len(conds))):
        weights = [part[0][1] * cfg_scale for part in parts]
        if len(set(weights)) == 1:
            return torch.lerp(uncond, conds, weights[0])
    denoised = uncond.clone()
    for i, part in enumerate(parts):
        for row, weight in part:
            denoised[i] += (conds[row] - uncond[i]) * (weight * cfg_scale)
    return denoised


def edited(uncond: Tensor, image: Tensor, cond: Tensor, cfg_scale: float, image_scale: float) -> Tensor:
    """Guidance by a prompt and a picture (Brooks et al. 2023, "InstructPix2Pix", arXiv 2211.09800, equation 3).

    uncond, image, cond: (B, C, h, w), predictions with neither, with the picture alone, with both.
    """
    return uncond + cfg_scale * (cond - image) + image_scale * (image - uncond)


Blend = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(original, current, mask, sigma) -> `current` where the mask is 1, `original` where it is 0.

original, current, result: (B or 1, C, h, w), neither scaled by noise levels; mask: broadcastable to them; sigma: (B,).
"""


def hard_blend(original: Tensor, current: Tensor, mask: Tensor, sigma: Tensor) -> Tensor:
    """Linear between the two; exact where the mask is 0 or 1."""
    return torch.lerp(original, current, mask)


def masked(denoise: SplitDenoise, original: Tensor, mask: Tensor, blend: Blend = hard_blend) -> SplitDenoise:
    """`denoise` with its result replaced by the original outside the mask (inpainting of the k-diffusion samplers).

    original: (B or 1, C, h, w).  mask: broadcastable to it, 1 where the picture may change, 0 where it stays.
    """

    def denoise_inside(x: Tensor, sigma: Tensor) -> Split:
        found = denoise(x, sigma)
        return Split(blend(original, found.x0, mask, sigma), found.uncond)

    return denoise_inside


def masked_input(denoise: SplitDenoise, original: Tensor, mask: Tensor, blend: Blend = hard_blend) -> SplitDenoise:
    """`denoise` that sees the original outside the mask (inpainting of A1111's timestep samplers).

    A1111 uses the un-noised original as a variance-preserving latent, so in our convention it is scaled by
    sqrt(1 + sigma²). The result is corrected so that eps = (x - result) / sigma stays the model's prediction for the
    unmodified x.  Shapes as in `masked`.
    """

    def denoise_pasted(x: Tensor, sigma: Tensor) -> Split:
        scale = (1 + sigma.square()).sqrt().view(-1, 1, 1, 1)
        pasted = blend(original, x / scale, mask, sigma) * scale
        found, shift = denoise(pasted, sigma), x - pasted
        return Split(found.x0 + shift, None if found.uncond is None else found.uncond + shift)

    return denoise_pasted
