"""A tiny random checkpoint in Stable Diffusion 1's single-file layout, for tests: 3.1 MB, written in 0.1 seconds.

>>> checkpoint = write_tiny_checkpoint(tmp_path / "tiny.safetensors")     # tiny.yaml is beside it

Every tensor is drawn from a generator seeded by its own key, so the bytes depend neither on the order of writing nor on
torch. Its pictures show nothing, but they depend on prompt, source, seed and step, and the VAE divides sizes by
8 like the real one.
"""

import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

Array = NDArray[np.float16] | NDArray[np.float32] | NDArray[np.int64]

VOCABULARY = 49408
TEXT_WIDTH, TEXT_LAYERS, TEXT_HEADS, TEXT_INNER = 16, 2, 2, 64
UNET_CHANNELS, UNET_MULT, UNET_HEADS = 32, (1, 1), 4
ATTENTION_AT = (2,)  # the resolutions (1, 1/2, …) whose blocks have cross-attention
VAE_CHANNELS, VAE_MULT = 32, (1, 1, 1, 1)

TINY_YAML = f"""model:
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    linear_start: 0.00085
    linear_end: 0.0120
    timesteps: 1000
    scale_factor: 0.18215
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params:
        in_channels: 4
        out_channels: 4
        model_channels: {UNET_CHANNELS}
        attention_resolutions: {list(ATTENTION_AT)}
        num_res_blocks: 1
        channel_mult: {list(UNET_MULT)}
        num_heads: {UNET_HEADS}
        use_spatial_transformer: True
        transformer_depth: 1
        context_dim: {TEXT_WIDTH}
        legacy: False
    first_stage_config:
      target: ldm.models.autoencoder.AutoencoderKL
      params:
        embed_dim: 4
        ddconfig:
          double_z: true
          z_channels: 4
          in_channels: 3
          out_ch: 3
          ch: {VAE_CHANNELS}
          ch_mult: {list(VAE_MULT)}
          num_res_blocks: 1
          attn_resolutions: []
    cond_stage_config:
      target: ldm.modules.encoders.modules.FrozenCLIPEmbedder
      params:
        hidden_size: {TEXT_WIDTH}
        num_hidden_layers: {TEXT_LAYERS}
        num_attention_heads: {TEXT_HEADS}
        intermediate_size: {TEXT_INNER}
"""


class _Weights:
    """Collects random tensors under their LDM names."""

    def __init__(self) -> None:
        self.tensors: dict[str, Array] = {}

    def put(self, key: str, value: NDArray[np.floating]) -> None:
        self.tensors[key] = np.ascontiguousarray(value.astype(np.float16))

    def noise(self, key: str, *shape: int) -> NDArray[np.float32]:
        return np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape, dtype=np.float32)

    def layer(self, key: str, *shape: int, gain: float = 1.0, bias: bool = True) -> None:
        """A linear layer or convolution whose output has about `gain` times its input's deviation."""
        weight = f"{key}.weight"
        self.put(weight, self.noise(weight, *shape) * (gain / math.sqrt(math.prod(shape[1:]))))
        if bias:
            self.put(f"{key}.bias", self.noise(f"{key}.bias", shape[0]) * 0.05)

    def norm(self, key: str, width: int) -> None:
        self.put(f"{key}.weight", 1 + 0.1 * self.noise(f"{key}.weight", width))
        self.put(f"{key}.bias", 0.1 * self.noise(f"{key}.bias", width))


def _residual(w: _Weights, key: str, inner: int, outer: int, embedding: int) -> None:
    w.norm(f"{key}.in_layers.0", inner)
    w.layer(f"{key}.in_layers.2", outer, inner, 3, 3)
    w.layer(f"{key}.emb_layers.1", outer, embedding)
    w.norm(f"{key}.out_layers.0", outer)
    w.layer(f"{key}.out_layers.3", outer, outer, 3, 3)
    if inner != outer:
        w.layer(f"{key}.skip_connection", outer, inner, 1, 1)


def _transformer(w: _Weights, key: str, width: int) -> None:
    w.norm(f"{key}.norm", width)
    w.layer(f"{key}.proj_in", width, width, 1, 1)
    block = f"{key}.transformer_blocks.0"
    for attention, source in (("attn1", width), ("attn2", TEXT_WIDTH)):
        w.layer(f"{block}.{attention}.to_q", width, width, bias=False)
        w.layer(f"{block}.{attention}.to_k", width, source, bias=False)
        w.layer(f"{block}.{attention}.to_v", width, source, gain=2.0, bias=False)
        w.layer(f"{block}.{attention}.to_out.0", width, width)
    w.layer(f"{block}.ff.net.0.proj", 8 * width, width)
    w.layer(f"{block}.ff.net.2", width, 4 * width)
    for name in ("norm1", "norm2", "norm3"):
        w.norm(f"{block}.{name}", width)
    w.layer(f"{key}.proj_out", width, width, 1, 1)


def _unet(w: _Weights, in_channels: int) -> None:
    prefix, base = "model.diffusion_model.", UNET_CHANNELS
    embedding = 4 * base
    w.layer(f"{prefix}time_embed.0", embedding, base)
    w.layer(f"{prefix}time_embed.2", embedding, embedding)
    w.layer(f"{prefix}input_blocks.0.0", base, in_channels, 3, 3)
    skips, width, scale, index = [base], base, 1, 1
    for level, mult in enumerate(UNET_MULT):
        _residual(w, f"{prefix}input_blocks.{index}.0", width, mult * base, embedding)
        width = mult * base
        if scale in ATTENTION_AT:
            _transformer(w, f"{prefix}input_blocks.{index}.1", width)
        skips.append(width)
        index += 1
        if level != len(UNET_MULT) - 1:
            w.layer(f"{prefix}input_blocks.{index}.0.op", width, width, 3, 3)
            skips.append(width)
            index, scale = index + 1, scale * 2
    _residual(w, f"{prefix}middle_block.0", width, width, embedding)
    _transformer(w, f"{prefix}middle_block.1", width)
    _residual(w, f"{prefix}middle_block.2", width, width, embedding)
    index = 0
    for level, mult in reversed(list(enumerate(UNET_MULT))):
        for block in range(2):
            _residual(w, f"{prefix}output_blocks.{index}.0", width + skips.pop(), mult * base, embedding)
            width, part = mult * base, 1
            if scale in ATTENTION_AT:
                _transformer(w, f"{prefix}output_blocks.{index}.1", width)
                part = 2
            if level and block == 1:
                w.layer(f"{prefix}output_blocks.{index}.{part}.conv", width, width, 3, 3)
                scale //= 2
            index += 1
    w.norm(f"{prefix}out.0", base)
    w.layer(f"{prefix}out.2", 4, base, 3, 3, gain=0.6)


def _vae_residual(w: _Weights, key: str, inner: int, outer: int) -> None:
    w.norm(f"{key}.norm1", inner)
    w.layer(f"{key}.conv1", outer, inner, 3, 3)
    w.norm(f"{key}.norm2", outer)
    w.layer(f"{key}.conv2", outer, outer, 3, 3)
    if inner != outer:
        w.layer(f"{key}.nin_shortcut", outer, inner, 1, 1)


def _vae_middle(w: _Weights, key: str, width: int) -> None:
    _vae_residual(w, f"{key}.block_1", width, width)
    w.norm(f"{key}.attn_1.norm", width)
    for name in ("q", "k", "v", "proj_out"):
        w.layer(f"{key}.attn_1.{name}", width, width, 1, 1)
    _vae_residual(w, f"{key}.block_2", width, width)


def _vae(w: _Weights) -> None:
    prefix, base, levels = "first_stage_model.", VAE_CHANNELS, len(VAE_MULT)
    width = base
    w.layer(f"{prefix}encoder.conv_in", base, 3, 3, 3)
    for level, mult in enumerate(VAE_MULT):
        _vae_residual(w, f"{prefix}encoder.down.{level}.block.0", width, mult * base)
        width = mult * base
        if level != levels - 1:
            w.layer(f"{prefix}encoder.down.{level}.downsample.conv", width, width, 3, 3)
    _vae_middle(w, f"{prefix}encoder.mid", width)
    w.norm(f"{prefix}encoder.norm_out", width)
    w.layer(f"{prefix}encoder.conv_out", 8, width, 3, 3, gain=5.0)
    w.layer(f"{prefix}decoder.conv_in", width, 4, 3, 3)
    _vae_middle(w, f"{prefix}decoder.mid", width)
    for level, mult in reversed(list(enumerate(VAE_MULT))):
        for block in range(2):
            _vae_residual(w, f"{prefix}decoder.up.{level}.block.{block}", width, mult * base)
            width = mult * base
        if level:
            w.layer(f"{prefix}decoder.up.{level}.upsample.conv", width, width, 3, 3)
    w.norm(f"{prefix}decoder.norm_out", width)
    w.layer(f"{prefix}decoder.conv_out", 3, width, 3, 3, gain=0.5)
    w.layer(f"{prefix}quant_conv", 8, 8, 1, 1)
    w.layer(f"{prefix}post_quant_conv", 4, 4, 1, 1, gain=0.2)


def _text_encoder(w: _Weights) -> None:
    prefix = "cond_stage_model.transformer.text_model."
    table = f"{prefix}embeddings.token_embedding.weight"
    w.put(table, w.noise(table, VOCABULARY, TEXT_WIDTH) * 0.5)
    positions = f"{prefix}embeddings.position_embedding.weight"
    w.put(positions, w.noise(positions, 77, TEXT_WIDTH) * 0.25)
    w.tensors[f"{prefix}embeddings.position_ids"] = np.arange(77, dtype=np.int64)[None]
    for index in range(TEXT_LAYERS):
        layer = f"{prefix}encoder.layers.{index}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            w.layer(f"{layer}.self_attn.{name}", TEXT_WIDTH, TEXT_WIDTH)
        w.layer(f"{layer}.mlp.fc1", TEXT_INNER, TEXT_WIDTH)
        w.layer(f"{layer}.mlp.fc2", TEXT_WIDTH, TEXT_INNER)
        w.norm(f"{layer}.layer_norm1", TEXT_WIDTH)
        w.norm(f"{layer}.layer_norm2", TEXT_WIDTH)
    w.norm(f"{prefix}final_layer_norm", TEXT_WIDTH)


def tiny_tensors(in_channels: int = 4) -> dict[str, Array]:
    """All tensors under their LDM names, fp16; `in_channels` 9 makes an inpainting model."""
    weights = _Weights()
    _unet(weights, in_channels)
    _vae(weights)
    _text_encoder(weights)
    return weights.tensors


def write_tiny_checkpoint(path: Path, in_channels: int = 4) -> Path:
    """Write the checkpoint and its `.yaml`; `path` is the `.safetensors` to write, or a folder for `tiny.safetensors`.
    Returns the file."""
    file = path if path.suffix == ".safetensors" else path / "tiny.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tiny_tensors(in_channels), file, metadata={"format": "pt"})
    file.with_suffix(".yaml").write_text(
        TINY_YAML.replace("in_channels: 4", f"in_channels: {in_channels}"), encoding="utf-8"
    )
    return file
