"""The seam between the engine and a family of models: what every loaded checkpoint can do, whatever it is made of."""

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
    """A family's latents.

    channels: of a latent.  cell: pixels a side of one latent cell.  patch: cells a side that the network takes as one
    token.  shift, scale: model units are (x - shift) * scale of the autoencoder's own, for all channels or for each.
    (A mean and a deviation are a shift and 1 / scale.)
    """

    channels: int
    cell: int
    scale: Numbers = 1.0
    shift: Numbers = 0.0
    patch: int = 1

    def normalized(self, latents: Tensor) -> Tensor:
        """From the autoencoder's units (n, C, h, w) to the model's."""
        shifted = latents if self.shift == 0.0 else latents - self._of(self.shift, latents)
        return shifted * self._of(self.scale, latents)

    def restored(self, latents: Tensor) -> Tensor:
        """From the model's units back to the autoencoder's."""
        scaled = latents / self._of(self.scale, latents)
        return scaled if self.shift == 0.0 else scaled + self._of(self.shift, latents)

    def deviation(self, std: Tensor) -> Tensor:
        """A standard deviation in the autoencoder's units, in the model's."""
        return std * self._of(self.scale, std)

    def packed(self, latents: Tensor) -> Tensor:
        """(n, C, h, w) -> tokens (n, h/p · w/p, C · p · p); h and w are multiples of the patch."""
        n, channels, h, w = latents.shape
        p = self.patch
        cut = latents.view(n, channels, h // p, p, w // p, p)
        return cut.permute(0, 2, 4, 1, 3, 5).reshape(n, h // p * (w // p), channels * p * p)

    def unpacked(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """What `packed` was given; `height` and `width` are in cells."""
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

    width, height: pixels of the original.  crop_top, crop_left: pixels cropped there.
    aesthetic_score: 0 … 10, for the refiner, which has it in place of the target size.
    """

    width: int
    height: int
    crop_top: int = 0
    crop_left: int = 0
    aesthetic_score: float = 6.0


@dataclass(frozen=True)
class TextOptions:
    """How prompts are read. `words` are the embeddings that may stand in them.

    is_negative: whether it is the negative prompt.  size_conditioning: for families that take it.
    clip_l_skip: whether `clip_skip` counts for XL's smaller text encoder.
    clip_skip: layers of the text encoder left out, 1 is none.  comma_backtrack: tokens that a chunk may be cut short by
    to end at a comma.  is_exact: A1111's reading where ours differs.  is_old: A1111's first reading of brackets.
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
    """The stages of a prompt, a row each; the embeddings in them, and those that are named and cannot be used."""

    cond: Conditioning
    words: tuple[Embedding, ...] = ()
    unusable: tuple[Embedding, ...] = ()


@dataclass(frozen=True)
class LoraTarget:
    """A layer that a LoRA may change: its weight, and its bias if it has one.

    `block` is its place in `LoraRequest.blocks`; None is outside of all blocks.
    """

    parameter: nn.Parameter
    is_text: bool
    block: int | None = None
    bias: nn.Parameter | None = None


@dataclass(frozen=True)
class VaeSlot:
    """How a VAE from a file of its own takes the place of the checkpoint's.

    key: what the file is read by besides its content; models with equal keys share what was read.
    is_own: whether the checkpoint brought the VAE that is in place.  load: reads the file, raises WebuiError if it
    holds no VAE.  require_fit: raises WebuiError (given the VAE's name) if it does not fit.
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

    Implementations are frozen; what is changed comes back as another one that shares the networks.
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
        """The infotext's "Model"."""
        ...

    @property
    def hash(self) -> str:
        """The infotext's "Model hash"."""
        ...

    @property
    def vae_name(self) -> str:
        """Of a VAE from a file of its own, "" for the checkpoint's."""
        ...

    @property
    def vae_hash(self) -> str: ...

    @property
    def size(self) -> int:
        """Bytes of all parts in memory."""
        ...

    @property
    def loras(self) -> tuple[LoraRequest, ...]:
        """What is in the weights besides."""
        ...

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        """The networks by name: `denoiser`, `vae`, and text encoders."""
        ...

    @property
    def text_width(self) -> int:
        """Of the vectors that an embedding must have; 0 where the family takes none."""
        ...

    @property
    def shown(self) -> Shown:
        """What the network sees as channels beside the latent: `Extra.concat`."""
        ...

    @property
    def vae_slot(self) -> VaeSlot | None:
        """None for a family whose VAE is always its own."""
        ...

    def words(self, embeddings: EmbeddingCache) -> EmbeddingWords | None:
        """The embeddings that its text encoder can use; None where the family takes none."""
        ...

    def encode_prompts(self, stages: Sequence[str], options: TextOptions) -> EncodedPrompts:
        """The stages of one prompt, a row of the conditioning each, on the model's device."""
        ...

    def predict(self, x: Tensor, sigma: Tensor, cond: Conditioning, extra: Extra) -> Tensor:
        """x0, fp32, one for each row of `cond`; x (B, C, h, w) fp32 at level sigma (B,), taken as often as rows ask.

        Row i belongs to picture i % B; the rows are a multiple of B.
        """
        ...

    def encode(self, pixels: Tensor) -> Posterior:
        """The posterior of pictures (n, 3, H, W) in -1 … 1."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) in 0 … 1 of latents (n, C, h, w) in model units."""
        ...

    def lora_targets(self) -> Mapping[str, LoraTarget]:
        """What LoRAs may change, by every name that files have for it, with underscores for dots (`lora.roles.folded`).

        Empty where the family takes none.
        """
        ...

    def with_loras(self, loras: tuple[LoraRequest, ...]) -> Self:
        """The same model, said to have `loras` in its weights."""
        ...

    def with_noise(self, noise: NoiseModel) -> Self:
        """The same networks asked at other levels: a setting's or a sampler's variant of `noise`."""
        ...

    def tiled(self) -> AbstractContextManager[None]:
        """While it lasts, pictures continue at their opposite edge."""
        ...


class MissingVae(WebuiError):
    """All that a checkpoint lacks is a VAE, which may come from a file of its own."""


@dataclass(frozen=True)
class FileSigns:
    """What tells a checkpoint's family: the header of a single file, the pipeline that a diffusers folder names.

    kind: of a folder, the name of its row in `files/detect.py`.
    """

    header: Header
    pipeline: str = ""
    kind: str = ""


@dataclass(frozen=True)
class LoadTools:
    """What a family's loader works with.

    spare_vae: the file of a VAE, for a checkpoint without one.  make_room: is called with the bytes that the weights
    take, once all that the header shows is in order and before any weight is read.
    """

    place: Placement
    tokenizer: ClipBPE
    hashes: HashCache
    spare_vae: Path | None = None
    make_room: Callable[[int], None] = lambda needed: None


@dataclass(frozen=True)
class Family:
    """One row of the table of families.

    traits: what is known of it without torch, its row of `schema/families.py`.
    load: raises WebuiError for a file that cannot be loaded, MissingVae for one that lacks no more than a VAE.
    load_control: the ControlNet in a file, for a model of the family; None where the family has none.
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
