"""Checkpoints of Stable Diffusion XL: base models, inpainting models, the refiner, and pruned ones."""

from typing import Final, cast

from transformers import CLIPTextModel, CLIPTextModelWithProjection

from modules.networks.control.network import load_control_for
from modules.networks.files.detect import REFINER_TEXT, FileType
from modules.networks.ldm.loading import VaeFiles, load_networks
from modules.networks.ldm.parts import Layout, TextSlot, belongs_to
from modules.networks.model import Family, FileSigns, LoadTools
from modules.networks.sdxl.model import StableDiffusionXL
from modules.schema.catalog import Checkpoint
from modules.schema.families import SDXL_TRAITS

_CLIP_L: Final = TextSlot(
    "text encoder", "conditioner.embedders.0.transformer.text_model.", "text_encoder", "text_encoder"
)
_CLIP_G: Final = TextSlot(
    "second text encoder",
    "conditioner.embedders.1.model.",
    "text_encoder_2",
    "text_encoder_2",
    kind=CLIPTextModelWithProjection,
    is_openclip=True,
)
_REFINER_CLIP_G: Final = TextSlot(
    "text encoder", REFINER_TEXT, "text_encoder_2", "text_encoder_2", CLIPTextModelWithProjection, is_openclip=True
)
BASE: Final = Layout("sdxl", (_CLIP_L, _CLIP_G), size_numbers=6)
REFINER: Final = Layout("sdxl", (_REFINER_CLIP_G,), size_numbers=5)


def load(file: Checkpoint, tools: LoadTools) -> StableDiffusionXL:
    """Loads a checkpoint. Raises WebuiError as `load_networks` does."""
    networks = load_networks(file, _layout_of, tools.place, VaeFiles(spare=tools.spare_vae), tools.make_room)
    *smaller, larger = networks.texts
    return StableDiffusionXL(
        unet=networks.unet,
        vae=networks.vae,
        clip_l=cast(CLIPTextModel, smaller[0]) if smaller else None,
        clip_g=cast(CLIPTextModelWithProjection, larger),
        tokenizer=tools.tokenizer,
        family=SDXL,
        name=file.stem,
        hash=tools.hashes.short(file.path),
        noise=networks.noise,
        place=tools.place,
        size=networks.size,
        has_own_vae=networks.has_own_vae,
    )


def _layout_of(kind: FileType) -> Layout:
    return REFINER if kind.name == "sdxl-refiner" else BASE


def _matches(signs: FileSigns) -> bool:
    return belongs_to(signs, SDXL_TRAITS.name)


SDXL: Final = Family(
    traits=SDXL_TRAITS,
    matches=_matches,
    load=load,
    abilities=frozenset({"loras", "embeddings", "vae_files", "tiling", "token_merging", "size_conditioning"}),
    load_control=load_control_for,
)
