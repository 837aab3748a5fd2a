"""Pictures from an exported checkpoint, txt2img and img2img, without the rest of the house.

For the judge and the tutorial strip: the standard tokenizer, DPM++ 2M on Karras' sigmas, A1111's rule for which step
img2img begins at.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch

from modules.starter.diffusion import alphas_cumprod, dpmpp_2m, karras_sigmas
from modules.starter.export import load_single_file
from modules.starter.nets import SCALING_FACTOR
from modules.starter.noise import Field
from modules.starter.vocabulary import LENGTH, clip_tokenizer

CELL: Final = 8
AT_ONCE: Final = 8


class Studio:
    """The networks of one checkpoint, in float32 on `device`."""

    def __init__(self, checkpoint: Path, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self._unet, self._text, self._vae = (network.to(self.device) for network in load_single_file(checkpoint))
        self._tokenizer = clip_tokenizer()
        self._alphas = alphas_cumprod()

    @torch.no_grad()
    def paint(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        width: int,
        height: int,
        scale: float,
        steps: int = 25,
        start: Sequence[Field] | None = None,
        strength: float = 1.0,
    ) -> list[Field]:
        """One picture for each prompt and seed, (height, width, 3) in [0, 1].

        With `start` pictures (of that size) and `strength` below 1 this is img2img: A1111 walks
        `int(strength * steps) + 1` steps.
        """
        result: list[Field] = []
        at_once = AT_ONCE if self.device.type == "cpu" else 64
        for first in range(0, len(prompts), at_once):
            some = slice(first, first + at_once)
            result += self._batch(
                prompts[some], seeds[some], width, height, scale, steps, start[some] if start else None, strength
            )
        return result

    def _batch(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        width: int,
        height: int,
        scale: float,
        steps: int,
        start: Sequence[Field] | None,
        strength: float,
    ) -> list[Field]:
        shape = (1, 4, height // CELL, width // CELL)
        drawn = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        noise = torch.cat(drawn).to(self.device)
        sigmas = karras_sigmas(steps, self._alphas)
        if start is None:
            x = noise * sigmas[0]
        else:
            sigmas = sigmas[steps - min(int(strength * steps), steps - 1) - 1 :]
            x = self.encode(start) + noise * sigmas[0]
        rows = self._tokenizer(
            [*prompts, ""], padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
        )["input_ids"]
        encoded = self._text(rows.to(self.device)).last_hidden_state
        count = len(prompts)
        context = torch.cat([encoded[:count], encoded[count:].expand(count, -1, -1)])

        def eps(scaled: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
            steps = step.to(self.device)
            if scale == 1:
                return self._unet(scaled, steps.repeat(count), context[:count]).sample
            wanted, unwanted = self._unet(torch.cat([scaled, scaled]), steps.repeat(2 * count), context).sample.chunk(2)
            return unwanted + scale * (wanted - unwanted)

        return self.decode(dpmpp_2m(eps, x, sigmas, self._alphas))

    @torch.no_grad()
    def encode(self, pictures: Sequence[Field]) -> torch.Tensor:
        """Scaled latents (n, 4, h / 8, w / 8)."""
        pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous() * 2 - 1
        return self._vae.encode(pixels.to(self.device)).latent_dist.mean * SCALING_FACTOR

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> list[Field]:
        decoded = self._vae.decode(latents / SCALING_FACTOR).sample
        return list((decoded / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy())
