"""Stable Diffusion 2: the same with OpenCLIP ViT-H's text encoder, up to its second to last layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from modules.clip.chunks import Piece
from modules.networks.conditioning import Conditioning
from modules.networks.embeddings import EmbeddingWords
from modules.networks.ldm.text import Reading, read_prompts
from modules.networks.model import TextOptions
from modules.networks.sd1.model import StableDiffusion

READING: Final = Reading(pad=0)


@dataclass(frozen=True, kw_only=True)
class StableDiffusion2(StableDiffusion):
    """A `Model` of Stable Diffusion 2. Its text encoder ends at the layer that is used, so Clip skip has no effect, as
    in A1111."""

    def encoded(
        self,
        stages: Sequence[str],
        pieces: Sequence[Sequence[Piece]],
        options: TextOptions,
        words: EmbeddingWords | None,
    ) -> Conditioning:
        states = read_prompts(self.text_encoder, self.tokenizer, stages, pieces, READING, options, words)
        return Conditioning(states.tokens.to(self.place.dtype))
