"""Checkpoints whose network receives the source or its depth map: compared with diffusers' pipelines, and in the
engine.
"""

# pyright: reportArgumentType=false, reportCallIssue=false, reportOptionalMemberAccess=false
# pyright: reportAttributeAccessIssue=false
# diffusers declares narrower types for its pipelines' arguments than they accept.

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    EulerDiscreteScheduler,
    StableDiffusionDepth2ImgPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionXLInstructPix2PixPipeline,
)
from PIL import Image
from torch import Tensor

from modules.base.errors import WebuiError
from modules.base.events import EngineState, Event, Failed, ImageDone
from modules.base.picture import Picture
from modules.clip.bpe import ClipBPE
from modules.images.geometry import Size
from modules.infotext.parse import parse
from modules.networks.conditioning import Extra
from modules.networks.device import choose_placement
from modules.networks.families import family_of
from modules.networks.files.checkpoints import UNSEEN, look_into
from modules.networks.files.listing import HashCache
from modules.networks.model import LoadTools, Model, SizeConditioning, TextOptions
from modules.processing.clock import Stopwatch
from modules.processing.denoise.guidance import Guided, guidance_options
from modules.processing.denoise.prompts import PromptEncoder
from modules.processing.engine import create_engine
from modules.processing.plan import Source, make_plan
from modules.processing.shown import depth_input, source_input
from modules.sampling.denoise import joined
from modules.sampling.samplers import euler
from modules.schema.catalog import Checkpoint
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.schema.settings import EXACT, Settings
from tests.admitted import Folders
from tests.tiny import write_tiny_checkpoint
from tests.tiny_line import Tiny, save_folder, save_single, tiny_sd2, tiny_xl

# diffusers' scheduler takes logarithms in a way that numpy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

STEPS, CFG, IMAGE_CFG = 4, 5.0, 1.5
SMALL: dict[str, Any] = {
    "prompt": "a cat", "negative_prompt": "dogs", "width": 64, "height": 64, "steps": 2, "seed": 7, "subseed": 1,
    "sampler_name": "Euler", "denoising_strength": 0.9,
}  # fmt: skip


def png(pixels: np.ndarray) -> Picture:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return Picture.from_bytes(buffer.getvalue())


SOURCE = png(np.random.default_rng(3).integers(0, 255, (64, 64, 3), dtype=np.uint8))
DEPTH = png(np.linspace(10, 200, 64 * 64).reshape(64, 64).astype(np.uint8))


def loaded(tiny: Tiny, folder: Path) -> Model:
    checkpoint = Checkpoint("x.safetensors", save_single(tiny, folder / "x.safetensors"))
    tools = LoadTools(choose_placement(use_cpu=True, precision="full"), ClipBPE(), HashCache(folder / "hashes.json"))
    return family_of(checkpoint).load(checkpoint, tools)


def ours(model: Model, seen: Tensor, start: Tensor, levels: Tensor) -> Tensor:
    """The final latents of Euler's method with a job's guidance."""
    request = Img2ImgRequest(**SMALL, init_images=(SOURCE,), cfg_scale=CFG, image_cfg_scale=IMAGE_CFG)
    settings = Settings()
    plan = make_plan(request.resolved(random.Random(1)), settings, model.sizes)
    prompts = PromptEncoder(2**20).prompts(model, plan.first, settings, Stopwatch()).of(plan.batches[0])
    options = guidance_options(plan.cfg_scale, STEPS, plan.first.sampler, settings, plan.image_cfg_scale)
    guided = Guided(model, prompts, options, Stopwatch(), Extra(concat=seen))
    *_, last = euler(joined(guided), start, levels, noise=None)
    return last.x


def scheduler(tiny: Tiny) -> EulerDiscreteScheduler:
    return EulerDiscreteScheduler(**dict(tiny.scheduler) | {"timestep_spacing": "linspace", "steps_offset": 1})


def close(one: Tensor, other: Tensor) -> bool:
    return float((one - other).abs().max()) < 1e-3 * float(other.std())


@pytest.mark.parametrize("is_xl", [False, True])
def test_edits_are_diffusers(is_xl: bool, tmp_path: Path) -> None:
    tiny = tiny_xl(in_channels=8) if is_xl else tiny_sd2(in_channels=8)
    model = loaded(tiny, tmp_path)
    assert model.shown == "source"
    sigmas = model.noise.uniform_sigmas(STEPS)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    seen = source_input(model.encode, SOURCE.rgb(), model.latent, Size(8, 8))
    mine = ours(model, seen, noise * sigmas[0], sigmas)
    pixels = torch.from_numpy(np.array(SOURCE.rgb())).permute(2, 0, 1)[None].float() / 255
    cond, uncond = (model.encode_prompts([text], _options(model)).cond for text in ("a cat", "dogs"))
    given: dict[str, Any] = {"prompt_embeds": cond.tokens, "negative_prompt_embeds": uncond.tokens}
    parts: dict[str, Any] = {"vae": tiny.vae, "unet": tiny.unet, "scheduler": scheduler(tiny), "tokenizer": None}
    if is_xl:
        given |= {"pooled_prompt_embeds": cond.pooled, "negative_pooled_prompt_embeds": uncond.pooled}
        given |= {"original_size": (64, 64), "target_size": (64, 64), "height": 64, "width": 64}
        pipe = StableDiffusionXLInstructPix2PixPipeline(
            **parts, text_encoder=tiny.texts[0], text_encoder_2=tiny.texts[1], tokenizer_2=None,
            force_zeros_for_empty_prompt=False,
        )  # fmt: skip
    else:
        pipe = StableDiffusionInstructPix2PixPipeline(
            **parts, text_encoder=tiny.texts[0], safety_checker=None, feature_extractor=None,
            requires_safety_checker=False,
        )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    theirs = pipe(
        image=pixels, latents=noise.clone(), num_inference_steps=STEPS, guidance_scale=CFG,
        image_guidance_scale=IMAGE_CFG, output_type="latent", **given,
    ).images  # fmt: skip
    assert close(mine, theirs)


def test_depth_is_diffusers(tmp_path: Path) -> None:
    tiny = tiny_sd2(in_channels=5)
    model = loaded(tiny, tmp_path)
    assert model.shown == "depth"
    sigmas = model.noise.uniform_sigmas(STEPS)
    start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(4))
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    seen = depth_input(Source(SOURCE, 0, DEPTH), None, Size(64, 64), Size(8, 8))
    assert (float(seen.min()), float(seen.max())) == (-1, 1)
    mine = ours(model, seen, start + noise * sigmas[2], sigmas[2:])
    pipe = StableDiffusionDepth2ImgPipeline(
        vae=tiny.vae, text_encoder=tiny.texts[0], tokenizer=None, unet=tiny.unet, scheduler=scheduler(tiny),
        depth_estimator=None, feature_extractor=None,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    cond, uncond = (model.encode_prompts([text], _options(model)).cond for text in ("a cat", "dogs"))
    pipe.prepare_latents = lambda *args, **kwargs: start + noise * sigmas[2]
    theirs = pipe(
        image=[SOURCE.rgb()], depth_map=torch.from_numpy(np.array(DEPTH.open().convert("L"), np.float32))[None],
        strength=0.5, num_inference_steps=STEPS, guidance_scale=CFG, prompt_embeds=cond.tokens,
        negative_prompt_embeds=uncond.tokens, output_type="latent",
    ).images  # fmt: skip
    assert close(mine, theirs)


def _options(model: Model) -> TextOptions:
    return TextOptions(
        size_conditioning=SizeConditioning(64, 64) if "size_conditioning" in model.family.abilities else None
    )


# ---- in the engine ----

Run = Callable[..., list[Event | EngineState]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("models")
    write_tiny_checkpoint(folder / "one.safetensors", in_channels=8)
    save_single(tiny_sd2(in_channels=8), folder / "two.safetensors")
    save_folder(tiny_xl(in_channels=8), folder / "xl", "StableDiffusionXLInstructPix2PixPipeline")
    save_single(tiny_sd2(in_channels=5), folder / "depth.safetensors")
    save_single(tiny_sd2(), folder / "plain.safetensors")
    folders, engine = Folders(folder / "cache", (folder,)), create_engine("cpu", "full", str(folder / "cache"))

    def events(request: GenerationRequest, name: str, **settings: Any) -> list[Event | EngineState]:
        path = folder / name if name == "xl" else folder / f"{name}.safetensors"
        seen = look_into(path)
        checkpoint = Checkpoint(path.name, path, family=seen.family, shown=seen.shown)
        return list(folders.run(engine, request, Settings(live_previews_enable=False, **settings), checkpoint))

    return events


def picture(events: list[Event | EngineState]) -> ImageDone:
    assert not [event for event in events if isinstance(event, Failed)], events[-1]
    return next(event for event in events if isinstance(event, ImageDone))


def redraw(**changes: Any) -> Img2ImgRequest:
    return Img2ImgRequest(**{**SMALL, "init_images": (SOURCE,), **changes})


@pytest.mark.parametrize("name", ["one", "two", "xl"])
def test_the_source_has_a_scale_of_its_own(name: str, run: Run) -> None:
    strong = picture(run(redraw(image_cfg_scale=2.0), name))
    assert parse(strong.infotext).pairs["Image CFG scale"] == "2.0"
    one, left_out = picture(run(redraw(image_cfg_scale=1.0), name)), picture(run(redraw(), name))
    assert one.pixels == left_out.pixels != strong.pixels
    assert parse(left_out.infotext).pairs["Image CFG scale"] == "1.0"
    apart = picture(run(redraw(image_cfg_scale=2.0), name, batch_cond_uncond=False))  # evaluated one by one
    difference = np.frombuffer(apart.pixels, np.uint8).astype(int) - np.frombuffer(strong.pixels, np.uint8)
    assert abs(difference).max() <= 1
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 32:] = 255
    masked = picture(run(redraw(image_cfg_scale=2.0, mask=png(mask), mask_blur=0), name))
    before, after = np.asarray(SOURCE.rgb()), np.frombuffer(masked.pixels, np.uint8).reshape(64, 64, 3)
    assert np.array_equal(after[:, :28], before[:, :28])
    assert not np.array_equal(after[:, 36:], before[:, 36:])


def test_what_a1111_leaves_out_of_the_parameters_is_left_out(run: Run) -> None:
    assert "Image CFG scale" not in parse(picture(run(redraw(), "one", compatibility=EXACT)).infotext).pairs
    assert "Image CFG scale" not in parse(picture(run(redraw(image_cfg_scale=2.0), "plain")).infotext).pairs


@pytest.mark.parametrize("count", [1, 2])
def test_a_long_prompt_and_a_batch_are_edited_too(count: int, run: Run) -> None:
    request = redraw(image_cfg_scale=2.0, prompt="a cat, " * 60, batch_size=count)
    done = [event for event in run(request, "one") if isinstance(event, ImageDone)]
    assert len({each.pixels for each in done}) == count


def test_the_depth_map_changes_the_picture_and_is_written_down(run: Run) -> None:
    flat = png(np.full((64, 64), 7, np.uint8))
    sloping, level = (picture(run(redraw(depth_map=each), "depth")) for each in (DEPTH, flat))
    assert sloping.pixels != level.pixels
    assert parse(sloping.infotext).pairs["Depth map hash"] == DEPTH.sha256


NO_EDIT = "is an InstructPix2Pix checkpoint: it edits a picture and cannot work from a prompt alone."
REFUSED: dict[str, tuple[GenerationRequest, str, str]] = {
    "an edit without a source": (Txt2ImgRequest(prompt="a cat"), "one", NO_EDIT),
    "depth without a source": (Txt2ImgRequest(prompt="a cat"), "depth", "it needs a picture and its depth map."),
    "depth without a map": (redraw(), "depth", "needs the depth map of the picture, lighter where things are nearer."),
    "depth around the source": (redraw(depth_map=DEPTH, outpaint_left=64), "depth", "margins have no depth."),
    "AND": (redraw(prompt="a cat AND a dog", image_cfg_scale=2.0), "one", "AND does not work with InstructPix2Pix"),
    "an edit as refiner": (redraw(refiner_checkpoint="two"), "plain", "two.safetensors is an InstructPix2Pix checkp"),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("is_known", [True, False])
def test_what_cannot_be_drawn_is_told(what: str, is_known: bool, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the list of checkpoints if it knows what the file is, otherwise once the file is loaded."""
    request, name, said = REFUSED[what]
    if not is_known:
        monkeypatch.setattr("tests.processing.engine.test_shown.look_into", lambda path: UNSEEN)
    assert said in refusal(run, request.resolved(random.Random(1)), name)


def refusal(run: Run, request: GenerationRequest, name: str) -> str:
    try:
        last = run(request, name)[-1]
    except WebuiError as error:
        return str(error)
    assert isinstance(last, Failed)
    return last.message
