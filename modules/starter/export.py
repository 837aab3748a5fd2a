"""Write the trained networks as one SD 1 single file, with its configuration and the page's defaults beside it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import torch
import yaml
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from modules.starter.diffusion import alphas_cumprod
from modules.starter.nets import SCALING_FACTOR, StateDict, Widths, new_text_encoder, new_unet, new_vae
from modules.starter.vocabulary import Vocabulary

UNET_PREFIX: Final = "model.diffusion_model."
VAE_PREFIX: Final = "first_stage_model."
TEXT_PREFIX: Final = "cond_stage_model.transformer.text_model."
MEGABYTE: Final = 1_000_000
BIGGEST: Final = 60 * MEGABYTE

RESNET_NAMES: Final = {
    "norm1.": "in_layers.0.", "conv1.": "in_layers.2.", "time_emb_proj.": "emb_layers.1.", "norm2.": "out_layers.0.",
    "conv2.": "out_layers.3.", "conv_shortcut.": "skip_connection.",
}  # fmt: skip
UNET_ENDS: Final = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
VAE_NAMES: Final = {
    "mid_block.attentions.0.": "mid.attn_1.", "group_norm.": "norm.", "to_q.": "q.", "to_k.": "k.", "to_v.": "v.",
    "to_out.0.": "proj_out.", "conv_norm_out.": "norm_out.", "conv_shortcut.": "nin_shortcut.",
}  # fmt: skip


def renamed(name: str, table: dict[str, str]) -> str:
    for old, new in table.items():
        name = name.replace(old, new)
    return name


def unet_name(name: str, levels: int, layers: int = 1) -> str:
    """diffusers' name of a U-Net parameter in LDM's numbering, where the first level does not attend."""
    match = re.match(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", name)
    if match:
        side, block, kind, index, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
        if side == "down":
            if kind == "downsamplers":
                return f"input_blocks.{(block + 1) * (layers + 1)}.0.op.{rest.removeprefix('conv.')}"
            at = f"input_blocks.{1 + block * (layers + 1) + index}"
        else:
            at = f"output_blocks.{block * (layers + 1) + index}"
            if kind == "upsamplers":
                attends = block < levels - 1
                return f"output_blocks.{block * (layers + 1) + layers}.{2 if attends else 1}.{rest}"
        return f"{at}.0.{renamed(rest, RESNET_NAMES)}" if kind == "resnets" else f"{at}.1.{rest}"
    match = re.match(r"mid_block\.(resnets|attentions)\.(\d+)\.(.*)", name)
    if match:
        if match[1] == "attentions":
            return f"middle_block.1.{match[3]}"
        return f"middle_block.{2 * int(match[2])}.{renamed(match[3], RESNET_NAMES)}"
    stem, _, end = name.rpartition(".")
    return f"{UNET_ENDS[stem]}.{end}"


def vae_name(name: str, levels: int) -> str:
    def up(match: re.Match[str]) -> str:
        kind = "upsample" if match[2] == "upsamplers" else "block"
        return f"decoder.up.{levels - 1 - int(match[1])}.{kind}." + ("" if kind == "upsample" else f"{match[3]}.")

    name = re.sub(r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)\.", r"encoder.down.\1.block.\2.", name)
    name = re.sub(r"encoder\.down_blocks\.(\d+)\.downsamplers\.0\.", r"encoder.down.\1.downsample.", name)
    name = re.sub(r"decoder\.up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d+)\.", up, name)
    name = re.sub(r"mid_block\.resnets\.(\d)\.", lambda match: f"mid.block_{int(match[1]) + 1}.", name)
    return renamed(name, VAE_NAMES)


def single_file(unet: UNet2DConditionModel, text: CLIPTextModel, vae: AutoencoderKL) -> StateDict:
    """All parameters in half precision under SD 1's names."""
    levels = len(unet.config["block_out_channels"])
    tensors: StateDict = {}
    for name, value in unet.state_dict().items():
        tensors[UNET_PREFIX + unet_name(name, levels)] = value
    for name, value in vae.state_dict().items():
        new = vae_name(name, len(vae.config["block_out_channels"]))
        tensors[VAE_PREFIX + new] = value[:, :, None, None] if ".attn_1." in new and value.ndim == 2 else value
    for name, value in text.state_dict().items():
        tensors[TEXT_PREFIX + name.removeprefix("text_model.")] = value
    half = {name: value.half().contiguous().clone() for name, value in tensors.items() if value.is_floating_point()}
    return half | {"alphas_cumprod": alphas_cumprod()}


def configuration(widths: Widths) -> dict[str, Any]:
    """The yaml in LDM's layout. `norm_num_groups` is ours: LDM has 32 everywhere, too many for narrow networks."""
    base = widths.unet[0]
    unet = {
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": base,
        "channel_mult": [width // base for width in widths.unet],
        "num_res_blocks": 1,
        "attention_resolutions": [2**level for level in range(1, len(widths.unet))],
        "num_heads": widths.heads,
        "use_spatial_transformer": True,
        "transformer_depth": 1,
        "context_dim": widths.text,
        "norm_num_groups": widths.unet_groups,
    }
    vae = {
        "z_channels": 4,
        "in_channels": 3,
        "out_ch": 3,
        "ch": widths.vae[0],
        "ch_mult": [width // widths.vae[0] for width in widths.vae],
        "num_res_blocks": 1,
        "attn_resolutions": [],
        "norm_num_groups": widths.vae_groups,
    }
    text = {
        "hidden_size": widths.text,
        "num_hidden_layers": widths.text_layers,
        "num_attention_heads": widths.text_heads,
        "intermediate_size": widths.text_feed_forward,
    }
    parameters = {
        "linear_start": 0.00085,
        "linear_end": 0.012,
        "timesteps": 1000,
        "scale_factor": SCALING_FACTOR,
        "unet_config": {"params": unet},
        "first_stage_config": {"params": {"embed_dim": 4, "ddconfig": vae}},
        "cond_stage_config": {"params": text},
    }
    return {"model": {"params": parameters}}


def load_trained(
    state: Path, widths: Widths
) -> tuple[UNet2DConditionModel, CLIPTextModel, AutoencoderKL, dict[str, Any]]:
    """The averaged networks in `state`, the text encoder with CLIP's whole table, and what else the file says."""
    vocabulary = Vocabulary.of_the_world()
    content = torch.load(state / "unet.pt", weights_only=True)
    unet, text, vae = new_unet(widths), new_text_encoder(widths), new_vae(widths)
    unet.load_state_dict(content["average"]["unet"])
    table_name = next(name for name in text.state_dict() if name.endswith("token_embedding.weight"))
    small = content["average"]["text"]
    text.load_state_dict(small | {table_name: vocabulary.full_table(small[table_name])})
    vae.load_state_dict(torch.load(state / "vae.pt", weights_only=True)["average"])
    return unet.eval(), text.eval(), vae.eval(), {"samples": content["samples"], "seconds": content["seconds"]}


def export(state: Path, target: Path, widths: Widths, defaults: dict[str, Any]) -> int:
    """Write `target` (.safetensors), and .yaml and .json of the same name; returns the size in bytes."""
    unet, text, vae, _ = load_trained(state, widths)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_suffix(".part")
    save_file(
        single_file(unet, text, vae), beside, metadata={"format": "pt", "modelspec.architecture": "stable-diffusion-v1"}
    )
    size = beside.stat().st_size
    assert size <= BIGGEST, f"{size / MEGABYTE:.1f} MB are more than a checkpoint in the repository may have"
    beside.chmod(0o644)
    beside.replace(target)
    header = "# Widths in the layout of Stable Diffusion's yaml files; norm_num_groups is an addition.\n"
    target.with_suffix(".yaml").write_text(
        header + yaml.safe_dump(configuration(widths), sort_keys=False), encoding="utf-8"
    )
    target.with_suffix(".json").write_text(json.dumps(defaults, indent=2) + "\n", encoding="utf-8")
    return size


def blend(first: Path, second: Path, share: float, target: Path) -> None:
    """Write the mean of two exported checkpoints, `share` of it the second's; the autoencoder is the second's whole.

    For a checkpoint and what further training made of it: their mean often draws better than either (Wortsman et al.
    2022, arXiv 2203.05482).
    """
    one, other = load_file(first), load_file(second)
    mean = {
        name: value if name.startswith(VAE_PREFIX) or name == "alphas_cumprod" else mixed(one[name], value, share)
        for name, value in other.items()
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(mean, target, metadata={"format": "pt", "modelspec.architecture": "stable-diffusion-v1"})
    for suffix in (".yaml", ".json"):
        target.with_suffix(suffix).write_bytes(second.with_suffix(suffix).read_bytes())


def mixed(one: torch.Tensor, other: torch.Tensor, share: float) -> torch.Tensor:
    return torch.lerp(one.float(), other.float(), share).to(other.dtype)


def unpack(checkpoint: Path, state: Path) -> None:
    """Make of an exported checkpoint a folder of state that training goes on from, in half precision as it is."""
    unet, text, vae = load_single_file(checkpoint)
    content = text.state_dict()
    table_name = next(name for name in content if name.endswith("token_embedding.weight"))
    content[table_name] = Vocabulary.of_the_world().small_table(content[table_name])
    state.mkdir(parents=True, exist_ok=True)
    weights = {"unet": halved(unet.state_dict()), "text": halved(content)}
    torch.save({"networks": weights, "average": weights, "samples": 0, "seconds": 0.0}, state / "unet.pt")
    average = halved(vae.state_dict())
    torch.save({"weights": average, "average": average}, state / "vae.pt")


def halved(tensors: StateDict) -> StateDict:
    return {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}


def load_single_file(path: Path) -> tuple[UNet2DConditionModel, CLIPTextModel, AutoencoderKL]:
    """The networks of an exported file, as float32, by the widths in the yaml beside it."""
    parameters = yaml.safe_load(path.with_suffix(".yaml").read_text(encoding="utf-8"))["model"]["params"]
    unet_told, text_told = parameters["unet_config"]["params"], parameters["cond_stage_config"]["params"]
    vae_told = parameters["first_stage_config"]["params"]["ddconfig"]
    widths = Widths(
        unet=tuple(unet_told["model_channels"] * factor for factor in unet_told["channel_mult"]),
        unet_groups=unet_told["norm_num_groups"],
        heads=unet_told["num_heads"],
        vae=tuple(vae_told["ch"] * factor for factor in vae_told["ch_mult"]),
        vae_groups=vae_told["norm_num_groups"],
        text=text_told["hidden_size"],
        text_layers=text_told["num_hidden_layers"],
        text_heads=text_told["num_attention_heads"],
        text_feed_forward=text_told["intermediate_size"],
    )
    tensors = load_file(path)
    unet, text, vae = new_unet(widths), new_text_encoder(widths), new_vae(widths)
    levels = len(widths.unet)
    unet.load_state_dict({n: tensors[UNET_PREFIX + unet_name(n, levels)].float() for n in unet.state_dict()})
    text.load_state_dict({n: tensors[TEXT_PREFIX + n.removeprefix("text_model.")].float() for n in text.state_dict()})
    shapes = {n: value.shape for n, value in vae.state_dict().items()}
    vae.load_state_dict(
        {n: tensors[VAE_PREFIX + vae_name(n, len(widths.vae))].float().reshape(shape) for n, shape in shapes.items()}
    )
    return unet.eval(), text.eval(), vae.eval()
