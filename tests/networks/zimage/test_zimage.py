"""Z-Image equals diffusers' pipeline on the same weights, from a folder and from split files."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from torch import Tensor

from modules.base.errors import WebuiError
from modules.base.events import Event, Failed, ImageDone, Stop
from modules.base.picture import Picture
from modules.clip.bpe import ClipBPE
from modules.networks.conditioning import NOTHING, Conditioning
from modules.networks.device import choose_placement
from modules.networks.families import family_of
from modules.networks.files.checkpoints import look_into
from modules.networks.files.headers import stamp_of
from modules.networks.files.listing import HashCache
from modules.networks.files.loras import LoraRequest
from modules.networks.lora.patch import Patch
from modules.networks.model import LoadTools, MissingVae, Model, TextOptions
from modules.networks.qwen3.beside import suited
from modules.networks.zimage.model import ZImage
from modules.processing.engine import create_engine
from modules.schema.catalog import Checkpoint
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from tests.networks.files.test_ggufs import write as write_gguf
from tests.tiny_zimage import pipeline, write_folder, write_split

CPU = choose_placement(use_cpu=True, precision="full")
PROMPT = "a red fox, (very:1.3) [quiet], 水彩"
READ = "a red fox, very quiet, 水彩"  # without the brackets


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("models") / "Tiny-Z-Image")


@pytest.fixture(scope="module")
def theirs() -> Any:
    return pipeline()


def load(checkpoint: Checkpoint, cache: Path, vae: Path | None = None) -> ZImage:
    model = family_of(checkpoint).load(checkpoint, LoadTools(CPU, ClipBPE(), HashCache(cache), vae))
    assert isinstance(model, ZImage)
    return model


@pytest.fixture(scope="module")
def model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ZImage:
    return load(Checkpoint(folder.name, folder), tmp_path_factory.mktemp("cache") / "hashes.json")


def test_a_folder_and_a_file_are_recognized(folder: Path, tmp_path: Path) -> None:
    file = write_split(folder, tmp_path)[0]
    assert look_into(folder)[:3] == ("a Z-Image model", "z-image", "")
    seen = look_into(file)
    assert (seen[:3], seen.lacks_text) == (("a Z-Image model", "z-image", ""), True)


def test_prompts_are_encoded_as_in_the_pipeline(model: ZImage, theirs: Any) -> None:
    cond = model.encode_prompts([PROMPT, "x"], TextOptions()).cond
    expected = theirs.encode_prompt([READ, "x"], do_classifier_free_guidance=False)[0]
    assert cond.mask is not None
    for row, mask, other in zip(cond.tokens, cond.mask.bool(), expected, strict=True):
        torch.testing.assert_close(row[mask], other, atol=1e-4, rtol=1e-4)


def test_a_literal_prompt_keeps_its_brackets_and_a_long_one_is_cut(model: ZImage, theirs: Any) -> None:
    literal = model.encode_prompts([PROMPT], replace(TextOptions(), emphasis="None")).cond
    expected = theirs.encode_prompt([PROMPT], do_classifier_free_guidance=False)[0][0]
    torch.testing.assert_close(literal.tokens[0], expected, atol=1e-4, rtol=1e-4)
    assert model.encode_prompts(["x" * 600], TextOptions()).cond.length == 512


def euler(model: Model, cond: Conditioning, noise: Tensor, times: list[float]) -> Tensor:
    """The flow's own rule, x_s = x_t + (s - t)·v with v = (x_t - x0) / t, over `Model.predict`."""
    x = noise
    for time, following in zip(times, [*times[1:], 0.0], strict=True):
        sigma = torch.tensor([time / (1 - time) if time < 1 else torch.inf])
        level = x if time == 1 else x / (1 - time)
        x0 = model.predict(level, sigma, cond, NOTHING)
        x = x + (following - time) * (x - x0) / time
    return x


def test_a_whole_picture_equals_the_pipelines(model: ZImage, theirs: Any) -> None:
    noise = torch.randn(1, 16, 8, 12, generator=torch.Generator().manual_seed(5))
    expected = theirs(
        PROMPT, height=64, width=96, num_inference_steps=4, guidance_scale=0.0, latents=noise.clone(),
        prompt_embeds=None, output_type="latent",
    ).images  # fmt: skip
    times = [float(sigma) for sigma in theirs.scheduler.sigmas[:-1]]
    cond = model.encode_prompts([PROMPT], replace(TextOptions(), emphasis="None")).cond
    found = euler(model, cond, noise, times)
    torch.testing.assert_close(found, expected, atol=1e-3 * float(expected.std()), rtol=0)
    pixels = theirs.vae.decode(expected / 0.3611 + 0.1159, return_dict=False)[0] / 2 + 0.5
    torch.testing.assert_close(model.decode(found), pixels.clamp(0, 1), atol=1e-3, rtol=0)


def test_guidance_of_a_batch_is_one_evaluation_of_the_prompt_and_its_negative(model: ZImage, theirs: Any) -> None:
    """Rows of unequal lengths do not see each other's padding."""
    x = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(6))
    sigma = torch.tensor([3.0, 0.5])
    rows = model.encode_prompts(["a fox", "a long winter night", "", "blurry"], TextOptions()).cond
    together = model.predict(x, sigma, rows, NOTHING)
    for row in range(4):
        own = model.encode_prompts([("a fox", "a long winter night", "", "blurry")[row]], TextOptions()).cond
        alone = model.predict(x[row % 2 : row % 2 + 1], sigma[row % 2 : row % 2 + 1], own, NOTHING)
        torch.testing.assert_close(together[row : row + 1], alone, atol=2e-4, rtol=1e-3)


def test_encoding_equals_the_autoencoders(model: ZImage, theirs: Any) -> None:
    pixels = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(7)) * 2 - 1
    expected = (theirs.vae.encode(pixels).latent_dist.mean - 0.1159) * 0.3611
    torch.testing.assert_close(model.encode(pixels).mean, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_split_files_are_the_folder(folder: Path, model: ZImage, tmp_path: Path, prefix: str) -> None:
    file, text, vae = write_split(folder, tmp_path, prefix)
    other = load(Checkpoint(file.name, file, text_encoders=(text,)), tmp_path / "hashes.json", vae)
    for name, part in model.parts.items():
        expected, found = part.state_dict(), other.parts[name].state_dict()
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[key], found[key]) for key in expected), name
    cond = other.encode_prompts(["a fox"], TextOptions()).cond
    assert torch.equal(cond.tokens, model.encode_prompts(["a fox"], TextOptions()).cond.tokens)
    assert other.latent == model.latent


def test_a_file_in_eight_bits_is_nearly_the_folder(folder: Path, model: ZImage, tmp_path: Path) -> None:
    """As published: 8-bit integers with a scale per row, the fused matrices too."""
    file, text, vae = write_split(folder, tmp_path)
    state = load_file(file)
    for key in [key for key in state if key.startswith("layers.") and state[key].ndim == 2]:
        scale = state[key].abs().amax(dim=1, keepdim=True) / 127
        state[key] = (state[key] / scale).round().to(torch.int8)
        state[key.replace(".weight", ".weight_scale")] = scale
    save_file(state, file)
    other = load(Checkpoint(file.name, file, text_encoders=(text,)), tmp_path / "hashes.json", vae)
    for name, tensor in model.transformer.state_dict().items():
        found = other.transformer.state_dict()[name]
        assert float((found - tensor).norm()) <= 0.01 * float(tensor.norm()), name


def test_a_gguf_file_is_nearly_the_folder(folder: Path, model: ZImage, tmp_path: Path) -> None:
    file, text, vae = write_split(folder, tmp_path)
    arrays = {key: tensor.numpy() for key, tensor in load_file(file).items()}
    blocks = write_gguf(tmp_path / "z_image.gguf", arrays, "Q8_0")
    other = load(Checkpoint(blocks.name, blocks, text_encoders=(text,)), tmp_path / "hashes.json", vae)
    for name, tensor in model.transformer.state_dict().items():
        found = other.transformer.state_dict()[name]
        assert float((found - tensor).norm()) <= 0.01 * float(tensor.norm()), name


def test_folders_of_other_weights_have_other_hashes(folder: Path, model: ZImage, tmp_path: Path) -> None:
    other = write_folder(tmp_path / folder.name, seed=4)
    assert (folder / "model_index.json").read_bytes() == (other / "model_index.json").read_bytes()
    assert model.hash != HashCache(tmp_path / "hashes.json").short(other)


def test_what_is_missing_beside_a_file_is_named(folder: Path, tmp_path: Path) -> None:
    file, text, vae = write_split(folder, tmp_path)
    row, cache = Checkpoint(file.name, file, text_encoders=(text,)), tmp_path / "hashes.json"
    with pytest.raises(MissingVae, match=r"z_image\.safetensors has no VAE inside"):
        load(row, cache)
    with pytest.raises(WebuiError, match=r"there is no Qwen3 in models/text_encoder"):
        load(replace(row, text_encoders=()), cache, vae)
    (text.parent / "tokenizer.json").unlink()
    with pytest.raises(WebuiError, match=r"there is no tokenizer\.json beside qwen\.safetensors"):
        load(row, cache, vae)
    (text.parent / "tokenizer.json").write_text("{}")
    with pytest.raises(WebuiError, match=r"The tokenizer in text_encoders cannot be read"):
        load(row, cache, vae)
    narrow = {key: tensor[..., :16] if tensor.ndim == 2 else tensor for key, tensor in load_file(text).items()}
    save_file({key: tensor.contiguous() for key, tensor in narrow.items()}, text)
    with pytest.raises(WebuiError, match=r"qwen\.safetensors does not fit z_image\.safetensors: .* 16 wide"):
        load(row, cache, vae)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("scheduler/scheduler_config.json", {"use_dynamic_shifting": True}, "noise levels of another kind"),
        ("scheduler/scheduler_config.json", {"shift": 0}, "noise levels of another kind"),
        ("vae/config.json", {"block_out_channels": [64, 32, 32, 32]}, "has the shape"),
        ("vae/config.json", {"latent_channels": 10**9}, "expected at most"),
    ],
)
def test_a_damaged_folder_is_one_sentence(
    folder: Path, tmp_path: Path, part: str, change: dict[str, Any], message: str
) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            own = tmp_path / "broken" / file.relative_to(folder)
            own.parent.mkdir(parents=True, exist_ok=True)
            own.write_bytes(file.read_bytes())
    config = tmp_path / "broken" / part
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(WebuiError, match=message):
        load(Checkpoint("broken", tmp_path / "broken"), tmp_path / "hashes.json")


def test_half_precision_is_bf16() -> None:
    half = replace(CPU, dtype=torch.float16, text_dtype=torch.float16, vae_dtype=torch.float16)
    assert (suited(half).dtype, suited(half).text_dtype, suited(half).vae_dtype) == (
        torch.bfloat16,
        torch.bfloat16,
        torch.float16,
    )
    assert suited(CPU) == CPU


# through the engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return create_engine("cpu", "full", str(tmp_path_factory.mktemp("engine")))


def run(engine: Any, folder: Path, request: GenerationRequest) -> list[Event]:
    resources = Resources(Checkpoint(folder.name, folder))
    events = list(engine.run(request, Settings(live_previews_enable=False), resources, lambda: Stop.NONE))
    assert not [event for event in events if isinstance(event, Failed)]
    return events


def pictures(events: list[Event]) -> list[Image.Image]:
    done = [event for event in events if isinstance(event, ImageDone)]
    return [Image.frombytes(each.mode, (each.width, each.height), each.pixels) for each in done]


SMALL: dict[str, Any] = {"prompt": "a fox", "seed": 5, "subseed": 1, "steps": 3, "cfg_scale": 2.0}


def test_txt2img_of_a_batch_gives_the_pictures_of_single_runs(engine: Any, folder: Path) -> None:
    batch = pictures(run(engine, folder, Txt2ImgRequest(**SMALL, width=96, height=64, batch_size=2)))
    alone = pictures(run(engine, folder, Txt2ImgRequest(**{**SMALL, "seed": 6}, width=96, height=64)))
    assert [picture.size for picture in batch] == [(96, 64), (96, 64)]
    assert np.abs(np.asarray(batch[1], int) - np.asarray(alone[0], int)).max() <= 2


def test_inpaint_keeps_every_byte_outside_the_mask(engine: Any, folder: Path) -> None:
    source = Image.effect_noise((96, 64), 80).convert("RGB")
    mask = Image.new("L", source.size)
    ImageDraw.Draw(mask).rectangle((32, 16, 63, 47), fill=255)
    request = Img2ImgRequest(
        **SMALL, init_images=(Picture.from_image(source),), mask=Picture.from_image(mask), mask_blur=0,
        denoising_strength=0.7, width=96, height=64, sampler_name="DPM++ 2M", scheduler="Simple",
    )  # fmt: skip
    made = np.asarray(pictures(run(engine, folder, request))[0])
    before, inside = np.asarray(source), np.asarray(mask) > 0
    assert (made[~inside] == before[~inside]).all()
    assert (made[inside] != before[inside]).mean() > 0.5


@pytest.mark.parametrize(
    ("layer", "place"),
    [
        ("transformer.layers.0.attention.to_out.0", "layers.0.attention.to_out.0"),
        ("diffusion_model.layers.1.attention.to_q", "layers.1.attention.to_q"),
        ("diffusion_model.layers.1.attention.out", "layers.1.attention.to_out.0"),
        ("lora_unet_context_refiner_0_feed_forward_w1", "context_refiner.0.feed_forward.w1"),
    ],
)
def test_a_lora_changes_its_layer_and_is_taken_out_to_the_bit(
    folder: Path, tmp_path: Path, layer: str, place: str
) -> None:
    model = load(Checkpoint(folder.name, folder), tmp_path / "hashes.json")
    weight: Tensor = model.transformer.get_parameter(f"{place}.weight")
    before, others = weight.clone(), model.transformer.state_dict()
    kept = {key: tensor.clone() for key, tensor in others.items() if key != f"{place}.weight"}
    rows, columns = before.shape
    up, down = torch.randn(rows, 2), torch.randn(2, columns)
    file = tmp_path / "style.safetensors"
    save_file({f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up}, file)
    patch = Patch(model)
    changed = patch.changed([LoraRequest("style", stamp_of(file), te=1.0, unet=0.5)])
    assert [each.name for each in changed.loras] == ["style"]
    torch.testing.assert_close(weight, before + 0.5 * up @ down)
    assert all(torch.equal(model.transformer.state_dict()[key], tensor) for key, tensor in kept.items())
    patch.changed([])
    assert torch.equal(weight, before)


def test_a_lora_of_another_family_is_refused(model: ZImage, tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    save_file({f"{layer}.lora_down.weight": torch.zeros(2, 768), f"{layer}.lora_up.weight": torch.zeros(320, 2)}, file)
    with pytest.raises(WebuiError, match=r"Stable Diffusion 1"):
        Patch(model).changed([LoraRequest("other", stamp_of(file), te=1.0, unet=1.0)])
