"""Configurations of a checkpoint's parts other than the UNet, from the shapes in its header.

Shapes determine all widths and depths of the VAE and text encoders. The numbers of attention heads and norm groups and
the noise schedule come from a `.yaml` of the same name next to the file (LDM's or SGM's layout), else from
`configs/<family>`.
"""

from collections.abc import Mapping
from typing import Any, Final, cast

from modules.base.errors import WebuiError
from modules.base.root import CONFIGS
from modules.networks.files.detect import TEXT, VAE
from modules.networks.files.foreign import FIELD, read_json
from modules.networks.files.listing import Header
from modules.networks.ldm.prediction import PredictionNotes, by_tensors, by_yaml, first
from modules.networks.ldm.shapes import MOST_LEVELS, Shapes, require_divides
from modules.networks.ldm.sidecar import MOST_CHANNELS, Sidecar, Values, number, whole

MOST_STEPS: Final = 10_000  # training timesteps
BETAS: Final = (1e-9, 0.999)
VOCABULARY: Final = 49408  # number of CLIP tokens
_MOST: Final[Mapping[str, int]] = {
    "layers_per_block": 16, "transformer_layers_per_block": 16, "num_hidden_layers": 64,
    "num_train_timesteps": MOST_STEPS,
}  # fmt: skip

Config = dict[str, Any]


def read_config(family: str, part: str) -> Config:
    """`configs/<family>/<part>.json`: the family's usual sizes."""
    return read_json(CONFIGS / family / f"{part}.json")


def vae_config(header: Header, sidecar: Sidecar, name: str, prefix: str = VAE, family: str = "sd1") -> Config:
    """diffusers' config of the VAE. Raises WebuiError if the shapes are not those of a plain KL autoencoder."""
    config = read_config(family, "vae")
    shape = Shapes(header, prefix, name)
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
        "norm_num_groups": whole(sidecar.vae, "norm_num_groups", config["norm_num_groups"], name),
        "scaling_factor": scaling_factor(sidecar, name, family),
        "use_quant_conv": shape.has("quant_conv."),
        "use_post_quant_conv": shape.has("post_quant_conv."),
        "mid_block_add_attention": shape.has("encoder.mid.attn_1."),
    }
    require_divides(config["norm_num_groups"], widths, "norm_num_groups", "VAE", name)
    return config


def diffusers_vae_config(header: Header, stored: Config, name: str, prefix: str = "") -> Config:
    """Like `vae_config`, for a VAE with diffusers' tensor names. `stored` is its `config.json`, or empty."""
    config = read_config("sd1", "vae")
    shape = Shapes(header, prefix, name)
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


def text_config(
    header: Header, configured: Values, name: str, prefix: str = TEXT, family: str = "sd1", part: str = "text_encoder"
) -> Config:
    """transformers' config of a text encoder with transformers' tensor names after `prefix`.

    configured: its values in the yaml.  Without a number of heads in the yaml, each head is 64 wide, as in CLIP.
    """
    config = read_config(family, part)
    shape = Shapes(header, prefix, name)
    vocabulary, width = shape.of("embeddings.token_embedding.weight")
    configured = {key: value for key, value in configured.items() if key in config and not key.endswith("_token_id")}
    config |= {"num_attention_heads": max(width // 64, 1)} | configured
    config |= {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "projection_dim": shape.of("text_projection.weight")[0] if shape.has("text_projection.weight") else width,
        "intermediate_size": shape.of("encoder.layers.0.mlp.fc1.weight")[0],
        "num_hidden_layers": shape.count("encoder.layers"),
        "max_position_embeddings": shape.of("embeddings.position_embedding.weight")[0],
    }
    if vocabulary != VOCABULARY:
        raise shape.unusual(f"its text encoder knows {vocabulary} tokens instead of CLIP's {VOCABULARY}")
    require_divides(config["num_attention_heads"], [width], "num_attention_heads", "text encoder", name)
    return config


def scaling_factor(sidecar: Sidecar, name: str, family: str = "sd1") -> float:
    """The factor that latents are multiplied by before they enter the UNet."""
    usual = read_config(family, "vae")["scaling_factor"]
    return number(sidecar.model, "scale_factor", usual, (1e-3, 1e3), name)


def require_plausible(config: Config, name: str) -> Config:
    """Returns the `config.json` of a diffusers folder. Raises WebuiError that names the first implausible number."""
    for key, value in config.items():
        most = _MOST.get(key.removeprefix("reverse_"), MOST_CHANNELS)
        numbers = _flat(value)
        for each in numbers:
            if isinstance(each, int | float) and not abs(each) <= most:
                raise WebuiError(
                    f"{name}: {key}={ascii(each)[:60]}: expected at most {most}.", "Download it again.", field=FIELD
                )
        if len(numbers) > MOST_LEVELS:
            raise WebuiError(
                f"{name}: {key} has {len(numbers)} values, expected at most {MOST_LEVELS}.",
                "Download it again.",
                field=FIELD,
            )
    return config


def _flat(value: Any) -> list[Any]:
    """The values of a list, with nested lists flattened."""
    if not isinstance(value, list):
        return [value]
    return [
        each
        for part in cast(list[Any], value)
        for each in (cast(list[Any], part) if isinstance(part, list) else [part])
    ]


def scheduler_config(
    header: Header, sidecar: Sidecar, name: str = "", family: str = "sd1", notes: PredictionNotes | None = None
) -> Config:
    """diffusers' scheduler config: beta range, and prediction from `notes`, else from yaml and tensors."""
    notes = first(by_yaml(sidecar), by_tensors(header)) if notes is None else notes
    config = read_config(family, "scheduler")
    config["beta_start"] = number(sidecar.model, "linear_start", config["beta_start"], BETAS, name)
    config["beta_end"] = number(sidecar.model, "linear_end", config["beta_end"], BETAS, name)
    config["num_train_timesteps"] = whole(sidecar.model, "timesteps", config["num_train_timesteps"], name, MOST_STEPS)
    return config | scheduler_values(notes)


def scheduler_values(notes: PredictionNotes) -> Config:
    """The notes as values of diffusers' scheduler config."""
    prediction: Config = {} if notes.prediction is None else {"prediction_type": notes.prediction}
    return prediction | ({} if notes.is_zero_snr is None else {"rescale_betas_zero_snr": notes.is_zero_snr})
