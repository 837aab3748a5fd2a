"""FLUX.2 Klein as a `Model`; Black Forest Labs, 2026."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Self, cast

import torch
from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
from torch import Tensor, nn
from transformers import Qwen3Model

from modules.base.errors import WebuiError
from modules.networks.conditioning import Conditioning, Extra, added
from modules.networks.device import Placement
from modules.networks.embeddings import EmbeddingCache
from modules.networks.files.loras import LoraRequest
from modules.networks.flux2.autoencoder import decode, encode, latent_format, load_autoencoder
from modules.networks.lora.targets import layer_targets
from modules.networks.model import EncodedPrompts, Family, LatentFormat, LoraTarget, TextOptions, VaeSlot
from modules.networks.posterior import Posterior
from modules.networks.qwen3.encoder import padded_states
from modules.networks.qwen3.tokens import QwenTokenizer
from modules.prompts.attention import without_weights
from modules.sampling.noise_model import NoiseModel
from modules.schema.families import Shown
from modules.schema.sizes import SizeRule

LENGTH: Final = 512  # tokens of every prompt: the transformer reads the padding too
LAYERS: Final = (9, 18, 27)  # of Qwen3, whose states are read side by side


@dataclass(frozen=True, kw_only=True)
class Flux2Klein:
    """A `Model`."""

    transformer: Flux2Transformer2DModel
    vae: AutoencoderKLFlux2
    text: Qwen3Model
    tokenizer: QwenTokenizer
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
    text_width: int = 0  # of embeddings, which it does not take
    shown: Shown = ""

    @property
    def latent(self) -> LatentFormat:
        return latent_format(self.vae)

    @property
    def sizes(self) -> SizeRule:
        return self.family.sizes

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        return {"denoiser": self.transformer, "vae": self.vae, "text": self.text}

    @property
    def vae_slot(self) -> VaeSlot:
        return VaeSlot(
            key=0.0,
            is_own=self.has_own_vae,
            part=self.vae,
            load=partial(load_autoencoder, place=self.place),
            require_fit=self._require_vae,
            encoder=lambda part: partial(self._encoded, part),
            placed=lambda part, name, digits: replace(self, vae=part, vae_name=name, vae_hash=digits),
        )

    def words(self, embeddings: EmbeddingCache) -> None:
        return None

    def encode_prompts(self, stages: Sequence[str], options: TextOptions) -> EncodedPrompts:
        """As in `Model`. Weights of attention syntax have no effect: the brackets are taken off."""
        self.place.ready(self.text)
        rows: list[Conditioning] = []
        for stage in stages:
            text = stage if options.emphasis == "None" else without_weights(stage, options.is_exact)
            ids = self.tokenizer.question(text, LENGTH, thinks=False)
            found = padded_states(self.text, ids, LENGTH, LAYERS, self.tokenizer.padding, self.place.device)
            rows.append(Conditioning(found.to(self.place.dtype)))
        return EncodedPrompts(Conditioning.joined(rows))

    @torch.inference_mode()
    def predict(self, x: Tensor, sigma: Tensor, cond: Conditioning, extra: Extra) -> Tensor:
        self.place.ready(self.transformer)
        copies = len(cond) // len(x)
        x, sigma, cond = x.repeat(copies, 1, 1, 1), sigma.repeat(copies), added(cond, extra)
        height, width = x.shape[-2:]
        tokens = (x * self.noise.c_in(sigma)).to(self.place.dtype).flatten(2).transpose(1, 2)
        output = self.transformer(
            hidden_states=tokens,
            encoder_hidden_states=cond.tokens,
            timestep=self.noise.time(sigma),
            img_ids=_places(height, width, x.device),
            txt_ids=_places_of_text(cond.length, x.device),
            return_dict=False,
        )[0]
        velocity = output.float().transpose(1, 2).unflatten(2, (height, width))
        return self.noise.denoised(x, sigma, velocity)

    def encode(self, pixels: Tensor) -> Posterior:
        return self._encoded(self.vae, pixels)

    def decode(self, latents: Tensor) -> Tensor:
        self.place.ready(self.vae)
        return decode(self.vae, latents, self.place.tiles_vae)

    def lora_targets(self) -> Mapping[str, LoraTarget]:
        return layer_targets(self.transformer, {"to_out.0": "to_out"})

    def with_loras(self, loras: tuple[LoraRequest, ...]) -> Self:
        return replace(self, loras=loras)

    def with_noise(self, noise: NoiseModel) -> Self:
        return self if noise is self.noise else replace(self, noise=noise)

    def tiled(self) -> AbstractContextManager[None]:
        return nullcontext()

    def _encoded(self, part: AutoencoderKLFlux2, pixels: Tensor) -> Posterior:
        self.place.ready(part)
        return encode(part, pixels, self.place.tiles_vae)

    def _require_vae(self, name: str, part: Any) -> None:
        """Raises WebuiError for a VAE whose latents do not fit the transformer."""
        found, own = latent_format(part), cast(int, cast(Any, self.transformer.config)["in_channels"])
        if (found.channels, found.cell) != (own, self.family.sizes.cell):
            raise WebuiError(
                f"The VAE {name} does not fit the checkpoint {self.name}: its latents have {found.channels} channels "
                f"and cells of {found.cell} pixels, expected {own} and {self.family.sizes.cell}.",
                "FLUX.2 has a VAE of its own.",
                field="sd_vae",
            )


def _places(height: int, width: int, device: torch.device) -> Tensor:
    """The position of each token of a picture, (h · w, 4): reference, row, column, and 0."""
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    grid = torch.cartesian_prod(rows, columns)
    none = grid.new_zeros(len(grid), 1)
    return torch.cat([none, grid, none], dim=1)


def _places_of_text(length: int, device: torch.device) -> Tensor:
    """The position of each token of a text, (length, 4): the last number counts."""
    places = torch.zeros(length, 4, dtype=torch.long, device=device)
    places[:, 3] = torch.arange(length, device=device)
    return places
