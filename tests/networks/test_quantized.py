"""Quantized weights are restored by the definition of their format; what is not known is refused by its name."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from modules.base.errors import WebuiError
from modules.networks.quantized import rotation
from modules.networks.weights import open_weights, require_fitting

LAYER = "model.diffusion_model.layers.0.to_q"


def notes(**values: object) -> Tensor:
    return torch.tensor(list(json.dumps(values).encode()), dtype=torch.uint8)


def drawn(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows)) * 0.05


def fp8(weight: Tensor, by_row: bool) -> tuple[Tensor, Tensor]:
    largest = weight.abs().amax(dim=1) if by_row else weight.abs().max()
    scale = largest / 448
    return (weight / (scale[:, None] if by_row else scale)).to(torch.float8_e4m3fn), scale


def int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    scale = weight.abs().amax(dim=1) / 127
    return (weight / scale[:, None]).round().to(torch.int8), scale


def older(weight: Tensor) -> dict[str, Tensor]:
    values, scale = fp8(weight, by_row=False)
    marker = {"scaled_fp8": torch.zeros(0, dtype=torch.float8_e4m3fn), f"{LAYER}.scale_input": torch.ones(())}
    return {f"{LAYER}.weight": values, f"{LAYER}.scale_weight": scale} | marker


def newer(weight: Tensor) -> dict[str, Tensor]:
    values, scale = fp8(weight, by_row=False)
    own = {f"{LAYER}.weight": values, f"{LAYER}.weight_scale": scale}
    return own | {f"{LAYER}.comfy_quant": notes(format="float8_e4m3fn", full_precision_matrix_mult=True)}


def by_rows(weight: Tensor) -> dict[str, Tensor]:
    values, scale = fp8(weight, by_row=True)
    return {f"{LAYER}.weight": values, f"{LAYER}.weight_scale": scale[:, None]}


def integers(weight: Tensor) -> dict[str, Tensor]:
    values, scale = int8(weight)
    own = {f"{LAYER}.weight": values, f"{LAYER}.weight_scale": scale}
    return own | {f"{LAYER}.comfy_quant": notes(format="int8_tensorwise")}


def rotated(weight: Tensor) -> dict[str, Tensor]:
    values, scale = int8((weight.view(len(weight), -1, 64) @ rotation(64)).reshape(weight.shape))
    own = {f"{LAYER}.weight": values, f"{LAYER}.weight_scale": scale[:, None]}
    return own | {f"{LAYER}.comfy_quant": notes(format="int8_tensorwise", convrot=True, convrot_groupsize=64)}


@pytest.mark.parametrize(
    ("quantized", "error"), [(older, 0.03), (newer, 0.03), (by_rows, 0.03), (integers, 0.02), (rotated, 0.02)]
)
def test_weights_are_restored(tmp_path: Path, quantized: Callable[[Tensor], dict[str, Tensor]], error: float) -> None:
    weight = drawn(48, 128)
    plain = {"norm.weight": torch.ones(7)}
    save_file(quantized(weight) | plain, tmp_path / "x.safetensors")
    weights = open_weights(tmp_path / "x.safetensors")
    assert {key: (info.dtype, tuple(info.shape)) for key, info in weights.header.items()} == {
        f"{LAYER}.weight": ("BF16", (48, 128)),
        "norm.weight": ("F32", (7,)),
    }
    found = weights.read(f"{LAYER}.weight")
    assert found.dtype == torch.bfloat16
    assert float((found.float() - weight).norm() / weight.norm()) < error
    assert torch.equal(weights.read("norm.weight"), torch.ones(7))


@pytest.mark.parametrize("width", [4, 16, 64, 256])
def test_the_rotation_is_its_own_inverse(width: int) -> None:
    matrix = rotation(width)
    assert torch.equal(matrix, matrix.T)
    torch.testing.assert_close(matrix @ matrix, torch.eye(width))


def test_rotation_spreads_an_outlier() -> None:
    """What it is for: one column of large weights costs the others no digits."""
    weight = drawn(32, 256)
    weight[:, 3] *= 100

    def error(content: dict[str, Tensor], columns: slice) -> float:
        values = content[f"{LAYER}.weight"].float() * content[f"{LAYER}.weight_scale"].reshape(-1, 1)
        if content is spread:
            values = (values.view(32, -1, 64) @ rotation(64)).reshape(weight.shape)
        return float((values - weight)[:, columns].norm() / weight[:, columns].norm())

    plain, spread = integers(weight), rotated(weight)
    assert error(spread, slice(64, 256)) < error(plain, slice(64, 256)) / 3


@pytest.mark.parametrize(
    "change",
    [
        {f"{LAYER}.comfy_quant": notes(format="nvfp4")},
        {f"{LAYER}.comfy_quant": torch.tensor([255, 0], dtype=torch.uint8)},
        {f"{LAYER}.comfy_quant": notes(format="int8_tensorwise", convrot=True, convrot_groupsize=96)},
        {f"{LAYER}.weight_scale": torch.ones(5)},
        {f"{LAYER}.weight": torch.ones(48, 128, dtype=torch.uint8)},
        {f"{LAYER}.weight_scale_2": torch.ones(1)},
    ],
    ids=["nvfp4", "no text", "no power of four", "scale", "packed", "second scale"],
)
def test_another_format_is_refused_by_name(tmp_path: Path, change: dict[str, Tensor]) -> None:
    save_file(integers(drawn(48, 128)) | change, tmp_path / "x.safetensors")
    network = torch.nn.ModuleDict({"to_q": torch.nn.Linear(128, 48, bias=False, device="meta")})
    with pytest.raises(
        WebuiError, match=r"x\.safetensors is quantized in a format that is not known here \(model\.diff"
    ):
        require_fitting(
            network, open_weights(tmp_path / "x.safetensors"), lambda name: [f"model.diffusion_model.layers.0.{name}"]
        )
