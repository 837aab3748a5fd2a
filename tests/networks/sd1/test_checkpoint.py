import hashlib
import json
import logging
import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from modules.base.errors import WebuiError
from modules.clip.bpe import ClipBPE
from modules.networks import model_cache
from modules.networks.device import Placement
from modules.networks.files.listing import HashCache
from modules.networks.ldm.building import load_vae
from modules.networks.ldm.layout import read_config
from modules.networks.ldm.loading import alphas_cumprod
from modules.networks.model_cache import ModelCache
from modules.networks.sd1.checkpoint import load_checkpoint
from modules.networks.sd1.model import StableDiffusion
from modules.schema.catalog import Checkpoint
from tests.tiny import write_tiny_checkpoint

Load = Callable[[Path], StableDiffusion]
Tensors = dict[str, Tensor]


@pytest.fixture
def load(tmp_path: Path, place: Placement, bpe: ClipBPE) -> Load:
    """Load a file or folder as the engine does."""
    hashes = HashCache(tmp_path / "hashes.json")
    return lambda path: load_checkpoint(Checkpoint(path.name, path), place, bpe, hashes)


def changed(tiny_file: Path, folder: Path, change: Callable[[Tensors], Tensors], name: str = "x.safetensors") -> Path:
    """A copy of the tiny checkpoint with other tensors."""
    file = folder / name
    shutil.copy(tiny_file.with_suffix(".yaml"), file.with_suffix(".yaml"))
    save_file(change(load_file(tiny_file)), file)
    return file


def parameters(sd: StableDiffusion) -> Tensors:
    parts = {"unet": sd.unet, "vae": sd.vae, "text_encoder": sd.text_encoder}
    return {f"{part}.{name}": tensor for part, model in parts.items() for name, tensor in model.state_dict().items()}


def assert_same_weights(ours: StableDiffusion, theirs: StableDiffusion) -> None:
    expected = parameters(theirs)
    assert parameters(ours).keys() == expected.keys()
    assert [name for name, tensor in parameters(ours).items() if not torch.equal(tensor, expected[name])] == []


def test_a_loaded_checkpoint_tells_what_it_is(tiny: StableDiffusion, tiny_file: Path) -> None:
    assert (tiny.family.name, tiny.name, tiny.noise.prediction) == ("sd1", "tiny", "epsilon")
    assert tiny.hash == hashlib.sha256(tiny_file.read_bytes()).hexdigest()[:10]
    assert (tiny.latent.cell, tiny.latent.channels, tiny.shown) == (8, 4, "")
    assert tiny.size == sum(tensor.numel() * 4 for tensor in parameters(tiny).values())
    models = (tiny.unet, tiny.vae, tiny.text_encoder)
    assert not any(model.training or parameter.requires_grad for model in models for parameter in model.parameters())


def test_weights_are_those_that_diffusers_own_converter_reads(
    tiny: StableDiffusion, tiny_file: Path, tmp_path: Path
) -> None:
    for part, model in (("unet", tiny.unet), ("vae", tiny.vae)):
        config = {key: value for key, value in model.config.items() if not key.startswith("_")}
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text(json.dumps(config | {"_class_name": type(model).__name__}))
    options = {"config": str(tmp_path), "local_files_only": True, "torch_dtype": torch.float32}
    unet = UNet2DConditionModel.from_single_file(str(tiny_file), subfolder="unet", **options)
    vae = AutoencoderKL.from_single_file(str(tiny_file), subfolder="vae", **options)
    for ours, theirs in ((tiny.unet, unet), (tiny.vae, vae)):
        expected = theirs.state_dict()
        assert ours.state_dict().keys() == expected.keys()
        assert [name for name, tensor in ours.state_dict().items() if not torch.equal(tensor, expected[name])] == []


def test_the_text_encoder_holds_the_files_tensors(tiny: StableDiffusion, tiny_file: Path) -> None:
    stored, prefix = load_file(tiny_file), "cond_stage_model.transformer.text_model."
    for name, tensor in tiny.text_encoder.state_dict().items():
        assert torch.equal(tensor, stored[prefix + name.removeprefix("text_model.")].float()), name


def test_loading_asks_no_network(tiny_file: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError(f"reached for the network: {args}")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert load(tiny_file).name == "tiny"


def test_convolutions_lie_channels_last_and_types_follow_the_place(
    tiny_file: Path, tmp_path: Path, bpe: ClipBPE
) -> None:
    place = Placement(torch.device("cpu"), torch.bfloat16, torch.float32, torch.float16)
    file = Checkpoint("tiny", tiny_file)
    sd = load_checkpoint(file, place, bpe, HashCache(tmp_path / "hashes.json"))
    assert (sd.unet.dtype, sd.text_encoder.dtype, sd.vae.dtype) == (torch.bfloat16, torch.float32, torch.float16)
    assert sd.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert sd.vae.decoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last)


def test_an_inpainting_checkpoint_is_known_by_its_nine_channels(tmp_path: Path, load: Load) -> None:
    sd = load(write_tiny_checkpoint(tmp_path / "x.safetensors", in_channels=9))
    assert (sd.family.name, sd.shown) == ("sd1", "mask")


def test_a_ckpt_holds_the_same_model(tiny: StableDiffusion, tiny_file: Path, tmp_path: Path, load: Load) -> None:
    shutil.copy(tiny_file.with_suffix(".yaml"), tmp_path / "x.yaml")
    torch.save({"state_dict": load_file(tiny_file), "global_step": 7}, tmp_path / "x.ckpt")
    assert_same_weights(load(tmp_path / "x.ckpt"), tiny)


def test_a_ckpt_from_before_zip_holds_the_same_model(
    tiny: StableDiffusion, tiny_file: Path, tmp_path: Path, load: Load
) -> None:
    shutil.copy(tiny_file.with_suffix(".yaml"), tmp_path / "x.yaml")
    torch.save(load_file(tiny_file), tmp_path / "x.ckpt", _use_new_zipfile_serialization=False)
    assert_same_weights(load(tmp_path / "x.ckpt"), tiny)


def test_an_old_merge_without_text_model_in_its_names_loads(
    tiny: StableDiffusion, tiny_file: Path, tmp_path: Path, load: Load
) -> None:
    old = changed(
        tiny_file,
        tmp_path,
        lambda t: {key.replace("transformer.text_model.", "transformer."): v for key, v in t.items()},
    )
    assert_same_weights(load(old), tiny)


@pytest.mark.parametrize("old_names", [False, True])
def test_a_diffusers_folder_holds_the_same_model(
    old_names: bool, tiny: StableDiffusion, tmp_path: Path, load: Load
) -> None:
    folder = diffusers_folder(tiny, tmp_path / "folder", old_names)
    sd = load(folder)
    assert (sd.name, sd.family.name, sd.noise.prediction) == ("folder", "sd1", "epsilon")
    assert_same_weights(sd, tiny)


def diffusers_folder(sd: StableDiffusion, folder: Path, old_names: bool) -> Path:
    """A folder as diffusers and transformers save it; with `old_names`, as they did before 2023."""
    for part, model in (("unet", sd.unet), ("vae", sd.vae), ("text_encoder", sd.text_encoder)):
        model.save_pretrained(folder / part)
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    if old_names:
        old = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}

        def old_name(key: str) -> str:
            for new, before in old.items():
                key = key.replace(new, before)
            return key

        vae = folder / "vae" / "diffusion_pytorch_model.safetensors"
        save_file({old_name(key): value for key, value in load_file(vae).items()}, vae)
        text = folder / "text_encoder" / "model.safetensors"
        torch.save(
            {f"text_model.{key.removeprefix('text_model.')}": value for key, value in load_file(text).items()},
            text.with_name("pytorch_model.bin"),
        )
        text.unlink()
    return folder


def test_a_vae_may_come_from_a_file_of_its_own(
    tiny: StableDiffusion, tiny_file: Path, tmp_path: Path, place: Placement, bpe: ClipBPE
) -> None:
    prefix = "first_stage_model."
    vae = changed(
        tiny_file,
        tmp_path,
        lambda t: {k.removeprefix(prefix): v for k, v in t.items() if k.startswith(prefix)},
        "vae.safetensors",
    )
    rest = changed(
        tiny_file, tmp_path, lambda t: {k: v for k, v in t.items() if not k.startswith(prefix)}, "rest.safetensors"
    )
    sd = load_checkpoint(Checkpoint("x", rest), place, bpe, HashCache(tmp_path / "h.json"), vae=vae)
    assert_same_weights(sd, tiny)
    own, loaded = tiny.vae.quant_conv, load_vae(tiny_file, place).quant_conv
    assert own is not None
    assert loaded is not None
    assert torch.equal(loaded.weight, own.weight)


def test_alphas_follow_the_schedule_of_sd1() -> None:
    alphas = alphas_cumprod(read_config("sd1", "scheduler"))
    assert (alphas.shape, alphas.dtype) == ((1000,), torch.float32)
    sigmas = ((1 - alphas) / alphas).sqrt()
    assert [round(float(sigma), 5) for sigma in (sigmas[0], sigmas[-1])] == [0.02917, 14.61464]


# ---- bad files ----


def without(part: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: value for key, value in tensors.items() if part not in key}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            without("model.diffusion_model.out.2.weight"),
            "x.safetensors lacks the tensor model.diffusion_model.out.2.weight. "
            "The file is incomplete; download it again or use another.",
        ),
        (
            without("final_layer_norm"),
            "x.safetensors lacks the tensor "
            "cond_stage_model.transformer.text_model.final_layer_norm.weight and 1 more. "
            "The file is incomplete; download it again or use another.",
        ),
        (without("first_stage_model."), "x.safetensors has no VAE inside. Use a complete checkpoint."),
        (
            without("cond_stage_model."),
            "x.safetensors has no text encoder inside. Put one into models/text_encoder, or use a complete checkpoint.",
        ),
        (
            lambda t: t | {"model.diffusion_model.out.0.bias": torch.zeros(7)},
            "x.safetensors: model.diffusion_model.out.0.bias has the shape [7], expected [32]. "
            "A .yaml or config.json beside it may belong to another model.",
        ),
        (
            lambda t: t | {"model.diffusion_model.out.0.bias": torch.zeros(32, dtype=torch.int8)},
            "x.safetensors is quantized (model.diffusion_model.out.0.bias is I8). Use the fp16 version.",
        ),
        (
            lambda t: {"lora_unet_mid_block.lora_down.weight": torch.zeros(2, 2)},
            "x.safetensors is a LoRA, not a checkpoint. Put it into models/Lora.",
        ),
    ],
)
def test_a_bad_checkpoint_is_told_in_one_sentence_with_the_cure(
    change: Callable[[Tensors], Tensors], said: str, tiny_file: Path, tmp_path: Path, load: Load
) -> None:
    with pytest.raises(WebuiError) as error:
        load(changed(tiny_file, tmp_path, change))
    assert (str(error.value), error.value.field) == (said, "sd_model_checkpoint")


def test_a_truncated_checkpoint_is_told_with_its_bytes(tiny_file: Path, tmp_path: Path, load: Load) -> None:
    content = tiny_file.read_bytes()
    (tmp_path / "x.safetensors").write_bytes(content[:2_000_000])
    said = rf"x\.safetensors is truncated: it has 2000000 bytes and should have {len(content)}\."
    with pytest.raises(WebuiError, match=said):
        load(tmp_path / "x.safetensors")


def test_a_checkpoint_with_bytes_behind_its_end_is_told(tiny_file: Path, tmp_path: Path, load: Load) -> None:
    (tmp_path / "x.safetensors").write_bytes(tiny_file.read_bytes() + b"more")
    with pytest.raises(WebuiError, match=r"x\.safetensors is damaged"):
        load(tmp_path / "x.safetensors")


def test_a_checkpoint_that_is_gone_is_told(tmp_path: Path, load: Load) -> None:
    with pytest.raises(WebuiError, match=r"gone\.safetensors is no longer there"):
        load(tmp_path / "gone.safetensors")


class Attack:
    """Runs a command if a pickle is read carelessly."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_in_it_is_refused_and_nothing_runs(zipped: bool, tmp_path: Path, load: Load) -> None:
    file, trace = tmp_path / "x.ckpt", tmp_path / "trace"
    torch.save({"state_dict": Attack(f"touch {trace}")}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WebuiError, match=r"x\.ckpt is a pickle that holds more than weights.*\.safetensors version"):
        load(file)
    assert not trace.exists()


@pytest.mark.parametrize("keep", [0, 1, 100, 200_000])
def test_a_truncated_ckpt_is_told(keep: int, tiny_file: Path, tmp_path: Path, load: Load) -> None:
    file = tmp_path / "x.ckpt"
    torch.save(load_file(tiny_file), file)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(WebuiError, match=r"x\.ckpt is (empty|damaged or truncated|a pickle)"):
        load(file)


def test_a_ckpt_without_weights_is_told(tmp_path: Path, load: Load) -> None:
    torch.save({"state_dict": {"step": 3}}, tmp_path / "x.ckpt")
    with pytest.raises(WebuiError, match=r"x\.ckpt holds no weights"):
        load(tmp_path / "x.ckpt")


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (
            '{"_class_name": "StableDiffusion3Pipeline"}',
            "is a Stable Diffusion 3 model, a family that is not supported yet",
        ),
        ('{"_class_name": "OtherPipeline"}', "is of no kind that is known here"),
        ("{broken", "model_index.json in folder cannot be read"),
    ],
)
def test_a_bad_diffusers_folder_is_told(
    index: str, said: str, tiny: StableDiffusion, tmp_path: Path, load: Load
) -> None:
    folder = diffusers_folder(tiny, tmp_path / "folder", old_names=False)
    (folder / "model_index.json").write_text(index)
    with pytest.raises(WebuiError, match=said):
        load(folder)


def test_a_diffusers_folder_without_weights_is_told(tiny: StableDiffusion, tmp_path: Path, load: Load) -> None:
    folder = diffusers_folder(tiny, tmp_path / "folder", old_names=False)
    shutil.rmtree(folder / "vae")
    with pytest.raises(WebuiError, match=r"folder lacks vae/config\.json"):
        load(folder)


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ({"beta_schedule": "squaredcos_cap_v2"}, "beta_schedule='squaredcos_cap_v2', expected linear or scaled_linear"),
        ({"prediction_type": "sample"}, "prediction_type='sample', expected epsilon or v_prediction"),
        ({"trained_betas": [0.1]}, r"trained_betas=\[0\.1\], expected None"),
    ],
)
def test_noise_levels_that_would_be_passed_over_are_refused(
    stored: dict[str, Any], said: str, tiny: StableDiffusion, tmp_path: Path, load: Load
) -> None:
    folder = diffusers_folder(tiny, tmp_path / "folder", old_names=False)
    (folder / "scheduler").mkdir(exist_ok=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(stored))
    with pytest.raises(WebuiError, match=rf"folder: scheduler_config\.json has {said}"):
        load(folder)


def test_early_checkpoints_with_training_callbacks_in_them_load(
    tiny: StableDiffusion, tiny_file: Path, tmp_path: Path, load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    """Stable Diffusion 1.4's own file names a class of pytorch_lightning; neither is it installed, nor does anything of
    it run."""
    shutil.copy(tiny_file.with_suffix(".yaml"), tmp_path / "x.yaml")
    module = "pytorch_lightning.callbacks.model_checkpoint"
    callback = type("ModelCheckpoint", (), {"__module__": module})
    import sys
    import types

    with pytest.MonkeyPatch.context() as patch:
        for end in range(1, 4):
            name = ".".join(module.split(".")[:end])
            patch.setitem(sys.modules, name, types.ModuleType(name))
        vars(sys.modules[module])["ModelCheckpoint"] = callback
        torch.save({"state_dict": load_file(tiny_file), "callbacks": {callback: {"best": 1.0}}}, tmp_path / "x.ckpt")
    with caplog.at_level(logging.WARNING):
        assert_same_weights(load(tmp_path / "x.ckpt"), tiny)
    assert caplog.text == ""


def test_weights_that_are_no_numbers_are_told_by_name(tiny_file: Path, tmp_path: Path, load: Load) -> None:
    key = "model.diffusion_model.out.2.weight"

    def broken(content: Tensors) -> Tensors:
        content[key].view(-1)[-1] = float("nan")
        return content

    with pytest.raises(WebuiError, match=re.escape(f"is damaged: {key} contains NaN or infinite numbers")):
        load(changed(tiny_file, tmp_path, broken))


def test_weights_quantized_in_an_unknown_format_are_refused(tiny_file: Path, tmp_path: Path, load: Load) -> None:
    layer = "model.diffusion_model.out.2"
    notes = torch.tensor(list(b'{"format": "nvfp4"}'), dtype=torch.uint8)
    more = {f"{layer}.weight_scale": torch.ones(1), f"{layer}.comfy_quant": notes}
    with pytest.raises(WebuiError, match=r"x\.safetensors is quantized in a format that is not known here"):
        load(changed(tiny_file, tmp_path, lambda content: content | more))


@pytest.fixture
def cache(place: Placement, bpe: ClipBPE, tmp_path: Path) -> ModelCache:
    return ModelCache(place, bpe, HashCache(tmp_path / "hashes.json"))


def test_nothing_is_let_go_for_a_file_whose_header_shows_that_it_cannot_be_loaded(
    cache: ModelCache, tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_its_end(content: Tensors) -> Tensors:
        return {key: tensor for key, tensor in content.items() if key != "model.diffusion_model.out.2.weight"}

    good, bad = (Checkpoint(path.name, path) for path in (tiny_file, changed(tiny_file, tmp_path, without_its_end)))
    cache.take(good)
    monkeypatch.setattr(model_cache, "available_bytes", lambda device: 0)
    with pytest.raises(WebuiError, match=r"out\.2\.weight"):
        cache.take(bad)
    assert good in cache


def test_a_checkpoint_larger_than_the_memory_is_told_before_it_is_read(
    cache: ModelCache, tiny_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_cache, "available_bytes", lambda device: 1000)
    with pytest.raises(WebuiError, match=r"big needs 0\.0 GB of memory, 0\.0 GB can be had"):
        cache.take(Checkpoint("big", tiny_file))
    assert len(cache) == 0
