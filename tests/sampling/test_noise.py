"""Noise by source, seed, variation and size; Brownian paths."""

from pathlib import Path

import numpy as np
import pytest
import torch

from modules.sampling.noise import BrownianNoise, Generator, ImageNoise, Philox, Source, pasted_center, slerp

RECORDED = Path(__file__).parents[1] / "parity" / "data" / "sampling.npz"
SHAPE = (4, 8, 8)
SEEDS = (0, 1, 1234, 4294967295, 1099511627781)
SOURCES: tuple[Source, ...] = ("CPU", "NV", "GPU")
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("seed", "first"),
    [
        (0, [-0.924662, -0.425344, -2.643846, 0.145184]),
        (1, [-0.296278, 2.676448, -0.140846, -0.844095]),
        (42, [0.194019, 2.161374, -0.172051, 0.849060]),
        (1234, [-1.616490, 0.568455, -0.510225, -0.911339]),
    ],
)
def test_philox_gives_cudas_numbers(seed: int, first: list[float]) -> None:
    assert Philox(seed).randn((3, 4)).flatten()[:4].tolist() == pytest.approx(first, abs=1e-6)


@pytest.mark.parity
@pytest.mark.parametrize("seed", SEEDS)
def test_philox_and_image_noise_are_a1111s(seed: int) -> None:
    with np.load(RECORDED) as recorded:
        philox = Philox(seed)
        np.testing.assert_allclose(philox.randn((4, 8, 8)), recorded[f"philox_{seed}_a"], atol=1e-6)
        np.testing.assert_allclose(philox.randn((3, 5)), recorded[f"philox_{seed}_b"], atol=1e-6)
        for source in SOURCES:
            noise = ImageNoise(source, SHAPE, [seed, seed + 1])
            np.testing.assert_allclose(noise.first(), recorded[f"imagerng_{source}_{seed}_first"], atol=1e-6)
            np.testing.assert_allclose(noise(1.0, 0.5), recorded[f"imagerng_{source}_{seed}_next"], atol=1e-6)
            varied = ImageNoise(source, (4, 8, 12), [seed], subseeds=[77], subseed_strength=0.3, resized_from=(12, 8))
            np.testing.assert_allclose(varied.first(), recorded[f"imagerng_{source}_{seed}_sub_resize"], atol=1e-5)


@pytest.mark.parametrize("source", SOURCES)
def test_a_batch_equals_its_singles_in_first_and_step_noise(source: Source) -> None:
    batch = ImageNoise(source, SHAPE, [3, 4])
    singles = [ImageNoise(source, SHAPE, [seed]) for seed in (3, 4)]
    for _ in range(2):
        assert torch.equal(batch.first(), torch.cat([single.first() for single in singles]))
        assert torch.equal(batch(2.0, 1.0), torch.cat([single(2.0, 1.0) for single in singles]))


def test_ensd_seeds_the_step_noise_apart() -> None:
    noise = ImageNoise("CPU", SHAPE, [5], eta_noise_seed_delta=31337)
    assert torch.equal(noise.first(), ImageNoise("CPU", SHAPE, [5]).first())
    assert torch.equal(noise(1.0, 0.5), ImageNoise("CPU", SHAPE, [5 + 31337]).first())


@pytest.mark.parametrize("source", ["CPU", "NV"])
def test_beyond_64_bits_a_seed_begins_anew(source: Source) -> None:
    noise = ImageNoise(source, SHAPE, [2**64 - 1], eta_noise_seed_delta=31337)
    noise.first()
    assert torch.equal(noise(1.0, 0.5), ImageNoise(source, SHAPE, [31336]).first())


@pytest.mark.parametrize(("strength", "seed"), [(0.0, 1), (1.0, 2)])
def test_variation_of_full_or_no_strength_is_one_of_the_two_noises(strength: float, seed: int) -> None:
    varied = ImageNoise("CPU", SHAPE, [1], subseeds=[2], subseed_strength=strength).first()
    torch.testing.assert_close(varied, ImageNoise("CPU", SHAPE, [seed]).first())


def test_a_missing_subseed_is_0() -> None:
    one, two = ImageNoise("CPU", SHAPE, [1, 1], subseeds=[0], subseed_strength=0.4).first()
    assert torch.equal(one, two)


def test_slerp_keeps_the_variance_that_a_linear_mix_would_lose() -> None:
    low, high = (Generator("CPU", seed, CPU).randn((4, 64, 64)) for seed in (1, 2))
    assert float(slerp(0.5, low, high).std()) == pytest.approx(1.0, abs=0.03)


def test_nearly_parallel_noises_are_mixed_with_a1111s_swapped_weights() -> None:
    low = Generator("CPU", 1, CPU).randn(SHAPE)
    torch.testing.assert_close(slerp(0.25, low, low * 3), low * 0.25 + low * 3 * 0.75)


@pytest.mark.parametrize(
    ("canvas", "tile", "expected"),
    [
        ((4, 5), (2, 2), ["00000", "01100", "01100", "00000"]),
        ((2, 3), (4, 5), ["111", "111"]),
        ((3, 2), (2, 4), ["11", "11", "00"]),
    ],
)
def test_a_tile_is_pasted_into_the_middle(canvas: tuple[int, int], tile: tuple[int, int], expected: list[str]) -> None:
    pasted = pasted_center(torch.zeros(1, *canvas), torch.ones(1, *tile))[0]
    assert ["".join(str(int(value)) for value in row) for row in pasted.tolist()] == expected


def test_a_cropped_tile_shows_its_middle() -> None:
    tile = torch.arange(16.0).view(1, 4, 4)
    assert pasted_center(torch.zeros(1, 2, 2), tile).flatten().tolist() == [5.0, 6.0, 9.0, 10.0]


@pytest.mark.parametrize("source", SOURCES)
def test_brownian_increments_add_up_and_have_unit_variance(source: Source) -> None:
    noise = BrownianNoise(source, (4, 32, 32), [7], 0.03, 14.6)
    long, one, two = noise(9.0, 1.0), noise(9.0, 4.0), noise(4.0, 1.0)
    torch.testing.assert_close(long * 8**0.5, one * 5**0.5 + two * 3**0.5, rtol=1e-4, atol=1e-4)
    assert [float(part.std()) for part in (long, one, two)] == pytest.approx([1.0] * 3, abs=0.05)


def test_a_brownian_batch_equals_its_singles_whatever_the_order_of_questions() -> None:
    batch = BrownianNoise("CPU", SHAPE, [7, 8], 0.03, 14.6)
    single = BrownianNoise("CPU", SHAPE, [8], 0.03, 14.6)
    single(0.5, 0.1)
    assert torch.equal(batch(5.0, 2.0)[1:], single(5.0, 2.0))


def test_brownian_levels_beyond_the_range_count_as_its_ends() -> None:
    noise = BrownianNoise("CPU", SHAPE, [7], 0.03, 14.6)
    beyond, within = noise(14.7, 0.02), noise(14.6, 0.03)
    torch.testing.assert_close(beyond * (14.7 - 0.02) ** 0.5, within * (14.6 - 0.03) ** 0.5)


def test_a_tree_leaves_torchs_threads_as_they_were() -> None:
    before = torch.get_num_threads()
    BrownianNoise("CPU", (4, 96, 96), [7], 0.03, 14.6)(5.0, 2.0)
    assert torch.get_num_threads() == before


def test_a_shared_tree_depends_on_the_last_seed_and_the_size_of_the_batch() -> None:
    noise = [BrownianNoise("CPU", SHAPE, seeds, 0.03, 14.6, is_shared=True)(5.0, 2.0) for seeds in ([1, 9], [2, 9])]
    assert noise[0].shape == (2, *SHAPE)
    assert torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[0][0], noise[0][1])


@pytest.mark.parity
def test_slerp_is_a1111s() -> None:
    low, high = (Generator("CPU", seed, CPU).randn(SHAPE) for seed in (1, 2))
    with np.load(RECORDED) as recorded:
        np.testing.assert_allclose(slerp(0.3, low, high), recorded["slerp_03"], atol=1e-5)
        np.testing.assert_allclose(slerp(0.0, low, high), recorded["slerp_0"], atol=1e-5)
