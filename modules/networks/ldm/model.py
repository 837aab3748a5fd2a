"""The base class of the Stable Diffusion families: a UNet, an AutoencoderKL and CLIP text encoders as a `Model`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self, cast

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

from modules.base.errors import WebuiError
from modules.clip.bpe import ClipBPE
from modules.clip.chunks import Piece
from modules.networks import vae
from modules.networks.conditioning import Conditioning, Extra, Residuals, added
from modules.networks.device import Placement
from modules.networks.embeddings import EmbeddingCache, EmbeddingWords
from modules.networks.files.loras import LoraRequest
from modules.networks.ldm.building import load_vae
from modules.networks.ldm.loading import shown_by
from modules.networks.ldm.text import TextNetwork
from modules.networks.ldm.token_merging import merged_tokens
from modules.networks.model import EncodedPrompts, Family, LatentFormat, LoraTarget, TextOptions, VaeSlot
from modules.networks.posterior import Posterior
from modules.networks.tiling import wrapping_around
from modules.prompts.attention import parse_attention
from modules.sampling.noise_model import NoiseModel
from modules.schema.catalog import Embedding
from modules.schema.families import Shown
from modules.schema.sizes import SizeRule


@dataclass(frozen=True, kw_only=True)
class LatentDiffusion(ABC):
    """The parts of `Model` that these families share.

    `vae_name` and `vae_hash` describe a VAE from a file of its own, "" for the checkpoint's VAE.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    tokenizer: ClipBPE
    family: Family
    name: str
    hash: str
    noise: NoiseModel
    place: Placement
    size: int
    loras: tuple[LoraRequest, ...] = ()
    vae_name: str = ""
    vae_hash: str = ""
    has_own_vae: bool = True

    @property
    @abstractmethod
    def text_encoders(self) -> Mapping[str, TextNetwork]:
        """The text encoders, by their names in `parts`."""

    @property
    @abstractmethod
    def text_width(self) -> int: ...

    @abstractmethod
    def words(self, embeddings: EmbeddingCache) -> EmbeddingWords | None: ...

    @abstractmethod
    def lora_targets(self) -> Mapping[str, LoraTarget]: ...

    @abstractmethod
    def encoded(
        self,
        stages: Sequence[str],
        pieces: Sequence[Sequence[Piece]],
        options: TextOptions,
        words: EmbeddingWords | None,
    ) -> Conditioning:
        """The conditioning of one prompt's stages, given as `pieces`: one row per stage."""

    def added_cond(self, cond: Conditioning) -> dict[str, Any]:
        """The UNet's inputs from the prompts besides their tokens."""
        return {}

    @property
    def latent(self) -> LatentFormat:
        return LatentFormat(
            channels=cast(int, self.vae.config["latent_channels"]),
            cell=vae.cell_size(self.vae),
            scale=float(self.vae.config["scaling_factor"]),
        )

    @property
    def sizes(self) -> SizeRule:
        return self.family.sizes

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        return {"denoiser": self.unet, "vae": self.vae, **self.text_encoders}

    @property
    def shown(self) -> Shown:
        return shown_by(cast(int, self.unet.config["in_channels"]), self.latent.channels)

    @property
    def vae_slot(self) -> VaeSlot:
        scale = float(self.vae.config["scaling_factor"])
        return VaeSlot(
            key=scale,
            is_own=self.has_own_vae,
            part=self.vae,
            load=partial(load_vae, place=self.place, scaling_factor=scale),
            require_fit=self._require_vae,
            encoder=lambda part: partial(self._encoded, part),
            placed=lambda part, name, digits: replace(self, vae=part, vae_name=name, vae_hash=digits),
        )

    def encode_prompts(self, stages: Sequence[str], options: TextOptions) -> EncodedPrompts:
        self.place.ready(*self.text_encoders.values())
        words = options.words
        seen: dict[str, None] = {}

        def read(name: str) -> Tensor:
            seen[name] = None
            assert words is not None
            return words.read(name)

        noting = None if words is None else replace(words, read=read)
        pieces = [_pieces(stage, options) for stage in stages]
        cond = self.encoded(stages, pieces, options, noting)
        unusable: dict[Embedding, None] = {}
        if words is not None:
            texts = [text for stage in pieces for text, _ in stage]
            unusable = {each: None for text in texts for each in words.unusable_in(text, self.tokenizer)}
        named = () if words is None else tuple(map(words.file, seen))
        return EncodedPrompts(cond, named, tuple(unusable))

    def predict(self, x: Tensor, sigma: Tensor, cond: Conditioning, extra: Extra) -> Tensor:
        self.place.ready(self.unet)
        seen, time = x * self.noise.c_in(sigma), self.noise.time(sigma)
        copies = len(cond) // len(x)
        if copies > 1:
            seen, time = torch.cat([seen] * copies), torch.cat([time] * copies)
        cond = added(cond, extra)
        added_cond = self.added_cond(cond)
        steering = self._steering(seen, time, cond, added_cond, extra)
        added_cond |= _residuals(self.unet, extra, steering, len(seen), self.place)
        if extra.concat is not None:
            seen = torch.cat([seen, extra.concat.expand(len(seen), -1, -1, -1)], dim=1)
        # Not unet.dtype: diffusers loops over all parameters for it, which takes 3 ms per step.
        scaled = seen.to(self.place.dtype, memory_format=torch.channels_last)
        with merged_tokens(self.unet, extra.token_merging):
            output = self.unet(
                scaled, time, cond.tokens, encoder_attention_mask=cond.mask, return_dict=False, **added_cond
            )[0]
        output = output.to(torch.float32, memory_format=torch.contiguous_format)
        return self.noise.denoised(x, sigma, output.unflatten(0, (copies, -1))).flatten(0, 1)

    def _steering(
        self, seen: Tensor, time: Tensor, cond: Conditioning, added_cond: Mapping[str, Any], extra: Extra
    ) -> Residuals:
        """The sum of the residuals of all control networks that act in this step, for each row."""
        total = Residuals()
        acting = [control for control in extra.controls if control.acts()]
        if acting:
            scaled = seen.to(self.place.dtype, memory_format=torch.channels_last)
            for control in acting:
                *down, middle = control.residuals(scaled, time, cond, added_cond, extra.negative_rows)
                total = total.plus(Residuals(tuple(down), middle))
        return total

    def encode(self, pixels: Tensor) -> Posterior:
        return self._encoded(self.vae, pixels)

    def decode(self, latents: Tensor) -> Tensor:
        self.place.ready(self.vae)
        return vae.decode(self.vae, latents, self.place.tiles_vae)

    def with_loras(self, loras: tuple[LoraRequest, ...]) -> Self:
        return replace(self, loras=loras)

    def with_noise(self, noise: NoiseModel) -> Self:
        return self if noise is self.noise else replace(self, noise=noise)

    def tiled(self) -> AbstractContextManager[None]:
        return wrapping_around((self.unet, self.vae))

    def _encoded(self, part: AutoencoderKL, pixels: Tensor) -> Posterior:
        self.place.ready(part)
        return vae.encode(part, pixels, self.place.tiles_vae)

    def _require_vae(self, name: str, part: Any) -> None:
        """Raises WebuiError for a VAE whose latents do not fit the UNet."""
        channels, cell = part.config["latent_channels"], vae.cell_size(part)
        if (channels, cell) != (self.latent.channels, self.latent.cell):
            raise WebuiError(
                f"The VAE {name} does not fit the checkpoint {self.name}: its latents have {channels} channels and "
                f"cells of {cell} pixels, expected {self.latent.channels} and {self.latent.cell}.",
                "Choose another.",
                "sd_vae",
            )


def _pieces(text: str, options: TextOptions) -> list[Piece]:
    if options.emphasis == "None":
        return [(text, 1.0)]
    return parse_attention(text, options.is_exact)


def _residuals(
    unet: UNet2DConditionModel, extra: Extra, steering: Residuals, rows: int, place: Placement
) -> dict[str, Any]:
    """Arguments of diffusers' UNet for the residuals of extensions and control networks; {} without any.

    steering: one row for each row of the UNet.  The UNet requires residuals for the skip connections and the middle
    block together, so missing ones are 0.
    """
    added_by_extensions = extra.residuals
    if added_by_extensions is None and steering.middle is None:
        return {}
    blocks = cast(Any, unet).down_blocks
    skips = 1 + sum(len(block.resnets) + len(block.downsamplers or ()) for block in blocks)
    residuals = added_by_extensions or Residuals()
    if len(residuals.down) not in (0, skips):
        raise WebuiError(f"{len(residuals.down)} residuals were added, the UNet takes {skips}.", field="extensions")

    def together(one: Tensor | None, other: Tensor | None) -> Tensor:
        """Their sum; the rows of an extension's residuals are repeated as needed."""
        given = [each.to(place.device, place.dtype) for each in (one, other) if each is not None]
        if not given:
            return torch.zeros(1, 1, 1, 1, device=place.device, dtype=place.dtype)
        spread = [each.repeat(rows // len(each), 1, 1, 1) for each in given]
        return spread[0] if len(spread) == 1 else spread[0] + spread[1]

    nothing = (None,) * skips
    pairs = zip(residuals.down or nothing, steering.down or nothing, strict=True)
    return {
        "down_block_additional_residuals": tuple(together(*pair) for pair in pairs),
        "mid_block_additional_residual": together(residuals.middle, steering.middle),
    }
