"""Train all three networks in one sitting on one accelerator, on pictures that other processes draw meanwhile.

An accelerator is lent for minutes, and drawing is what it would wait for. So the autoencoder goes first, while the
pictures gather in the accelerator's memory; then they are encoded once, and the U-Net trains on the latents, those of
pictures still arriving included. Networks compute in half precision on float32 masters. Every stage is a share of the
given minutes, by the clock.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch
from diffusers import AutoencoderKL
from torch import nn

from modules.starter.diffusion import STEPS, alphas_cumprod
from modules.starter.nets import SCALING_FACTOR, Widths, new_vae
from modules.starter.rate import rate_at
from modules.starter.renders import CAPTIONS, Drawn, Renderers, Size
from modules.starter.sheets import curve, save, sheet
from modules.starter.train_unet import (
    SHEET_PROMPTS,
    SHORT_LENGTH,
    Networks,
    generate,
    new_networks,
    replace_file,
)
from modules.starter.train_vae import LATENT_NOISE, reconstruction_loss, report, rescaled, warm_start, whiten_by
from modules.starter.vocabulary import END_ROW, LENGTH, Vocabulary

logger = logging.getLogger(__name__)
# A loss is looked at only so often: looking makes the accelerator wait.
LOOK_EVERY: Final = 100
FACE_ROW, FACE_COLUMN, FACE_REACH = 0.46, 0.5, 0.12


@dataclass(frozen=True)
class Sitting:
    """What one sitting does. `minutes` are those of training, all stages together.

    `autoencoder` and `decoder` are their shares of the minutes; the U-Net has the rest. `batch` is for a picture of
    `sizes[0]` and falls with the area. `pictures` and `latents` are how many of each size are kept at most, times the
    weight of the size.
    """

    minutes: float
    sizes: tuple[Size, ...]
    mix: str = "third"
    autoencoder: float = 0.38
    decoder: float = 0.06
    photos: float = 0.15
    crop: int = 128
    crops: int = 128
    gradient: float = 0.3
    kl: float = 1.5e-4
    vae_rate: float = 6e-4
    batch: int = 512
    rate: float = 1e-3
    warm_up: int = 200
    cooldown: float = 0.6
    floor: float = 0.02
    gamma: float = 5.0
    offset: float = 0.08
    focus: float = 1.0
    full_length: float = 0.1
    average: float = 0.999
    pictures: int = 160_000
    latents: int = 800_000
    workers: int = 14
    save_every: float = 2.0
    seed: int = 0


class Ring:
    """The newest `capacity` rows of tensors that belong together, on the device of the first that come."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.count = capacity, 0
        self.tensors: list[torch.Tensor] = []
        self._next = 0

    def add(self, *values: torch.Tensor) -> None:
        if not self.tensors:
            self.tensors = [value.new_empty((self.capacity, *value.shape[1:])) for value in values]
        added = len(values[0])
        rows = (torch.arange(added, device=values[0].device) + self._next) % self.capacity
        for kept, value in zip(self.tensors, values, strict=True):
            kept[rows] = value
        self._next = (self._next + added) % self.capacity
        self.count = min(self.capacity, self.count + added)

    def any(self, count: int) -> torch.Tensor:
        """Numbers of `count` rows, each drawn by itself."""
        return torch.randint(self.count, (count,), device=self.tensors[0].device)


class Moved:
    """Parameters in half precision, the float32 masters that an optimizer moves, and the masters' running average."""

    def __init__(self, parameters: Sequence[nn.Parameter], masters: Sequence[torch.Tensor], average: float) -> None:
        self._parameters = list(parameters)
        alike = [torch.empty_like(p, dtype=torch.float32) for p in self._parameters]
        self.masters = [nn.Parameter(a.copy_(m.detach())) for a, m in zip(alike, masters, strict=True)]
        self.averages = [master.detach().clone() for master in self.masters]
        self._kept = [master.detach().clone() for master in self.masters]
        self._decay, self._steps = average, 0
        matrices = [master for master in self.masters if master.ndim > 1]
        vectors = [master for master in self.masters if master.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)
        for master in self.masters:
            master.grad = torch.zeros_like(master)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        gradients = [master.grad for master in self.masters if master.grad is not None]
        # A parameter that took no part in this step has no gradient.
        told = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self._parameters]
        torch._foreach_copy_(gradients, told)  # pyright: ignore[reportPrivateUsage]
        nn.utils.clip_grad_norm_(self.masters, 1.0)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        torch._foreach_copy_(self._parameters, self.masters)  # pyright: ignore[reportPrivateUsage]
        for parameter in self._parameters:
            parameter.grad = None
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        torch._foreach_lerp_(self.averages, self.masters, 1 - decay)  # pyright: ignore[reportPrivateUsage]

    @torch.no_grad()
    def look(self, loss: float) -> None:
        """Keep the averages after a sound loss; go back to the last kept ones after one that is not a number."""
        if math.isfinite(loss):
            torch._foreach_copy_(self._kept, self.averages)  # pyright: ignore[reportPrivateUsage]
            return
        logger.warning("the loss is %f: back to the last sound average", loss)
        for tensors in (self.masters, self.averages, self._parameters):
            torch._foreach_copy_(tensors, self._kept)  # pyright: ignore[reportPrivateUsage]
        self._optimizer.state.clear()


def stage(
    name: str, minutes: float, steps: Callable[[float, int], torch.Tensor], look: Callable[[float], None]
) -> tuple[int, list[tuple[float, float]]]:
    """Call `steps(share of the stage that is over, step)` until the minutes are; how many, and (minutes, loss)."""
    start, done = time.monotonic(), 0
    points: list[tuple[float, float]] = []
    while (share := (time.monotonic() - start) / 60 / minutes) < 1:
        loss = steps(share, done)
        done += 1
        if done % LOOK_EVERY == 0:
            value = float(loss)
            look(value)
            points.append((share * minutes, value))
            if done % (10 * LOOK_EVERY) == 0:
                logger.info("%s: step %d at %.0f %%, loss %.4f", name, done, 100 * share, value)
    logger.info("%s: %d steps in %.2f minutes", name, done, minutes)
    return done, points


def choose_format(name: str, module: nn.Module, loss_of: Callable[[], torch.Tensor]) -> None:
    """Lay the module's weights out as trains faster here: narrow layers and group norms decide it, so it is tried."""
    if next(module.parameters()).device.type != "cuda":
        return
    seconds: dict[torch.memory_format, float] = {}
    for layout in (torch.contiguous_format, torch.channels_last):
        module.to(memory_format=layout)
        for i in range(8):
            if i == 3:
                torch.cuda.synchronize()
                seconds[layout] = -time.monotonic()
            loss_of().backward()
            module.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        seconds[layout] += time.monotonic()
    best = min(seconds, key=lambda layout: seconds[layout])
    module.to(memory_format=best)
    logger.info("%s: %s of %s", name, best, {str(key): f"{value / 5:.4f} s" for key, value in seconds.items()})


class Studies:
    """Pictures, and later latents, by size."""

    def __init__(self, sitting: Sitting, renderers: Renderers, device: torch.device) -> None:
        self._sitting, self._renderers, self._device = sitting, renderers, device
        total = sum(weight for _, _, weight in sitting.sizes)
        self.weights = {(width, height): weight / total for width, height, weight in sitting.sizes}
        self.pictures = {size: Ring(max(64, int(sitting.pictures * w))) for size, w in self.weights.items()}
        self.photos = Ring(max(64, int(sitting.pictures * sitting.photos * 0.3)))
        self.latents = {size: Ring(max(64, int(sitting.latents * w))) for size, w in self.weights.items()}
        self.drawn = 0

    def sent(self, chunk: Drawn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        pictures, rows, cells = (
            torch.from_numpy(x).to(self._device) for x in (chunk.pictures, chunk.rows, chunk.cells)
        )
        self.drawn += len(pictures)
        return pictures, rows, cells

    def gather(self, most: int = 2) -> None:
        """Keep pictures that have arrived."""
        for chunk in self._renderers.take(most):
            pictures, rows, cells = self.sent(chunk)
            if chunk.captioned:
                self.pictures[chunk.size].add(pictures, rows, cells)
            else:
                self.photos.add(pictures)

    def gather_encoded(self, encode: Callable[[torch.Tensor], torch.Tensor], most: int = 1) -> None:
        """Keep the latents of pictures that have arrived."""
        for chunk in self._renderers.take(most):
            pictures, rows, cells = self.sent(chunk)
            if chunk.captioned:
                self.latents[chunk.size].add(encode(pictures), rows, cells)

    def encode_all(self, encode: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Turn the kept pictures into latents and let them go."""
        for size, ring in self.pictures.items():
            at_once = max(4, 256 * 256 * 128 // (size[0] * size[1]))
            for first in range(0, ring.count, at_once):
                pictures, rows, cells = (t[first : min(first + at_once, ring.count)] for t in ring.tensors)
                self.latents[size].add(encode(pictures), rows, cells)
            ring.tensors = []
        self.photos.tensors = []

    def wait_for(self, count: int) -> None:
        """Until each size has `count` pictures, and photo-like ones are there."""
        while min(ring.count for ring in (*self.pictures.values(), self.photos)) < count:
            self.gather(8)
            time.sleep(0.01)

    def some(self, count: int) -> torch.Tensor:
        """Bytes (count, h, w, 3) of drawings of the first size."""
        width, height, _ = self._sitting.sizes[0]
        ring = self.pictures[width, height]
        return ring.tensors[0][ring.any(count)]

    def crops(self, side: int, count: int) -> torch.Tensor:
        """(count, 3, side, side) in [-1, 1]: squares from pictures of all sizes and from photo-like ones."""
        shares = {size: w * (1 - self._sitting.photos) for size, w in self.weights.items() if min(size) >= side}
        rings = [(self.photos, self._sitting.photos), *((self.pictures[size], w) for size, w in shares.items())]
        total = sum(share for _, share in rings)
        parts = [squares(ring, side, max(1, round(count * share / total))) for ring, share in rings]
        together = torch.cat(parts).permute(0, 3, 1, 2).float() / 127.5 - 1
        permuted = torch.rand(len(together), device=together.device) < 0.15
        order = torch.randperm(3, device=together.device)
        return torch.where(permuted[:, None, None, None], together[:, order], together)


def squares(ring: Ring, side: int, count: int) -> torch.Tensor:
    """Bytes (count, side, side, 3) from the ring's pictures; half of them look where faces are, half are mirrored."""
    (pictures, *_) = ring.tensors
    device = pictures.device
    height, width = pictures.shape[1:3]

    def first(extent: int, middle: float) -> torch.Tensor:
        anywhere = torch.rand(count, device=device) * (extent - side)
        near = (middle + FACE_REACH * (2 * torch.rand(count, device=device) - 1)) * extent - side / 2
        face = torch.rand(count, device=device) < 0.5
        return torch.where(face, near, anywhere).long().clamp(0, extent - side)

    along = torch.arange(side, device=device)
    rows, columns = first(height, FACE_ROW)[:, None] + along, first(width, FACE_COLUMN)[:, None] + along
    mirrored = torch.rand(count, 1, device=device) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    return pictures[ring.any(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


@torch.no_grad()
def encoder_of(vae: AutoencoderKL) -> Callable[[torch.Tensor], torch.Tensor]:
    """Bytes (n, h, w, 3) to scaled latent means (n, 4, h / 8, w / 8) in half precision."""

    def encode(pictures: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            pixels = pictures.permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.no_grad(), torch.autocast(pixels.device.type, torch.float16, enabled=pixels.is_cuda):
            return (vae.encode(pixels).latent_dist.mean * SCALING_FACTOR).half()

    return encode


def train_autoencoder(
    sitting: Sitting, studies: Studies, vae: AutoencoderKL, half: torch.dtype, frozen: bool, minutes: float
) -> list[tuple[float, float]]:
    """Move the float32 `vae`; `frozen` leaves the encoder as it is and puts noise on the latents."""
    working = copy.deepcopy(vae).to(half)
    before, after = working.quant_conv, working.post_quant_conv
    assert before is not None
    assert after is not None
    for module in (working.encoder, before):
        module.requires_grad_(not frozen)
    whole = min(sitting.sizes[0][:2])

    def loss_of(done: int = 0) -> torch.Tensor:
        # Now and then whole pictures: attention must know their size.
        side = whole if done % 4 == 3 else sitting.crop
        pictures = studies.crops(side, max(4, sitting.crops * sitting.crop**2 // side**2))
        with torch.set_grad_enabled(not frozen):
            moments = before(working.encoder(pictures.to(half))).float()
        mean, log_variance = moments.chunk(2, 1)
        log_variance = log_variance.clamp(-30, 20)
        if frozen:
            amount = LATENT_NOISE / SCALING_FACTOR * torch.rand(len(mean), 1, 1, 1, device=mean.device)
            kl = torch.zeros((), device=mean.device)
        else:
            amount = (0.5 * log_variance).exp()
            kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
        latents = (mean + amount * torch.randn_like(mean)).to(half)
        decoded = working.decoder(after(latents)).float()
        return reconstruction_loss(decoded, pictures, sitting.gradient) + sitting.kl * kl

    choose_format("autoencoder", working, loss_of)
    pairs = [(w, v) for w, v in zip(working.parameters(), vae.parameters(), strict=True) if w.requires_grad]
    moved = Moved([w for w, _ in pairs], [v for _, v in pairs], sitting.average)

    def step(share: float, done: int) -> torch.Tensor:
        studies.gather()
        loss = loss_of(done)
        loss.backward()
        top = sitting.vae_rate * (0.5 if frozen else 1)
        moved.step(rate_at(top, share, done, sitting.warm_up, 0.7, sitting.floor))
        return loss.detach()

    _, points = stage("decoder" if frozen else "autoencoder", minutes, step, moved.look)
    with torch.no_grad():
        for (_, parameter), average in zip(pairs, moved.averages, strict=True):
            parameter.copy_(average)
    return points


def train_unet(
    sitting: Sitting,
    studies: Studies,
    encode: Callable[[torch.Tensor], torch.Tensor],
    networks: Networks,
    half: torch.dtype,
    minutes: float,
    keep: Callable[[int], None],
) -> list[tuple[float, float]]:
    """Move the float32 `networks`; `keep(samples so far)` is called now and then and at the end. (minutes, loss)."""
    working = Networks(copy.deepcopy(networks.unet).to(half), copy.deepcopy(networks.text).to(half))
    device = networks.parameters()[0].device
    alphas = alphas_cumprod().to(device)
    snr = alphas / (1 - alphas)
    # Min-SNR weighting of an epsilon loss (Hang et al. 2023, arXiv 2303.09556).
    weights = snr.clamp(max=sitting.gamma) / snr
    area = sitting.sizes[0][0] * sitting.sizes[0][1]
    sizes = list(studies.weights)
    # By samples, not by steps: a batch of large pictures has fewer.
    frequency = torch.tensor([studies.weights[size] * size[0] * size[1] for size in sizes])
    generator = torch.Generator().manual_seed(sitting.seed)
    seen, kept_at = 0, time.monotonic()

    def loss_of(width: int, height: int) -> tuple[torch.Tensor, int]:
        ring = studies.latents[width, height]
        count = max(4, round(sitting.batch * area / (width * height)))
        latents, rows, cells = (tensor[chosen] for chosen in [ring.any(count)] for tensor in ring.tensors)
        tokens = rows[torch.arange(count, device=device), torch.randint(CAPTIONS, (count,), device=device)].long()
        if float(torch.rand((), generator=generator)) < sitting.full_length:
            tokens = nn.functional.pad(tokens, (0, LENGTH - SHORT_LENGTH), value=END_ROW)
        latents, cells = latents.float(), 1 + sitting.focus * (cells.float()[:, None] - 1)
        # Evenly spread steps: one random offset for the batch, less noise in the gradient.
        spread = (torch.rand((), device=device) + torch.arange(count, device=device) / count) % 1
        times = (spread * STEPS).long()
        noise = torch.randn_like(latents) + sitting.offset * torch.randn(count, 4, 1, 1, device=device)
        alpha = alphas[times][:, None, None, None]
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        context = working.text(tokens).last_hidden_state
        predicted = working.unet(noisy.to(half), times, context).sample.float()
        return (((predicted - noise) ** 2 * cells).mean((1, 2, 3)) * weights[times]).mean(), count

    choose_format("U-Net", working.unet, lambda: loss_of(*sizes[0])[0])
    for parameter in working.parameters():
        parameter.grad = None
    moved = Moved(working.parameters(), networks.parameters(), sitting.average)

    @torch.no_grad()
    def settle() -> None:
        for parameter, average in zip(networks.parameters(), moved.averages, strict=True):
            parameter.copy_(average)
        keep(seen)

    def step(share: float, done: int) -> torch.Tensor:
        nonlocal seen, kept_at
        if time.monotonic() - kept_at > 60 * sitting.save_every:
            settle()
            kept_at = time.monotonic()
        studies.gather_encoded(encode)
        width, height = sizes[int(torch.multinomial(frequency, 1, generator=generator))]
        loss, count = loss_of(width, height)
        loss.backward()
        moved.step(rate_at(sitting.rate, share, done, sitting.warm_up, sitting.cooldown, sitting.floor))
        seen += count
        return loss.detach()

    _, points = stage("U-Net", minutes, step, moved.look)
    settle()
    return points


def sit(state: Path, sitting: Sitting, widths: Widths, device: str = "cuda") -> tuple[float, float]:
    """Go on from `state/vae.pt` and `state/unet.pt`, or begin; returns the PSNR of `report`.

    The networks in `state` afterwards are the averages; `export` takes them from there.
    """
    torch.manual_seed(sitting.seed)
    vocabulary = Vocabulary.of_the_world()
    vae, networks = new_vae(widths), new_networks(widths, vocabulary)
    samples, seconds = 0, 0.0
    if (state / "vae.pt").exists():
        vae.load_state_dict(torch.load(state / "vae.pt", weights_only=True)["average"])
        # Back from white latents to those of the prior, which the first stage trains with.
        rescaled(vae, SCALING_FACTOR)
    else:
        warm_start(vae)
    if (state / "unet.pt").exists():
        content = torch.load(state / "unet.pt", weights_only=True)
        networks.load(content["average"])
        samples, seconds = content["samples"], content["seconds"]
    with Renderers(sitting.workers, sitting.sizes, sitting.mix, sitting.seed + samples, sitting.photos) as renderers:
        start = time.monotonic()
        on = torch.device(device)
        half = torch.bfloat16 if on.type == "cuda" else torch.float32
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        vae.to(on)
        networks.unet.to(on)
        networks.text.to(on)
        studies = Studies(sitting, renderers, on)
        studies.wait_for(16)
        logger.info("the first pictures after %.0f s", time.monotonic() - start)

        curves = {"autoencoder": train_autoencoder(
            sitting, studies, vae, half, frozen=False, minutes=sitting.minutes * sitting.autoencoder
        )}  # fmt: skip
        encode = encoder_of(vae)
        whiten_by(vae, torch.cat([encode(part).float() for part in studies.some(64).split(16)]) / SCALING_FACTOR)
        curves["decoder"] = train_autoencoder(
            sitting, studies, vae, half, frozen=True, minutes=sitting.minutes * sitting.decoder
        )
        renderers.no_more_photos()
        figures = report(vae, state)
        logger.info(
            "held-out drawings %.2f dB, photo-like textures %.2f dB; %d pictures so far", *figures, studies.drawn
        )
        replace_file({"weights": vae.state_dict(), "average": vae.state_dict()}, state / "vae.pt")
        begin = time.monotonic()
        studies.encode_all(encode)
        logger.info("encoded in %.1f s", time.monotonic() - begin)
        rest = 1 - sitting.autoencoder - sitting.decoder

        def keep(seen: int) -> None:
            logger.info("%d samples from %d pictures", seen, studies.drawn)
            weights = networks.state()
            content = {
                "networks": weights,
                "average": weights,
                "samples": samples + seen,
                "seconds": seconds + time.monotonic() - start,
                "rows": vocabulary.size,
                "recipe": json.dumps(asdict(sitting)),
            }
            replace_file(content, state / "unet.pt")
            width, height, _ = sitting.sizes[0]
            pictures = generate(networks, vae, vocabulary, list(SHEET_PROMPTS), width, height)
            save(sheet(pictures, 4, SHEET_PROMPTS), state / "sheets" / f"{samples + seen:08d}.png")

        minutes = sitting.minutes * rest
        curves["U-Net"] = train_unet(sitting, studies, encode, networks, half, minutes, keep)
    for name, points in curves.items():
        save(curve({name: points}, f"{name}: loss over minutes"), state / f"loss {name}.png")
    return figures
