"""The interface between the engine and the model families: what every loaded checkpoint provides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import torch
from torch import Tensor, nn

from modules.base.errors import WebuiError
from modules.clip.bpe import ClipBPE
from modules.networks.conditioning import Conditioning, Extra
from modules.networks.device import Placement
from modules.networks.embeddings import EmbeddingCache, EmbeddingWords
from modules.networks.files.listing import HashCache, Header
from modules.networks.files.loras import LoraRequest
from modules.networks.posterior import Posterior
from modules.sampling.noise_model import NoiseModel
from modules.schema.catalog import Checkpoint, Embedding
from modules.schema.families import FamilyTraits, Shown
from modules.schema.sizes import SizeRule

Ability = Literal["loras", "embeddings", "vae_files", "tiling", "token_merging", "size_conditioning"]
Emphasis = Literal["None", "Ignore", "Original", "No norm"]
Numbers = float | tuple[float, ...]


@dataclass(frozen=True)
class LatentFormat:
    """The format of a family's latents.

    channels: number of channels.  cell: pixels per side of a latent cell.  patch: cells per side of one token of the
    network.  shift, scale: model units are (x - shift) * scale, where x is in the autoencoder's units; one number for
    all channels, or one per channel. (A mean and a standard deviation are shift and 1 / scale.)
    """

    channels: int
    cell: int
    scale: Numbers = 1.0
    shift: Numbers = 0.0
    patch: int = 1

    def normalized(self, latents: Tensor) -> Tensor:
        """Latents (n, C, h, w), converted from the autoencoder's units to the model's."""
        shifted = latents if self.shift == 0.0 else latents - self._of(self.shift, latents)
        return shifted * self._of(self.scale, latents)

    def restored(self, latents: Tensor) -> Tensor:
        """The inverse of `normalized`: from the model's units to the autoencoder's."""
        scaled = latents / self._of(self.scale, latents)
        return scaled if self.shift == 0.0 else scaled + self._of(self.shift, latents)

    def deviation(self, std: Tensor) -> Tensor:
        """A standard deviation, converted from the autoencoder's units to the model's."""
        return std * self._of(self.scale, std)

    def packed(self, latents: Tensor) -> Tensor:
        """(n, C, h, w) -> tokens (n, h/p · w/p, C · p · p); h and w are multiples of the patch."""
        n, channels, h, w = latents.shape
        p = self.patch
        cut = latents.view(n, channels, h // p, p, w // p, p)
        return cut.permute(0, 2, 4, 1, 3, 5).reshape(n, h // p * (w // p), channels * p * p)

    def unpacked(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """The inverse of `packed`; `height` and `width` are in latent cells."""
        p = self.patch
        cut = tokens.view(tokens.shape[0], height // p, width // p, -1, p, p)
        return cut.permute(0, 3, 1, 4, 2, 5).reshape(tokens.shape[0], -1, height, width)

    @staticmethod
    def _of(numbers: Numbers, like: Tensor) -> Any:
        if isinstance(numbers, float):
            return numbers
        return torch.tensor(numbers, dtype=like.dtype, device=like.device).view(1, -1, 1, 1)


@dataclass(frozen=True)
class SizeConditioning:
    """XL's size and crop conditioning; Podell et al. 2023, arXiv 2307.01952, sections 2.2 and 2.5.

    width, height: of the original picture, in pixels.  crop_top, crop_left: cropped pixels.
    aesthetic_score: 0 … 10, for the refiner, which takes it instead of the target size.
    """

    width: int
    height: int
    crop_top: int = 0
    crop_left: int = 0
    aesthetic_score: float = 6.0


@dataclass(frozen=True)
class TextOptions:
    """How prompts are encoded. `words` are the embeddings that they may contain.

    is_negative: whether it is the negative prompt.  size_conditioning: for families that take it.
    clip_l_skip: whether `clip_skip` applies to XL's smaller text encoder.
    clip_skip: which layer from the end is used; 1 is the last.  comma_backtrack: the most tokens a chunk may be
    shortened by to end at a comma.  is_exact: A1111's parsing where ours differs.  is_old: A1111's old bracket syntax.
    """

    clip_skip: int = 1
    emphasis: Emphasis = "Original"
    comma_backtrack: int = 20
    is_exact: bool = False
    is_old: bool = False
    words: EmbeddingWords | None = None
    is_negative: bool = False
    size_conditioning: SizeConditioning | None = None
    clip_l_skip: bool = False


@dataclass(frozen=True)
class EncodedPrompts:
    """The conditioning of a prompt's stages, one row each; the embeddings used, and those named but unusable."""

    cond: Conditioning
    words: tuple[Embedding, ...] = ()
    unusable: tuple[Embedding, ...] = ()


@dataclass(frozen=True)
class LoraTarget:
    """A layer that a LoRA may change: its weight, and its bias if it has one.

    `block` is its index in `LoraRequest.blocks`; None if it is outside all blocks.
    """

    parameter: nn.Parameter
    is_text: bool
    block: int | None = None
    bias: nn.Parameter | None = None


@dataclass(frozen=True)
class VaeSlot:
    """How a VAE from a separate file replaces the checkpoint's VAE.

    key: what loading depends on besides the file; models with equal keys share the loaded VAE.
    is_own: whether the current VAE is the checkpoint's own.  load: reads the file; raises WebuiError if it contains no
    VAE.  require_fit: raises WebuiError (given the VAE's name) if it does not fit.
    """

    key: float
    is_own: bool
    part: Any
    load: Callable[[Path], Any]
    require_fit: Callable[[str, Any], None]
    encoder: Callable[[Any], Callable[[Tensor], Posterior]]
    placed: Callable[[Any, str, str], Model]


class Model(Protocol):
    """A loaded checkpoint: networks on one device, in evaluation mode and without gradients.

    `place.ready` is called with the networks that are about to be used.
    Implementations are frozen; methods that change something return a new model that shares the networks.
    """

    @property
    def family(self) -> Family: ...

    @property
    def latent(self) -> LatentFormat: ...

    @property
    def noise(self) -> NoiseModel: ...

    @property
    def sizes(self) -> SizeRule: ...

    @property
    def place(self) -> Placement: ...

    @property
    def name(self) -> str:
        """The value of "Model" in the infotext."""
        ...

    @property
    def hash(self) -> str:
        """The value of "Model hash" in the infotext."""
        ...

    @property
    def vae_name(self) -> str:
        """The name of a VAE from a separate file, "" for the checkpoint's VAE."""
        ...

    @property
    def vae_hash(self) -> str: ...

    @property
    def size(self) -> int:
        """The size of all parts in memory, in bytes."""
        ...

    @property
    def loras(self) -> tuple[LoraRequest, ...]:
        """The LoRAs applied to the weights."""
        ...

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        """The networks by name: `denoiser`, `vae`, and text encoders."""
        ...

    @property
    def text_width(self) -> int:
        """The width of an embedding's vectors; 0 if the family takes no embeddings."""
        ...

    @property
    def shown(self) -> Shown:
        """The network's input channels besides the latent: `Extra.concat`."""
        ...

    @property
    def vae_slot(self) -> VaeSlot | None:
        """How to replace the VAE; None if the family always uses its own."""
        ...

    def words(self, embeddings: EmbeddingCache) -> EmbeddingWords | None:
        """The embeddings that its text encoder can use; None if the family takes none."""
        ...

    def encode_prompts(self, stages: Sequence[str], options: TextOptions) -> EncodedPrompts:
        """The conditioning of one prompt's stages, one row per stage, on the model's device."""
        ...

    def predict(self, x: Tensor, sigma: Tensor, cond: Conditioning, extra: Extra) -> Tensor:
        """The predicted x0 (rows, C, h, w), fp32, one for each row of `cond`, from x (B, C, h, w) fp32 at sigma (B,).

        Row i belongs to picture i % B; the number of rows is a multiple of B.
        """
        ...

    def encode(self, pixels: Tensor) -> Posterior:
        """The posterior of the latents of pictures (n, 3, H, W) in -1 … 1."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) in 0 … 1, decoded from latents (n, C, h, w) in model units."""
        ...

    def lora_targets(self) -> Mapping[str, LoraTarget]:
        """The layers that LoRAs may change, by every name used in files, with underscores for dots

        (`lora.roles.folded`). Empty if the family takes none.
        """
        ...

    def with_loras(self, loras: tuple[LoraRequest, ...]) -> Self:
        """The same model, marked as having `loras` in its weights."""
        ...

    def with_noise(self, noise: NoiseModel) -> Self:
        """The same networks with another noise model: a variant of `noise` for a setting or a sampler."""
        ...

    def tiled(self) -> AbstractContextManager[None]:
        """Within the context, pictures are tileable: they continue at the opposite edge."""
        ...


class MissingVae(WebuiError):
    """A checkpoint lacks only a VAE, which may come from a separate file."""


@dataclass(frozen=True)
class FileSigns:
    """What identifies a checkpoint's family: the header of a single file, or the pipeline of a diffusers folder.

    kind: for a folder, the name of its row in `files/detect.py`.
    """

    header: Header
    pipeline: str = ""
    kind: str = ""


@dataclass(frozen=True)
class LoadTools:
    """The inputs of a family's loader.

    spare_vae: the file of a VAE, for a checkpoint without one.  make_room: called with the number of bytes that the
    weights take, after the header was checked and before any weights are read.
    """

    place: Placement
    tokenizer: ClipBPE
    hashes: HashCache
    spare_vae: Path | None = None
    make_room: Callable[[int], None] = lambda needed: None


@dataclass(frozen=True)
class Family:
    """One row of the table of families.

    traits: the family's row in `schema/families.py`, which needs no torch.
    load: raises WebuiError for a file that cannot be loaded, MissingVae for one that lacks only a VAE.
    load_control: loads the ControlNet in a file for a model of the family; None if the family has none.
    """

    traits: FamilyTraits
    matches: Callable[[FileSigns], bool]
    load: Callable[[Checkpoint, LoadTools], Model]
    abilities: frozenset[Ability] = frozenset()
    load_control: Callable[[Path, Any], Any] | None = None

    @property
    def name(self) -> str:
        return self.traits.name

    @property
    def label(self) -> str:
        return self.traits.label

    @property
    def sizes(self) -> SizeRule:
        return self.traits.sizes
