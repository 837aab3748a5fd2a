"""Tiny random checkpoints of the Stable Diffusion line, built from diffusers' and transformers' own classes.

>>> xl = tiny_xl()
>>> save_single(xl, tmp_path / "xl.safetensors")   # in the layout of the single files that people share
>>> save_folder(xl, tmp_path / "xl", "StableDiffusionXLPipeline")

Every network is drawn from its own seed, so two calls give equal weights.
"""

# pyright: reportArgumentType=false
# diffusers and transformers declare narrower types for their configurations than they accept.

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from modules.networks.ldm.layout import read_config
from modules.networks.ldm.names import unet_ldm_name, vae_ldm_name

Text = CLIPTextModel | CLIPTextModelWithProjection
Tensors = dict[str, Tensor]
Network = TypeVar("Network", bound=nn.Module)

SMALL, LARGE, PROJECTION = 32, 48, 40  # widths of the two text encoders, and of the larger one's projection
CLIP_L, CLIP_G = "conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."
SD2_TEXT = "cond_stage_model.model."


@dataclass(frozen=True)
class TextPlace:
    """The position of a text encoder in a single file."""

    prefix: str
    is_openclip: bool


@dataclass(frozen=True)
class Tiny:
    """Networks of one family. `places`: where the text encoders are in the file; `folders`: diffusers' names for
    them.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    texts: Sequence[Text]
    places: Sequence[TextPlace]
    folders: Sequence[str]
    scheduler: Mapping[str, Any]


def tiny_xl(in_channels: int = 4, **unet: Any) -> Tiny:
    """Three levels, without attention in the outer one; depths of one and two."""
    large = _text("sdxl", "text_encoder_2", LARGE, seed=2, projection=PROJECTION)
    config = _unet_config("sdxl") | {
        "in_channels": in_channels,
        "block_out_channels": [32, 32, 64],
        "layers_per_block": 1,
        "transformer_layers_per_block": [1, 1, 2],
        "attention_head_dim": [1, 1, 1],
        "cross_attention_dim": SMALL + LARGE,
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": PROJECTION + 6 * 8,
    }
    return Tiny(
        _drawn(UNet2DConditionModel.from_config(config | unet), 3),
        tiny_vae("sdxl"),
        (_text("sdxl", "text_encoder", SMALL, seed=1), large),
        (TextPlace(CLIP_L, False), TextPlace(CLIP_G, True)),
        ("text_encoder", "text_encoder_2"),
        read_config("sdxl", "scheduler"),
    )


def tiny_refiner() -> Tiny:
    """XL's refiner: only the larger text encoder, and a score instead of a size."""
    xl = tiny_xl(
        cross_attention_dim=LARGE,
        projection_class_embeddings_input_dim=PROJECTION + 5 * 8,
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    )
    place = TextPlace("conditioner.embedders.0.model.", True)
    return Tiny(xl.unet, xl.vae, xl.texts[1:], (place,), ("text_encoder_2",), xl.scheduler)


def tiny_sd2(in_channels: int = 4, **unet: Any) -> Tiny:
    """Two levels with attention and one without, with linear projections; the last layer in the files is not read.

    The text encoder is as in diffusers: without that layer.
    """
    config = _unet_config("sd2") | {
        "in_channels": in_channels,
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        "block_out_channels": [32, 32, 64],
        "layers_per_block": 1,
        "attention_head_dim": [1, 1, 1],
        "cross_attention_dim": SMALL,
    }
    text = _text("sd2", "text_encoder", SMALL, seed=1, layers=2)
    return Tiny(
        _drawn(UNet2DConditionModel.from_config(config | unet), 3),
        tiny_vae("sd2"),
        (text,),
        (TextPlace(SD2_TEXT, True),),
        ("text_encoder",),
        read_config("sd2", "scheduler"),
    )


def tiny_vae(family: str) -> AutoencoderKL:
    config = read_config(family, "vae") | {"block_out_channels": [32, 32, 32, 32], "layers_per_block": 1}
    return _drawn(AutoencoderKL.from_config(config), 4)


def _unet_config(family: str) -> dict[str, Any]:
    return read_config(family, "unet") | {"sample_size": 8}


def _text(family: str, part: str, width: int, seed: int, projection: int = 0, layers: int = 3) -> Text:
    kind = CLIPTextModelWithProjection if projection else CLIPTextModel
    sizes = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 1,
        "projection_dim": projection or width,
    }
    return _drawn(kind(CLIPTextConfig(**(read_config(family, part) | sizes))), seed)


def _drawn(network: Network, seed: int) -> Network:
    """Weights drawn from a seed, scaled so that a signal neither vanishes nor explodes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                is_norm = "norm" in name and name.endswith("weight")
                parameter.copy_(1 + 0.1 * noise if is_norm else 0.05 * noise)
            else:
                fan_in = parameter[0].numel()
                parameter.copy_(noise * (0.5 if "embedding" in name else fan_in**-0.5))
    return network.requires_grad_(False).eval()


# ---- single files ----


def single_tensors(tiny: Tiny) -> Tensors:
    """All tensors under the names used in single files, fp32."""
    tensors: Tensors = {}
    for prefix, network, name_of in (
        ("model.diffusion_model.", tiny.unet, unet_ldm_name),
        ("first_stage_model.", tiny.vae, vae_ldm_name),
    ):
        tensors |= {prefix + name_of(key, network.config): value for key, value in network.state_dict().items()}
    for text, place in zip(tiny.texts, tiny.places, strict=True):
        own = openclip_tensors(text) if place.is_openclip else _plain_tensors(text)
        tensors |= {place.prefix + key: value for key, value in own.items()}
        if place.prefix == SD2_TEXT:  # its text encoder is saved with one layer more than is read
            layers = text.config.num_hidden_layers
            last = {key: value for key, value in tensors.items() if f".resblocks.{layers - 1}." in key}
            renamed = (key.replace(f".resblocks.{layers - 1}.", f".resblocks.{layers}.") for key in last)
            tensors |= {key: value + 1 for key, value in zip(renamed, last.values(), strict=True)}
    return {key: value.contiguous().clone() for key, value in tensors.items()}


def save_single(
    tiny: Tiny,
    path: Path,
    dtype: torch.dtype = torch.float32,
    extra: Tensors | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    tensors = {key: value.to(dtype) for key, value in single_tensors(tiny).items()}
    save_file(tensors | (extra or {}), path, metadata={"format": "pt", **(metadata or {})})
    return path


def _plain_tensors(text: Text) -> Tensors:
    return {key.removeprefix("text_model."): value for key, value in text.state_dict().items()}


_OPENCLIP: Final = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}  # fmt: skip


def openclip_tensors(text: Text) -> Tensors:
    """A text encoder as OpenCLIP saves it, written independently of the code that reads it."""
    own = _plain_tensors(text)
    tensors: Tensors = {
        "token_embedding.weight": own["embeddings.token_embedding.weight"],
        "positional_embedding": own["embeddings.position_embedding.weight"],
        "ln_final.weight": own["final_layer_norm.weight"],
        "ln_final.bias": own["final_layer_norm.bias"],
        "logit_scale": torch.tensor(4.6),
    }
    if "text_projection.weight" in own:
        tensors["text_projection"] = own["text_projection.weight"].T
    for key, value in own.items():
        match = re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", key)
        if match is None or ("_proj" in match[2] and "out_proj" not in match[2]):
            continue
        tensors[f"transformer.resblocks.{match[1]}.{_OPENCLIP[match[2]]}.{match[3]}"] = value
    for layer in range(text.config.num_hidden_layers):
        for kind in ("weight", "bias"):
            parts = [own[f"encoder.layers.{layer}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            tensors[f"transformer.resblocks.{layer}.attn.in_proj_{kind}"] = torch.cat(parts)
    return tensors


# ---- folders ----


def save_folder(tiny: Tiny, path: Path, pipeline: str, variant: str | None = None) -> Path:
    """Saves it as diffusers does; `variant` becomes part of the weight files' names."""
    tiny.unet.save_pretrained(path / "unet", variant=variant)
    tiny.vae.save_pretrained(path / "vae", variant=variant)
    for text, folder in zip(tiny.texts, tiny.folders, strict=True):
        text.save_pretrained(path / folder)
        if variant:
            (path / folder / "model.safetensors").rename(path / folder / f"model.{variant}.safetensors")
    (path / "scheduler").mkdir()
    (path / "scheduler" / "scheduler_config.json").write_text(json.dumps(dict(tiny.scheduler)))
    (path / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    return path
