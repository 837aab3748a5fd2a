"""Train the U-Net and the text encoder on pictures drawn while training.

On a CPU several processes of one thread each move the same weights without locks (Hogwild, Recht et al. 2011, arXiv
1106.5730), each with an optimizer of its own; on CUDA one process does. Rendering and encoding a picture costs about
as much as a training step, so every latent is used several times, each time under a newly drawn caption.
"""

from __future__ import annotations

import copy
import json
import logging
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.multiprocessing as mp
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel

from modules.starter.captions import caption
from modules.starter.diffusion import STEPS, alphas_cumprod, dpmpp_2m, karras_sigmas
from modules.starter.nets import (
    SCALING_FACTOR,
    StateDict,
    Widths,
    grown,
    new_text_encoder,
    new_unet,
    new_vae,
    warm_start_text,
)
from modules.starter.rate import rate_at
from modules.starter.sheets import curve, save, sheet
from modules.starter.spec import MIXES, Spec, random_spec
from modules.starter.vocabulary import LENGTH, Vocabulary
from modules.starter.world import WIDE_CUT, draw

logger = logging.getLogger(__name__)

# A full prompt has 77 tokens; most captions fit in less, and the text encoder is causal.
SHORT_LENGTH: Final = 24
CELL: Final = 8
SHEET_PROMPTS: Final = (
    "girl, pink hair, light smile, sakura background, watercolor",
    "girl, pink hair, sad, sakura background, watercolor",
    "girl, pink hair, light smile, forest background, watercolor",
    "girl, pink hair, light smile, sakura background, flat illustration",
    "boy, blue hair, sad, night sky, flat illustration",
    "girl, blonde hair, big smile, beach background, anime",
    "boy, red hair, neutral expression, city background, pencil sketch",
    "house, flat illustration, meadow",
)


@dataclass(frozen=True)
class Recipe:
    """What a run does. Times are minutes; sizes are `(width, height, weight)` in pixels, `batch` is for the first.

    A latent stays in the pool until newer ones displace it: with `reuse` 5 each is trained on about five times.
    `focus` is how much more an error in the face counts, `offset` the deviation of the noise's mean: the schedule
    leaks the mean of a picture even at its last step, and without `offset` a model trusts that instead of the prompt
    (Guttenberg 2023).
    """

    minutes: float
    mix: str = "first"
    sizes: tuple[tuple[int, int, float], ...] = ((128, 128, 1.0),)
    batch: int = 16
    rate: float = 1e-3
    warm_up: int = 200
    cooldown: float = 0.25
    floor: float = 0.02
    reuse: float = 5.0
    pool: int = 3000
    first_latents: int = 64
    empty: float = 0.1
    full_length: float = 0.1
    focus: float = 1.0
    offset: float = 0.08
    gamma: float = 5.0
    ema: float = 0.995
    workers: int = 2
    save_every: float = 5.0
    seed: int = 0


@dataclass(frozen=True)
class Networks:
    unet: UNet2DConditionModel
    text: CLIPTextModel

    def parameters(self) -> list[nn.Parameter]:
        return [*self.unet.parameters(), *self.text.parameters()]

    def state(self) -> dict[str, StateDict]:
        return {"unet": self.unet.state_dict(), "text": self.text.state_dict()}

    def load(self, state: dict[str, StateDict]) -> None:
        self.unet.load_state_dict(state["unet"])
        self.text.load_state_dict(state["text"])


def new_networks(widths: Widths, vocabulary: Vocabulary) -> Networks:
    text = new_text_encoder(widths, vocabulary.size)
    warm_start_text(text, vocabulary.silent)
    return Networks(new_unet(widths), text)


@dataclass(frozen=True)
class Sample:
    """A picture as the trainer keeps it: latent (4, h, w) and weight of each cell (h, w), both float16."""

    spec: Spec
    latent: torch.Tensor
    weight: torch.Tensor


def cell_weights(spec: Spec, width: int, height: int, focus: float) -> torch.Tensor:
    """(height / 8, width / 8), mean 1: cells of the face count `1 + focus` times as much as others, the mouth more.

    A mouth is five of a thousand cells; without this a prompt's `sad` has nearly no share in the loss.
    """
    weights = torch.ones(height // CELL, width // CELL)
    person = spec.person
    if person is None or focus == 0:
        return weights
    size = max(width, height)
    unit = size / 256 / CELL
    left, top = (size - width) / 2 / CELL, (size - height) * WIDE_CUT / CELL
    rows = torch.arange(height // CELL)[:, None] + 0.5
    columns = torch.arange(width // CELL)[None] + 0.5

    def near(below: float, across: float, down: float) -> torch.Tensor:
        x, y = person.centre_x * unit - left, (person.centre_y + below * person.scale) * unit - top
        reach = person.scale * unit
        return ((columns - x) / (across * reach)) ** 2 + ((rows - y) / (down * reach)) ** 2 < 1

    weights = weights + focus * near(14, 44, 44) + 2 * focus * near(39, 24, 16)
    return weights / weights.mean()


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: list[np.ndarray[Any, np.dtype[np.float32]]]) -> torch.Tensor:
    """Scaled latent means of pictures of one size: (n, 4, h, w) on the VAE's device."""
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous() * 2 - 1
    return vae.encode(pixels.to(vae.device)).latent_dist.mean * SCALING_FACTOR


class Pool:
    """Samples of one size; a step takes some new ones and some that were used before."""

    def __init__(self, recipe: Recipe, vae: AutoencoderKL, width: int, height: int, rng: random.Random) -> None:
        self._recipe, self._vae, self._rng = recipe, vae, rng
        self._width, self._height = width, height
        self._kept: list[Sample] = []
        self._owed = 0.0

    def fresh(self, count: int) -> list[Sample]:
        if not count:
            return []
        mix = MIXES[self._recipe.mix]
        specs = [random_spec(self._rng, mix) for _ in range(count)]
        latents = encode(self._vae, [draw(spec, self._width, self._height) for spec in specs]).half().cpu()
        return [
            Sample(spec, latent.clone(), cell_weights(spec, self._width, self._height, self._recipe.focus).half())
            for spec, latent in zip(specs, latents, strict=True)
        ]

    def take(self, count: int) -> list[Sample]:
        if not self._kept:
            self._kept = self.fresh(self._recipe.first_latents)
        self._owed += count / self._recipe.reuse
        new = self.fresh(int(self._owed))
        self._owed -= len(new)
        old = [self._rng.choice(self._kept) for _ in range(count - len(new))]
        for sample in new:
            if len(self._kept) < self._recipe.pool:
                self._kept.append(sample)
            else:
                self._kept[self._rng.randrange(len(self._kept))] = sample
        return new + old


class Trainer:
    """One worker's step on weights it may share with others."""

    def __init__(self, recipe: Recipe, networks: Networks, vocabulary: Vocabulary, rng: random.Random) -> None:
        self.recipe, self.networks, self._vocabulary, self._rng = recipe, networks, vocabulary, rng
        self._parameters = networks.parameters()
        matrices = [p for p in self._parameters if p.ndim > 1]
        vectors = [p for p in self._parameters if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.99), eps=1e-8, fused=True)
        self._device = self._parameters[0].device
        self._alphas = alphas_cumprod().to(self._device)
        snr = self._alphas / (1 - self._alphas)
        # Min-SNR weighting of an epsilon loss (Hang et al. 2023, arXiv 2303.09556).
        self._weights = snr.clamp(max=recipe.gamma) / snr
        self.steps = 0

    def captions(self, samples: list[Sample]) -> torch.Tensor:
        rng = self._rng
        length = LENGTH if rng.random() < self.recipe.full_length else SHORT_LENGTH
        texts = ["" if rng.random() < self.recipe.empty else caption(sample.spec, rng) for sample in samples]
        return torch.tensor([self._vocabulary.encode(text, length, rng) for text in texts], device=self._device)

    def step(self, samples: list[Sample], rate: float) -> float:
        """One optimizer step; returns the weighted loss."""
        latents = torch.stack([sample.latent for sample in samples]).float().to(self._device)
        cells = torch.stack([sample.weight for sample in samples]).float().to(self._device)[:, None]
        count = len(samples)
        # Evenly spread steps: one random offset for the batch, less noise in the gradient.
        spread = (torch.rand(()) + torch.arange(count) / count) % 1
        steps = (spread[torch.randperm(count)] * STEPS).long().to(self._device)
        noise = torch.randn_like(latents) + self.recipe.offset * torch.randn(count, 4, 1, 1, device=self._device)
        alpha = self._alphas[steps][:, None, None, None]
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        if self._device.type == "cpu":
            noisy = noisy.contiguous(memory_format=torch.channels_last)
        context = self.networks.text(self.captions(samples)).last_hidden_state
        predicted = self.networks.unet(noisy, steps, context).sample
        per_sample = ((predicted - noise) ** 2 * cells).mean((1, 2, 3))
        loss = (per_sample * self._weights[steps]).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        return float(loss.detach())


@torch.no_grad()
def follow(average: Networks, current: Networks, decay: float) -> None:
    torch._foreach_lerp_(average.parameters(), current.parameters(), 1 - decay)  # pyright: ignore[reportPrivateUsage]


@torch.no_grad()
def generate(
    networks: Networks,
    vae: AutoencoderKL,
    vocabulary: Vocabulary,
    prompts: list[str],
    width: int,
    height: int,
    seed: int = 0,
    steps: int = 14,
    scale: float = 5.0,
) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    """One picture per prompt, all from the same noise."""
    alphas = alphas_cumprod()
    sigmas = karras_sigmas(steps, alphas)
    device = networks.parameters()[0].device
    noise = torch.randn(1, 4, height // CELL, width // CELL, generator=torch.Generator().manual_seed(seed)).to(device)
    count = len(prompts)
    rows = torch.tensor([vocabulary.encode(text) for text in [*prompts, ""]], device=device)
    encoded = networks.text(rows).last_hidden_state
    context = torch.cat([encoded[:count], encoded[count:].expand(count, -1, -1)])

    def eps(x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        both = networks.unet(torch.cat([x, x]), step.to(device).repeat(2 * count), context).sample
        wanted, unwanted = both.chunk(2)
        return unwanted + scale * (wanted - unwanted)

    x = dpmpp_2m(eps, noise.repeat(count, 1, 1, 1) * sigmas[0], sigmas, alphas)
    decoded = vae.decode(x / SCALING_FACTOR).sample
    return list((decoded / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy())


@dataclass(frozen=True)
class Shared:
    """What the workers of one run have in common; tensors lie in shared memory."""

    recipe: Recipe
    state: Path
    networks: Networks
    average: Networks
    vae: AutoencoderKL
    vocabulary: Vocabulary
    counts: torch.Tensor
    seconds_before: float


def replace_file(value: object, path: Path) -> None:
    """Write beside and rename, so that a cut leaves the old file."""
    beside = path.with_suffix(".part")
    torch.save(value, beside)
    beside.replace(path)


def batches(shared: Shared, rng: random.Random) -> Iterator[list[Sample]]:
    recipe = shared.recipe
    pools = [Pool(recipe, shared.vae, width, height, rng) for width, height, _ in recipe.sizes]
    counts = [
        max(4, round(recipe.batch * recipe.sizes[0][0] * recipe.sizes[0][1] / (width * height)))
        for width, height, _ in recipe.sizes
    ]
    while True:
        i = rng.choices(range(len(pools)), [weight for _, _, weight in recipe.sizes])[0]
        yield pools[i].take(counts[i])


def work(rank: int, shared: Shared) -> None:
    """Train until the minutes are over; rank 0 also averages, saves and draws."""
    recipe = shared.recipe
    torch.set_num_threads(1)
    logging.basicConfig(
        filename=shared.state / f"worker{rank}.log", level=logging.INFO, format="%(asctime)s %(message)s", force=True
    )
    seen_before = int(shared.counts.sum())
    rng = random.Random(recipe.seed * 1_000_003 + seen_before * 31 + rank)
    torch.manual_seed(rng.randrange(1 << 31))
    trainer = Trainer(recipe, shared.networks, shared.vocabulary, rng)
    own = shared.state / f"optimizer{rank}.pt"
    if own.exists():
        kept = torch.load(own, weights_only=True)
        trainer.optimizer.load_state_dict(kept["optimizer"])
        trainer.steps = kept["steps"]
    start = last_save = time.monotonic()
    loss_average: float | None = None
    for samples in batches(shared, rng):
        elapsed = time.monotonic() - start
        share = elapsed / 60 / recipe.minutes
        if share >= 1:
            break
        rate = rate_at(recipe.rate, share, trainer.steps, recipe.warm_up, recipe.cooldown, recipe.floor)
        loss = trainer.step(samples, rate)
        shared.counts[rank] += len(samples)
        loss_average = loss if loss_average is None else 0.98 * loss_average + 0.02 * loss
        if rank == 0 and trainer.steps % 4 == 0:
            follow(shared.average, shared.networks, min(recipe.ema, (1 + trainer.steps / 4) / (8 + trainer.steps / 4)))
        if trainer.steps % 50 == 0:
            total = int(shared.counts.sum())
            logger.info(
                "step %d, %d samples, %.1f a second, loss %.4f, CPU %.0f s",
                trainer.steps,
                total,
                (total - seen_before) / elapsed,
                loss_average,
                time.process_time(),
            )
            if rank == 0:
                with (shared.state / "loss.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"samples": total, "loss": round(loss_average, 5)}) + "\n")
        if time.monotonic() - last_save > recipe.save_every * 60:
            last_save = time.monotonic()
            if rank == 0:
                save_state(shared, elapsed)
            replace_file({"optimizer": trainer.optimizer.state_dict(), "steps": trainer.steps}, own)
    replace_file({"optimizer": trainer.optimizer.state_dict(), "steps": trainer.steps}, own)
    if rank == 0:
        save_state(shared, time.monotonic() - start)


def save_state(shared: Shared, elapsed: float) -> None:
    """Weights, average, counts; then the validation sheet and the loss curve."""
    total = int(shared.counts.sum())
    content = {
        "networks": shared.networks.state(),
        "average": shared.average.state(),
        "samples": total,
        "seconds": shared.seconds_before + elapsed,
        "rows": shared.vocabulary.size,
        "recipe": json.dumps(asdict(shared.recipe)),
    }
    replace_file(content, shared.state / "unet.pt")
    width, height, _ = max(shared.recipe.sizes, key=lambda size: size[2])
    pictures = generate(shared.average, shared.vae, shared.vocabulary, list(SHEET_PROMPTS), width, height)
    save(sheet(pictures, 4, SHEET_PROMPTS), shared.state / "sheets" / f"{total:08d}.png")
    lines = (
        [json.loads(line) for line in (shared.state / "loss.jsonl").read_text(encoding="utf-8").splitlines()]
        if (shared.state / "loss.jsonl").exists()
        else []
    )
    points = [(line["samples"] / 1000, line["loss"]) for line in lines][2:]
    save(curve({"loss": points}, "loss over thousands of samples"), shared.state / "loss.png")


def grow(state: Path, widths: Widths) -> None:
    """Give the U-Net in `state` one more level (see `nets.grown`); the optimizers begin anew."""
    content = torch.load(state / "unet.pt", weights_only=True)
    for kind in ("networks", "average"):
        content[kind]["unet"] = grown(content[kind]["unet"], widths)
    replace_file(content, state / "unet.pt")
    for optimizer in state.glob("optimizer*.pt"):
        optimizer.unlink()


def train(state: Path, recipe: Recipe, widths: Widths, device: str = "cpu") -> None:
    """Begin or go on in the folder `state`, which must hold `vae.pt`."""
    torch.manual_seed(recipe.seed)
    vocabulary = Vocabulary.of_the_world()
    vae = new_vae(widths)
    vae.load_state_dict(torch.load(state / "vae.pt", weights_only=True)["average"])
    vae = vae.eval().requires_grad_(False).to(device)
    networks, average = new_networks(widths, vocabulary), new_networks(widths, vocabulary)
    samples, seconds = 0, 0.0
    kept = state / "unet.pt"
    if kept.exists():
        content = torch.load(kept, weights_only=True)
        networks.load(content["networks"])
        average.load(content["average"])
        samples, seconds = content["samples"], content["seconds"]
    else:
        average.load(copy.deepcopy(networks.state()))
    for net in (networks, average):
        net.unet.to(device, memory_format=torch.channels_last)
        net.text.to(device)
    average.unet.requires_grad_(False)
    average.text.requires_grad_(False)
    workers = recipe.workers if device == "cpu" else 1
    counts = torch.zeros(workers, dtype=torch.long)
    counts[0] = samples
    shared = Shared(recipe, state, networks, average, vae, vocabulary, counts, seconds)
    if workers == 1:
        work(0, shared)
        return
    counts.share_memory_()
    for module in (networks.unet, networks.text, average.unet, average.text):
        module.share_memory()
    context = mp.get_context("fork")
    processes = [context.Process(target=work, args=(rank, shared)) for rank in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
