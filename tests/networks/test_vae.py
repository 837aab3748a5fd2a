# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# transformers and diffusers declare narrower types for tensors and answers than they accept and return.

import copy
import logging
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from modules.base.errors import WebuiError
from modules.base.root import ROOT
from modules.networks import vae
from modules.networks.device import Placement
from modules.networks.ldm.building import load_vae
from modules.networks.sd1.model import StableDiffusion
from modules.networks.shared_norms import MeasuredNorms, SharedNorms
from modules.networks.vae import Span, decode, decode_tiled, encode, encode_tiled, feather, from_uint8, spans, to_uint8


def pictures(count: int, height: int = 64, width: int = 48) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_the_posterior_is_that_of_diffusers_in_the_unets_scale(tiny: StableDiffusion) -> None:
    images = pictures(2)
    with torch.inference_mode():
        expected = tiny.vae.encode(images).latent_dist
    posterior = encode(tiny.vae, images)
    torch.testing.assert_close(posterior.mean, expected.mean * 0.18215)
    torch.testing.assert_close(posterior.std, expected.std * 0.18215)
    assert posterior.mean.shape == (2, 4, 8, 6)
    assert posterior.size == 2 * 2 * 4 * 8 * 6 * 4


def test_a_sample_is_mean_plus_noise_times_deviation(tiny: StableDiffusion) -> None:
    posterior = encode(tiny.vae, pictures(1))
    noise = torch.randn(1, 4, 8, 6, generator=torch.Generator().manual_seed(2))
    assert torch.equal(posterior.sample(noise), posterior.mean + posterior.std * noise)
    assert torch.equal(posterior.sample(torch.zeros_like(noise)), posterior.mean)


def test_decoding_is_diffusers_in_0_to_1(tiny: StableDiffusion) -> None:
    latents = torch.randn(1, 4, 8, 6, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        expected = (tiny.vae.decode(latents / 0.18215).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(decode(tiny.vae, latents), expected)


def test_a_batch_decodes_to_the_bytes_of_its_singles(tiny: StableDiffusion) -> None:
    latents = torch.randn(3, 4, 8, 6, generator=torch.Generator().manual_seed(3))
    batch = to_uint8(decode(tiny.vae, latents))
    assert all(np.array_equal(batch[i], to_uint8(decode(tiny.vae, latents[i : i + 1]))[0]) for i in range(3))


def test_bytes_are_cut_off_as_in_a1111_or_rounded() -> None:
    values = torch.tensor([0.0, 0.0039, 0.00393, 0.5, 0.9999, 1.0]).reshape(1, 1, 1, 6).expand(1, 3, 1, 6)
    assert to_uint8(values)[0, 0, :, 0].tolist() == [0, 0, 1, 127, 254, 255]
    assert to_uint8(values, is_exact=False)[0, 0, :, 0].tolist() == [0, 1, 1, 128, 255, 255]


def test_pictures_become_tensors_from_minus_one_to_one() -> None:
    picture = np.array([[[[0, 127, 255]]]], dtype=np.uint8)
    assert from_uint8(picture).flatten().tolist() == pytest.approx([-1.0, -1 / 255, 1.0])


@pytest.mark.parametrize(
    ("length", "tile", "overlap", "expected"),
    [
        (64, 64, 16, [(0, 64)]),
        (10, 64, 16, [(0, 10)]),
        (65, 64, 16, [(0, 64), (1, 65)]),
        (112, 64, 16, [(0, 64), (48, 112)]),
        (113, 64, 16, [(0, 64), (24, 88), (49, 113)]),
        (40, 16, 4, [(0, 16), (12, 28), (24, 40)]),
    ],
)
def test_tiles_cover_the_whole_and_overlap(
    length: int, tile: int, overlap: int, expected: list[tuple[int, int]]
) -> None:
    assert spans(length, tile, overlap) == [Span(*pair) for pair in expected]


def test_a_feather_rises_and_falls() -> None:
    assert feather(6, 2).tolist() == [0.5, 1, 1, 1, 1, 0.5]


def identity(_: Any, x: Tensor) -> Tensor:
    return x


@pytest.mark.parametrize("size", [(16, 16), (40, 23), (17, 64)])
def test_tiles_of_what_changes_nothing_blend_to_the_original(size: tuple[int, int], tiny: StableDiffusion) -> None:
    x = torch.rand(2, 3, *size)
    torch.testing.assert_close(vae._tiled(tiny.vae, x, identity, 16, 1, 1), x)


def test_a_picture_that_fits_into_one_tile_is_the_same_in_tiles(tiny: StableDiffusion) -> None:
    images, latents = pictures(1), torch.randn(1, 4, 8, 6)
    with torch.inference_mode():
        torch.testing.assert_close(decode_tiled(tiny.vae, latents, 16), tiny.vae.decode(latents).sample)
        torch.testing.assert_close(encode_tiled(tiny.vae, images, 16), tiny.vae.encode(images).latent_dist.parameters)


def test_tiles_resemble_the_whole(tiny: StableDiffusion) -> None:
    latents = torch.randn(1, 4, 40, 24, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        whole, tiled = tiny.vae.decode(latents).sample, decode_tiled(tiny.vae, latents, 32)
    assert whole.shape == tiled.shape == (1, 3, 320, 192)
    # Not equal: a random network's norms and attention depend on everything else in view.
    assert float(torch.corrcoef(torch.stack([whole.flatten(), tiled.flatten()]))[0, 1]) > 0.95


@pytest.mark.parametrize("message", ["CUDA out of memory", "DefaultCPUAllocator: can't allocate memory: you tried …"])
def test_when_memory_is_short_the_latent_is_decoded_in_tiles(
    message: str, tiny: StableDiffusion, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Passes over more than 16 × 16 cells fail, so the first tiles fail too."""
    latents = torch.randn(1, 4, 40, 24, generator=torch.Generator().manual_seed(4))
    expected = (decode_tiled(tiny.vae, (latents / 0.18215), 16) / 2 + 0.5).clamp(0, 1)
    monkeypatch.setattr(vae, "_decode_pixels", failing(vae._decode_pixels, message))
    with caplog.at_level(logging.WARNING):
        assert torch.equal(decode(tiny.vae, latents), expected)
    assert "in tiles" in caplog.text


def failing(network: Callable[[Any, Tensor], Tensor], message: str) -> Callable[[Any, Tensor], Tensor]:
    def run(model: Any, x: Tensor) -> Tensor:
        if x.shape[-1] * x.shape[-2] > 16 * 16:
            raise torch.OutOfMemoryError(message) if "CUDA" in message else RuntimeError(message)
        return network(model, x)

    return run


def test_a_cpu_without_the_memory_does_not_try_the_whole(
    tiny: StableDiffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    latents = torch.randn(1, 4, 40, 24, generator=torch.Generator().manual_seed(4))
    expected = (decode_tiled(tiny.vae, (latents / 0.18215), 32) / 2 + 0.5).clamp(0, 1)
    monkeypatch.setattr(vae, "available_bytes", lambda device: 1000)
    assert torch.equal(decode(tiny.vae, latents), expected)


@pytest.mark.parametrize(("side", "is_tiled"), [(65, True), (64, False)])
def test_larger_pictures_than_a_tile_are_cut_if_asked(
    side: int, is_tiled: bool, tiny: StableDiffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []

    def decoder(model: Any, x: Tensor) -> Tensor:
        seen.append(tuple(x.shape[-2:]))
        return torch.zeros(1, 3, 8 * x.shape[-2], 8 * x.shape[-1])

    monkeypatch.setattr(vae, "_decode_pixels", decoder)
    decode(tiny.vae, torch.zeros(1, 4, 16, side), in_tiles=True)
    assert seen == ([(16, 64)] * 3 if is_tiled else [(16, 64)])  # the norms of the whole first, then two tiles


def test_no_memory_at_all_is_told(tiny: StableDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: Any, x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(vae, "_decode_pixels", fail)
    with pytest.raises(
        WebuiError, match=r"Not enough memory for the VAE, even in small tiles\. Choose a smaller size\."
    ):
        decode(tiny.vae, torch.randn(1, 4, 40, 24))


def test_other_failures_are_not_taken_for_a_lack_of_memory(
    tiny: StableDiffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(model: Any, x: Tensor) -> Tensor:
        raise RuntimeError("a kernel failed")

    monkeypatch.setattr(vae, "_decode_pixels", fail)
    with pytest.raises(RuntimeError, match="a kernel failed"):
        decode(tiny.vae, torch.randn(1, 4, 40, 24))


def test_half_precision_that_overflows_is_repeated_in_fp32(
    tiny: StableDiffusion, caplog: pytest.LogCaptureFixture
) -> None:
    half = copy.deepcopy(tiny.vae)
    half.decoder.conv_in.weight.data *= 1e6
    latents = torch.randn(1, 4, 8, 6, generator=torch.Generator().manual_seed(5))
    expected = decode(half, latents)
    torch.nn.Module.to(half, torch.float16)
    half.decoder.conv_in.weight.data = (tiny.vae.decoder.conv_in.weight.data * 6e4).half()
    with caplog.at_level(logging.WARNING):
        result = decode(half, latents)
    assert (half.dtype, result.isfinite().all()) == (torch.float32, True)
    assert "continues in fp32" in caplog.text
    assert expected.isfinite().all()


def test_numbers_that_are_none_even_in_fp32_are_told(tiny: StableDiffusion) -> None:
    with pytest.raises(WebuiError, match="The VAE's decoder produced NaN"):
        decode(tiny.vae, torch.full((1, 4, 8, 6), float("nan")))


TILED_SIDES = (24, 40)  # latent cells
SMALL_TILE = 16


@pytest.fixture(scope="module")
def trained(place: Placement) -> AutoencoderKL:
    """The VAE of the bundled checkpoint."""
    return load_vae(ROOT / "models" / "Stable-diffusion" / "palimpsest-starter.safetensors", place)


@pytest.fixture(scope="module")
def drawing() -> Tensor:
    """A real picture (1, 3, H, W) of that many cells."""
    height, width = (8 * side for side in TILED_SIDES)
    image = Image.open(ROOT / "docs" / "images" / "start.png").convert("RGB").resize((width, height))
    return from_uint8(np.array(image)[None])


def over_the_seams(difference: Tensor) -> float:
    """The mean, where tiles overlap, of a difference (n, 3, H, W) between pictures in 0 … 1, in steps of 255."""
    seams = torch.zeros(difference.shape[-2:], dtype=torch.bool)
    for axis, side in enumerate(TILED_SIDES):
        tiles = spans(side, SMALL_TILE, int(SMALL_TILE * vae.OVERLAP))
        for one, other in pairwise(tiles):
            seams[(slice(None),) * axis + (slice(8 * other.start, 8 * one.stop),)] = True
    assert 0.2 < float(seams.float().mean()) < 0.8
    return float(255 * difference.abs()[..., seams].mean())


@torch.inference_mode()
def test_tiles_leave_no_seam_in_what_is_decoded(trained: AutoencoderKL, drawing: Tensor) -> None:
    latents = trained.encode(drawing).latent_dist.mean
    whole = trained.decode(latents).sample.clamp(-1, 1) / 2
    tiled = decode_tiled(trained, latents, SMALL_TILE).clamp(-1, 1) / 2
    apart = over_the_seams(tiled - whole)
    assert apart < 2
    alone = vae._tiled(trained, latents, each_by_itself(vae._decode_pixels), SMALL_TILE, 1, 8).clamp(-1, 1) / 2
    assert apart < over_the_seams(alone - whole)


@torch.inference_mode()
def test_tiles_leave_no_seam_in_what_is_encoded(trained: AutoencoderKL, drawing: Tensor) -> None:
    whole = trained.encode(drawing).latent_dist.parameters
    tiled = encode_tiled(trained, drawing, SMALL_TILE)
    pictures = [trained.decode(each[:, :4]).sample.clamp(-1, 1) / 2 for each in (whole, tiled)]
    assert over_the_seams(pictures[1] - pictures[0]) < 2


def each_by_itself(network: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    """Tiles with the norms of their own content."""

    def run(model: Any, x: Tensor) -> Tensor:
        with torch._C.DisableTorchFunction():
            return network(model, x)

    return run


def test_norms_with_their_own_moments_are_what_they_are() -> None:
    norm = torch.nn.GroupNorm(4, 8)
    norm.weight.data, norm.bias.data = torch.rand(8), torch.rand(8)
    x = 3 + torch.randn(2, 8, 5, 6)
    with MeasuredNorms() as measured:
        expected = norm(x)
    with SharedNorms(measured.seen):
        torch.testing.assert_close(norm(x), expected)
        with pytest.raises(StopIteration):
            norm(x)
