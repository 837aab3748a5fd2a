"""Classifier-free guidance over a model: prompt and negative prompt become one prediction."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from modules.base.errors import WebuiError
from modules.networks.conditioning import NOTHING, Conditioning, Extra
from modules.networks.model import Model
from modules.processing.clock import Stopwatch
from modules.processing.denoise.prompts import Owners, PromptSet
from modules.processing.denoise.row_by_row import Predictor
from modules.sampling.denoise import Split, edited, guided
from modules.schema.sampler_names import SamplerName
from modules.schema.settings import Settings

Combine = Callable[[Tensor, Tensor, Owners, float], Tensor]
"""(uncond, conds, owners, scale) -> x0: combines the predictions; `sampling.denoise.guided` is plain CFG."""

BeforePredict = Callable[[Tensor, Tensor, Extra], Extra]
"""(x, sigma, extra) -> extra: additions to the next evaluation."""


@dataclass(frozen=True)
class GuidanceOptions:
    """How strongly and when the negative prompt acts.

    scale: the CFG scale.  image_scale: how closely networks that see the source follow it; 1 is guidance by the
    prompts alone.  calls: evaluations of the pass as A1111 counts them, twice the steps for second-order samplers.
    skip_early: share of the evaluations at the beginning that leave the negative prompt out ("Skip Early CFG").
    s_min_uncond: below this level every second evaluation leaves it out, with `s_min_uncond_all` each (NGMS).
    levels_are_timesteps: A1111 compares `s_min_uncond` with the timestep in the DDIM family.
    needs_uncond: the sampler uses the unconditional prediction itself.
    is_batched: both prompts go through the network at once if their lengths agree.
    pads_last: prompts are padded to one length with the last token (`pad_cond_uncond_v0`).
    """

    scale: float
    calls: int
    image_scale: float = 1.0
    skip_early: float = 0.0
    s_min_uncond: float = 0.0
    s_min_uncond_all: bool = False
    levels_are_timesteps: bool = False
    needs_uncond: bool = False
    is_batched: bool = True
    pads_last: bool = False


def guidance_options(
    scale: float, steps: int, sampler: SamplerName, settings: Settings, image_scale: float = 1.0
) -> GuidanceOptions:
    """The options of a pass of `steps` steps. For CFG++ samplers A1111 divides only the prompts' scale."""
    return GuidanceOptions(
        scale=scale / sampler.cfg_divisor,
        image_scale=image_scale,
        calls=max(1, steps) * (2 if sampler.second_order else 1),
        skip_early=settings.skip_early_cond,
        s_min_uncond=settings.s_min_uncond,
        s_min_uncond_all=settings.s_min_uncond_all,
        levels_are_timesteps=sampler.timesteps,
        needs_uncond=sampler.needs_uncond,
        is_batched=settings.batch_cond_uncond,
        pads_last=settings.pad_cond_uncond_v0,
    )


@dataclass(frozen=True)
class _Prompts:
    """The prompts of an evaluation as the network takes them; kept while their stages stay.

    pictures (N,): the picture of each of conds; None where every picture has one, in their order.
    together: conds, then uncond; None where the two do not go through the network as one.
    """

    conds: Conditioning
    owners: Owners
    uncond: Conditioning
    pictures: Tensor | None
    together: Conditioning | None


class Guided:
    """`SplitDenoise`: x (B, C, h, w) fp32 at level sigma (B,) -> the latent without noise.

    Prompt and negative prompt go through the network in one batch if their lengths agree, else one after the other, as
    in A1111 (padding the shorter one changes the picture and is a setting). At CFG 1 the negative prompt has no effect
    and is not computed. `calls` counts evaluations, which time prompt edits. `noted` collects the settings that had an
    effect.
    """

    def __init__(
        self,
        model: Model,
        prompts: PromptSet,
        options: GuidanceOptions,
        clock: Stopwatch,
        extra: Extra = NOTHING,
        before_predict: BeforePredict | None = None,
        combine: Combine = guided,
        calls: int = 0,
    ) -> None:
        self.model = model
        self.calls = calls
        self.noted: set[str] = set()
        self._prompt_set = prompts
        self._options = options
        self._clock = clock
        self._extra = extra
        self._before_predict = before_predict
        self._predictor = Predictor()
        self._combine = combine
        self._stages: tuple[int, ...] | None = None
        self._prompts: _Prompts | None = None

    def __call__(self, x: Tensor, sigma: Tensor) -> Split:
        prompts = self._prompts_now(x.device)
        is_edit = self._is_edit
        is_skipped = not is_edit and self._skips_negative(sigma)
        self.calls += 1
        conds, owners, pictures = prompts.conds, prompts.owners, prompts.pictures
        scale = self._options.scale
        extra = self._extra if self._before_predict is None else self._before_predict(x, sigma, self._extra)
        if is_edit:
            return self._edited(x, sigma, prompts, extra)
        is_plain = all(len(parts) == 1 and parts[0][1] * scale == 1 for parts in owners)
        if is_plain and not self._options.needs_uncond:
            return Split(self._predict(x, sigma, conds, extra))
        if is_skipped:
            denoised = self._predict(x, sigma, conds, extra, pictures)
            # The first part of the prompt replaces the negative prompt: without AND, no guidance is left.
            uncond = denoised[[parts[0][0] for parts in owners]]
        elif prompts.together is not None:
            rows = None if pictures is None else torch.cat([pictures, torch.arange(len(x), device=x.device)])
            both = self._predict(x, sigma, prompts.together, replace(extra, negative_rows=len(x)), rows)
            denoised, uncond = both[: len(conds)], both[len(conds) :]
        else:
            denoised = self._predict(x, sigma, conds, extra, pictures)
            uncond = self._predict(x, sigma, prompts.uncond, replace(extra, negative_rows=len(x)))
        return Split(self._combine(uncond, denoised, owners, scale), uncond)

    @property
    def _is_edit(self) -> bool:
        """Whether the source has its own scale; at 1 A1111 treats the model like any other."""
        return self.model.shown == "source" and self._options.image_scale != 1

    def _edited(self, x: Tensor, sigma: Tensor, prompts: _Prompts, extra: Extra) -> Split:
        """Three rows per picture: prompt and source, source alone, and neither."""
        if any(len(parts) > 1 for parts in prompts.owners):
            raise WebuiError(
                "prompt: AND does not work with InstructPix2Pix checkpoints.",
                "Leave it out, or set Image CFG Scale to 1.",
                "prompt",
            )
        assert extra.concat is not None
        source = extra.concat.expand(len(x), -1, -1, -1)
        without = replace(extra, concat=torch.zeros_like(source))
        if prompts.together is None:
            extra = replace(extra, concat=source)
            cond, image = (self._predict(x, sigma, each, extra) for each in (prompts.conds, prompts.uncond))
            uncond = self._predict(x, sigma, prompts.uncond, without)
        else:
            rows = Conditioning.joined([prompts.together, prompts.uncond])
            extra = replace(extra, concat=torch.cat([source, source, torch.zeros_like(source)]))
            cond, image, uncond = self._predict(x, sigma, rows, extra).chunk(3)
        return Split(edited(uncond, image, cond, self._options.scale, self._options.image_scale), uncond)

    def _prompts_now(self, device: torch.device) -> _Prompts:
        """The prompts of this evaluation."""
        stages = self._prompt_set.stages(self.calls)
        if self._prompts is None or stages != self._stages:
            conds, owners, uncond = self._prompt_set.at(self.calls)
            if conds.length != uncond.length:
                conds, uncond = self._padded(conds, uncond)
            pictures = None
            if any(len(parts) > 1 for parts in owners):
                pictures = torch.tensor([i for i, parts in enumerate(owners) for _ in parts], device=device)
            is_one = conds.length == uncond.length and self._options.is_batched
            together = Conditioning.joined([conds, uncond]) if is_one else None
            self._stages, self._prompts = stages, _Prompts(conds, owners, uncond, pictures, together)
        return self._prompts

    def _skips_negative(self, sigma: Tensor) -> bool:
        """Whether this evaluation skips the negative prompt: "Skip Early CFG" and NGMS."""
        options = self._options
        if options.skip_early and self.calls / options.calls <= options.skip_early:
            self.noted.add("skip_early_cond")
            return True
        if not options.s_min_uncond or not (self.calls % 2 or options.s_min_uncond_all):
            return False
        level = self.model.noise.sigma_to_t(sigma[:1]) if options.levels_are_timesteps else sigma[:1]
        if float(level) >= options.s_min_uncond:
            return False
        self.noted |= {"s_min_uncond", "s_min_uncond_all"} if options.s_min_uncond_all else {"s_min_uncond"}
        return True

    def _padded(self, conds: Conditioning, uncond: Conditioning) -> tuple[Conditioning, Conditioning]:
        """Both padded to one length, if a setting says so."""
        if self._options.pads_last:
            self.noted.add("pad_cond_uncond_v0")
            return conds, uncond.shortened(conds.length).lengthened(conds.length)
        empty = self._prompt_set.empty
        if empty is None:
            return conds, uncond
        self.noted.add("pad_cond_uncond")
        length = max(conds.length, uncond.length)
        return conds.lengthened(length, empty.tokens[0]), uncond.lengthened(length, empty.tokens[0])

    def _predict(
        self, x: Tensor, sigma: Tensor, cond: Conditioning, extra: Extra, pictures: Tensor | None = None
    ) -> Tensor:
        """x0 for each row of `cond`, for the picture given by `pictures`, else for the batch in turn."""
        if pictures is not None:
            x, sigma = x[pictures], sigma[pictures]
        with self._clock.stage("unet"):
            return self._predictor(self.model, x, sigma, cond, extra)
