from pathlib import Path

import pytest

from modules.base.errors import WebuiError
from modules.networks.files.listing import TensorInfo
from modules.networks.ldm.layout import read_config, scheduler_config, text_config, vae_config
from modules.networks.ldm.names import unet_ldm_name, vae_ldm_name
from modules.networks.ldm.parts import missing_parts
from modules.networks.ldm.sidecar import Sidecar, read_sidecar
from modules.networks.ldm.unet_layout import unet_config
from modules.networks.sd1.checkpoint import LAYOUT
from tests.tiny import TINY_YAML, tiny_tensors

HEADER = {key: TensorInfo("F16", value.shape) for key, value in tiny_tensors().items()}


@pytest.fixture
def sidecar(tmp_path: Path) -> Sidecar:
    (tmp_path / "tiny.yaml").write_text(TINY_YAML)
    return read_sidecar(tmp_path / "tiny.safetensors")


def test_widths_and_depths_come_from_the_shapes_and_heads_from_the_yaml(sidecar: Sidecar) -> None:
    assert unet_config(HEADER, sidecar, "tiny.safetensors") == read_config("sd1", "unet") | {
        "block_out_channels": [32, 32],
        "layers_per_block": 1,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "transformer_layers_per_block": [1, 1],
        "cross_attention_dim": 16,
        "attention_head_dim": 4,
    }
    assert vae_config(HEADER, sidecar, "tiny.safetensors") == read_config("sd1", "vae") | {
        "block_out_channels": [32, 32, 32, 32],
        "layers_per_block": 1,
        "use_quant_conv": True,
        "use_post_quant_conv": True,
        "mid_block_add_attention": True,
    }
    assert text_config(HEADER, sidecar.text_encoder, "tiny.safetensors") == read_config("sd1", "text_encoder") | {
        "hidden_size": 16,
        "projection_dim": 16,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    assert scheduler_config(HEADER, sidecar) == read_config("sd1", "scheduler")


def test_without_a_yaml_heads_are_those_of_sd1() -> None:
    assert unet_config(HEADER, Sidecar(), "x")["attention_head_dim"] == 8
    assert text_config(HEADER, {}, "x")["num_attention_heads"] == 1


def test_the_yaml_tells_schedule_scale_and_norm_groups() -> None:
    sidecar = Sidecar(
        model={"parameterization": "v", "linear_start": 0.001, "linear_end": 0.02, "scale_factor": 0.5},
        unet={"num_head_channels": 16, "norm_num_groups": 8},
        vae={"norm_num_groups": 4},
    )
    unet, vae = unet_config(HEADER, sidecar, "x"), vae_config(HEADER, sidecar, "x")
    assert (unet["attention_head_dim"], unet["norm_num_groups"]) == ([2, 2], 8)
    assert (vae["scaling_factor"], vae["norm_num_groups"]) == (0.5, 4)
    scheduler = scheduler_config(HEADER, sidecar)
    assert (scheduler["beta_start"], scheduler["beta_end"], scheduler["prediction_type"]) == (
        0.001,
        0.02,
        "v_prediction",
    )


def test_a_tensor_named_v_pred_marks_v_prediction() -> None:
    marked = HEADER | {"v_pred": TensorInfo("F32", (0,))}
    assert scheduler_config(marked, Sidecar())["prediction_type"] == "v_prediction"


def test_a_tensor_named_ztsnr_marks_zero_terminal_snr() -> None:
    assert scheduler_config({**HEADER, "ztsnr": TensorInfo("F32", ())}, Sidecar())["rescale_betas_zero_snr"] is True
    assert scheduler_config(HEADER, Sidecar()).get("rescale_betas_zero_snr") is None


def test_the_text_encoders_config_may_lie_in_a_folder_that_the_yaml_names(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "config.json").write_text('{"num_attention_heads": 4, "eos_token_id": 2}')
    (tmp_path / "x.yaml").write_text("model: {params: {cond_stage_config: {params: {version: ./clip}}}}")
    config = text_config(HEADER, read_sidecar(tmp_path / "x.safetensors").text_encoder, "x")
    assert (config["num_attention_heads"], config["eos_token_id"]) == (4, 49407)


def test_parts_that_are_missing_are_named() -> None:
    assert missing_parts(tuple(HEADER), LAYOUT.text_slots) == []
    without_vae = [key for key in HEADER if "first_stage" not in key]
    assert missing_parts(without_vae, LAYOUT.text_slots) == ["VAE"]


@pytest.mark.parametrize("text", ["[1, 2", "model: 3", "just words", "model: {params: {unet_config: 7}}", ""])
def test_a_yaml_of_another_kind_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(WebuiError, match=r"x\.yaml is no model configuration"):
        read_sidecar(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"input_blocks.0.0.weight": (64, 4, 3, 3)}, "widens 64 channels to 32"),
        ({"input_blocks.4.0.out_layers.3.weight": (32, 32, 3, 3)}, "different numbers of blocks"),
    ],
)
def test_a_unet_of_another_shape_is_refused_with_the_reason(changed: dict[str, tuple[int, ...]], said: str) -> None:
    other = HEADER | {f"model.diffusion_model.{key}": TensorInfo("F16", shape) for key, shape in changed.items()}
    with pytest.raises(WebuiError, match=said):
        unet_config(other, Sidecar(), "x.safetensors")


def test_heads_that_do_not_divide_the_channels_are_told() -> None:
    with pytest.raises(WebuiError, match=r"num_heads=5 does not divide the UNet's 32 channels.*x\.yaml"):
        unet_config(HEADER, Sidecar(unet={"num_heads": 5}), "x.safetensors")


@pytest.mark.parametrize(
    ("ours", "ldm"),
    [
        ("conv_in.weight", "input_blocks.0.0.weight"),
        ("time_embedding.linear_2.bias", "time_embed.2.bias"),
        ("down_blocks.0.resnets.1.norm1.weight", "input_blocks.2.0.in_layers.0.weight"),
        ("down_blocks.0.downsamplers.0.conv.weight", "input_blocks.3.0.op.weight"),
        ("down_blocks.1.attentions.0.proj_in.weight", "input_blocks.4.1.proj_in.weight"),
        ("down_blocks.3.resnets.1.conv2.bias", "input_blocks.11.0.out_layers.3.bias"),
        ("mid_block.resnets.1.time_emb_proj.weight", "middle_block.2.emb_layers.1.weight"),
        ("mid_block.attentions.0.proj_out.bias", "middle_block.1.proj_out.bias"),
        ("up_blocks.0.resnets.2.conv_shortcut.weight", "output_blocks.2.0.skip_connection.weight"),
        ("up_blocks.0.upsamplers.0.conv.weight", "output_blocks.2.1.conv.weight"),
        ("up_blocks.1.upsamplers.0.conv.weight", "output_blocks.5.2.conv.weight"),
        ("up_blocks.3.attentions.2.norm.bias", "output_blocks.11.1.norm.bias"),
        ("conv_norm_out.weight", "out.0.weight"),
        ("conv_out.weight", "out.2.weight"),
    ],
)
def test_unet_names_are_those_of_sd1_files(ours: str, ldm: str) -> None:
    assert unet_ldm_name(ours, read_config("sd1", "unet")) == ldm


@pytest.mark.parametrize(
    ("ours", "ldm"),
    [
        ("encoder.conv_in.weight", "encoder.conv_in.weight"),
        ("encoder.down_blocks.1.resnets.0.conv_shortcut.weight", "encoder.down.1.block.0.nin_shortcut.weight"),
        ("encoder.down_blocks.2.downsamplers.0.conv.bias", "encoder.down.2.downsample.conv.bias"),
        ("encoder.mid_block.attentions.0.group_norm.weight", "encoder.mid.attn_1.norm.weight"),
        ("decoder.mid_block.attentions.0.to_out.0.weight", "decoder.mid.attn_1.proj_out.weight"),
        ("decoder.mid_block.resnets.1.norm2.bias", "decoder.mid.block_2.norm2.bias"),
        ("decoder.up_blocks.0.resnets.2.conv1.weight", "decoder.up.3.block.2.conv1.weight"),
        ("decoder.up_blocks.2.upsamplers.0.conv.weight", "decoder.up.1.upsample.conv.weight"),
        ("decoder.conv_norm_out.bias", "decoder.norm_out.bias"),
        ("post_quant_conv.weight", "post_quant_conv.weight"),
    ],
)
def test_vae_names_are_those_of_sd1_files(ours: str, ldm: str) -> None:
    assert vae_ldm_name(ours, read_config("sd1", "vae")) == ldm
