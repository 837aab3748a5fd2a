"""From prompts to what the UNet attends to, step by step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from modules.clip_chunks import Piece
from modules.networks.cache import ByteCache
from modules.networks.checkpoint import StableDiffusion
from modules.networks.text import encode_prompts
from modules.processing.clock import Stopwatch
from modules.processing.plan import ImagePlan, Plan
from modules.prompts.attention import parse_attention
from modules.prompts.schedule import Stage, composition, schedule, stage_at, timing, without_comments
from modules.settings import Settings


class PromptKey(NamedTuple):
    """What a prompt's conditioning depends on."""

    checkpoint: str
    dtype: torch.dtype
    stages: tuple[str, ...]
    clip_skip: int
    emphasis: str
    comma_backtrack: int


@dataclass(frozen=True)
class Timeline:
    """A prompt over the steps: one conditioning for each stage, (stages, tokens, width)."""

    stages: list[Stage]
    conds: Tensor

    def at(self, call: int) -> Tensor:
        """The conditioning (tokens, width) of the 0-based evaluation `call`."""
        return self.conds[stage_at(self.stages, call)]


@dataclass(frozen=True)
class Conditioning:
    """The prompts of a batch: for each picture its AND parts with their weights, and the negative prompt."""

    parts: tuple[tuple[tuple[Timeline, float], ...], ...]
    uncond: Timeline

    def of(self, images: Sequence[ImagePlan]) -> "Conditioning":
        """The same prompts for each of `images`."""
        return Conditioning(self.parts[:1] * len(images), self.uncond)

    def at(self, call: int) -> tuple[Tensor, list[list[tuple[int, float]]], Tensor]:
        """For one evaluation: conds (N, tokens, width), for each picture its (row, weight), uncond (B, tokens, width).

        AND parts of different lengths are repeated to a common one, as A1111 pads them: with copies of the last token.
        """
        rows: list[Tensor] = []
        owners: list[list[tuple[int, float]]] = []
        for part in self.parts:
            owners.append([(len(rows) + i, weight) for i, (_, weight) in enumerate(part)])
            rows.extend(timeline.at(call) for timeline, _ in part)
        longest = max(row.shape[0] for row in rows)
        conds = torch.stack([_lengthened(row, longest) for row in rows])
        uncond = self.uncond.at(call)
        return conds, owners, uncond.expand(len(self.parts), *uncond.shape)


class PromptEncoder:
    """Encodes prompts, and keeps the latest ones."""

    def __init__(self, limit: int) -> None:
        self._cache: ByteCache[PromptKey, Tensor] = ByteCache(limit)

    def conditioning(self, model: StableDiffusion, plan: Plan, settings: Settings, clock: Stopwatch) -> Conditioning:
        """The conditioning of one picture of `plan`."""
        # Edits are timed over the steps that are walked: A1111 times them over the slider's, so that in img2img late
        # ones never come. Samplers that evaluate twice a step count twice as fast.
        steps = plan.walk.count * (2 if plan.sampler.second_order else 1)
        parts = tuple(
            (self._timeline(model, text, steps, settings, clock), weight)
            for text, weight in composition(without_comments(plan.prompt))
        )
        negative = self._timeline(model, without_comments(plan.negative_prompt), steps, settings, clock)
        return Conditioning((parts,), negative)

    def clear(self) -> None:
        self._cache.clear()

    def _timeline(
        self, model: StableDiffusion, text: str, steps: int, settings: Settings, clock: Stopwatch
    ) -> Timeline:
        stages = schedule(text, timing(steps))
        key = PromptKey(
            model.hash,
            model.text_encoder.dtype,
            tuple(stage.text for stage in stages),
            settings.CLIP_stop_at_last_layers,
            settings.emphasis,
            settings.comma_padding_backtrack,
        )

        def make() -> Tensor:
            pieces = [_pieces(stage, settings) for stage in key.stages]
            with clock.stage("text_encoder"):
                conds = encode_prompts(
                    model.text_encoder,
                    model.tokenizer,
                    pieces,
                    clip_skip=key.clip_skip,
                    emphasis=settings.emphasis,
                    comma_backtrack=key.comma_backtrack,
                )
            return conds.to(model.unet.dtype)

        conds = self._cache.get_or_make(key, make, lambda tensor: tensor.numel() * tensor.element_size())
        return Timeline(stages, conds)


def _pieces(text: str, settings: Settings) -> list[Piece]:
    return [(text, 1.0)] if settings.emphasis == "None" else parse_attention(text)


def _lengthened(cond: Tensor, length: int) -> Tensor:
    missing = length - cond.shape[0]
    return torch.cat([cond, cond[-1:].expand(missing, -1)]) if missing else cond
