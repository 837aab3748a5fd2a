"""Sources of noise: one generator per image, so that a batch equals its single images; A1111's three sources.

CPU is torch's Mersenne Twister. NV is Philox in numpy: the numbers of CUDA's generator, on any machine. GPU is the
device's own generator, which on a CPU is the same as CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modules.sampling.brownian import DIGITS, BrownianPath

Source = Literal["GPU", "CPU", "NV"]
Shape = tuple[int, int, int]
"""(channels, height, width) of one image's latent, in latent cells."""

NEARLY_PARALLEL = 0.9995  # mean cosine above which A1111 mixes linearly

PARALLEL = 32768  # numbers in a tensor; from this size on torch uses several threads

# Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", Philox4x32-10.
PHILOX_M = (0xD2511F53, 0xCD9E8D57)
PHILOX_W = (0x9E3779B9, 0xBB67AE85)
PHILOX_ROUNDS = 10
MASK = 0xFFFFFFFF
# curand's fp32 constants: 2^-32, and 2^-32 · 2π.
TWO_POW32_INV = np.float64(np.float32(2.3283064e-10))
TWO_POW32_INV_2PI = np.float64(np.float32(2.3283064e-10 * 6.2831855))


class Philox:
    """CUDA's normal generator: Philox4x32-10 and Box-Muller, one 128-bit block a number, the sine branch."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._offset = 0  # how many tensors were drawn

    def randn(self, shape: Sequence[int]) -> NDArray[np.float32]:
        """The next tensor of standard normal numbers."""
        n = math.prod(shape)
        counter = [np.full(n, self._offset, np.uint64), np.zeros(n, np.uint64), np.arange(n, dtype=np.uint64)]
        counter.append(np.zeros(n, np.uint64))
        self._offset += 1
        u, v = _philox(counter, self._seed)
        radius = np.sqrt(-2.0 * np.log(u * TWO_POW32_INV + TWO_POW32_INV / 2))
        angle = v * TWO_POW32_INV_2PI + TWO_POW32_INV_2PI / 2
        return (radius * np.sin(angle)).astype(np.float32).reshape(tuple(shape))


def _philox(c: list[NDArray[np.uint64]], seed: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The first two 32-bit words of each block; c: the four words of each counter, key: the seed's 64 bits."""
    k0, k1 = seed & MASK, (seed >> 32) & MASK
    m0, m1, mask, half = np.uint64(PHILOX_M[0]), np.uint64(PHILOX_M[1]), np.uint64(MASK), np.uint64(32)
    for _ in range(PHILOX_ROUNDS):
        v0, v1 = c[0] * m0, c[2] * m1
        c = [(v1 >> half) ^ c[1] ^ np.uint64(k0), v1 & mask, (v0 >> half) ^ c[3] ^ np.uint64(k1), v0 & mask]
        k0, k1 = (k0 + PHILOX_W[0]) & MASK, (k1 + PHILOX_W[1]) & MASK
    return c[0], c[1]


class Generator:
    """One image's stream of normal numbers from a seed."""

    def __init__(self, source: Source, seed: int, device: torch.device) -> None:
        self._device = device
        self._philox = Philox(seed) if source == "NV" else None
        where = device if source == "GPU" else torch.device("cpu")
        # ENSD may push the seed beyond 64 bits, which torch rejects and Philox truncates.
        self._torch = (
            torch.Generator(where).manual_seed(seed if seed < 2**64 else seed % 2**64) if source != "NV" else None
        )

    def randn(self, shape: Sequence[int]) -> Tensor:
        """The next tensor, fp32, on the device."""
        if self._philox is not None:
            return torch.from_numpy(self._philox.randn(shape)).to(self._device)
        assert self._torch is not None
        drawn = torch.randn(tuple(shape), generator=self._torch, device=self._torch.device, dtype=torch.float32)
        return drawn.to(self._device)


class ImageNoise:
    """The initial noise of a batch (`first`), and its step noise when called: the next numbers of each generator.

    seeds, subseeds: one for each image.  subseed_strength: 0 only the seed's noise, 1 only the subseed's.
    resized_from: (height, width) in latent cells of the picture whose noise is put in the center; 0 for none.
    eta_noise_seed_delta: added to the seeds for step noise (A1111's ENSD, 31337 in NovelAI's pictures).
    """

    def __init__(
        self,
        source: Source,
        shape: Shape,
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
        *,
        subseeds: Sequence[int] = (),
        subseed_strength: float = 0.0,
        resized_from: tuple[int, int] = (0, 0),
        eta_noise_seed_delta: int = 0,
    ) -> None:
        self._source: Source = source
        self._shape = shape
        self._seeds = list(seeds)
        self._device = torch.device(device)
        self._subseeds = list(subseeds)
        self._subseed_strength = subseed_strength
        height, width = resized_from
        is_resized = height > 0 and width > 0
        self._seed_shape = (shape[0], height, width) if is_resized else shape
        self._ensd = eta_noise_seed_delta
        self._generators = [self._generator(seed) for seed in self._seeds]

    def first(self) -> Tensor:
        """The initial noise, (B, C, h, w) fp32 on the device. Call it once, before drawing step noise."""
        noises = [self._first(i) for i in range(len(self._seeds))]
        if self._ensd:
            self._generators = [self._generator(seed + self._ensd) for seed in self._seeds]
        return torch.stack(noises)

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        """Step noise, (B, C, h, w); the same whatever the two levels."""
        return torch.stack([generator.randn(self._shape) for generator in self._generators])

    def _first(self, i: int) -> Tensor:
        own = self._generators[i].randn(self._shape)
        noise = own if self._seed_shape == self._shape else self._generator(self._seeds[i]).randn(self._seed_shape)
        if self._subseeds and self._subseed_strength:
            subseed = self._subseeds[i] if i < len(self._subseeds) else 0
            noise = slerp(self._subseed_strength, noise, self._generator(subseed).randn(self._seed_shape))
        return noise if self._seed_shape == self._shape else pasted_center(own, noise)

    def _generator(self, seed: int) -> Generator:
        return Generator(self._source, seed, self._device)


def slerp(strength: float, low: Tensor, high: Tensor) -> Tensor:
    """Spherical interpolation of two noises (C, h, w), along the height axis as in A1111.

    If they are nearly parallel it interpolates linearly with swapped weights, as A1111 does (strength 0 is `high`).
    """
    cosine = ((low / low.norm(dim=1, keepdim=True)) * (high / high.norm(dim=1, keepdim=True))).sum(1)
    if float(cosine.mean()) > NEARLY_PARALLEL:
        return low * strength + high * (1 - strength)
    omega = cosine.acos()
    so = omega.sin()
    a = ((1.0 - strength) * omega).sin() / so
    b = (strength * omega).sin() / so
    return a.unsqueeze(1) * low + b.unsqueeze(1) * high


def pasted_center(canvas: Tensor, tile: Tensor) -> Tensor:
    """`canvas` (C, H, W) with `tile` (C, h, w) in its middle, the larger one cropped; integer halves round down."""
    pasted = canvas.clone()
    dy, dx = ((canvas.shape[axis] - tile.shape[axis]) // 2 for axis in (1, 2))
    h = tile.shape[1] + min(2 * dy, 0)
    w = tile.shape[2] + min(2 * dx, 0)
    top, left, from_top, from_left = max(dy, 0), max(dx, 0), max(-dy, 0), max(-dx, 0)
    pasted[:, top : top + h, left : left + w] = tile[:, from_top : from_top + h, from_left : from_left + w]
    return pasted


class BrownianNoise:
    """Step noise of the SDE samplers: increments of one Brownian motion an image; more steps refine the same path.

    Li et al. 2020, arXiv 2001.01328, over sigma_min … sigma_max of the *whole* schedule, even if img2img takes only
    its end. Large tensors are drawn with one thread too: several starve others over operations as small as these.
    With `is_shared` the batch has one tree, as with A1111's `no_dpmpp_sde_batch_determinism`: it then depends on the
    batch's last seed and size.
    """

    def __init__(
        self,
        source: Source,
        shape: Shape,
        seeds: Sequence[int],
        sigma_min: float,
        sigma_max: float,
        device: torch.device | str = "cpu",
        *,
        is_shared: bool = False,
    ) -> None:
        self._source: Source = source
        self._device = torch.device(device)
        self._range = (round(sigma_min, DIGITS), round(sigma_max, DIGITS))
        sizes, entropies = [shape] * len(seeds), list(seeds)
        if is_shared:
            seeded = torch.Generator().manual_seed(seeds[-1])
            sizes, entropies = [(len(seeds), *shape)], [int(torch.randint(0, 2**63 - 1, (), generator=seeded))]
        self._is_large = math.prod(sizes[0]) >= PARALLEL
        self._shape = (len(seeds), *shape)
        # A1111 takes the tree's numbers from the device for GPU, from the CPU for CPU and NV.
        tree_device = self._device if source == "GPU" else torch.device("cpu")
        with self._drawing():
            self._paths = [
                BrownianPath(sigma_min, sigma_max, entropy, _drawer(source, size, tree_device))
                for size, entropy in zip(sizes, entropies, strict=True)
            ]

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        """The increment from sigma to sigma_next scaled to unit variance, (B, C, h, w) fp32."""
        low, high = sorted(min(max(level, self._range[0]), self._range[1]) for level in (sigma, sigma_next))
        sign = 1.0 if sigma < sigma_next else -1.0
        with self._drawing():
            increments = torch.stack([path(low, high) for path in self._paths]).view(self._shape)
        return increments.mul_(sign / math.sqrt(abs(sigma - sigma_next))).to(self._device)

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        threads = torch.get_num_threads()
        if not self._is_large or threads == 1:
            yield
            return
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _drawer(source: Source, size: Sequence[int], device: torch.device) -> Callable[[int], Tensor]:
    """A function that makes a tensor of normal numbers from a seed."""
    if source == "NV":
        return lambda seed: torch.from_numpy(Philox(seed).randn(size)).to(device)
    generator = torch.Generator(device)
    return lambda seed: torch.randn(size, generator=generator.manual_seed(seed), device=device, dtype=torch.float32)
