"""Z-Image as a `Model`: a flow whose transformer takes time as 1 - t and predicts the negative velocity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Self, cast

import torch
from diffusers import AutoencoderKL, ZImageTransformer2DModel
from torch import Tensor, nn
from transformers import Qwen3Model

from modules.base.errors import WebuiError
from modules.networks import vae
from modules.networks.conditioning import Conditioning, Extra, added
from modules.networks.device import Placement
from modules.networks.embeddings import EmbeddingCache
from modules.networks.files.loras import LoraRequest
from modules.networks.ldm.building import load_vae
from modules.networks.lora.targets import layer_targets
from modules.networks.model import EncodedPrompts, Family, LatentFormat, LoraTarget, TextOptions, VaeSlot
from modules.networks.posterior import Posterior
from modules.networks.qwen3.encoder import states
from modules.networks.qwen3.tokens import QwenTokenizer
from modules.prompts.attention import without_weights
from modules.sampling.noise_model import NoiseModel
from modules.schema.families import Shown
from modules.schema.sizes import SizeRule

LONGEST: Final = 512  # tokens of a prompt with its template
SCALE, SHIFT = 0.3611, 0.1159  # of Flux's autoencoder, which Z-Image uses
PATCH: Final = 2


@dataclass(frozen=True, kw_only=True)
class ZImage:
    """A `Model`. The VAE's configuration has the scale and shift of the latents."""

    transformer: ZImageTransformer2DModel
    vae: AutoencoderKL
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
        scale, shift = vae.scale_and_shift(self.vae)
        return LatentFormat(
            channels=cast(int, self.vae.config["latent_channels"]),
            cell=vae.cell_size(self.vae),
            scale=scale,
            shift=shift,
            patch=PATCH,
        )

    @property
    def sizes(self) -> SizeRule:
        return self.family.sizes

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        return {"denoiser": self.transformer, "vae": self.vae, "text": self.text}

    @property
    def vae_slot(self) -> VaeSlot:
        return VaeSlot(
            key=vae.scale_and_shift(self.vae)[0],
            is_own=self.has_own_vae,
            part=self.vae,
            load=partial(flux_vae, place=self.place),
            require_fit=self._require_vae,
            encoder=lambda part: partial(self._encoded, part),
            placed=lambda part, name, digits: replace(self, vae=part, vae_name=name, vae_hash=digits),
        )

    def words(self, embeddings: EmbeddingCache) -> None:
        return None

    def encode_prompts(self, stages: Sequence[str], options: TextOptions) -> EncodedPrompts:
        """As in `Model`. Weights of attention syntax have no effect: the brackets are taken off.

        (A language model reads the whole sentence; scaling some of its states is not defined for it.)
        """
        self.place.ready(self.text)
        rows: list[Conditioning] = []
        for stage in stages:
            text = stage if options.emphasis == "None" else without_weights(stage, options.is_exact)
            ids = self.tokenizer.question(text, LONGEST)
            tokens = states(self.text, ids, self.place.device).to(self.place.dtype)
            rows.append(Conditioning(tokens, mask=torch.ones(1, tokens.shape[1], device=tokens.device)))
        return EncodedPrompts(Conditioning.joined(rows))

    @torch.inference_mode()
    def predict(self, x: Tensor, sigma: Tensor, cond: Conditioning, extra: Extra) -> Tensor:
        self.place.ready(self.transformer)
        copies = len(cond) // len(x)
        x, sigma, cond = x.repeat(copies, 1, 1, 1), sigma.repeat(copies), added(cond, extra)
        assert cond.mask is not None
        seen = (x * self.noise.c_in(sigma)).to(self.place.dtype)
        # Its own lists of unequal lengths, without the padding of our rows.
        prompts = [tokens[keep] for tokens, keep in zip(cond.tokens, cond.mask.bool(), strict=True)]
        pictures = [picture[:, None] for picture in seen]
        outputs = self.transformer(pictures, 1 - self.noise.time(sigma), prompts, return_dict=False)[0]
        velocity = -torch.stack([output[:, 0].float() for output in outputs])
        return self.noise.denoised(x, sigma, velocity)

    def encode(self, pixels: Tensor) -> Posterior:
        return self._encoded(self.vae, pixels)

    def decode(self, latents: Tensor) -> Tensor:
        self.place.ready(self.vae)
        return vae.decode(self.vae, latents, self.place.tiles_vae)

    def lora_targets(self) -> Mapping[str, LoraTarget]:
        return layer_targets(self.transformer, {"to_out.0": "to_out", "attention.to_out.0": "attention.out"})

    def with_loras(self, loras: tuple[LoraRequest, ...]) -> Self:
        return replace(self, loras=loras)

    def with_noise(self, noise: NoiseModel) -> Self:
        return self if noise is self.noise else replace(self, noise=noise)

    def tiled(self) -> AbstractContextManager[None]:
        return nullcontext()

    def _encoded(self, part: AutoencoderKL, pixels: Tensor) -> Posterior:
        self.place.ready(part)
        return vae.encode(part, pixels, self.place.tiles_vae)

    def _require_vae(self, name: str, part: Any) -> None:
        """Raises WebuiError for a VAE whose latents do not fit the transformer."""
        channels, cell = part.config["latent_channels"], vae.cell_size(part)
        own, rule = cast(int, self.transformer.config["in_channels"]), self.family.sizes.cell
        if (channels, cell) != (own, rule):
            raise WebuiError(
                f"The VAE {name} does not fit the checkpoint {self.name}: its latents have {channels} channels and "
                f"cells of {cell} pixels, expected {own} and {rule}.",
                "Z-Image uses the VAE of Flux.",
                field="sd_vae",
            )


def flux_vae(path: Any, place: Placement) -> AutoencoderKL:
    """A VAE from its own file, with the scale and shift of Flux. Raises WebuiError as `load_vae` does."""
    loaded = load_vae(path, place, SCALE)
    loaded.register_to_config(shift_factor=SHIFT)
    return loaded
