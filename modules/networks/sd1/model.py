"""Stable Diffusion 1: a UNet and a VAE with CLIP ViT-L's text encoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from transformers import CLIPTextModel

from modules.clip.chunks import Piece
from modules.networks.conditioning import Conditioning
from modules.networks.embeddings import EmbeddingCache, EmbeddingWords
from modules.networks.ldm.lora_names import TEXT_PREFIXES, text_targets, unet_targets
from modules.networks.ldm.model import LatentDiffusion
from modules.networks.ldm.text import PLAIN, TextNetwork, read_prompts
from modules.networks.model import LoraTarget, TextOptions


@dataclass(frozen=True, kw_only=True)
class StableDiffusion(LatentDiffusion):
    """A `Model` of Stable Diffusion 1."""

    text_encoder: CLIPTextModel

    @property
    def text_encoders(self) -> Mapping[str, TextNetwork]:
        return {"text": self.text_encoder}

    @property
    def text_width(self) -> int:
        return self.text_encoder.config.hidden_size

    def words(self, embeddings: EmbeddingCache) -> EmbeddingWords:
        return embeddings.words(self.text_width, self.tokenizer)

    def encoded(
        self,
        stages: Sequence[str],
        pieces: Sequence[Sequence[Piece]],
        options: TextOptions,
        words: EmbeddingWords | None,
    ) -> Conditioning:
        reading = replace(PLAIN, layers_back=options.clip_skip)
        states = read_prompts(self.text_encoder, self.tokenizer, stages, pieces, reading, options, words)
        return Conditioning(states.tokens.to(self.place.dtype))

    def lora_targets(self) -> Mapping[str, LoraTarget]:
        return unet_targets(self.unet) | text_targets(self.text_encoder, TEXT_PREFIXES)
