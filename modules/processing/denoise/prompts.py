"""The conditioning of each evaluation of the network, from prompts that change over the steps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import torch

from modules.networks.cache import ByteCache
from modules.networks.conditioning import Conditioning
from modules.networks.embeddings import EmbeddingCache
from modules.networks.files.loras import LoraRequest
from modules.networks.model import EncodedPrompts, Model, SizeConditioning, TextOptions
from modules.processing.clock import Stopwatch
from modules.processing.plan import ImagePlan, Pass
from modules.prompts.schedule import Stage, Timing, composition, schedule, stage_at
from modules.schema.catalog import Embedding
from modules.schema.settings import EXACT, Settings

# Settings that show in the pictures of families with size conditioning.
SIZE_SETTINGS: Final = (
    "sdxl_crop_top", "sdxl_crop_left", "sdxl_clip_l_skip", "sdxl_refiner_low_aesthetic_score",
    "sdxl_refiner_high_aesthetic_score",
)  # fmt: skip

Owners = tuple[tuple[tuple[int, float], ...], ...]
"""For each picture its AND parts: (row of the conditioning, weight)."""


class PromptKey(NamedTuple):
    """What the conditioning of a prompt depends on."""

    checkpoint: str
    dtype: torch.dtype
    stages: tuple[str, ...]
    options: TextOptions  # without the words
    loras: tuple[LoraRequest, ...]  # the LoRAs that change the text encoder
    words: tuple[Embedding, ...]  # the embeddings that the text may use


@dataclass(frozen=True)
class Timeline:
    """A prompt over the steps, with one row of the conditioning for each stage.

    `words` are the embeddings in it, `unusable` those it names that this checkpoint cannot use.
    """

    stages: list[Stage]
    cond: Conditioning
    words: tuple[Embedding, ...] = ()
    unusable: tuple[Embedding, ...] = ()

    def at(self, call: int) -> Conditioning:
        """The row in force at the 0-based evaluation `call`."""
        return self.cond[stage_at(self.stages, call)]


class PromptRows(NamedTuple):
    """The prompts of one evaluation: a row of `conds` for each AND part of each picture, one of `uncond` for each."""

    conds: Conditioning
    owners: Owners
    uncond: Conditioning


@dataclass(frozen=True)
class PromptSet:
    """The prompts of a batch: for each picture its AND parts with their weights, and the negative prompt.

    `empty` is the empty prompt if shorter prompts are padded with it. `noted` are the settings that had an effect on
    the prompts, `words` the embeddings in them, the negative prompt's last; `unusable` are those this checkpoint
    cannot use.
    """

    parts: tuple[tuple[tuple[Timeline, float], ...], ...]
    uncond: Timeline
    empty: Conditioning | None = None
    noted: frozenset[str] = frozenset()
    words: tuple[Embedding, ...] = ()
    unusable: tuple[Embedding, ...] = ()

    def of(self, images: Sequence[ImagePlan]) -> "PromptSet":
        """The same prompts for each of `images`."""
        return replace(self, parts=self.parts[:1] * len(images))

    def stages(self, call: int) -> tuple[int, ...]:
        """The stage of each prompt at an evaluation; as long as they stay the same, `at` returns the same."""
        timelines = [*(timeline for part in self.parts for timeline, _ in part), self.uncond]
        return tuple(stage_at(timeline.stages, call) for timeline in timelines)

    def at(self, call: int) -> PromptRows:
        """The prompts of an evaluation. AND parts of different lengths are repeated to a common one, as in A1111."""
        rows: list[Conditioning] = []
        owners: list[tuple[tuple[int, float], ...]] = []
        for part in self.parts:
            owners.append(tuple((len(rows) + i, weight) for i, (_, weight) in enumerate(part)))
            rows.extend(timeline.at(call) for timeline, _ in part)
        return PromptRows(Conditioning.joined(rows), tuple(owners), self.uncond.at(call).repeated(len(self.parts)))


def text_options(model: Model, request: Pass, settings: Settings, is_negative: bool = False) -> TextOptions:
    """How the prompt of a pass, or its negative prompt, is read for a model."""
    options = TextOptions(
        clip_skip=settings.CLIP_stop_at_last_layers,
        emphasis=settings.emphasis,
        comma_backtrack=settings.comma_padding_backtrack,
        is_exact=settings.compatibility == EXACT,
        is_old=settings.use_old_emphasis_implementation,
    )
    if "size_conditioning" not in model.family.abilities:
        return options
    low, high = settings.sdxl_refiner_low_aesthetic_score, settings.sdxl_refiner_high_aesthetic_score
    sizes = SizeConditioning(
        *request.size, settings.sdxl_crop_top, settings.sdxl_crop_left, aesthetic_score=low if is_negative else high
    )
    return replace(options, is_negative=is_negative, size_conditioning=sizes, clip_l_skip=settings.sdxl_clip_l_skip)


class PromptEncoder:
    """Encodes prompts, and caches the latest ones. Names of `embeddings` in them are replaced by their vectors."""

    def __init__(self, limit: int, embeddings: EmbeddingCache | None = None) -> None:
        self._cache: ByteCache[PromptKey, EncodedPrompts] = ByteCache(limit)
        self._embeddings = embeddings or EmbeddingCache()

    def prompts(self, model: Model, request: Pass, settings: Settings, clock: Stopwatch) -> PromptSet:
        """The prompts of one picture in one pass."""
        is_exact = settings.compatibility == EXACT
        when = request.timing
        texts = composition(request.prompt, is_exact)
        options = text_options(model, request, settings)
        against = text_options(model, request, settings, is_negative=True)
        parts = tuple((self._timeline(model, text, when, options, clock), weight) for text, weight in texts)
        negative = self._timeline(model, request.negative_prompt, when, against, clock)
        empty = None
        if settings.pad_cond_uncond:
            empty = self._timeline(model, "", when, options, clock).cond[0]
        noted: set[str] = set(SIZE_SETTINGS) if options.size_conditioning else set()
        timelines = [*(timeline for timeline, _ in parts), negative]
        if not settings.use_old_emphasis_implementation and any(
            bracket in stage.text for timeline in timelines for stage in timeline.stages for bracket in "(["
        ):
            noted.add("emphasis")
        if when.is_old:
            new = replace(when, is_old=False)
            prompts = [*(part.text for part in texts), request.negative_prompt]
            if any(schedule(text, when, is_exact) != schedule(text, new, is_exact) for text in prompts):
                noted.add("use_old_scheduling")
        words = tuple(dict.fromkeys(word for timeline in timelines for word in timeline.words))
        unusable = tuple(dict.fromkeys(word for timeline in timelines for word in timeline.unusable))
        return PromptSet((parts,), negative, empty, frozenset(noted), words, unusable)

    def clear(self) -> None:
        self._cache.clear()

    def _timeline(self, model: Model, text: str, when: Timing, options: TextOptions, clock: Stopwatch) -> Timeline:
        stages = schedule(text, when, options.is_exact)
        texts = tuple(stage.text for stage in stages)
        words = model.words(self._embeddings)
        key = PromptKey(
            model.hash,
            model.place.text_dtype,
            texts,
            options,
            tuple(replace(one, unet=0.0) for one in model.loras if one.te),
            (*words.of, *words.unusable) if words else (),
        )

        def make() -> EncodedPrompts:
            with clock.stage("text_encoder"):
                return model.encode_prompts(texts, replace(options, words=words))

        made = self._cache.get_or_make(key, make, lambda made: made.cond.bytes)
        return Timeline(stages, made.cond, made.words, made.unusable)
