"""Train the autoencoder: SD 1's layout, factor 8, four channels, few of everything.

Three stages: `both` (encoder and decoder), `whiten` (fold mean and covariance of the latents into the convolutions
beside them, so that scaled latents are white) and `decoder` (the encoder stands still, so a U-Net may already be
training on its latents). The first stage begins from `warm_start`, which is worth about twenty minutes of a core.
"""

from __future__ import annotations

import copy
import logging
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.multiprocessing as mp
import torch.nn.functional as functional
from diffusers import AutoencoderKL
from torch import nn

from modules.starter.nets import SCALING_FACTOR, Widths, new_vae
from modules.starter.noise import Field
from modules.starter.rate import rate_at
from modules.starter.sheets import save, sheet
from modules.starter.spec import FIRST, FULL, random_spec
from modules.starter.world import draw, photo_like

logger = logging.getLogger(__name__)

CROP: Final = 128
DRAWN_SIZES: Final = (128, 192, 192, 256, 256, 256, 256, 320)
HELD_OUT_SEED: Final = 991
HELD_OUT_DRAWINGS: Final = 24
HELD_OUT_PHOTOS: Final = 8
# Deviation of the noise put on latents for the decoder: what a sampler leaves behind.
LATENT_NOISE: Final = 0.05

# Channels of the warm start: three carry red, green and blue, four carry plus and minus a constant.
RED, GREEN, PLUS, MINUS, BLUE, PLUS_2, MINUS_2 = range(7)
SIGNALS: Final = (RED, GREEN, BLUE)
CONSTANTS: Final = (PLUS, MINUS, PLUS_2, MINUS_2)
RESERVED: Final = 8


@dataclass(frozen=True)
class VaeRecipe:
    minutes: float
    stage: str = "both"
    batch: int = 4
    rate: float = 4e-4
    gradient: float = 0.3
    kl: float = 4e-4
    drawings: float = 0.9
    workers: int = 2
    save_every: float = 3.0


@torch.no_grad()
def warm_start(vae: AutoencoderKL, constant: float = 1.5, amount: float = 10.0, gain: float = 2.0) -> None:
    """Begin as a box average and a bilinear enlargement of red, green and blue.

    Group norms would destroy the average: large constants of both signs sit in the signals' groups and hold the
    norm's deviation nearly still, and are subtracted again at the end. Everything else begins small or as identity.
    """
    small = 0.15
    for module in vae.modules():
        if module.__class__.__name__ == "ResnetBlock2D":
            nn.init.zeros_(module.conv2.weight)
            nn.init.zeros_(module.conv2.bias)
            if module.conv_shortcut is not None:
                weight = module.conv_shortcut.weight
                weight.mul_(small * 3)
                nn.init.zeros_(module.conv_shortcut.bias)
                weight[:RESERVED] = 0
                for i in range(RESERVED):
                    weight[i, i] = 1
        elif module.__class__.__name__ == "Attention":
            nn.init.zeros_(module.to_out[0].weight)
            nn.init.zeros_(module.to_out[0].bias)

    def reserve(conv: nn.Conv2d) -> None:
        conv.weight[:RESERVED] = 0
        conv.bias[:RESERVED] = 0

    def set_constants(conv: nn.Conv2d) -> None:
        for channel, sign in zip(CONSTANTS, (1, -1, 1, -1), strict=True):
            conv.bias[channel] = sign * constant * amount

    encoder = vae.encoder
    reserve(encoder.conv_in)
    for source, channel in enumerate(SIGNALS):
        encoder.conv_in.weight[channel, source, 1, 1] = amount
    encoder.conv_in.weight[RESERVED:] *= 3
    set_constants(encoder.conv_in)
    for block in encoder.down_blocks:
        if block.downsamplers is not None:
            conv = block.downsamplers[0].conv
            conv.weight.mul_(small)
            nn.init.zeros_(conv.bias)
            reserve(conv)
            for i in range(len(conv.weight)):
                conv.weight[i, i, 0:2, 0:2] += 0.25
    widths = vae.config["block_out_channels"]
    group = widths[-1] // vae.config["norm_num_groups"]
    deviation = ((4 * constant**2 + 0.35 * 3) / group) ** 0.5
    encoder.conv_norm_out.bias[:RESERVED] = 3.0
    encoder.conv_out.weight.mul_(small)
    encoder.conv_out.weight[:3] = 0
    nn.init.zeros_(encoder.conv_out.bias)
    for latent, channel in enumerate(SIGNALS):
        encoder.conv_out.weight[latent, channel, 1, 1] = gain * deviation
        for other in CONSTANTS:
            encoder.conv_out.weight[latent, other, 1, 1] = -gain * deviation / 4
    nn.init.zeros_(vae.quant_conv.weight)
    nn.init.zeros_(vae.quant_conv.bias)
    nn.init.zeros_(vae.post_quant_conv.weight)
    nn.init.zeros_(vae.post_quant_conv.bias)
    for i in range(4):
        vae.quant_conv.weight[i, i] = 1
        vae.post_quant_conv.weight[i, i] = 1
    vae.quant_conv.weight[4:].normal_(std=0.02)
    vae.quant_conv.bias[4:] = -7.0

    decoder = vae.decoder
    reserve(decoder.conv_in)
    for latent, channel in enumerate(SIGNALS):
        decoder.conv_in.weight[channel, latent, 1, 1] = amount / gain
    set_constants(decoder.conv_in)
    ramp = torch.tensor([0.25, 0.5, 0.25])
    bilinear = ramp[:, None] * ramp[None]
    for block in decoder.up_blocks:
        if block.upsamplers is not None:
            conv = block.upsamplers[0].conv
            conv.weight.mul_(small)
            nn.init.zeros_(conv.bias)
            reserve(conv)
            for i in range(len(conv.weight)):
                if i in CONSTANTS:
                    conv.weight[i, i, 1, 1] += 1
                else:
                    conv.weight[i, i] += bilinear
    group = widths[0] // vae.config["norm_num_groups"]
    decoder.conv_norm_out.bias[:RESERVED] = 3.0
    decoder.conv_out.weight.mul_(small * 0.3)
    nn.init.zeros_(decoder.conv_out.bias)
    decoder.conv_out.weight[:, :RESERVED] = 0
    # With groups of four, red, green and the first pair share one, blue and the second pair the next.
    shared = group >= RESERVED
    for out, channel in enumerate(SIGNALS):
        pair = CONSTANTS if shared else CONSTANTS[2:] if channel == BLUE else CONSTANTS[:2]
        spread = 1.0 if shared else 0.35 if channel == BLUE else 0.7
        deviation = ((len(pair) * constant**2 + spread) / group) ** 0.5
        decoder.conv_out.weight[out, channel, 1, 1] = deviation
        for other in pair:
            decoder.conv_out.weight[out, other, 1, 1] = -deviation / len(pair)


def to_tensor(pictures: Sequence[Field]) -> torch.Tensor:
    """(n, 3, h, w) in [-1, 1]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous() * 2 - 1


def crops(recipe: VaeRecipe, rng: random.Random) -> Iterator[Field]:
    """Endless squares of `CROP` pixels; every second one of a drawing looks where faces are."""
    while True:
        if rng.random() < recipe.drawings:
            picture = draw(random_spec(rng, FULL if rng.random() < 0.4 else FIRST), rng.choice(DRAWN_SIZES))
        else:
            picture = photo_like(rng, rng.choice((192, 256)))
        size = picture.shape[0]
        for look_at_face in (rng.random() < 0.5, False):
            top, left = rng.randrange(size - CROP + 1), rng.randrange(size - CROP + 1)
            if look_at_face:
                top = min(max(int((0.46 + rng.uniform(-0.12, 0.12)) * size - CROP / 2), 0), size - CROP)
                left = min(max(int((0.5 + rng.uniform(-0.12, 0.12)) * size - CROP / 2), 0), size - CROP)
            crop = picture[top : top + CROP, left : left + CROP]
            if rng.random() < 0.5:
                crop = crop[:, ::-1]
            if rng.random() < 0.15:
                crop = crop[..., rng.sample(range(3), 3)]
            yield np.ascontiguousarray(crop)


def reconstruction_loss(decoded: torch.Tensor, wanted: torch.Tensor, gradient: float) -> torch.Tensor:
    """L1 and L2 of pixels plus L1 of gradients on three scales."""
    loss = (decoded - wanted).abs().mean() + ((decoded - wanted) ** 2).mean()
    a, b = decoded, wanted
    for scale in range(3):
        across = (a[..., 1:] - a[..., :-1] - b[..., 1:] + b[..., :-1]).abs().mean()
        down = (a[..., 1:, :] - a[..., :-1, :] - b[..., 1:, :] + b[..., :-1, :]).abs().mean()
        loss = loss + gradient * (across + down) / (scale + 1)
        if scale < 2:
            a, b = functional.avg_pool2d(a, 2), functional.avg_pool2d(b, 2)
            loss = loss + 0.5 * (a - b).abs().mean()
    return loss


def held_out(size: int = 256) -> torch.Tensor:
    """Drawings first, then photo-like textures; never seen in training, whose seeds are drawn from the clock."""
    rng = random.Random(HELD_OUT_SEED)
    drawings = [draw(random_spec(rng, FULL), size) for _ in range(HELD_OUT_DRAWINGS)]
    return to_tensor([*drawings, *(photo_like(rng, size) for _ in range(HELD_OUT_PHOTOS))])


@torch.no_grad()
def psnr(vae: AutoencoderKL, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Decibels of each picture, and the reconstructions."""
    decoded = torch.cat(
        [vae.decode(vae.encode(part).latent_dist.mode()).sample.clamp(-1, 1) for part in pictures.split(4)]
    )
    return -10 * torch.log10(((decoded - pictures) ** 2).mean((1, 2, 3)) / 4), decoded


@torch.no_grad()
def whiten(vae: AutoencoderKL, count: int = 160) -> None:
    """Fold mean and deviation of each channel into quant_conv and post_quant_conv: scaled latents become N(0, 1)."""
    rng = random.Random(77)
    latents: list[torch.Tensor] = []
    for i in range(count // 8):
        size = (128, 192)[i % 2]
        pictures = to_tensor([draw(random_spec(rng, FIRST), size) for _ in range(8)])
        latents.append(vae.encode(pictures).latent_dist.mean.transpose(0, 1).flatten(1))
    whiten_by(vae, torch.cat(latents, 1)[None, ..., None])


@torch.no_grad()
def whiten_by(vae: AutoencoderKL, latents: torch.Tensor) -> None:
    """Fold mean and deviation of `latents` (n, 4, h, w) into the convolutions beside them."""
    together = latents.transpose(0, 1).flatten(1)
    mean, scale = together.mean(1), together.std(1) * SCALING_FACTOR
    before, after = vae.quant_conv, vae.post_quant_conv
    before.weight[:4] /= scale[:, None, None, None]
    before.bias[:4] = (before.bias[:4] - mean) / scale
    before.bias[4:] -= 2 * scale.log()
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight *= scale[None, :, None, None]


@torch.no_grad()
def rescaled(vae: AutoencoderKL, factor: float) -> None:
    """Multiply latents by `factor` before the decoder sees them, and divide inside it: pictures stay the same."""
    before, after = vae.quant_conv, vae.post_quant_conv
    before.weight[:4] *= factor
    before.bias[:4] *= factor
    before.bias[4:] += 2 * math.log(factor)
    after.weight /= factor


def work(rank: int, recipe: VaeRecipe, vae: AutoencoderKL, average: AutoencoderKL, state: Path) -> None:
    torch.set_num_threads(1)
    log = state / f"vae{rank}.log"
    logging.basicConfig(filename=log, level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    rng = random.Random(time.time_ns() + rank)
    torch.manual_seed(rng.randrange(1 << 31))
    frozen = recipe.stage == "decoder"
    for module in (vae.encoder, vae.quant_conv):
        module.requires_grad_(not frozen)
    trained = [(p, a) for p, a in zip(vae.parameters(), average.parameters(), strict=True) if p.requires_grad]
    parameters = [p for p, _ in trained]
    optimizer = torch.optim.AdamW(parameters, recipe.rate, betas=(0.9, 0.99), weight_decay=1e-3)
    source, steps, start = crops(recipe, rng), 0, time.monotonic()
    last_save = start
    while (share := (time.monotonic() - start) / 60 / recipe.minutes) < 1:
        pictures = to_tensor([next(source) for _ in range(recipe.batch)])
        with torch.set_grad_enabled(not frozen):
            posterior = vae.encode(pictures).latent_dist
        if frozen:
            amount = LATENT_NOISE / SCALING_FACTOR * torch.rand(len(pictures), 1, 1, 1)
            latents = posterior.mean + amount * torch.randn_like(posterior.mean)
            kl = torch.zeros(())
        else:
            latents = posterior.sample()
            kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
        loss = reconstruction_loss(vae.decode(latents).sample, pictures, recipe.gradient) + recipe.kl * kl
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(recipe.rate, share, steps, warm_up=100, cooldown=1.0, floor=0.03)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        steps += 1
        if rank == 0:
            decay = min(0.995, 1 - 1 / (steps / 4 + 2))
            with torch.no_grad():
                torch._foreach_lerp_([a for _, a in trained], parameters, 1 - decay)  # pyright: ignore[reportPrivateUsage]
            if time.monotonic() - last_save > recipe.save_every * 60:
                last_save = time.monotonic()
                save_state(vae, average, state)
        if steps % 50 == 0:
            logger.info("step %d, loss %.4f, CPU %.0f s", steps, float(loss.detach()), time.process_time())


def save_state(vae: AutoencoderKL, average: AutoencoderKL, state: Path) -> None:
    beside = state / "vae.part"
    torch.save({"weights": vae.state_dict(), "average": average.state_dict()}, beside)
    beside.replace(state / "vae.pt")


def report(average: AutoencoderKL, state: Path) -> tuple[float, float]:
    """PSNR of held-out drawings and photo-like textures; leaves a sheet of pairs in `state`."""
    pictures = held_out().to(average.device)
    decibels, decoded = psnr(average, pictures)
    both = torch.stack([pictures, decoded], 1).flatten(0, 1)[: 2 * 12]
    save(sheet(list((both / 2 + 0.5).permute(0, 2, 3, 1).cpu().numpy()), 8), state / "sheets" / "vae.png")
    return float(decibels[:HELD_OUT_DRAWINGS].mean()), float(decibels[HELD_OUT_DRAWINGS:].mean())


def train_vae(state: Path, recipe: VaeRecipe, widths: Widths) -> tuple[float, float]:
    """Begin, or go on from `state/vae.pt`; returns the PSNR of held-out drawings and photo-like textures."""
    state.mkdir(parents=True, exist_ok=True)
    vae = new_vae(widths)
    kept = state / "vae.pt"
    if kept.exists():
        content = torch.load(kept, weights_only=True)
        vae.load_state_dict(content.get("weights", content["average"]))
        average = copy.deepcopy(vae)
        average.load_state_dict(content["average"])
    else:
        warm_start(vae)
        average = copy.deepcopy(vae)
    average.requires_grad_(False)
    if recipe.stage == "whiten":
        whiten(average)
        vae.load_state_dict(average.state_dict())
    else:
        vae.share_memory()
        average.share_memory()
        context = mp.get_context("fork")
        arguments = (recipe, vae, average, state)
        processes = [context.Process(target=work, args=(rank, *arguments)) for rank in range(recipe.workers)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    save_state(vae, average, state)
    return report(average, state)
