"""The layout of a single-file checkpoint: configs from the shapes in its header, LDM's names of diffusers' parameters.

Shapes tell every width and depth. What they cannot tell, the number of attention heads and of norm groups and the noise
schedule, comes from a `.yaml` of the same name beside the file (LDM's layout), else from `configs/sd1`.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import yaml

from modules.base.errors import WebuiError
from modules.base.root import CONFIGS
from modules.networks.files.detect import TEXT, UNET, VAE
from modules.networks.files.foreign import DEEPEST, FIELD, missing_keys, read_json, read_text
from modules.networks.files.listing import Header

MOST_CHANNELS: Final = 1_000_000  # of anything that a configuration counts
MOST_STEPS: Final = 10_000  # of training
BETAS: Final = (1e-9, 0.999)
_MOST_LEVELS: Final = 64  # values of one key
_MOST: Final[Mapping[str, int]] = {
    "layers_per_block": 16, "transformer_layers_per_block": 16, "num_hidden_layers": 64,
    "num_train_timesteps": MOST_STEPS,
}  # fmt: skip
LARGEST_YAML: Final = 2**16  # bytes; those of Stable Diffusion have two thousand

Config = dict[str, Any]


@dataclass(frozen=True)
class Configs:
    """What diffusers' and transformers' model classes are built from, and the noise schedule."""

    unet: Config
    vae: Config
    text_encoder: Config
    scheduler: Config


@dataclass(frozen=True)
class Sidecar:
    """The parts of an LDM `.yaml` that are read; empty where there is none."""

    model: Mapping[str, Any] = field(default_factory=dict)
    unet: Mapping[str, Any] = field(default_factory=dict)
    vae: Mapping[str, Any] = field(default_factory=dict)
    text_encoder: Mapping[str, Any] = field(default_factory=dict)


def read_config(family: str, part: str) -> Config:
    """`configs/<family>/<part>.json`: the family's usual sizes."""
    return read_json(CONFIGS / family / f"{part}.json")


class _PlainLoader(yaml.SafeLoader):
    """Without aliases, as a few lines of them stand for gigabytes, and only as deep as a configuration is."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent) or self.depth > DEEPEST:
            raise yaml.YAMLError("an alias, or nested too deep")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_sidecar(checkpoint: Path) -> Sidecar:
    """Read the `.yaml` beside a checkpoint; raises WebuiError if it is no yaml of this kind.

    `cond_stage_config` may hold the text encoder's numbers under transformers' names, or as `version` the name of a
    folder beside the yaml with a `config.json`.
    """
    path = checkpoint.with_suffix(".yaml")
    if not path.is_file():
        return Sidecar()
    try:
        model = yaml.load(read_text(path, LARGEST_YAML), _PlainLoader)["model"]["params"]
        text = dict(_params(model, "cond_stage_config"))
        folder = path.parent / str(text.pop("version", ""))
        if (folder / "config.json").is_file():
            text = read_json(folder / "config.json") | text
        vae = _params(model, "first_stage_config")
        return Sidecar(model, _params(model, "unet_config"), dict(vae) | dict(vae.get("ddconfig") or {}), text)
    except OSError as error:
        raise WebuiError(
            f"{path.name} cannot be read: {error.strerror or error}.", "Make it readable, or remove it.", field=FIELD
        ) from error
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WebuiError(
            f"{path.name} is no model configuration in the layout of Stable Diffusion's yaml files.",
            "Mend it, or remove it to use the usual configuration.",
            field=FIELD,
        ) from error


def _params(model: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    return (model.get(part) or {}).get("params") or {}


def infer_configs(header: Header, sidecar: Sidecar, name: str) -> Configs:
    """Configs for the checkpoint `name`, which has all parts (see `missing_parts`)."""
    return Configs(
        unet_config(header, sidecar, name),
        vae_config(header, sidecar, name),
        text_config(header, sidecar, name),
        scheduler_config(header, sidecar, name),
    )


def missing_parts(header: Header) -> list[str]:
    """Of UNet, VAE and text encoder those of which the file holds nothing."""
    parts = {"UNet": UNET, "VAE": VAE, "text encoder": TEXT}
    return [part for part, prefix in parts.items() if not any(key.startswith(prefix) for key in header)]


def unet_config(header: Header, sidecar: Sidecar, name: str, prefix: str = UNET) -> Config:
    """diffusers' config of the UNet; raises WebuiError where the shapes are not those of a plain SD 1 UNet."""
    config = read_config("sd1", "unet")
    shape = _Shapes(header, prefix, name)
    base, in_channels = shape.of("input_blocks.0.0.weight")[:2]
    levels: list[list[tuple[int, int]]] = [[]]  # one (width, depth of the transformer or 0) for each residual block
    index = 1
    while shape.has(f"input_blocks.{index}.0."):
        block = f"input_blocks.{index}"
        if shape.has(f"{block}.0.op."):
            levels.append([])
        else:
            width = shape.of(f"{block}.0.out_layers.3.weight")[0]
            levels[-1].append((width, shape.count(f"{block}.1.transformer_blocks")))
        index += 1
        if index > _MOST_LEVELS:
            raise shape.unusual(f"it has more than {_MOST_LEVELS} input_blocks")
    if any(not level or set(level) != {level[0]} for level in levels) or len({len(level) for level in levels}) != 1:
        raise shape.unusual("its levels have different numbers of blocks")
    widths, depths = [level[0][0] for level in levels], [level[0][1] for level in levels]
    middle = shape.count("middle_block.1.transformer_blocks")
    if widths[0] != base:
        raise shape.unusual(f"its first block widens {base} channels to {widths[0]}")
    if not middle or middle != (depths[-1] or middle):
        raise shape.unusual("its middle block attends unlike its deepest level")
    transformer = "middle_block.1.transformer_blocks.0"
    attends = [bool(depth) for depth in depths]
    config |= {
        "in_channels": in_channels,
        "out_channels": shape.of("out.2.weight")[0],
        "block_out_channels": widths,
        "layers_per_block": len(levels[0]),
        "down_block_types": ["CrossAttnDownBlock2D" if attend else "DownBlock2D" for attend in attends],
        "up_block_types": ["CrossAttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)],
        "transformer_layers_per_block": [depth or middle for depth in depths],
        "cross_attention_dim": shape.of(f"{transformer}.attn2.to_k.weight")[1],
        "use_linear_projection": len(shape.of("middle_block.1.proj_in.weight")) == 2,
        "norm_num_groups": _whole(sidecar.unet, "norm_num_groups", config["norm_num_groups"], name),
        # diffusers' name for the number of heads
        "attention_head_dim": _unet_heads(sidecar, widths, config["attention_head_dim"], name),
    }
    _require_divides(config["norm_num_groups"], widths, "norm_num_groups", "UNet", name)
    _require_divides(config["attention_head_dim"], widths, "num_heads", "UNet", name)
    return config


def _unet_heads(sidecar: Sidecar, widths: Sequence[int], usual: int, name: str) -> int | list[int]:
    if sidecar.unet.get("num_head_channels") not in (None, 0, -1):
        channels = _whole(sidecar.unet, "num_head_channels", 1, name)
        return [width // channels for width in widths]
    return _whole(sidecar.unet, "num_heads", usual, name) if sidecar.unet.get("num_heads") not in (None, -1) else usual


def vae_config(header: Header, sidecar: Sidecar, name: str, prefix: str = VAE) -> Config:
    """diffusers' config of the VAE; raises WebuiError where the shapes are not those of a plain KL autoencoder."""
    config = read_config("sd1", "vae")
    shape = _Shapes(header, prefix, name)
    levels = shape.count("encoder.down")
    counts = {shape.count(f"encoder.down.{level}.block") for level in range(levels)}
    if len(counts) != 1 or shape.has("encoder.down.0.attn."):
        raise shape.unusual("its VAE's levels differ in their blocks")
    widths = [shape.of(f"encoder.down.{level}.block.0.conv2.weight")[0] for level in range(levels)]
    config |= {
        "in_channels": shape.of("encoder.conv_in.weight")[1],
        "out_channels": shape.of("decoder.conv_out.weight")[0],
        "latent_channels": shape.of("decoder.conv_in.weight")[1],
        "block_out_channels": widths,
        "layers_per_block": counts.pop(),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "norm_num_groups": _whole(sidecar.vae, "norm_num_groups", config["norm_num_groups"], name),
        "scaling_factor": scaling_factor(sidecar, name),
        "use_quant_conv": shape.has("quant_conv."),
        "use_post_quant_conv": shape.has("post_quant_conv."),
        "mid_block_add_attention": shape.has("encoder.mid.attn_1."),
    }
    _require_divides(config["norm_num_groups"], widths, "norm_num_groups", "VAE", name)
    return config


def diffusers_vae_config(header: Header, stored: Config, name: str, prefix: str = "") -> Config:
    """As `vae_config`, of a VAE whose tensors have diffusers' names. `stored` is its `config.json`, or empty."""
    config = read_config("sd1", "vae")
    shape = _Shapes(header, prefix, name)
    levels = shape.count("encoder.down_blocks")
    counts = {shape.count(f"encoder.down_blocks.{level}.resnets") for level in range(levels)}
    if len(counts) != 1:
        raise shape.unusual("its VAE's levels differ in their blocks")
    config |= {
        "in_channels": shape.of("encoder.conv_in.weight")[1],
        "out_channels": shape.of("decoder.conv_out.weight")[0],
        "latent_channels": shape.of("decoder.conv_in.weight")[1],
        "block_out_channels": [
            shape.of(f"encoder.down_blocks.{level}.resnets.0.conv2.weight")[0] for level in range(levels)
        ],
        "layers_per_block": counts.pop(),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "use_quant_conv": shape.has("quant_conv."),
        "use_post_quant_conv": shape.has("post_quant_conv."),
        "mid_block_add_attention": shape.has("encoder.mid_block.attentions.0."),
    }
    return config | {key: stored[key] for key in ("norm_num_groups", "scaling_factor") if key in stored}


def text_config(header: Header, sidecar: Sidecar, name: str, prefix: str = TEXT) -> Config:
    """transformers' config of the text encoder. Where no yaml tells the number of heads, each is 64 wide as in CLIP."""
    config = read_config("sd1", "text_encoder")
    shape = _Shapes(header, prefix, name)
    vocabulary, width = shape.of("embeddings.token_embedding.weight")
    told = {
        key: value for key, value in sidecar.text_encoder.items() if key in config and not key.endswith("_token_id")
    }
    config |= {"num_attention_heads": max(width // 64, 1)} | told
    config |= {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "projection_dim": width,
        "intermediate_size": shape.of("encoder.layers.0.mlp.fc1.weight")[0],
        "num_hidden_layers": shape.count("encoder.layers"),
        "max_position_embeddings": shape.of("embeddings.position_embedding.weight")[0],
    }
    if vocabulary != read_config("sd1", "text_encoder")["vocab_size"]:
        raise shape.unusual(f"its text encoder knows {vocabulary} tokens instead of CLIP's 49408")
    _require_divides(config["num_attention_heads"], [width], "num_attention_heads", "text encoder", name)
    return config


def scaling_factor(sidecar: Sidecar, name: str) -> float:
    """What latents are multiplied with before the UNet sees them."""
    usual = read_config("sd1", "vae")["scaling_factor"]
    return _number(sidecar.model, "scale_factor", usual, (1e-3, 1e3), name)


def _whole(values: Mapping[str, Any], key: str, usual: int, name: str, most: int = MOST_CHANNELS) -> int:
    """A count out of a yaml, 1 to `most`. Raises WebuiError that names the key."""
    number = values.get(key, usual)
    if type(number) is not int or not 1 <= number <= most:
        raise _wrong(name, key, number, f"a whole number from 1 to {most}")
    return number


def _number(values: Mapping[str, Any], key: str, usual: float, within: tuple[float, float], name: str) -> float:
    """A number out of a yaml; bounds included. Raises WebuiError that names the key."""
    value = values.get(key, usual)
    low, high = within
    try:
        number = float(value)  # YAML takes 1e-4 for a text
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not low <= number <= high:
        raise _wrong(name, key, value, f"a number from {low:g} to {high:g}")
    return number


def _wrong(name: str, key: str, value: Any, expected: str) -> WebuiError:
    return WebuiError(
        f"{Path(name).stem}.yaml: {key}={ascii(value)[:60]}: expected {expected}.",
        "Mend it, or remove the file to use the usual configuration.",
        field=FIELD,
    )


def require_plausible(config: Config, name: str) -> Config:
    """A `config.json` of a diffusers folder whose numbers can be those of a model; else WebuiError names the first."""
    for key, value in config.items():
        numbers = cast(list[Any], value) if isinstance(value, list) else [value]
        most = _MOST.get(key, MOST_CHANNELS)
        for number in numbers:
            if isinstance(number, int | float) and not abs(number) <= most:
                raise WebuiError(
                    f"{name}: {key}={ascii(number)[:60]}: expected at most {most}.", "Download it again.", field=FIELD
                )
        if len(numbers) > _MOST_LEVELS:
            raise WebuiError(
                f"{name}: {key} has {len(numbers)} values, expected at most {_MOST_LEVELS}.",
                "Download it again.",
                field=FIELD,
            )
    return config


def scheduler_config(header: Header, sidecar: Sidecar, name: str = "") -> Config:
    """Beta range and prediction type. Fine-tunes mark v-prediction by a tensor `v_pred`, zero SNR by `ztsnr`."""
    config = read_config("sd1", "scheduler")
    config["beta_start"] = _number(sidecar.model, "linear_start", config["beta_start"], BETAS, name)
    config["beta_end"] = _number(sidecar.model, "linear_end", config["beta_end"], BETAS, name)
    config["num_train_timesteps"] = _whole(sidecar.model, "timesteps", config["num_train_timesteps"], name, MOST_STEPS)
    if sidecar.model.get("parameterization") == "v" or "v_pred" in header:
        config["prediction_type"] = "v_prediction"
    if "ztsnr" in header:
        config["rescale_betas_zero_snr"] = True
    return config


class _Shapes:
    """A header seen from below one prefix."""

    def __init__(self, header: Header, prefix: str, name: str) -> None:
        self._shapes = {key.removeprefix(prefix): info.shape for key, info in header.items() if key.startswith(prefix)}
        self._prefix = prefix
        self._name = name

    def of(self, key: str) -> tuple[int, ...]:
        """Of a layer's weight, whose first sides are what goes out of it and what comes in."""
        if key not in self._shapes:
            raise missing_keys([self._prefix + key], self._name)
        if len(self._shapes[key]) < 2:
            raise self.unusual(f"{self._prefix}{key} has the shape {list(self._shapes[key])}")
        return self._shapes[key]

    def has(self, start: str) -> bool:
        return any(key.startswith(start) for key in self._shapes)

    def count(self, start: str) -> int:
        """How many numbers follow `start.` in the names, as in `layers.0`, `layers.1`."""
        numbered = re.compile(re.escape(start) + r"\.(\d+)\.")
        found = len({match[1] for key in self._shapes if (match := numbered.match(key))})
        if found > _MOST_LEVELS:
            raise self.unusual(f"it has {found} {start}")
        return found

    def unusual(self, what: str) -> WebuiError:
        return WebuiError(
            f"{self._name} has a layout that cannot be loaded: {what}.", "Use a usual checkpoint.", field=FIELD
        )


def _require_divides(parts: int | Sequence[int], widths: Sequence[int], key: str, what: str, name: str) -> None:
    each = [parts] * len(widths) if isinstance(parts, int) else parts
    for part, width in zip(each, widths, strict=True):
        if part < 1 or width % part:
            raise WebuiError(
                f"{name}: {key}={part} does not divide the {what}'s {width} channels.",
                f"Put a {Path(name).stem}.yaml with the right {key} beside the checkpoint.",
                field=FIELD,
            )


# ---- names: diffusers' parameter -> LDM's, without prefix ----

_RESIDUAL: Final = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_UNET_ENDS: Final = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
_VAE_ATTENTION: Final = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_UNET_BLOCK: Final = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_UNET_MIDDLE: Final = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")
_VAE_BLOCK: Final = re.compile(
    r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(.+)"
)
_VAE_MIDDLE: Final = re.compile(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.(\d+)\.(.+)")


def _renamed(name: str, table: Mapping[str, str]) -> str:
    layer, _, kind = name.rpartition(".")
    return f"{table.get(layer, layer)}.{kind}"


def unet_ldm_name(name: str, config: Mapping[str, Any]) -> str:
    """LDM's name, without prefix, of the UNet parameter that diffusers calls `name`; `config` is diffusers' own."""
    layers: int = config["layers_per_block"]
    block = _UNET_BLOCK.fullmatch(name)
    if block:
        side, part, rest = block[1], block[3], block[5]
        level, index = int(block[2]), int(block[4])
        first = level * (layers + 1)  # a down level is its blocks and the downsampler, an up level has one block more
        if part == "downsamplers":
            return f"input_blocks.{first + layers + 1}.0.op.{rest.removeprefix('conv.')}"
        if part == "upsamplers":
            attends = config["up_block_types"][level] == "CrossAttnUpBlock2D"
            return f"output_blocks.{first + layers}.{2 if attends else 1}.{rest}"
        number = f"input_blocks.{first + 1 + index}" if side == "down" else f"output_blocks.{first + index}"
        return f"{number}.0.{_renamed(rest, _RESIDUAL)}" if part == "resnets" else f"{number}.1.{rest}"
    middle = _UNET_MIDDLE.fullmatch(name)
    if middle:
        part, index, rest = middle[1], int(middle[2]), middle[3]
        return (
            f"middle_block.{2 * index}.{_renamed(rest, _RESIDUAL)}" if part == "resnets" else f"middle_block.1.{rest}"
        )
    return _renamed(name, _UNET_ENDS)


def vae_ldm_name(name: str, config: Mapping[str, Any]) -> str:
    """LDM's name, without prefix, of the VAE parameter that diffusers calls `name`; `config` is diffusers' own."""
    block = _VAE_BLOCK.fullmatch(name)
    if block:
        half, side, level, part, index, rest = block[1], block[2], int(block[3]), block[4], block[5], block[6]
        number = level if side == "down" else len(config["block_out_channels"]) - 1 - level
        if part == "resnets":
            return f"{half}.{side}.{number}.block.{index}.{_renamed(rest, {'conv_shortcut': 'nin_shortcut'})}"
        return f"{half}.{side}.{number}.{part.removesuffix('rs')}.{rest}"  # upsamplers.0.conv -> upsample.conv
    middle = _VAE_MIDDLE.fullmatch(name)
    if middle:
        half, part, index, rest = middle[1], middle[2], int(middle[3]), middle[4]
        if part == "resnets":
            return f"{half}.mid.block_{index + 1}.{_renamed(rest, {'conv_shortcut': 'nin_shortcut'})}"
        return f"{half}.mid.attn_1.{_renamed(rest, _VAE_ATTENTION)}"
    return name.replace("conv_norm_out.", "norm_out.")
