"""A tiny flow-matching family, for tests of the model interface: nothing in it is as in Stable Diffusion 1.

Latents have 16 channels and cells of 4 pixels; the transformer takes patches of 2 x 2 cells, so that sides are
multiples of 8 pixels; prompts are 24 wide, one token per letter, with a mask; the network predicts a velocity.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from modules.networks.conditioning import Conditioning, Extra, added
from modules.networks.device import Placement
from modules.networks.embeddings import EmbeddingCache
from modules.networks.files.loras import LoraRequest
from modules.networks.model import (
    EncodedPrompts,
    Family,
    FileSigns,
    LatentFormat,
    LoadTools,
    LoraTarget,
    TextOptions,
    VaeSlot,
)
from modules.networks.posterior import Posterior
from modules.sampling.flow import FlowNoise
from modules.sampling.noise_model import NoiseModel
from modules.schema.catalog import Checkpoint
from modules.schema.families import FamilyTraits, Shown
from modules.schema.sizes import SizeRule

CHANNELS, CELL, PATCH, WIDTH, TEXT = 16, 4, 2, 32, 24
MARK = "toy_flow.patches.weight"
LONGEST = 64  # letters of a prompt
SIZES = SizeRule(cell=CELL, multiple_of=CELL * PATCH, native=64)
MEANS = tuple(0.1 * i for i in range(CHANNELS))
SCALES = tuple(1.0 + 0.05 * i for i in range(CHANNELS))
LATENT = LatentFormat(CHANNELS, CELL, scale=SCALES, shift=MEANS, patch=PATCH)


class Transformer(nn.Module):
    """One layer of attention between the patches and from them to the prompt."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Linear(CHANNELS * PATCH * PATCH, WIDTH)
        self.text = nn.Linear(TEXT, WIDTH)
        self.time = nn.Linear(1, WIDTH)
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.out = nn.Linear(WIDTH, CHANNELS * PATCH * PATCH)

    def forward(self, tokens: Tensor, time: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        x = self.patches(tokens) + self.time(time[:, None])[:, None]
        both = torch.cat([x, self.text(text)], dim=1)
        seen = torch.cat([mask.new_ones(len(x), x.shape[1]), mask], dim=1).bool()[:, None]
        attended = functional.scaled_dot_product_attention(
            self.query(x), self.key(both), self.value(both), attn_mask=seen
        )
        return self.out(functional.silu(x + attended))


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, CHANNELS, CELL, CELL)
        self.decoder = nn.ConvTranspose2d(CHANNELS, 3, CELL, CELL)


class TextEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(128, TEXT)


@dataclass(frozen=True)
class ToyFlow:
    """A `Model`."""

    transformer: Transformer
    autoencoder: Autoencoder
    text: TextEncoder
    family: Family
    name: str
    hash: str
    noise: NoiseModel
    place: Placement
    loras: tuple[LoraRequest, ...] = ()
    latent: LatentFormat = LATENT
    sizes: SizeRule = SIZES
    vae_name: str = ""
    vae_hash: str = ""
    text_width: int = 0
    shown: Shown = ""
    vae_slot: VaeSlot | None = None

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        return {"denoiser": self.transformer, "vae": self.autoencoder, "text": self.text}

    @property
    def size(self) -> int:
        return sum(p.numel() * p.element_size() for part in self.parts.values() for p in part.parameters())

    def words(self, embeddings: EmbeddingCache) -> None:
        return None

    @torch.inference_mode()
    def encode_prompts(self, stages: Sequence[str], options: TextOptions) -> EncodedPrompts:
        rows: list[Conditioning] = []
        for stage in stages:
            letters = [ord(letter) % 128 for letter in stage[:LONGEST]] or [0]
            rows.append(Conditioning(self.text.letters(torch.tensor([letters])), mask=torch.ones(1, len(letters))))
        return EncodedPrompts(Conditioning.joined(rows))

    @torch.inference_mode()
    def predict(self, x: Tensor, sigma: Tensor, cond: Conditioning, extra: Extra) -> Tensor:
        copies = len(cond) // len(x)
        x, sigma, cond = x.repeat(copies, 1, 1, 1), sigma.repeat(copies), added(cond, extra)
        assert cond.mask is not None
        tokens = self.latent.packed(x * self.noise.c_in(sigma))
        output = self.transformer(tokens, self.noise.time(sigma), cond.tokens, cond.mask)
        return self.noise.denoised(x, sigma, self.latent.unpacked(output, *x.shape[-2:]))

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> Posterior:
        mean = self.latent.normalized(self.autoencoder.encoder(pixels))
        return Posterior(mean, torch.full_like(mean, 0.01))

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        return (self.autoencoder.decoder(self.latent.restored(latents)) / 2 + 0.5).clamp(0, 1)

    def lora_targets(self) -> Mapping[str, LoraTarget]:
        return {}

    def with_loras(self, loras: tuple[LoraRequest, ...]) -> Self:
        return replace(self, loras=loras)

    def with_noise(self, noise: NoiseModel) -> Self:
        return replace(self, noise=noise)

    def tiled(self) -> AbstractContextManager[None]:
        return nullcontext()


def _load(file: Checkpoint, tools: LoadTools) -> ToyFlow:
    state = load_file(file.path)
    tools.make_room(sum(tensor.numel() * tensor.element_size() for tensor in state.values()))
    transformer, autoencoder, text = Transformer(), Autoencoder(), TextEncoder()
    for prefix, part in {"toy_flow": transformer, "toy_vae": autoencoder, "toy_text": text}.items():
        own = {key.removeprefix(f"{prefix}."): each for key, each in state.items() if key.startswith(f"{prefix}.")}
        part.load_state_dict(own)
        part.requires_grad_(False).eval()
    digits, noise = tools.hashes.short(file.path), FlowNoise(shift=3.0)
    return ToyFlow(transformer, autoencoder, text, TOY, file.stem, digits, noise, tools.place)


def _matches(signs: FileSigns) -> bool:
    return MARK in signs.header


TOY = Family(FamilyTraits("toy-flow", "Toy Flow", SIZES), _matches, _load)


def write_toy_checkpoint(path: Path) -> Path:
    """A checkpoint of the family; every tensor is drawn from a seed derived from its name."""
    state: dict[str, Tensor] = {}
    for prefix, part in {"toy_flow": Transformer(), "toy_vae": Autoencoder(), "toy_text": TextEncoder()}.items():
        for key, like in part.state_dict().items():
            name = f"{prefix}.{key}"
            seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
            drawn = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))
            state[name] = drawn / math.sqrt(max(1, math.prod(like.shape[1:])))
    save_file(state, path)
    return path
