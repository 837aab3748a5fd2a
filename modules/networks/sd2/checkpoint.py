"""Checkpoints of Stable Diffusion 2, with noise or v-prediction, including its inpainting models."""

import logging
from typing import Any, Final, cast

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel

from modules.networks.control.network import load_control_for
from modules.networks.ldm.loading import Networks, VaeFiles, load_networks, noise_model
from modules.networks.ldm.parts import Layout, TextSlot, belongs_to
from modules.networks.model import Family, FileSigns, LoadTools
from modules.networks.sd2.model import StableDiffusion2
from modules.sampling.discrete import DiscreteNoise
from modules.schema.catalog import Checkpoint
from modules.schema.families import SD2_TRAITS

log = logging.getLogger(__name__)

LAYOUT: Final = Layout(
    "sd2",
    (TextSlot("text encoder", "cond_stage_model.model.", "text_encoder", "text_encoder", is_openclip=True, unread=1),),
)
_V_BELOW: Final = -1.0  # A1111's threshold


def load(file: Checkpoint, tools: LoadTools) -> StableDiffusion2:
    """Loads a checkpoint. Raises WebuiError as `load_networks` does."""
    networks = load_networks(file, lambda kind: LAYOUT, tools.place, VaeFiles(spare=tools.spare_vae), tools.make_room)
    return StableDiffusion2(
        unet=networks.unet,
        vae=networks.vae,
        text_encoder=cast(CLIPTextModel, networks.texts[0]),
        tokenizer=tools.tokenizer,
        family=SD2,
        name=file.stem,
        hash=tools.hashes.short(file.path),
        noise=_noise(networks),
        place=tools.place,
        size=networks.size,
        has_own_vae=networks.has_own_vae,
    )


def _noise(networks: Networks) -> DiscreteNoise:
    """The noise model with the prediction noted next to or in the file, else the one found by testing the network."""
    parts = networks.parts
    if parts.is_prediction_known or networks.unet.dtype.itemsize == 1 or not is_v_prediction(networks.unet):
        return networks.noise
    log.info("The network predicts v.")
    return noise_model(parts.scheduler | {"prediction_type": "v_prediction"})


@torch.inference_mode()
def is_v_prediction(unet: UNet2DConditionModel) -> bool:
    """Whether the network predicts v: given pure noise, it then returns the negative of its input; A1111's test.

    A network that predicts noise would return its input. Networks with additional channels, for inpainting, predict
    noise.
    """
    config = unet.config
    if config["in_channels"] != config["out_channels"]:
        return False
    like: dict[str, Any] = {"device": unet.device, "dtype": unet.dtype}
    seen = torch.full((1, config["in_channels"], 8, 8), 0.5, **like)
    prompt = torch.full((1, 2, config["cross_attention_dim"]), 0.5, **like)
    output = unet(seen, torch.tensor([999], device=unet.device), prompt, return_dict=False)[0]
    return float((output.float() - seen.float()).mean()) < _V_BELOW


def _matches(signs: FileSigns) -> bool:
    return belongs_to(signs, SD2_TRAITS.name)


SD2: Final = Family(
    traits=SD2_TRAITS,
    matches=_matches,
    load=load,
    abilities=frozenset({"loras", "embeddings", "vae_files", "tiling", "token_merging"}),
    load_control=load_control_for,
)
