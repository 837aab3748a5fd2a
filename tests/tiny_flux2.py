"""A tiny FLUX.2 Klein with random weights, as diffusers publishes it (a folder) and as ComfyUI does (split files)."""

import re
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2KleinPipeline, Flux2Transformer2DModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM

from modules.networks.ldm.names import vae_ldm_name
from tests.tiny_zimage import tokenizer

TEXT = 16  # width of one of the text encoder's states; the transformer reads three side by side
BLOCKS = (32, 32, 32, 32)  # widths of the autoencoder
_OLD: tuple[tuple[str, str], ...] = (
    (r"^x_embedder\.", "img_in."),
    (r"^context_embedder\.", "txt_in."),
    (r"^time_guidance_embed\.timestep_embedder\.linear_1\.", "time_in.in_layer."),
    (r"^time_guidance_embed\.timestep_embedder\.linear_2\.", "time_in.out_layer."),
    (r"_modulation(_img|_txt)?\.linear\.", r"_modulation\1.lin."),
    (r"^proj_out\.", "final_layer.linear."),
    (r"^norm_out\.linear\.", "final_layer.adaLN_modulation.1."),
    (r"^transformer_blocks\.(\d+)\.attn\.norm_q\.weight", r"double_blocks.\1.img_attn.norm.query_norm.scale"),
    (r"^transformer_blocks\.(\d+)\.attn\.norm_k\.weight", r"double_blocks.\1.img_attn.norm.key_norm.scale"),
    (r"^transformer_blocks\.(\d+)\.attn\.norm_added_q\.weight", r"double_blocks.\1.txt_attn.norm.query_norm.scale"),
    (r"^transformer_blocks\.(\d+)\.attn\.norm_added_k\.weight", r"double_blocks.\1.txt_attn.norm.key_norm.scale"),
    (r"^transformer_blocks\.(\d+)\.attn\.to_out\.0\.", r"double_blocks.\1.img_attn.proj."),
    (r"^transformer_blocks\.(\d+)\.attn\.to_add_out\.", r"double_blocks.\1.txt_attn.proj."),
    (r"^transformer_blocks\.(\d+)\.ff\.linear_in\.", r"double_blocks.\1.img_mlp.0."),
    (r"^transformer_blocks\.(\d+)\.ff\.linear_out\.", r"double_blocks.\1.img_mlp.2."),
    (r"^transformer_blocks\.(\d+)\.ff_context\.linear_in\.", r"double_blocks.\1.txt_mlp.0."),
    (r"^transformer_blocks\.(\d+)\.ff_context\.linear_out\.", r"double_blocks.\1.txt_mlp.2."),
    (r"^single_transformer_blocks\.(\d+)\.attn\.to_qkv_mlp_proj\.", r"single_blocks.\1.linear1."),
    (r"^single_transformer_blocks\.(\d+)\.attn\.to_out\.", r"single_blocks.\1.linear2."),
    (r"^single_transformer_blocks\.(\d+)\.attn\.norm_q\.weight", r"single_blocks.\1.norm.query_norm.scale"),
    (r"^single_transformer_blocks\.(\d+)\.attn\.norm_k\.weight", r"single_blocks.\1.norm.key_norm.scale"),
)


def pipeline(seed: int = 3) -> Any:
    """diffusers' pipeline with random networks in the layout of the published ones."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=259, hidden_size=TEXT, intermediate_size=24, num_hidden_layers=28, num_attention_heads=1,
        num_key_value_heads=1, head_dim=16, rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
    )  # fmt: skip
    transformer = Flux2Transformer2DModel(
        in_channels=128, num_layers=1, num_single_layers=2, attention_head_dim=128, num_attention_heads=1,
        joint_attention_dim=3 * TEXT, timestep_guidance_channels=64, guidance_embeds=False,
    )  # fmt: skip
    sizes: Any = {"block_out_channels": BLOCKS, "layers_per_block": 1, "latent_channels": 32}
    vae = AutoencoderKLFlux2(**sizes)
    assert vae.bn.running_mean is not None
    assert vae.bn.running_var is not None
    vae.bn.running_mean.normal_(0, 0.3)
    vae.bn.running_var.uniform_(0.5, 2)
    made = Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0, use_dynamic_shifting=True),
        vae=vae,
        text_encoder=Qwen3ForCausalLM(config),
        tokenizer=tokenizer(),
        transformer=transformer,
        is_distilled=False,
    )
    made.set_progress_bar_config(disable=True)
    for part in (made.vae, made.text_encoder, made.transformer):
        part.requires_grad_(False).eval()
    return made


def write_folder(path: Path, seed: int = 3) -> Path:
    pipeline(seed).save_pretrained(path)
    return path


def _old_name(key: str) -> str:
    for new, old in _OLD:
        key = re.sub(new, old, key)
    return key


def write_split(folder: Path, path: Path, prefix: str = "") -> tuple[Path, Path, Path]:
    """The transformer, the text encoder with its tokenizer beside it, and the VAE of a diffusers folder as files."""
    state = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    fused: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if ".attn.to_q." in key or ".attn.add_q_proj." in key:
            rest = [state[key.replace("_q", f"_{letter}")] for letter in "kv"]
            side = "img" if ".to_q." in key else "txt"
            block = key.split(".")[1]
            fused[f"double_blocks.{block}.{side}_attn.qkv.weight"] = torch.cat([tensor, *rest])
        elif not re.search(r"\.attn\.(to_[kv]|add_[kv]_proj)\.", key):
            swapped = torch.cat(tensor.chunk(2)[::-1]) if key.startswith("norm_out.") else tensor
            fused[_old_name(key)] = swapped
    files = path / "klein.safetensors", path / "text_encoders" / "qwen.safetensors", path / "vae" / "flux2.safetensors"
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
    save_file({prefix + key: tensor for key, tensor in fused.items()}, files[0])
    text = load_file(folder / "text_encoder" / "model.safetensors")
    save_file({key: tensor for key, tensor in text.items() if key.startswith("model.")}, files[1])
    vae = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    own = {_vae_name(key): tensor for key, tensor in vae.items() if not key.endswith("num_batches_tracked")}
    save_file(own, files[2])
    (files[1].parent / "tokenizer.json").write_bytes((folder / "tokenizer" / "tokenizer.json").read_bytes())
    return files


def _vae_name(key: str) -> str:
    """As in the original code: the convolutions around the latents belong to the encoder and the decoder."""
    key = re.sub(
        r"^quant_conv\.", "encoder.quant_conv.", re.sub(r"^post_quant_conv\.", "decoder.post_quant_conv.", key)
    )
    return vae_ldm_name(key, {"block_out_channels": BLOCKS})
