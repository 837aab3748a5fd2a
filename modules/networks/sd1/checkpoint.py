"""Checkpoints of Stable Diffusion 1."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

from transformers import CLIPTextModel

from modules.base.errors import WebuiError
from modules.clip.bpe import ClipBPE
from modules.networks.control.network import load_control_for
from modules.networks.device import Placement
from modules.networks.files.detect import TEXT, FileType
from modules.networks.files.foreign import FIELD
from modules.networks.files.listing import HashCache
from modules.networks.ldm.loading import VaeFiles, load_networks
from modules.networks.ldm.parts import Layout, TextSlot, belongs_to
from modules.networks.model import Family, FileSigns, LoadTools
from modules.networks.sd1.model import StableDiffusion
from modules.schema.catalog import Checkpoint
from modules.schema.families import SD1_TRAITS

LAYOUT: Final = Layout("sd1", (TextSlot("text encoder", TEXT, "text_encoder", "text_encoder"),))


def load_checkpoint(
    file: Checkpoint,
    place: Placement,
    tokenizer: ClipBPE,
    hashes: HashCache,
    vae: Path | None = None,
    spare: Path | None = None,
    make_room: Callable[[int], None] = lambda needed: None,
) -> StableDiffusion:
    """Loads `file` onto `place`; the VAE file `vae` replaces the VAE inside, `spare` is used if there is none inside.

    For `make_room` and errors, see `load_networks`.
    """
    networks = load_networks(file, _layout_of, place, VaeFiles(vae, spare), make_room)
    return StableDiffusion(
        unet=networks.unet,
        vae=networks.vae,
        text_encoder=cast(CLIPTextModel, networks.texts[0]),
        tokenizer=tokenizer,
        family=SD1,
        name=file.stem,
        hash=hashes.short(file.path),
        noise=networks.noise,
        place=place,
        size=networks.size,
        has_own_vae=networks.has_own_vae,
    )


def _layout_of(kind: FileType) -> Layout:
    if kind.family != SD1_TRAITS.name:
        raise WebuiError(f"This is {kind.label}, not one of Stable Diffusion 1.", "Choose another.", FIELD)
    return LAYOUT


def _load(file: Checkpoint, tools: LoadTools) -> StableDiffusion:
    return load_checkpoint(
        file, tools.place, tools.tokenizer, tools.hashes, spare=tools.spare_vae, make_room=tools.make_room
    )


def _matches(signs: FileSigns) -> bool:
    return belongs_to(signs, SD1_TRAITS.name)


SD1: Final = Family(
    traits=SD1_TRAITS,
    matches=_matches,
    load=_load,
    abilities=frozenset({"loras", "embeddings", "vae_files", "tiling", "token_merging"}),
    load_control=load_control_for,
)
