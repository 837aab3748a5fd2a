"""Files of Stable Diffusion XL: every variant contains the networks that it was made from."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# transformers and diffusers declare narrower types for tensors and answers than they accept and return.

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint
from torch import nn

from modules.base.errors import WebuiError
from modules.clip.bpe import ClipBPE
from modules.networks.device import Placement
from modules.networks.families import family_of
from modules.networks.files.checkpoints import look_into
from modules.networks.files.listing import HashCache
from modules.networks.lora.roles import folded
from modules.networks.model import LoadTools
from modules.networks.sdxl.checkpoint import load
from modules.networks.sdxl.model import StableDiffusionXL
from modules.schema.catalog import Checkpoint
from tests.tiny_line import CLIP_G, Tiny, save_folder, save_single, single_tensors, tiny_refiner, tiny_xl

Load = Callable[[Path], StableDiffusionXL]


@pytest.fixture
def load_xl(tmp_path: Path, place: Placement, bpe: ClipBPE) -> Load:
    """Load a file or folder as the engine does."""
    tools = LoadTools(place, bpe, HashCache(tmp_path / "hashes.json"))
    return lambda path: load(Checkpoint(path.name, path), tools)


@pytest.fixture(scope="module")
def xl() -> Tiny:
    return tiny_xl()


def assert_same(ours: nn.Module, theirs: nn.Module, rounded: torch.dtype = torch.float32) -> None:
    expected = theirs.state_dict()
    assert ours.state_dict().keys() == expected.keys()
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, expected[name].to(rounded).float()), name


def assert_holds(model: StableDiffusionXL, tiny: Tiny, rounded: torch.dtype = torch.float32) -> None:
    assert_same(model.unet, tiny.unet, rounded)
    assert_same(model.vae, tiny.vae, rounded)
    for ours, theirs in zip(model.text_encoders.values(), tiny.texts, strict=True):
        assert_same(ours, theirs, rounded)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_a_single_file_holds_the_same_networks(dtype: torch.dtype, xl: Tiny, tmp_path: Path, load_xl: Load) -> None:
    path = save_single(xl, tmp_path / "xl.safetensors", dtype)
    assert (look_into(path).family, look_into(path).reason) == ("sdxl", "")
    model = load_xl(path)
    assert_holds(model, xl, dtype)
    assert (model.family.name, model.latent.scale, model.noise.prediction) == ("sdxl", 0.13025, "epsilon")
    assert (model.shown, model.is_refiner, model.sizes.native) == ("", False, 1024)


def test_weights_are_those_that_diffusers_own_converter_reads(xl: Tiny, tmp_path: Path) -> None:
    config = {key: value for key, value in xl.unet.config.items() if not key.startswith("_")}
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text(json.dumps(config | {"_class_name": "UNet2DConditionModel"}))
    path = save_single(xl, tmp_path / "xl.safetensors")
    theirs = UNet2DConditionModel.from_single_file(
        str(path), config=str(tmp_path), subfolder="unet", local_files_only=True
    )
    assert_same(theirs, xl.unet)
    converted = convert_open_clip_checkpoint(xl.texts[1], single_tensors(xl), prefix=CLIP_G)
    expected = xl.texts[1].state_dict()
    read = converted.keys() & expected.keys()
    assert len(read) == len(expected)
    assert [name for name in read if not torch.equal(converted[name], expected[name])] == []


def test_a_ckpt_holds_the_same_networks(xl: Tiny, tmp_path: Path, load_xl: Load) -> None:
    path = tmp_path / "xl.ckpt"
    torch.save({"state_dict": single_tensors(xl), "global_step": 7}, path)
    assert family_of(Checkpoint("xl.ckpt", path)).name == "sdxl"
    assert_holds(load_xl(path), xl)


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_a_folder_holds_the_same_networks(variant: str | None, xl: Tiny, tmp_path: Path, load_xl: Load) -> None:
    folder = save_folder(xl, tmp_path / "folder", "StableDiffusionXLPipeline", variant)
    assert family_of(Checkpoint("folder", folder)).name == "sdxl"
    assert_holds(load_xl(folder), xl)


def test_the_refiner_has_one_text_encoder_and_is_told_a_score(tmp_path: Path, load_xl: Load) -> None:
    tiny = tiny_refiner()
    path = save_single(tiny, tmp_path / "refiner.safetensors")
    assert look_into(path).what == "a Stable Diffusion XL refiner"
    folder = save_folder(tiny, tmp_path / "folder", "StableDiffusionXLImg2ImgPipeline")
    for model in (load_xl(path), load_xl(folder)):
        assert_holds(model, tiny)
        assert (model.is_refiner, model.lora_targets()) == (True, {})


def test_an_inpainting_model_is_known_by_its_nine_channels(tmp_path: Path, load_xl: Load) -> None:
    tiny = tiny_xl(in_channels=9)
    path = save_single(tiny, tmp_path / "x.safetensors")
    folder = save_folder(tiny, tmp_path / "folder", "StableDiffusionXLInpaintPipeline")
    assert look_into(path).what == look_into(folder).what == "a Stable Diffusion XL inpainting model"
    assert load_xl(path).shown == "mask"
    assert load_xl(folder).shown == "mask"


PRUNED = {
    "SSD-1B": {
        "mid_block_type": "UNetMidBlock2D",
        "layers_per_block": 2,
        "transformer_layers_per_block": [1, [2, 2], [1, 1]],
        "reverse_transformer_layers_per_block": [[1, 1, 3], [2, 1, 1], 1],
    },
    "Vega": {
        "mid_block_type": "UNetMidBlock2D",
        "layers_per_block": 2,
        "transformer_layers_per_block": [1, 1, 2],
        "reverse_transformer_layers_per_block": [2, 1, 1],
    },
    "KOALA": {
        "mid_block_type": None,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "transformer_layers_per_block": [1, 2, 1],
    },
    "without the deepest level's": {
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "transformer_layers_per_block": [1, 3, 2],
    },
}


@pytest.mark.parametrize("name", PRUNED)
def test_pruned_networks_are_known_by_their_shapes(name: str, tmp_path: Path, load_xl: Load) -> None:
    tiny = tiny_xl(**PRUNED[name])
    assert_holds(load_xl(save_single(tiny, tmp_path / "x.safetensors")), tiny)


def without(prefix: str, tiny: Tiny, path: Path) -> Path:
    kept = {key: value for key, value in single_tensors(tiny).items() if not key.startswith(prefix)}
    torch.save(kept, path)
    return path


@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        ("first_stage_model.", "x.ckpt has no VAE inside. Use a complete checkpoint."),
        (
            CLIP_G,
            "x.ckpt has no second text encoder inside. Put one into models/text_encoder, or use a complete checkpoint.",
        ),
        (
            "model.diffusion_model.label_emb.0.2",
            "x.ckpt lacks the tensor model.diffusion_model.label_emb.0.2.weight and 1 more. "
            "The file is incomplete; download it again or use another.",
        ),
    ],
)
def test_what_is_missing_is_told(prefix: str, said: str, xl: Tiny, tmp_path: Path, load_xl: Load) -> None:
    with pytest.raises(WebuiError) as error:
        load_xl(without(prefix, xl, tmp_path / "x.ckpt"))
    assert str(error.value) == said


def test_a_unet_for_another_text_encoder_is_told(tmp_path: Path, load_xl: Load) -> None:
    odd = tiny_xl(projection_class_embeddings_input_dim=91)
    with pytest.raises(WebuiError, match=r"its UNet takes 91 values beside the prompt, of which 40 are the prompt's"):
        load_xl(save_single(odd, tmp_path / "x.safetensors"))


def test_channels_that_nobody_fills_are_told(tmp_path: Path, load_xl: Load) -> None:
    tiny = tiny_xl(in_channels=13)
    said = "x sees 13 channels: expected 4, 5 for depth, 8 for InstructPix2Pix, or 9 for inpainting"
    with pytest.raises(WebuiError, match=said):
        load_xl(save_folder(tiny, tmp_path / "x", "StableDiffusionXLPipeline"))
    with pytest.raises(WebuiError, match=said.replace("x sees", r"x\.safetensors sees")):
        load_xl(save_single(tiny, tmp_path / "x.safetensors"))


def test_loras_find_every_layer_by_the_names_of_both_layouts(xl: Tiny, tmp_path: Path, load_xl: Load) -> None:
    targets = load_xl(save_single(xl, tmp_path / "xl.safetensors")).lora_targets()
    for name, block in (
        ("lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_q", 4),
        ("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q", 4),
        ("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", 4),
        ("lora_unet_middle_block_1_transformer_blocks_1_ff_net_2", 13),
        ("lora_unet_output_blocks_2_1_proj_in", 16),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1", 0),
        ("lora_te2_text_model_encoder_layers_2_self_attn_q_proj", 0),
        ("text_encoder_2.text_model.encoder.layers.2.self_attn.q_proj", 0),
        ("lora_unet_label_emb_0_2", None),
    ):
        assert targets[folded(name)].block == block, name
    assert targets["lora_te1_text_model_encoder_layers_0_mlp_fc1"].parameter.shape[1] == 32
    assert targets["lora_te2_text_model_encoder_layers_0_mlp_fc1"].parameter.shape[1] == 48
