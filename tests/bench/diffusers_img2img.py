"""diffusers' own img2img pipeline: `python -m tests.bench.diffusers_img2img CHECKPOINT JOBS <source.png`.

Prints one JSON object. Our loader makes the models, with the number types it chooses, so that only the pipeline
differs; its strength arithmetic takes 12 steps where A1111's and ours take 13.
"""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# transformers and diffusers declare narrower types for tensors and answers than they accept and return.

import io
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionImg2ImgPipeline
from PIL import Image

from modules.clip.bpe import ClipBPE
from modules.networks.device import choose_placement, threads
from modules.networks.files.listing import HashCache
from modules.networks.ldm.text import encode_prompt
from modules.networks.sd1.checkpoint import load_checkpoint
from modules.schema.catalog import Checkpoint
from tests.bench.bench_img2img import REQUEST


def main() -> None:
    path, jobs = Path(sys.argv[1]), int(sys.argv[2])
    source = Image.open(io.BytesIO(sys.stdin.buffer.read())).convert("RGB")
    torch.set_num_threads(threads())
    with tempfile.TemporaryDirectory() as folder:
        hashes = HashCache(Path(folder) / "hashes.json")
        place = choose_placement()
        model = load_checkpoint(Checkpoint(path.name, path), place, ClipBPE(), hashes)
        scheduler = DPMSolverMultistepScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", use_karras_sigmas=True
        )
        pipeline = StableDiffusionImg2ImgPipeline(
            vae=model.vae, text_encoder=model.text_encoder, tokenizer=None, unet=model.unet, scheduler=scheduler,
            safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip
        pipeline.to(dtype=place.dtype)  # everything: ours may keep parts in another type
        pipeline.set_progress_bar_config(disable=True)
        walls: list[float] = []
        for i in range(jobs + 1):
            begun = time.perf_counter()
            conds = [
                encode_prompt(model.text_encoder, model.tokenizer, [(text, 1.0)])[None].to(place.dtype)
                for text in (REQUEST["prompt"], REQUEST["negative_prompt"])
            ]
            image = pipeline(
                prompt_embeds=conds[0],
                negative_prompt_embeds=conds[1],
                image=source.resize((REQUEST["width"], REQUEST["height"])),
                strength=REQUEST["denoising_strength"],
                num_inference_steps=REQUEST["steps"],
                guidance_scale=REQUEST["cfg_scale"],
                generator=torch.Generator().manual_seed(i),
            ).images[0]
            image.save(Path(folder) / f"{i}.png")
            walls.append(time.perf_counter() - begun)
    print(json.dumps({"wall_s": round(statistics.median(walls[1:]), 3), "steps": pipeline.scheduler.timesteps.numel()}))


if __name__ == "__main__":
    main()
