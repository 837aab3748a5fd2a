"""Stable Diffusion 2: its files, its prediction type, and its pictures compared with diffusers' pipelines."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportOptionalMemberAccess=false
# transformers and diffusers declare narrower types for tensors and answers than they accept and return.

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from torch import Tensor

from modules.base.errors import WebuiError
from modules.clip.bpe import END, START, ClipBPE
from modules.networks.conditioning import NOTHING, Conditioning
from modules.networks.device import Placement
from modules.networks.families import family_of
from modules.networks.files.checkpoints import look_into
from modules.networks.files.listing import HashCache
from modules.networks.model import LoadTools, TextOptions
from modules.networks.sd2.checkpoint import load
from modules.networks.sd2.model import StableDiffusion2
from modules.sampling.samplers import euler
from modules.schema.catalog import Checkpoint
from tests.tiny_line import Tiny, save_folder, save_single, single_tensors, tiny_sd2

# diffusers' scheduler takes logarithms in a way that numpy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

STEPS, CFG = 4, 2.0
Load = Callable[[Path], StableDiffusion2]


@pytest.fixture
def load_sd2(tmp_path: Path, place: Placement, bpe: ClipBPE) -> Load:
    """Load a file or folder as the engine does."""
    tools = LoadTools(place, bpe, HashCache(tmp_path / "hashes.json"))
    return lambda path: load(Checkpoint(path.name, path), tools)


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    return tiny_sd2()


def assert_holds(model: StableDiffusion2, tiny: Tiny, rounded: torch.dtype = torch.float32) -> None:
    for ours, theirs in ((model.unet, tiny.unet), (model.vae, tiny.vae), (model.text_encoder, tiny.texts[0])):
        expected = theirs.state_dict()
        assert ours.state_dict().keys() == expected.keys()
        wrong = [n for n, t in ours.state_dict().items() if not torch.equal(t, expected[n].to(rounded).float())]
        assert wrong == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float8_e4m3fn])
def test_a_single_file_holds_the_same_networks(dtype: torch.dtype, tiny: Tiny, tmp_path: Path, load_sd2: Load) -> None:
    path = save_single(tiny, tmp_path / "two.safetensors", dtype)
    assert (look_into(path).family, look_into(path).reason) == ("sd2", "")
    model = load_sd2(path)
    assert_holds(model, tiny, dtype)
    assert (model.family.name, model.latent.scale, model.noise.prediction) == ("sd2", 0.18215, "epsilon")


def test_a_ckpt_and_a_folder_hold_the_same_networks(tiny: Tiny, tmp_path: Path, load_sd2: Load) -> None:
    torch.save({"state_dict": single_tensors(tiny)}, tmp_path / "two.ckpt")
    assert family_of(Checkpoint("two.ckpt", tmp_path / "two.ckpt")).name == "sd2"
    assert_holds(load_sd2(tmp_path / "two.ckpt"), tiny)
    assert_holds(load_sd2(save_folder(tiny, tmp_path / "folder", "StableDiffusionPipeline")), tiny)


def test_a_folder_is_told_from_stable_diffusion_1_by_its_unet(tiny: Tiny, tmp_path: Path) -> None:
    folder = save_folder(tiny, tmp_path / "folder", "StableDiffusionPipeline")
    config = folder / "unet" / "config.json"
    for channels, what in ((4, "model"), (9, "inpainting model"), (5, "depth model")):
        content = json.loads(config.read_text()) | {"cross_attention_dim": 1024, "in_channels": channels}
        config.write_text(json.dumps(content))
        assert look_into(folder).what == f"a Stable Diffusion 2 {what}"
    assert look_into(folder).shown == "depth"


def test_an_inpainting_model_is_known_by_its_nine_channels(tmp_path: Path, load_sd2: Load) -> None:
    assert load_sd2(save_single(tiny_sd2(in_channels=9), tmp_path / "x.safetensors")).shown == "mask"


# ---- what the network predicts ----


def answering_with_the_opposite() -> Tiny:
    """A network whose mean answer is below A1111's threshold, like that of a v-prediction network."""
    tiny = tiny_sd2()
    with torch.no_grad():
        tiny.unet.conv_out.bias.fill_(-3.0)
    return tiny


@pytest.mark.parametrize("marks", [{}, {"parameterization": "v"}])
def test_v_prediction_is_seen_where_nobody_says_it(marks: dict[str, Any], tmp_path: Path, load_sd2: Load) -> None:
    tiny = answering_with_the_opposite()
    assert load_sd2(save_single(tiny, tmp_path / "x.safetensors")).noise.prediction == "v_prediction"
    (tmp_path / "x.json").write_text('{"prediction_type": "epsilon"}')
    assert load_sd2(tmp_path / "x.safetensors").noise.prediction == "epsilon"


V, EPS = "v_prediction", "epsilon"
SAID: dict[str, tuple[dict[str, Any], str, dict[str, str], list[str], str, bool]] = {
    # name: (JSON file beside it, yaml, metadata, marks in the file, prediction, zero terminal SNR)
    "nothing": ({}, "", {}, [], EPS, False),
    "JSON": ({"prediction_type": "v_prediction", "zero_terminal_snr": True, "notes": "x"}, "", {}, [], V, True),
    "JSON over all": (
        {"prediction_type": "epsilon", "zero_terminal_snr": False},
        "parameterization: v",
        {"modelspec.prediction_type": "v"},
        ["v_pred", "ztsnr"],
        EPS,
        False,
    ),
    "yaml": ({}, "parameterization: v", {}, [], V, False),
    "yaml over tensors": ({}, "parameterization: eps", {}, ["v_pred"], EPS, False),
    "yaml's zero": ({}, "zero_terminal_snr: true", {}, [], EPS, True),
    "SGM's yaml": (
        {},
        "denoiser_config: {params: {scaling_config: {target: sgm.modules.diffusionmodules.denoiser_scaling.VScaling}}}",
        {},
        [],
        V,
        False,
    ),
    "tensors": ({}, "", {}, ["v_pred", "ztsnr"], V, True),
    "one tensor": ({}, "", {}, ["v_pred"], V, False),
    "modelspec": ({}, "", {"modelspec.prediction_type": "v"}, [], V, False),
    "modelspec's epsilon": ({}, "", {"modelspec.prediction_type": "epsilon"}, [], EPS, False),
    "kohya": ({}, "", {"ss_v_parameterization": "True", "ss_zero_terminal_snr": "True"}, [], V, True),
}


@pytest.mark.parametrize("name", SAID)
def test_what_it_predicts_is_said_in_many_places(name: str, tiny: Tiny, tmp_path: Path, load_sd2: Load) -> None:
    beside, yaml, metadata, marks, prediction, is_zero = SAID[name]
    if beside:
        (tmp_path / "x.json").write_text(json.dumps(beside))
    if yaml:
        (tmp_path / "x.yaml").write_text(f"model: {{params: {{{yaml}}}}}")
    extra = {mark: torch.zeros(0) for mark in marks}
    noise = load_sd2(save_single(tiny, tmp_path / "x.safetensors", extra=extra, metadata=metadata)).noise
    assert (noise.prediction, noise.is_rescaled) == (prediction, is_zero)


def test_a_folder_has_it_in_its_defaults(tiny: Tiny, tmp_path: Path, load_sd2: Load) -> None:
    folder = save_folder(tiny, tmp_path / "folder", "StableDiffusionPipeline")
    (folder / "defaults.json").write_text('{"prediction_type": "v_prediction"}')
    assert load_sd2(folder).noise.prediction == "v_prediction"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"prediction_type": "noise"}', r"x\.json: prediction_type='noise': expected epsilon or v_prediction\. Cor"),
        ('{"prediction_type": 7}', r"x\.json: prediction_type=7: expected"),
        ('{"zero_terminal_snr": "yes"}', r"x\.json: zero_terminal_snr='yes': expected true or false"),
    ],
)
def test_a_word_that_means_nothing_is_told(content: str, said: str, tiny: Tiny, tmp_path: Path, load_sd2: Load) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(WebuiError, match=said):
        load_sd2(save_single(tiny, tmp_path / "x.safetensors"))


# ---- prompts and pictures ----


def encoded(model: StableDiffusion2, text: str, **options: Any) -> Conditioning:
    return model.encode_prompts([text], TextOptions(**options)).cond


def plain(tiny: Tiny, bpe: ClipBPE, text: str) -> Tensor:
    ids = [START, *bpe.encode(text), END]
    return tiny.texts[0](torch.tensor([[*ids, *[0] * (77 - len(ids))]])).last_hidden_state


def test_prompts_are_read_as_transformers_does_and_clip_skip_has_no_effect(
    tiny: Tiny, tmp_path: Path, load_sd2: Load, bpe: ClipBPE
) -> None:
    model = load_sd2(save_single(tiny, tmp_path / "x.safetensors"))
    torch.testing.assert_close(encoded(model, "a cat").tokens, plain(tiny, bpe, "a cat"))
    assert encoded(model, "a cat", clip_skip=2).tokens.equal(encoded(model, "a cat").tokens)


@pytest.mark.parametrize("kind", [StableDiffusionPipeline, StableDiffusionImg2ImgPipeline])
@pytest.mark.parametrize("is_v", [False, True])
def test_pictures_are_diffusers(
    kind: Any, is_v: bool, tiny: Tiny, tmp_path: Path, load_sd2: Load, bpe: ClipBPE
) -> None:
    prediction = V if is_v else EPS
    (tmp_path / "x.json").write_text(json.dumps({"prediction_type": prediction}))
    model = load_sd2(save_single(tiny, tmp_path / "x.safetensors"))
    sigmas = model.noise.uniform_sigmas(STEPS)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(4))
    is_redrawn = kind is StableDiffusionImg2ImgPipeline
    x, levels = (start + noise * sigmas[2], sigmas[2:]) if is_redrawn else (noise * sigmas[0], sigmas)
    both = Conditioning.joined([encoded(model, "a cat"), encoded(model, "dogs")])

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        positive, negative = model.predict(x, sigma, both, NOTHING).chunk(2)
        return negative + CFG * (positive - negative)

    *_, last = euler(denoise, x, levels, noise=None)
    scheduler = EulerDiscreteScheduler(
        **dict(tiny.scheduler) | {"timestep_spacing": "linspace", "steps_offset": 1, "prediction_type": prediction}
    )
    pipe = kind(
        vae=tiny.vae, text_encoder=tiny.texts[0], tokenizer=None, unet=tiny.unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    begin = {"image": start, "strength": 0.5, "generator": torch.Generator().manual_seed(3)} if is_redrawn else {
        "latents": noise.clone(), "height": 64, "width": 64,
    }  # fmt: skip
    theirs = pipe(
        prompt_embeds=plain(tiny, bpe, "a cat"), negative_prompt_embeds=plain(tiny, bpe, "dogs"), guidance_scale=CFG,
        sigmas=sigmas.tolist(), num_inference_steps=STEPS, output_type="latent", **begin,
    ).images  # fmt: skip
    # GroupNorm is less exact in the faster memory format.
    assert float((last.x - theirs).abs().max()) < 1e-3 * float(theirs.std())
