from pathlib import Path

import pytest

from modules.base.errors import WebuiError
from modules.networks.files.detect import FAMILIES, UNKNOWN, detect, family_named, require_supported
from modules.networks.files.listing import Header, TensorInfo
from tests.tiny import tiny_tensors

UNET, TEXT = "model.diffusion_model.", "cond_stage_model.transformer.text_model."


def header(**shapes: tuple[int, ...]) -> dict[str, TensorInfo]:
    return {key: TensorInfo("F16", shape) for key, shape in shapes.items()}


def sd1(channels: int) -> dict[str, TensorInfo]:
    return header(
        **{
            f"{UNET}input_blocks.0.0.weight": (320, channels, 3, 3),
            f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
            f"{TEXT}embeddings.token_embedding.weight": (49408, 768),
            "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3),
        }
    )


KINDS: dict[str, tuple[Header, str]] = {
    "SD 1": (sd1(4), "sd1"),
    "SD 1 inpainting": (sd1(9), "sd1-inpaint"),
    "SD 2 InstructPix2Pix": (sd1(8) | header(**{"cond_stage_model.model.ln_final.weight": (1024,)}), "sd2-edit"),
    "Playground v2.5": (
        sd1(4) | header(**{f"{UNET}label_emb.0.0.weight": (1280, 2816), "edm_mean": (4,), "edm_std": (4,)}),
        "sdxl-edm",
    ),
    "InstructPix2Pix": (sd1(8), "instruct-pix2pix"),
    "tiny": ({key: TensorInfo("F16", value.shape) for key, value in tiny_tensors().items()}, "sd1"),
    "SD 2": (sd1(4) | header(**{"cond_stage_model.model.ln_final.weight": (1024,)}), "sd2"),
    "SD 2 inpainting": (sd1(9) | header(**{"cond_stage_model.model.ln_final.weight": (1024,)}), "sd2-inpaint"),
    "SD 2 depth": (sd1(5) | header(**{"cond_stage_model.model.ln_final.weight": (1024,)}), "sd2-depth"),
    "SD 2 unCLIP": (
        sd1(4)
        | header(**{"cond_stage_model.model.ln_final.weight": (1024,), f"{UNET}label_emb.0.0.weight": (1280, 2048)}),
        "sd2-unclip",
    ),
    "SDXL": (sd1(4) | header(**{f"{UNET}label_emb.0.0.weight": (1280, 2816)}), "sdxl"),
    "SDXL inpainting": (sd1(9) | header(**{f"{UNET}label_emb.0.0.weight": (1280, 2816)}), "sdxl-inpaint"),
    "SDXL InstructPix2Pix": (sd1(8) | header(**{f"{UNET}label_emb.0.0.weight": (1280, 2816)}), "sdxl-edit"),
    "SDXL refiner": (sd1(4) | header(**{"conditioner.embedders.0.model.ln_final.weight": (1280,)}), "sdxl-refiner"),
    "SDXL refiner's UNet": (
        header(
            **{
                f"{UNET}input_blocks.0.0.weight": (384, 4, 3, 3),
                f"{UNET}label_emb.0.0.weight": (1536, 2560),
                f"{UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (768, 1280),
            }
        ),
        "sdxl-refiner",
    ),
    "SD 3": (header(**{f"{UNET}joint_blocks.0.x_block.attn.qkv.weight": (4608, 1536)}), "sd3"),
    "Flux": (header(**{"double_blocks.0.img_attn.qkv.weight": (9216, 3072)}), "flux"),
    "Z-Image": (header(x_pad_token=(1, 3840), **{"cap_embedder.0.weight": (2560,)}), "z-image"),
    "Z-Image in ComfyUI's layout": (
        header(**{f"{UNET}x_pad_token": (1, 3840), f"{UNET}context_refiner.0.attention.qkv.weight": (11520, 3840)}),
        "z-image",
    ),
    "Lumina 2": (header(**{"context_refiner.0.attention.qkv.weight": (3840, 2304)}), "lumina2"),
    "FLUX.2 Klein": (header(**{"double_stream_modulation_img.lin.weight": (18432, 3072)}), "flux2-klein"),
    "FLUX.2 dev": (
        header(**{"double_stream_modulation_img.lin.weight": (1, 1), "guidance_in.in_layer.weight": (1, 1)}),
        "flux2",
    ),
    "VAE": (header(**{"decoder.conv_in.weight": (512, 4, 3, 3), "encoder.conv_in.weight": (128, 3, 3, 3)}), "vae"),
    "kohya LoRA": (header(**{"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": (8, 320)}), "lora"),
    "diffusers LoRA": (header(**{"unet.down_blocks.0.attentions.0.proj_in.lora_A.weight": (8, 320)}), "lora"),
    "LoHa": (header(**{"lora_unet_mid_block.hada_w1_a": (8, 8)}), "lora"),
    "ControlNet": (header(**{"control_model.input_hint_block.0.weight": (16, 3, 3, 3)}), "controlnet"),
    "diffusers ControlNet": (header(**{"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3)}), "controlnet"),
    "embedding": (header(emb_params=(4, 768)), "embedding"),
    "diffusers embedding": (header(**{"<cat-toy>": (1, 768)}), "embedding"),
    "SDXL embedding": (header(clip_l=(2, 768), clip_g=(2, 1280)), "embedding"),
    "ESRGAN": (header(**{"conv_first.weight": (64, 3, 3, 3), "conv_first.bias": (64,)}), "upscaler"),
    "CLIP": (header(**{"text_model.encoder.layers.0.mlp.fc1.weight": (3072, 768)}), "text-encoder"),
    "diffusers UNet": (header(**{"down_blocks.0.resnets.0.conv1.weight": (320, 320, 3, 3)}), "unet"),
    "something else": (header(**{"blocks.0.weight": (7, 7)}), "unknown"),
    "nothing": ({}, "unknown"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_family_is_told_by_keys_and_shapes(kind: str) -> None:
    tensors, family = KINDS[kind]
    assert detect(tensors).name == family


def test_every_family_of_the_table_is_tried_here() -> None:
    assert {name for _, name in KINDS.values()} == {family.name for family in FAMILIES} | {UNKNOWN.name}


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("lora", "x.safetensors is a LoRA, not a checkpoint. Put it into models/Lora."),
        ("vae", "x.safetensors is a VAE, not a checkpoint. Put it into models/VAE."),
        (
            "controlnet",
            "x.safetensors is a ControlNet, not a checkpoint. Put it into models/ControlNet.",
        ),
        (
            "upscaler",
            "x.safetensors is an upscaler, not a checkpoint. Put it into models/ESRGAN.",
        ),
        (
            "sd3",
            "x.safetensors is a Stable Diffusion 3 model, a family that is not supported yet. "
            "Use a Stable Diffusion 1, 2 or XL checkpoint, Z-Image or FLUX.2 Klein.",
        ),
        (
            "unknown",
            "x.safetensors is of no kind that is known here. "
            "Use a Stable Diffusion 1, 2 or XL checkpoint, Z-Image or FLUX.2 Klein.",
        ),
    ],
)
def test_what_is_no_checkpoint_is_told_where_it_belongs(family: str, said: str) -> None:
    with pytest.raises(WebuiError) as error:
        require_supported(family_named(family), Path("models/x.safetensors"))
    assert str(error.value) == said


def test_supported_families_pass() -> None:
    assert [f.name for f in FAMILIES if f.supported] == [
        "flux2-klein", "z-image", "sdxl-refiner", "sdxl-inpaint", "sdxl-edit", "sdxl", "sd2-depth", "sd2-inpaint",
        "sd2-edit", "sd2", "sd1-inpaint", "instruct-pix2pix", "sd1",
    ]  # fmt: skip

    assert require_supported(family_named("sd1"), Path("x")) is family_named("sd1")
