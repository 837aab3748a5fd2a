"""Stable Diffusion XL; Podell et al. 2023, arXiv 2307.01952. Prompts are encoded as in A1111."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from modules.clip.bpe import END
from modules.clip.chunks import Piece
from modules.networks.conditioning import Conditioning
from modules.networks.embeddings import EmbeddingCache, EmbeddingWords
from modules.networks.ldm.lora_names import SECOND_TEXT_PREFIXES, TEXT_PREFIXES, text_targets, unet_targets
from modules.networks.ldm.model import LatentDiffusion
from modules.networks.ldm.text import Reading, TextNetwork, read_prompts
from modules.networks.model import LoraTarget, SizeConditioning, TextOptions

LAYERS_BACK: Final = 2  # in both text encoders: the state before the last layer, without the final norm
OPENCLIP_PAD: Final = 0  # the token that pads a prompt after its end marker


@dataclass(frozen=True, kw_only=True)
class StableDiffusionXL(LatentDiffusion):
    """A `Model` of Stable Diffusion XL. The refiner has only the larger text encoder: `clip_l` is None."""

    clip_l: CLIPTextModel | None
    clip_g: CLIPTextModelWithProjection

    @property
    def is_refiner(self) -> bool:
        return self.clip_l is None

    @property
    def text_encoders(self) -> Mapping[str, TextNetwork]:
        return {"text": self.clip_g} if self.clip_l is None else {"text": self.clip_l, "text_2": self.clip_g}

    @property
    def text_width(self) -> int:
        """The total width of an embedding's vectors for all text encoders."""
        return sum(encoder.config.hidden_size for encoder in self.text_encoders.values())

    def words(self, embeddings: EmbeddingCache) -> EmbeddingWords:
        return embeddings.words(self.text_width, self.tokenizer)

    def encoded(
        self,
        stages: Sequence[str],
        pieces: Sequence[Sequence[Piece]],
        options: TextOptions,
        words: EmbeddingWords | None,
    ) -> Conditioning:
        def read(encoder: TextNetwork, layers_back: int, pad: int, start: int) -> tuple[Tensor, Tensor | None]:
            columns = words and words.columns(start, start + encoder.config.hidden_size)
            reading = Reading(layers_back, False, pad)
            return read_prompts(encoder, self.tokenizer, stages, pieces, reading, options, columns)

        first = 0 if self.clip_l is None else self.clip_l.config.hidden_size
        tokens, pooled = read(self.clip_g, LAYERS_BACK, OPENCLIP_PAD, first)
        assert pooled is not None
        if self.clip_l is not None:
            back = options.clip_skip if options.clip_l_skip else LAYERS_BACK
            tokens = torch.cat([read(self.clip_l, back, END, 0)[0], tokens], dim=-1)
        if options.is_negative and not any(stages):  # no prompt at all, which differs from an encoded empty prompt
            tokens, pooled = torch.zeros_like(tokens), torch.zeros_like(pooled)
        numbers = torch.tensor([self._numbers(options.size_conditioning)], device=tokens.device).repeat(len(tokens), 1)
        dtype = self.place.dtype
        return Conditioning(tokens.to(dtype), pooled=pooled.to(dtype), size_ids=numbers)

    def added_cond(self, cond: Conditioning) -> dict[str, Any]:
        return {"added_cond_kwargs": {"text_embeds": cond.pooled, "time_ids": cond.size_ids}}

    def lora_targets(self) -> Mapping[str, LoraTarget]:
        """As in `Model`; {} for the refiner: LoRAs for XL are made for the base model, whose layers have the same
        names."""
        if self.clip_l is None:
            return {}
        smaller, larger = text_targets(self.clip_l, TEXT_PREFIXES), text_targets(self.clip_g, SECOND_TEXT_PREFIXES)
        return unet_targets(self.unet) | smaller | larger

    def _numbers(self, picture: SizeConditioning | None) -> list[float]:
        """Height and width of the original, crop at top and left, then the target size; for the refiner, the score."""
        native = self.family.sizes.native
        picture = picture or SizeConditioning(native, native)
        size, crop = (picture.height, picture.width), (picture.crop_top, picture.crop_left)
        last = (picture.aesthetic_score,) if self.is_refiner else size
        return [float(each) for each in (*size, *crop, *last)]
