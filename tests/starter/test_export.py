"""The exported file has SD 1's names, and reading it back gives the same networks."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from modules.starter.export import blend, configuration, export, load_single_file, load_trained, unpack
from modules.starter.nets import Widths, new_vae
from modules.starter.studio import Studio
from modules.starter.train_unet import new_networks
from modules.starter.vocabulary import Vocabulary

TINY = Widths(
    unet=(8, 16, 24),
    unet_groups=4,
    heads=2,
    vae=(8, 8, 8, 16),
    vae_groups=2,
    text=16,
    text_layers=1,
    text_heads=2,
    text_feed_forward=16,
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """State folder and exported file of untrained tiny networks."""
    torch.manual_seed(0)
    state = tmp_path_factory.mktemp("state")
    networks = new_networks(TINY, Vocabulary.of_the_world())
    for parameter in networks.unet.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    torch.save({"average": networks.state(), "samples": 1, "seconds": 1.0}, state / "unet.pt")
    torch.save({"average": new_vae(TINY).state_dict()}, state / "vae.pt")
    target = state / "out" / "tiny.safetensors"
    export(state, target, TINY, {"width": 64, "height": 64})
    return state, target


def test_names_and_shapes_are_those_of_sd1(exported: tuple[Path, Path]) -> None:
    with safe_open(exported[1], "pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    expected = {
        "model.diffusion_model.input_blocks.0.0.weight": (8, 4, 3, 3),
        "model.diffusion_model.input_blocks.1.0.in_layers.2.weight": (8, 8, 3, 3),
        "model.diffusion_model.input_blocks.2.0.op.weight": (8, 8, 3, 3),
        "model.diffusion_model.input_blocks.3.1.transformer_blocks.0.attn2.to_k.weight": (16, 16),
        "model.diffusion_model.middle_block.0.in_layers.0.weight": (24,),
        "model.diffusion_model.middle_block.1.proj_in.weight": (24, 24, 1, 1),
        "model.diffusion_model.output_blocks.1.2.conv.weight": (24, 24, 3, 3),
        "model.diffusion_model.output_blocks.5.0.skip_connection.weight": (8, 16, 1, 1),
        "model.diffusion_model.time_embed.0.weight": (32, 8),
        "model.diffusion_model.out.2.weight": (4, 8, 3, 3),
        "first_stage_model.encoder.down.0.block.0.conv1.weight": (8, 8, 3, 3),
        "first_stage_model.decoder.up.3.upsample.conv.weight": (16, 16, 3, 3),
        "first_stage_model.decoder.mid.attn_1.q.weight": (16, 16, 1, 1),
        "first_stage_model.quant_conv.weight": (8, 8, 1, 1),
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (49408, 16),
        "cond_stage_model.transformer.text_model.encoder.layers.0.self_attn.q_proj.weight": (16, 16),
    }
    assert {name: shapes.get(name) for name in expected} == expected


def test_reading_the_file_back_gives_the_same_networks(exported: tuple[Path, Path]) -> None:
    state, target = exported
    for before, after in zip(load_trained(state, TINY)[:3], load_single_file(target), strict=True):
        assert before.state_dict().keys() == after.state_dict().keys()
        for name, value in before.state_dict().items():
            assert torch.allclose(value, after.state_dict()[name], atol=2e-3, rtol=2e-3), name


def test_words_nobody_taught_the_model_share_one_row(exported: tuple[Path, Path]) -> None:
    table = load_single_file(exported[1])[1].state_dict()
    rows = next(value for name, value in table.items() if name.endswith("token_embedding.weight"))
    vocabulary = Vocabulary.of_the_world()
    zebra, volcano, girl = (vocabulary.tokenizer(word)["input_ids"][1] for word in ("zebra", "volcano", "girl"))
    assert torch.equal(rows[zebra], rows[volcano])
    assert not torch.equal(rows[zebra], rows[girl])


def test_a_checkpoint_unpacked_and_exported_again_has_the_same_weights(
    exported: tuple[Path, Path], tmp_path: Path
) -> None:
    unpack(exported[1], tmp_path / "state")
    export(tmp_path / "state", tmp_path / "again.safetensors", TINY, {"width": 64, "height": 64})
    before, after = load_file(exported[1]), load_file(tmp_path / "again.safetensors")
    assert set(before) == set(after)
    assert [name for name, value in before.items() if not torch.equal(value, after[name])] == []


def test_a_blend_is_the_mean_with_the_second_autoencoder(exported: tuple[Path, Path], tmp_path: Path) -> None:
    one = load_file(exported[1])
    other = {name: value + 1 for name, value in one.items()}
    second = tmp_path / "second.safetensors"
    save_file(other, second)
    for suffix in (".yaml", ".json"):
        second.with_suffix(suffix).write_text(f"the second's {suffix}")
    target = tmp_path / "out" / "mean.safetensors"
    blend(exported[1], second, 0.25, target)
    mean = load_file(target)
    for name, value in mean.items():
        whole = name.startswith("first_stage_model.") or name == "alphas_cumprod"
        assert torch.allclose(value.float(), one[name].float() + (1 if whole else 0.25), atol=2e-3), name
    assert set(mean) == set(one)
    assert target.with_suffix(".yaml").read_text() == "the second's .yaml"


def test_page_defaults_and_widths_lie_beside_the_file(exported: tuple[Path, Path]) -> None:
    assert json.loads(exported[1].with_suffix(".json").read_text()) == {"width": 64, "height": 64}
    unet = configuration(TINY)["model"]["params"]["unet_config"]["params"]
    assert (unet["model_channels"], unet["channel_mult"], unet["attention_resolutions"]) == (8, [1, 2, 3], [2, 4])


def test_the_studio_repeats_itself_and_keeps_the_start_at_low_strength(exported: tuple[Path, Path]) -> None:
    studio = Studio(exported[1])
    start = studio.decode(torch.zeros(1, 4, 8, 8))
    twice = [studio.paint(["girl"], [3], 64, 64, 4.0, 3, start, 0.5)[0] for _ in range(2)]
    assert (twice[0] == twice[1]).all()
    assert twice[0].shape == (64, 64, 3)
