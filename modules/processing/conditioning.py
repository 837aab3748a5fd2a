"""From prompts to what the UNet attends to, step by step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from modules.clip.chunks import Piece
from modules.networks.cache import ByteCache
from modules.networks.checkpoint import StableDiffusion
from modules.networks.embeddings import EmbeddingCache
from modules.networks.files.loras import Wanted
from modules.networks.text import encode_old, encode_prompts
from modules.processing.clock import Stopwatch
from modules.processing.plan import ImagePlan, Pass
from modules.prompts.attention import parse_attention
from modules.prompts.schedule import Stage, Timing, composition, schedule, stage_at
from modules.schema.catalog import Embedding
from modules.schema.settings import EXACT, Settings


class PromptKey(NamedTuple):
    """What a prompt's conditioning depends on."""

    checkpoint: str
    dtype: torch.dtype
    stages: tuple[str, ...]
    clip_skip: int
    emphasis: str
    comma_backtrack: int
    is_exact: bool
    is_old: bool
    networks: tuple[Wanted, ...]  # those that change the text encoder
    words: tuple[Embedding, ...]  # those that may stand in the text


@dataclass(frozen=True)
class Timeline:
    """A prompt over the steps: one conditioning for each stage, (stages, tokens, width). `words` are its embeddings.

    `unusable` are embeddings that it names in vain.
    """

    stages: list[Stage]
    conds: Tensor
    words: tuple[Embedding, ...] = ()
    unusable: tuple[Embedding, ...] = ()

    def at(self, call: int) -> Tensor:
        """The conditioning (tokens, width) of the 0-based evaluation `call`."""
        return self.conds[stage_at(self.stages, call)]


@dataclass(frozen=True)
class Conditioning:
    """The prompts of a batch: for each picture its AND parts with their weights, and the negative prompt.

    `empty` (77, width) is the empty prompt, where shorter prompts are to be filled up with it. `noted` are the settings
    that had an effect on the prompts, `words` the embeddings in them, those of the negative prompt last; `unusable` are
    those that are named in vain.
    """

    parts: tuple[tuple[tuple[Timeline, float], ...], ...]
    uncond: Timeline
    empty: Tensor | None = None
    noted: frozenset[str] = frozenset()
    words: tuple[Embedding, ...] = ()
    unusable: tuple[Embedding, ...] = ()

    def of(self, images: Sequence[ImagePlan]) -> "Conditioning":
        """The same prompts for each of `images`."""
        return replace(self, parts=self.parts[:1] * len(images))

    def stages(self, call: int) -> tuple[int, ...]:
        """Which stage of each prompt is in force at an evaluation; while they are the same, so is what `at` says."""
        timelines = [*(timeline for part in self.parts for timeline, _ in part), self.uncond]
        return tuple(stage_at(timeline.stages, call) for timeline in timelines)

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
    """Encodes prompts, and keeps the latest ones. Names of `embeddings` in them are words of their own."""

    def __init__(self, limit: int, embeddings: EmbeddingCache | None = None) -> None:
        self._cache: ByteCache[PromptKey, _Encoded] = ByteCache(limit)
        self._embeddings = embeddings or EmbeddingCache(())

    def conditioning(self, model: StableDiffusion, leg: Pass, settings: Settings, clock: Stopwatch) -> Conditioning:
        """The conditioning of one picture in one pass."""
        is_exact = settings.compatibility == EXACT
        when = leg.timing
        texts = composition(leg.prompt, is_exact)
        parts = tuple((self._timeline(model, text, when, settings, clock), weight) for text, weight in texts)
        negative = self._timeline(model, leg.negative_prompt, when, settings, clock)
        empty = None
        if settings.pad_cond_uncond:
            empty = self._timeline(model, "", when, settings, clock).conds[0]
        noted: set[str] = set()
        timelines = [*(timeline for timeline, _ in parts), negative]
        if not settings.use_old_emphasis_implementation and any(
            bracket in stage.text for timeline in timelines for stage in timeline.stages for bracket in "(["
        ):
            noted.add("emphasis")
        if when.is_old:
            new = replace(when, is_old=False)
            prompts = [*(part.text for part in texts), leg.negative_prompt]
            if any(schedule(text, when, is_exact) != schedule(text, new, is_exact) for text in prompts):
                noted.add("use_old_scheduling")
        words = tuple(dict.fromkeys(word for timeline in timelines for word in timeline.words))
        unusable = tuple(dict.fromkeys(word for timeline in timelines for word in timeline.unusable))
        return Conditioning((parts,), negative, empty, frozenset(noted), words, unusable)

    def clear(self) -> None:
        self._cache.clear()

    def _timeline(
        self, model: StableDiffusion, text: str, when: Timing, settings: Settings, clock: Stopwatch
    ) -> Timeline:
        is_exact = settings.compatibility == EXACT
        stages = schedule(text, when, is_exact)
        words = self._embeddings.words(model.text_encoder.config.hidden_size, model.tokenizer)
        key = PromptKey(
            model.hash,
            model.text_encoder.dtype,
            tuple(stage.text for stage in stages),
            settings.CLIP_stop_at_last_layers,
            settings.emphasis,
            settings.comma_padding_backtrack,
            is_exact,
            settings.use_old_emphasis_implementation,
            tuple(replace(one, unet=0.0) for one in model.networks if one.te),
            (*words.of, *words.unusable),
        )

        def make() -> _Encoded:
            spoken: dict[str, None] = {}

            def read(name: str) -> Tensor:
                spoken[name] = None
                return words.read(name)

            telling = replace(words, read=read)
            with clock.stage("text_encoder"):
                if key.is_old:
                    conds = encode_old(
                        model.text_encoder, model.tokenizer, key.stages, key.clip_skip, settings.emphasis, telling
                    )
                else:
                    conds = encode_prompts(
                        model.text_encoder,
                        model.tokenizer,
                        [_pieces(stage, settings) for stage in key.stages],
                        clip_skip=key.clip_skip,
                        emphasis=settings.emphasis,
                        comma_backtrack=key.comma_backtrack,
                        words=telling,
                        is_exact=is_exact,
                    )
            vain = [each for stage in stages for text, _ in _pieces(stage.text, settings)
                    for each in words.unusable_in(text, model.tokenizer)]  # fmt: skip
            return _Encoded(conds.to(model.unet.dtype), tuple(map(words.file, spoken)), tuple(dict.fromkeys(vain)))

        made = self._cache.get_or_make(key, make, lambda made: made.conds.numel() * made.conds.element_size())
        return Timeline(stages, made.conds, made.words, made.unusable)


class _Encoded(NamedTuple):
    """The conditioning of a prompt's stages, the embeddings in it, and those that cannot be used."""

    conds: Tensor
    words: tuple[Embedding, ...]
    unusable: tuple[Embedding, ...]


def _pieces(text: str, settings: Settings) -> list[Piece]:
    if settings.emphasis == "None":
        return [(text, 1.0)]
    return parse_attention(text, settings.compatibility == EXACT)


def _lengthened(cond: Tensor, length: int) -> Tensor:
    missing = length - cond.shape[0]
    return torch.cat([cond, cond[-1:].expand(missing, -1)]) if missing else cond
