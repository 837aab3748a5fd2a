"""A UNet under classifier-free guidance, as the one function type that samplers know."""

import torch
from torch import Tensor

from modules.networks.checkpoint import StableDiffusion
from modules.processing.clock import Stopwatch
from modules.processing.conditioning import Conditioning
from modules.sampling.denoise import guided
from modules.sampling.discrete import ModelSchedule, c_in


class GuidedUNet:
    """`Denoise`: x (B, C, h, w) fp32 at level sigma (B,) -> the latent as it would be without noise, same shape, fp32.

    Prompt and negative prompt go through the network in one batch where their lengths agree, one after the other
    otherwise, as in A1111 (padding the shorter one would change the picture). At CFG 1 the negative prompt has no
    say, so it is not computed. `calls` counts evaluations; prompt edits are timed by it.
    """

    def __init__(
        self,
        model: StableDiffusion,
        schedule: ModelSchedule,
        conditioning: Conditioning,
        cfg_scale: float,
        clock: Stopwatch,
    ) -> None:
        self._model = model
        self._schedule = schedule
        self._conditioning = conditioning
        self._cfg_scale = cfg_scale
        self._clock = clock
        self.calls = 0
        self.uncond: Tensor | None = None

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        conds, parts, uncond = self._conditioning.at(self.calls)
        self.calls += 1
        owners = torch.tensor([i for i, part in enumerate(parts) for _ in part], device=x.device)
        is_plain = self._cfg_scale == 1 and all(len(part) == 1 and part[0][1] == 1 for part in parts)
        if is_plain:
            self.uncond = None
            return self._predict(x, sigma, conds)
        if conds.shape[1] == uncond.shape[1]:
            both = self._predict(
                torch.cat([x[owners], x]), torch.cat([sigma[owners], sigma]), torch.cat([conds, uncond])
            )
            denoised, self.uncond = both[: len(conds)], both[len(conds) :]
        else:
            denoised = self._predict(x[owners], sigma[owners], conds)
            self.uncond = self._predict(x, sigma, uncond)
        return guided(self.uncond, denoised, parts, self._cfg_scale)

    def latest_uncond(self) -> Tensor:
        """The unconditional prediction of the latest call, for DDIM CFG++."""
        assert self.uncond is not None, "the negative prompt was not computed"
        return self.uncond

    def _predict(self, x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        unet = self._model.unet
        scaled = (x * c_in(sigma)).to(unet.dtype).contiguous(memory_format=torch.channels_last)
        with self._clock.stage("unet"):
            output = unet(scaled, self._schedule.sigma_to_t(sigma), context, return_dict=False)[0]
        return self._schedule.denoised(x, sigma, output.float(), self._model.prediction_type)
