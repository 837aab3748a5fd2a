"""A UNet under classifier-free guidance, as the one function type that samplers know."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from modules.networks.checkpoint import StableDiffusion
from modules.networks.token_merging import merged_tokens
from modules.processing.clock import Stopwatch
from modules.processing.conditioning import Conditioning
from modules.sampling.denoise import guided
from modules.sampling.discrete import ModelSchedule, c_in
from modules.schema.settings import Settings


@dataclass(frozen=True)
class Guidance:
    """How strongly and when the negative prompt acts.

    calls: evaluations of the pass as A1111 counts them, twice the steps for samplers of second order.
    levels_are_timesteps: A1111 compares `s_min_uncond` with the timestep in the DDIM family.
    needs_uncond: the sampler asks for the unconditional prediction itself.
    token_merging: the share of tokens that self-attention merges.
    """

    cfg_scale: float
    calls: int
    levels_are_timesteps: bool = False
    needs_uncond: bool = False
    token_merging: float = 0.0


class Refined(NamedTuple):
    """What goes on in place of the first model."""

    model: StableDiffusion
    schedule: ModelSchedule
    conditioning: Conditioning


@dataclass(frozen=True)
class _Prompts:
    """The prompts of an evaluation as the network takes them; kept while their stages stay.

    conds (N, tokens, width), parts and uncond (B, tokens, width) as of `Conditioning.at`, at one length where a setting
    wants it.  owners (N,): the picture of each of conds; None where every picture has one, in their order.
    together (N + B, tokens, width): conds, then uncond; None where the two are not to go through the network as one.
    """

    conds: Tensor
    parts: list[list[tuple[int, float]]]
    uncond: Tensor
    owners: Tensor | None
    together: Tensor | None


@dataclass(frozen=True)
class Refiner:
    """Another checkpoint that takes over: at the share `at` of the way; None is at once.

    by_steps: of the evaluations; else of the model's timesteps, from 999 down. `take` loads it.
    """

    at: float | None
    by_steps: bool
    take: Callable[[], Refined]

    def is_due(self, share_of_calls: float, schedule: ModelSchedule, sigma: Tensor, levels_are_timesteps: bool) -> bool:
        """Whether it takes over before an evaluation at `sigma` (B,)."""
        if self.at is None:
            return True
        if self.by_steps:
            return share_of_calls >= self.at
        highest = sigma.max().cpu()
        if levels_are_timesteps:  # whole ones but for rounding, on the way through sigma
            timestep = int(float(schedule.sigma_to_t(highest)) + 1e-3)
        else:
            timestep = int((schedule.sigmas - highest).abs().argmin())
        return (999 - timestep) / 1000 >= self.at


class GuidedUNet:
    """`Denoise`: x (B, C, h, w) fp32 at level sigma (B,) -> the latent as it would be without noise, same shape, fp32.

    Prompt and negative prompt go through the network in one batch where their lengths agree, one after the other
    otherwise, as in A1111 (padding the shorter one changes the picture, and is a setting). At CFG 1 the negative prompt
    has no say, so it is not computed. `calls` counts evaluations; prompt edits are timed by it. `noted` gathers the
    settings that had an effect. `concat` (1, 5, h, w) is what inpainting checkpoints see beside the latent: where to
    draw, and the latent of what is there. `model` is the one that evaluates now: a `refiner` takes over on the way.
    """

    def __init__(
        self,
        model: StableDiffusion,
        schedule: ModelSchedule,
        conditioning: Conditioning,
        guidance: Guidance,
        settings: Settings,
        clock: Stopwatch,
        concat: Tensor | None = None,
        refiner: Refiner | None = None,
    ) -> None:
        self.model = model
        self.is_refined = False
        self._schedule = schedule
        self._conditioning = conditioning
        self._guidance = guidance
        self._settings = settings
        self._clock = clock
        self._concat = concat
        self._refiner = refiner
        self.calls = 0
        self.uncond: Tensor | None = None
        self.noted: set[str] = set()
        self._stages: tuple[int, ...] | None = None
        self._prompts: _Prompts | None = None

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self._refine(sigma)
        prompts = self._prompts_now(x.device)
        leaves_out = self._leaves_negative_out(sigma)
        self.calls += 1
        conds, parts, owners = prompts.conds, prompts.parts, prompts.owners
        scale = self._guidance.cfg_scale
        is_plain = all(len(part) == 1 and part[0][1] * scale == 1 for part in parts)
        if is_plain and not self._guidance.needs_uncond:
            self.uncond = None
            return self._predict(x, sigma, conds)
        if leaves_out:
            denoised = self._predict(x, sigma, conds, owners)
            # The first part of the prompt stands in for the negative prompt: without AND no guidance is left.
            self.uncond = denoised[[part[0][0] for part in parts]]
        elif prompts.together is not None:
            rows = None if owners is None else torch.cat([owners, torch.arange(len(x), device=x.device)])
            both = self._predict(x, sigma, prompts.together, rows)
            denoised, self.uncond = both[: len(conds)], both[len(conds) :]
        else:
            denoised = self._predict(x, sigma, conds, owners)
            self.uncond = self._predict(x, sigma, prompts.uncond)
        return guided(self.uncond, denoised, parts, scale)

    def _prompts_now(self, device: torch.device) -> _Prompts:
        """The prompts of this evaluation."""
        stages = self._conditioning.stages(self.calls)
        if self._prompts is None or stages != self._stages:
            conds, parts, uncond = self._conditioning.at(self.calls)
            if conds.shape[1] != uncond.shape[1]:
                conds, uncond = self._padded(conds, uncond)
            owners = None
            if any(len(part) > 1 for part in parts):
                owners = torch.tensor([i for i, part in enumerate(parts) for _ in part], device=device)
            is_one = conds.shape[1] == uncond.shape[1] and self._settings.batch_cond_uncond
            together = torch.cat([conds, uncond]) if is_one else None
            self._stages, self._prompts = stages, _Prompts(conds, parts, uncond, owners, together)
        return self._prompts

    def _refine(self, sigma: Tensor) -> None:
        """Let the refiner take over if it is time."""
        guidance, refiner = self._guidance, self._refiner
        share = self.calls / guidance.calls
        if refiner is None or not refiner.is_due(share, self._schedule, sigma, guidance.levels_are_timesteps):
            return
        self._refiner = None
        self.is_refined = True
        del self.model  # two may not fit
        self.model, self._schedule, self._conditioning = refiner.take()
        self._prompts = None

    def latest_uncond(self) -> Tensor:
        """The unconditional prediction of the latest call, for DDIM CFG++."""
        assert self.uncond is not None, "the negative prompt was not computed"
        return self.uncond

    def _leaves_negative_out(self, sigma: Tensor) -> bool:
        """Whether this evaluation does without the negative prompt: "Skip Early CFG" and NGMS."""
        settings = self._settings
        early = settings.skip_early_cond
        if early and self.calls / self._guidance.calls <= early:
            self.noted.add("skip_early_cond")
            return True
        if not settings.s_min_uncond or not (self.calls % 2 or settings.s_min_uncond_all):
            return False
        level = self._schedule.sigma_to_t(sigma[:1]) if self._guidance.levels_are_timesteps else sigma[:1]
        if float(level) >= settings.s_min_uncond:
            return False
        self.noted |= {"s_min_uncond", "s_min_uncond_all"} if settings.s_min_uncond_all else {"s_min_uncond"}
        return True

    def _padded(self, conds: Tensor, uncond: Tensor) -> tuple[Tensor, Tensor]:
        """Both at one length (rows, tokens, width), where a setting wants it."""
        missing = conds.shape[1] - uncond.shape[1]
        if self._settings.pad_cond_uncond_v0:
            self.noted.add("pad_cond_uncond_v0")
            if missing < 0:
                return conds, uncond[:, : conds.shape[1]]
            return conds, torch.cat([uncond, uncond[:, -1:].expand(-1, missing, -1)], dim=1)
        empty = self._conditioning.empty
        if empty is None:
            return conds, uncond
        self.noted.add("pad_cond_uncond")
        if missing > 0:
            return conds, _lengthened(uncond, missing, empty)
        return _lengthened(conds, -missing, empty), uncond

    def _predict(self, x: Tensor, sigma: Tensor, context: Tensor, rows: Tensor | None = None) -> Tensor:
        """Noise-free latents, one for each of `context`, of the picture that `rows` names for it.

        Without `rows` the batch is taken as often as it takes.
        """
        seen, timestep = x * c_in(sigma), self._schedule.sigma_to_t(sigma)
        copies = 1
        if rows is not None:
            x, sigma, seen, timestep = x[rows], sigma[rows], seen[rows], timestep[rows]
        elif len(context) > len(x):
            copies = len(context) // len(x)
            seen, timestep = torch.cat([seen] * copies), torch.cat([timestep] * copies)
        if self._concat is not None and self.model.is_inpainting:
            seen = torch.cat([seen, self._concat.expand(len(seen), -1, -1, -1)], dim=1)
        # Not unet.dtype: diffusers walks all parameters for it, 3 ms a step.
        scaled = seen.to(self.model.place.dtype, memory_format=torch.channels_last)
        with self._clock.stage("unet"), merged_tokens(self.model.unet, self._guidance.token_merging):
            output = self.model.unet(scaled, timestep, context, return_dict=False)[0]
        output = output.to(torch.float32, memory_format=torch.contiguous_format)
        denoised = self._schedule.denoised(x, sigma, output.unflatten(0, (copies, -1)), self.model.prediction_type)
        return denoised.flatten(0, 1)


def _lengthened(conds: Tensor, missing: int, empty: Tensor) -> Tensor:
    """Conditionings (rows, tokens, width) followed by empty chunks `empty` (77, width)."""
    chunks = empty.repeat(missing // empty.shape[0], 1)
    return torch.cat([conds, chunks.expand(len(conds), -1, -1)], dim=1)
