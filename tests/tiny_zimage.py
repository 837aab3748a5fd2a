"""A tiny Z-Image with random weights, as diffusers publishes it (a folder) and as ComfyUI does (split files)."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from modules.networks.ldm.names import vae_ldm_name

TEXT = 32  # width of the text encoder's states
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def tokenizer() -> Any:
    """One token per byte, and Qwen's marks."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    own = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    own.add_special_tokens([AddedToken(mark, special=True) for mark in MARKS])
    return PreTrainedTokenizerFast(tokenizer_object=own, pad_token=MARKS[0], eos_token=MARKS[2], chat_template=TEMPLATE)


def pipeline(seed: int = 3) -> Any:
    """diffusers' pipeline with random networks in the layout of the published ones."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=259, hidden_size=TEXT, intermediate_size=48, num_hidden_layers=3, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
    )  # fmt: skip
    transformer = ZImageTransformer2DModel(
        in_channels=16, dim=128, n_layers=2, n_refiner_layers=1, n_heads=1, n_kv_heads=1, cap_feat_dim=TEXT,
        axes_dims=[32, 48, 48], axes_lens=[1024, 512, 512],
    )  # fmt: skip
    for token in (transformer.x_pad_token, transformer.cap_pad_token):
        torch.nn.init.normal_(token, std=0.1)
    blocks: Any = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (32, 32, 32, 32),
    }
    vae = AutoencoderKL(
        **blocks, layers_per_block=1, latent_channels=16, norm_num_groups=32, scaling_factor=0.3611,
        shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip
    made = ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0),
        vae=vae,
        text_encoder=Qwen3ForCausalLM(config),
        tokenizer=tokenizer(),
        transformer=transformer,
    )
    made.set_progress_bar_config(disable=True)
    for part in (made.vae, made.text_encoder, made.transformer):
        part.requires_grad_(False).eval()
    return made


def write_folder(path: Path, seed: int = 3) -> Path:
    pipeline(seed).save_pretrained(path)
    return path


def _old_name(key: str) -> str:
    for new, old in (
        ("all_x_embedder.2-1.", "x_embedder."),
        ("all_final_layer.2-1.", "final_layer."),
        (".attention.to_out.0.", ".attention.out."),
        (".attention.norm_q.", ".attention.q_norm."),
        (".attention.norm_k.", ".attention.k_norm."),
    ):
        key = key.replace(new, old)
    return key


def write_split(folder: Path, path: Path, prefix: str = "") -> tuple[Path, Path, Path]:
    """The transformer, the text encoder with its tokenizer beside it, and the VAE of a diffusers folder as files."""
    state = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    fused: dict[str, torch.Tensor] = {}
    for key, tensor in state.items():
        if ".attention.to_q." in key:
            rest = [state[key.replace("to_q", name)] for name in ("to_k", "to_v")]
            fused[key.replace("to_q", "qkv")] = torch.cat([tensor, *rest])
        elif ".attention.to_k." not in key and ".attention.to_v." not in key:
            fused[_old_name(key)] = tensor
    files = path / "z_image.safetensors", path / "text_encoders" / "qwen.safetensors", path / "vae" / "ae.safetensors"
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
    save_file({prefix + key: tensor for key, tensor in fused.items()}, files[0])
    text = load_file(folder / "text_encoder" / "model.safetensors")
    save_file({key: tensor for key, tensor in text.items() if key.startswith("model.")}, files[1])
    config = json.loads((folder / "vae" / "config.json").read_text())
    vae = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    convolutions = {key for key in vae if ".attentions." in key and key.endswith(".weight") and vae[key].ndim == 2}
    save_file(
        {vae_ldm_name(key, config): vae[key][..., None, None] if key in convolutions else vae[key] for key in vae},
        files[2],
    )
    (files[1].parent / "tokenizer.json").write_bytes((folder / "tokenizer" / "tokenizer.json").read_bytes())
    return files
