"""A training run on tiny networks and a CPU: all three networks change, a saved run continues, a NaN loses nothing."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# transformers and diffusers declare narrower types for tensors and answers than they accept and return.

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from modules.starter import train_vae
from modules.starter.nets import SCALING_FACTOR, new_vae
from modules.starter.train_gpu import Moved, Ring, Sitting, sit, squares
from modules.starter.train_vae import rescaled, whiten_by
from tests.starter.test_training import TINY

SIZES = ((64, 64, 0.7), (96, 64, 0.3))


def test_a_ring_keeps_the_newest_rows_together() -> None:
    ring = Ring(4)
    ring.add(torch.arange(3), torch.arange(3) * 10)
    ring.add(torch.arange(3, 6), torch.arange(3, 6) * 10)
    assert ring.count == 4
    assert sorted(ring.tensors[0].tolist()) == [2, 3, 4, 5]
    assert torch.equal(ring.tensors[1], ring.tensors[0] * 10)
    assert set(ring.any(200).tolist()) == {0, 1, 2, 3}


def test_squares_come_from_inside_the_pictures_and_half_are_mirrored() -> None:
    torch.manual_seed(0)
    columns = torch.arange(48, dtype=torch.uint8)[None, None, :, None].expand(2, 32, 48, 3)
    ring = Ring(2)
    ring.add(columns.contiguous())
    cut = squares(ring, 16, 200)
    assert cut.shape == (200, 16, 16, 3)
    steps = (cut[:, :, 1:].int() - cut[:, :, :-1].int())[:, 0, 0, 0]
    assert set(steps.tolist()) == {-1, 1}
    assert 60 < int((steps == 1).sum()) < 140


def test_masters_move_and_half_precision_follows() -> None:
    parameter = nn.Parameter(torch.ones(4, 4, dtype=torch.bfloat16))
    moved = Moved([parameter], [torch.full((4, 4), 1.001)], 0.9)
    for _ in range(20):
        parameter.grad = torch.ones_like(parameter)
        moved.step(1e-3)
    assert float(moved.masters[0].detach().mean()) == pytest.approx(1.001 - 20e-3, abs=2e-3)
    assert torch.equal(parameter.detach(), moved.masters[0].detach().bfloat16())
    assert float(moved.masters[0].detach().mean()) < float(moved.averages[0].mean()) < 1.001


def test_a_loss_that_is_no_number_goes_back_to_the_last_sound_average() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    moved = Moved([parameter], [torch.zeros(2)], 0.9)
    parameter.grad = torch.ones(2)
    moved.step(1e-2)
    moved.look(0.5)
    sound = moved.averages[0].clone()
    parameter.grad = torch.full((2,), math.nan)
    moved.step(1e-2)
    assert moved.masters[0].isnan().all()
    moved.look(math.nan)
    for tensor in (moved.masters[0], moved.averages[0], parameter):
        assert torch.equal(tensor, sound)


def test_latents_scaled_or_whitened_leave_the_pictures_as_they_are() -> None:
    torch.manual_seed(0)
    vae = new_vae(TINY).eval()
    pictures = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        before = vae.decode(vae.encode(pictures).latent_dist.mean).sample
        rescaled(vae, 3.0)
        whiten_by(vae, vae.encode(pictures).latent_dist.mean)
        latents = vae.encode(pictures).latent_dist.mean
        assert torch.allclose(vae.decode(latents).sample, before, atol=1e-4)
    assert latents.mean((0, 2, 3)) == pytest.approx(torch.zeros(4), abs=1e-3)
    assert latents.std((0, 2, 3)) * SCALING_FACTOR == pytest.approx(torch.ones(4), abs=1e-2)


@pytest.mark.slow
def test_a_sitting_moves_all_networks_and_goes_on_from_what_it_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_vae, "HELD_OUT_DRAWINGS", 2)
    monkeypatch.setattr(train_vae, "HELD_OUT_PHOTOS", 1)
    sitting = Sitting(
        minutes=0.02, sizes=SIZES, mix="first", crop=64, crops=2, batch=4, pictures=200, latents=200, workers=1
    )
    sit(tmp_path, sitting, TINY, "cpu")
    first = torch.load(tmp_path / "unet.pt", weights_only=True)
    vae = torch.load(tmp_path / "vae.pt", weights_only=True)["average"]
    sit(tmp_path, sitting, TINY, "cpu")
    second = torch.load(tmp_path / "unet.pt", weights_only=True)
    assert 0 < first["samples"] < second["samples"]
    assert first["seconds"] < second["seconds"]
    for old, new in (
        (first["average"]["unet"], second["average"]["unet"]),
        (first["average"]["text"], second["average"]["text"]),
        (vae, torch.load(tmp_path / "vae.pt", weights_only=True)["average"]),
    ):
        assert any(not torch.equal(old[name], new[name]) for name in old)
        assert all(bool(torch.isfinite(value).all()) for value in new.values())
    assert (tmp_path / "loss U-Net.png").exists()
    assert (tmp_path / "sheets" / "vae.png").exists()
