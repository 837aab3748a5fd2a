"""FLUX.2 Klein equals diffusers' pipeline on the same weights, from a folder and from split files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file

from modules.base.errors import WebuiError
from modules.base.events import Failed, ImageDone, Stop
from modules.base.picture import Picture
from modules.clip.bpe import ClipBPE
from modules.networks.device import choose_placement
from modules.networks.families import family_of
from modules.networks.files.checkpoints import look_into
from modules.networks.files.listing import HashCache
from modules.networks.flux2.model import Flux2Klein
from modules.networks.model import LoadTools, MissingVae, TextOptions
from modules.processing.engine import create_engine
from modules.sampling.noise_model import NoiseOptions
from modules.schema.catalog import Checkpoint
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from tests.networks.zimage.test_zimage import euler
from tests.tiny_flux2 import pipeline, write_folder, write_split

CPU = choose_placement(use_cpu=True, precision="full")
LITERAL = TextOptions(emphasis="None")
PROMPT = "a red fox in the (first) snow"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("models") / "Tiny-Klein")


@pytest.fixture(scope="module")
def theirs() -> Any:
    return pipeline()


def load(checkpoint: Checkpoint, cache: Path, vae: Path | None = None) -> Flux2Klein:
    model = family_of(checkpoint).load(checkpoint, LoadTools(CPU, ClipBPE(), HashCache(cache), vae))
    assert isinstance(model, Flux2Klein)
    return model


@pytest.fixture(scope="module")
def model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Flux2Klein:
    return load(Checkpoint(folder.name, folder), tmp_path_factory.mktemp("cache") / "hashes.json")


def test_a_folder_and_a_file_are_recognized(folder: Path, tmp_path: Path) -> None:
    file = write_split(folder, tmp_path)[0]
    assert look_into(folder)[:3] == ("a FLUX.2 Klein model", "flux2-klein", "")
    assert (look_into(file)[:3], look_into(file).lacks_text) == (look_into(folder)[:3], True)


def test_prompts_are_encoded_as_in_the_pipeline(model: Flux2Klein, theirs: Any) -> None:
    found = model.encode_prompts([PROMPT, ""], LITERAL).cond
    expected = theirs.encode_prompt([PROMPT, ""])[0]
    assert found.mask is None
    torch.testing.assert_close(found.tokens, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("steps", [4, 20])
def test_a_whole_picture_with_guidance_equals_the_pipelines(model: Flux2Klein, theirs: Any, steps: int) -> None:
    noise = torch.randn(1, 128, 4, 6, generator=torch.Generator().manual_seed(5))
    expected = theirs(
        prompt=PROMPT, height=64, width=96, num_inference_steps=steps, guidance_scale=1.0, latents=noise.clone(),
        output_type="latent",
    ).images  # fmt: skip
    times = [float(sigma) for sigma in theirs.scheduler.sigmas[:-1]]
    found = euler(model, model.encode_prompts([PROMPT], LITERAL).cond, noise, times)
    mean = theirs.vae.bn.running_mean.view(1, -1, 1, 1)
    deviation = torch.sqrt(theirs.vae.bn.running_var.view(1, -1, 1, 1) + 1e-4)
    latents = theirs._unpatchify_latents(found * deviation + mean)
    torch.testing.assert_close(latents, expected, atol=1e-3 * float(expected.std()), rtol=0)
    pixels = theirs.vae.decode(expected, return_dict=False)[0] / 2 + 0.5
    torch.testing.assert_close(model.decode(found), pixels.clamp(0, 1), atol=1e-3, rtol=0)
    # And these are the levels that Euler with the schedule Simple takes.
    shifted = model.noise.varied(NoiseOptions(tokens=24, steps=steps))
    own = shifted.t_to_sigma(torch.tensor([1000 * (steps - i) / steps - 1 for i in range(1, steps)]))
    torch.testing.assert_close(own / (1 + own), torch.tensor(times[1:]), atol=1e-5, rtol=0)


def test_encoding_equals_the_pipelines(model: Flux2Klein, theirs: Any) -> None:
    pixels = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(7)) * 2 - 1
    expected = theirs._encode_vae_image(pixels, torch.Generator())
    found = model.encode(pixels)
    torch.testing.assert_close(found.mean, expected, atol=1e-4, rtol=1e-4)
    assert not found.std.any()


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_split_files_are_the_folder(folder: Path, model: Flux2Klein, tmp_path: Path, prefix: str) -> None:
    file, text, vae = write_split(folder, tmp_path, prefix)
    other = load(Checkpoint(file.name, file, text_encoders=(text,)), tmp_path / "hashes.json", vae)
    for name, part in model.parts.items():
        expected, found = part.state_dict(), other.parts[name].state_dict()
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[key], found[key]) for key in expected), name
    assert other.latent == model.latent


def test_what_is_missing_or_does_not_fit_is_named(folder: Path, tmp_path: Path) -> None:
    file, text, vae = write_split(folder, tmp_path)
    row, cache = Checkpoint(file.name, file, text_encoders=(text,)), tmp_path / "hashes.json"
    with pytest.raises(MissingVae, match=r"klein\.safetensors has no VAE inside\. Put the VAE of FLUX\.2"):
        load(row, cache)
    with pytest.raises(WebuiError, match=r"is a FLUX\.2 Klein model, not the VAE of FLUX\.2"):
        load(row, cache, file)
    save_file({key: tensor for key, tensor in load_file(vae).items() if key != "bn.running_var"}, vae)
    with pytest.raises(WebuiError, match=r"flux2\.safetensors lacks the 128 numbers of bn\.running_var"):
        load(row, cache, vae)
    state = load_file(file)
    save_file(state | {"guidance_in.in_layer.weight": torch.zeros(2, 2)}, file)
    assert look_into(file).reason.startswith("klein.safetensors is a FLUX.2 dev model, a family that is not supported")


SMALL: dict[str, Any] = {"prompt": "a fox", "seed": 5, "subseed": 1, "steps": 3, "cfg_scale": 2.0}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return create_engine("cpu", "full", str(tmp_path_factory.mktemp("engine")))


def pictures(engine: Any, folder: Path, request: GenerationRequest) -> list[Image.Image]:
    resources = Resources(Checkpoint(folder.name, folder))
    events = list(engine.run(request, Settings(live_previews_enable=False), resources, lambda: Stop.NONE))
    assert not [event for event in events if isinstance(event, Failed)]
    done = [event for event in events if isinstance(event, ImageDone)]
    return [Image.frombytes(each.mode, (each.width, each.height), each.pixels) for each in done]


def test_txt2img_of_a_batch_gives_the_pictures_of_single_runs(engine: Any, folder: Path) -> None:
    batch = pictures(engine, folder, Txt2ImgRequest(**SMALL, width=96, height=64, batch_size=2))
    (alone,) = pictures(engine, folder, Txt2ImgRequest(**{**SMALL, "seed": 6}, width=96, height=64))
    assert [picture.size for picture in batch] == [(96, 64), (96, 64)]
    assert np.abs(np.asarray(batch[1], int) - np.asarray(alone, int)).max() <= 2


@pytest.mark.parametrize("size", [(96, 64), (100, 70)])
def test_inpaint_keeps_every_byte_outside_the_mask(engine: Any, folder: Path, size: tuple[int, int]) -> None:
    source = Image.effect_noise(size, 80).convert("RGB")
    mask = Image.new("L", source.size)
    ImageDraw.Draw(mask).rectangle((32, 16, 63, 47), fill=255)
    request = Img2ImgRequest(
        **SMALL, init_images=(Picture.from_image(source),), mask=Picture.from_image(mask), mask_blur=0,
        denoising_strength=0.7, resize_by=1.0, sampler_name="Euler", scheduler="Simple",
    )  # fmt: skip
    made = np.asarray(pictures(engine, folder, request)[0])
    before, inside = np.asarray(source), np.asarray(mask) > 0
    if made.shape == before.shape:
        assert (made[~inside] == before[~inside]).all()
        assert (made[inside] != before[inside]).mean() > 0.5
    else:  # the sides are multiples of 16
        assert made.shape[:2] == (64, 96)


def test_a_replaced_vae_brings_its_own_moments(model: Flux2Klein, folder: Path, tmp_path: Path) -> None:
    vae = write_split(folder, tmp_path)[2]
    state = load_file(vae)
    save_file(state | {"bn.running_mean": state["bn.running_mean"] + 1}, vae)
    other = model.vae_slot.placed(model.vae_slot.load(vae), "other", "abc")
    assert other.latent != model.latent
    shift = torch.tensor(other.latent.shift) - torch.tensor(model.latent.shift)
    torch.testing.assert_close(shift, torch.ones(128))


def test_emphasis_is_taken_off(model: Flux2Klein) -> None:
    plain = model.encode_prompts(["a red fox"], LITERAL).cond.tokens
    weighted = model.encode_prompts(["a (red:1.4) fox"], replace(LITERAL, emphasis="Original")).cond.tokens
    assert torch.equal(plain, weighted)
