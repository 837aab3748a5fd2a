"""Draw the world, train the bundled checkpoint, export, judge and show it.

A checkpoint is made in this order, in one folder of resumable state (the model card tells how the shipped one was):

  python -m modules.starter train-vae --state STATE --minutes 30
  python -m modules.starter train-vae --state STATE --stage whiten
  python -m modules.starter train     --state STATE --minutes 60 --size 128x128 --small
  python -m modules.starter train     --state STATE --minutes 60 --grow --size 256x256 --size 192x192:0.2
  python -m modules.starter train-vae --state STATE --stage decoder --minutes 20
  python -m modules.starter export    --state STATE
  python -m modules.starter judge

With an accelerator, all networks in one sitting of minutes, from nothing or from a checkpoint that is there:

  python -m modules.starter unpack    --state STATE
  python -m modules.starter sit       --state STATE --minutes 10
  python -m modules.starter export    --state STATE --out NEW
  python -m modules.starter blend     --first OLD --second NEW --out MEAN

Training that is cut goes on from its last save when the command is given again.
"""

from __future__ import annotations

import argparse
import logging
import random
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch

from modules.starter.captions import caption
from modules.starter.export import MEGABYTE, blend, export, unpack
from modules.starter.judge import PARTS, judge
from modules.starter.nets import Widths
from modules.starter.sheets import as_image, save, sheet
from modules.starter.spec import MIXES, random_spec
from modules.starter.studio import Studio
from modules.starter.train_gpu import Sitting, sit
from modules.starter.train_unet import SHEET_PROMPTS, Recipe, grow, train
from modules.starter.train_vae import VaeRecipe, train_vae
from modules.starter.world import draw, tutorial_start

ROOT: Final = Path(__file__).parents[2]
CHECKPOINT: Final = ROOT / "models" / "Stable-diffusion" / "palimpsest-starter.safetensors"
IMAGES: Final = ROOT / "docs" / "images"
TUTORIAL: Final = "watercolor, light smile, Sakura background"
STRENGTHS: Final = (0.3, 0.5, 0.65, 0.9)


def size(text: str) -> tuple[int, int, float]:
    """`192x128` or `192x128:0.5`: width, height in pixels and weight."""
    extent, _, weight = text.partition(":")
    width, height = (int(part) for part in extent.split("x"))
    if width % 32 or height % 32:
        raise argparse.ArgumentTypeError(f"{text}: width and height must be multiples of 32")
    return width, height, float(weight or 1)


def show_world(options: argparse.Namespace) -> None:
    rng = random.Random(options.seed)
    specs = [random_spec(rng, MIXES[options.mix]) for _ in range(options.count)]
    pictures = [draw(spec, options.pixels) for spec in specs]
    save(sheet(pictures, 8, [caption(spec, rng) for spec in specs]), options.out)
    print(f"{options.count} pictures in {options.out}")


def run_train_vae(options: argparse.Namespace) -> None:
    recipe = VaeRecipe(
        options.minutes, options.stage, rate=options.rate, workers=options.workers, gradient=options.gradient
    )
    drawings, photos = train_vae(options.state, recipe, Widths())
    print(f"held-out drawings {drawings:.2f} dB, photo-like textures {photos:.2f} dB (256 px)")


def run_train(options: argparse.Namespace) -> None:
    recipe = Recipe(
        minutes=options.minutes,
        mix=options.mix,
        sizes=tuple(options.size or [(128, 128, 1.0)]),
        batch=options.batch,
        rate=options.rate,
        cooldown=options.cooldown,
        workers=options.workers,
        reuse=options.reuse,
        save_every=options.save_every,
    )
    options.state.mkdir(parents=True, exist_ok=True)
    widths = Widths()
    if options.grow:
        grow(options.state, widths)
    train(options.state, recipe, replace(widths, unet=widths.unet[1:]) if options.small else widths, options.device)


# Most pictures are of the page's size; clients of the API ask for 512 x 512 where they say nothing.
SITTING_SIZES: Final = (
    (256, 256, 0.5), (192, 256, 0.1), (256, 192, 0.1), (192, 192, 0.08), (128, 128, 0.06), (384, 384, 0.06),
    (320, 256, 0.04), (512, 512, 0.06),
)  # fmt: skip


def run_sit(options: argparse.Namespace) -> None:
    sitting = Sitting(
        minutes=options.minutes,
        sizes=tuple(options.size or SITTING_SIZES),
        mix=options.mix,
        autoencoder=options.autoencoder,
        decoder=options.decoder,
        crops=options.crops,
        vae_rate=options.vae_rate,
        batch=options.batch,
        rate=options.rate,
        workers=options.workers,
    )
    options.state.mkdir(parents=True, exist_ok=True)
    drawings, photos = sit(options.state, sitting, Widths(), options.device)
    print(f"held-out drawings {drawings:.2f} dB, photo-like textures {photos:.2f} dB (256 px)")


def run_export(options: argparse.Namespace) -> None:
    width, height, _ = options.page_size
    defaults = {
        "width": width,
        "height": height,
        "steps": 20,
        "cfg_scale": options.scale,
        "sampler_name": "DPM++ 2M",
        "scheduler": "Karras",
        "denoising_strength": options.strength,
    }
    written = export(options.state, options.out, Widths(), defaults)
    print(f"{options.out}: {written / MEGABYTE:.1f} MB")


def run_judge(options: argparse.Namespace) -> None:
    def say(line: str) -> None:
        print(line, flush=True)

    parts = options.part or PARTS
    judge(
        options.checkpoint,
        options.pixels,
        options.seeds,
        options.scale,
        say,
        options.steps,
        options.eye,
        parts,
        options.device,
    )


def show_checkpoint(options: argparse.Namespace) -> None:
    studio = Studio(options.checkpoint)
    prompts = options.prompt or list(SHEET_PROMPTS)
    width, height, _ = options.page_size
    pictures = [
        picture
        for seed in range(options.seeds)
        for picture in studio.paint(prompts, [seed] * len(prompts), width, height, options.scale, options.steps)
    ]
    save(sheet(pictures, len(prompts), prompts * options.seeds), options.out)
    print(f"{len(pictures)} pictures in {options.out}")


def make_strip(options: argparse.Namespace) -> None:
    """The tutorial's start picture and what becomes of it, stronger to the right."""
    _, start = tutorial_start(options.pixels)
    studio = Studio(options.checkpoint)
    painted = [
        studio.paint(
            [TUTORIAL], [options.seed], options.pixels, options.pixels, options.scale, options.steps, [start], strength
        )[0]
        for strength in STRENGTHS
    ]
    labels = ["start", *(f"denoising {strength:g}" for strength in STRENGTHS)]
    save(as_image(start), options.out.with_name("start.png"))
    save(sheet([start, *painted], 1 + len(painted), labels), options.out)
    print(f"{options.out} and start.png beside it")


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="python -m modules.starter", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = result.add_subparsers(required=True, metavar="COMMAND")

    world = commands.add_parser("world", help="a sheet of drawn pictures with captions")
    world.add_argument("--mix", choices=sorted(MIXES), default="full")
    world.add_argument("--count", type=int, default=40)
    world.add_argument("--pixels", type=int, default=192)
    world.add_argument("--seed", type=int, default=0)
    world.add_argument("--out", type=Path, default=Path("world.png"))
    world.set_defaults(run=show_world)

    vae = commands.add_parser("train-vae", help="train the autoencoder")
    vae.add_argument("--state", type=Path, required=True, help="folder of the resumable state")
    vae.add_argument("--stage", choices=("both", "whiten", "decoder"), default="both")
    vae.add_argument("--minutes", type=float, default=20)
    vae.add_argument("--rate", type=float, default=4e-4)
    vae.add_argument("--gradient", type=float, default=0.3, help="weight of the gradients' error")
    vae.add_argument("--workers", type=int, default=2)
    vae.set_defaults(run=run_train_vae)

    unet = commands.add_parser("train", help="train the U-Net and the text encoder")
    unet.add_argument("--state", type=Path, required=True, help="folder of the resumable state; vae.pt must be there")
    unet.add_argument("--minutes", type=float, required=True, help="length of this run; the rate falls at its end")
    unet.add_argument("--small", action="store_true", help="without the outermost level: half the size, half the cost")
    unet.add_argument(
        "--grow", action="store_true", help="first give a network trained with --small its outermost level"
    )
    unet.add_argument("--size", type=size, action="append", metavar="WxH[:WEIGHT]", help="may be given several times")
    unet.add_argument("--mix", choices=sorted(MIXES), default="first")
    unet.add_argument("--batch", type=int, default=16)
    unet.add_argument("--rate", type=float, default=8e-4)
    unet.add_argument("--cooldown", type=float, default=0.25, help="share of the minutes in which the rate falls")
    unet.add_argument("--reuse", type=float, default=6, help="how often a latent is trained on")
    unet.add_argument("--workers", type=int, default=2, help="processes on a CPU")
    unet.add_argument("--save-every", type=float, default=8, help="minutes")
    unet.add_argument("--device", default="cpu")
    unet.set_defaults(run=run_train)

    sitting = commands.add_parser("sit", help="train all of it on an accelerator, in minutes")
    sitting.add_argument("--state", type=Path, required=True, help="folder of state to go on from; empty: begin")
    sitting.add_argument("--minutes", type=float, required=True)
    sitting.add_argument(
        "--size", type=size, action="append", metavar="WxH[:WEIGHT]", help="may be given several times"
    )
    sitting.add_argument("--mix", choices=sorted(MIXES), default="third")
    sitting.add_argument("--batch", type=int, default=512)
    sitting.add_argument("--crops", type=int, default=128, help="crops in a batch of the autoencoder")
    sitting.add_argument("--rate", type=float, default=1e-3)
    sitting.add_argument("--vae-rate", type=float, default=6e-4)
    sitting.add_argument("--autoencoder", type=float, default=0.38, help="share of the minutes")
    sitting.add_argument("--decoder", type=float, default=0.06, help="share of the minutes")
    sitting.add_argument("--workers", type=int, default=14, help="drawing processes")
    sitting.add_argument("--device", default="cuda")
    sitting.set_defaults(run=run_sit)

    unpacked = commands.add_parser("unpack", help="make a folder of state of an exported checkpoint")
    unpacked.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    unpacked.add_argument("--state", type=Path, required=True)
    unpacked.set_defaults(run=lambda options: unpack(options.checkpoint, options.state))

    blended = commands.add_parser("blend", help="the mean of two checkpoints, with the second one's autoencoder")
    blended.add_argument("--first", type=Path, required=True)
    blended.add_argument("--second", type=Path, required=True)
    blended.add_argument("--share", type=float, default=0.35, help="of the second one")
    blended.add_argument("--out", type=Path, required=True)
    blended.set_defaults(run=lambda options: blend(options.first, options.second, options.share, options.out))

    out = commands.add_parser("export", help="write the checkpoint and the files beside it")
    out.add_argument("--state", type=Path, required=True)
    out.add_argument("--out", type=Path, default=CHECKPOINT)
    out.add_argument("--page-size", type=size, default=(256, 256, 1.0), metavar="WxH", help="the page's default size")
    out.add_argument("--scale", type=float, default=5.0, help="the page's default CFG scale")
    out.add_argument("--strength", type=float, default=0.65, help="the page's default denoising strength")
    out.set_defaults(run=run_export)

    judged = commands.add_parser("judge", help="measure a checkpoint against control prompts")
    judged.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    judged.add_argument("--pixels", type=int, default=256)
    judged.add_argument("--seeds", type=int, default=8)
    judged.add_argument("--steps", type=int, default=25)
    judged.add_argument("--scale", type=float, default=5.0)
    judged.add_argument("--eye", type=Path, help="file that keeps the trained classifier between calls")
    judged.add_argument("--part", action="append", choices=PARTS, help="only this table; may be given several times")
    judged.add_argument("--device", default="cpu")
    judged.set_defaults(run=run_judge)

    shown = commands.add_parser("sheet", help="a sheet of generated pictures")
    shown.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    shown.add_argument("--prompt", action="append")
    shown.add_argument("--seeds", type=int, default=2)
    shown.add_argument("--steps", type=int, default=20)
    shown.add_argument("--scale", type=float, default=5.0)
    shown.add_argument("--page-size", type=size, default=(256, 256, 1.0), metavar="WxH")
    shown.add_argument("--out", type=Path, default=Path("sheet.png"))
    shown.set_defaults(run=show_checkpoint)

    strip = commands.add_parser("strip", help="the tutorial as a strip, and its start picture")
    strip.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    strip.add_argument("--pixels", type=int, default=256)
    strip.add_argument("--seed", type=int, default=1)
    strip.add_argument("--steps", type=int, default=25)
    strip.add_argument("--scale", type=float, default=7.0)
    strip.add_argument("--out", type=Path, default=IMAGES / "tutorial.png")
    strip.set_defaults(run=make_strip)
    return result


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    options = parser().parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
