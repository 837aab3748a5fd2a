"""VAEs from separate files: chosen by the setting, named in the infotext, and removed without a trace."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file
from safetensors.torch import load_file
from safetensors.torch import save_file as save_torch

from modules.base.events import EngineState, Event, Failed, ImageDone
from modules.base.picture import Picture
from modules.clip.bpe import ClipBPE
from modules.infotext.parse import parse
from modules.infotext.recipe import recipe
from modules.networks.device import Placement
from modules.networks.files.listing import HashCache, find_vaes
from modules.networks.ldm.building import load_vae
from modules.networks.sd1.checkpoint import load_checkpoint
from modules.processing.engine import create_engine
from modules.processing.rerun import rerun
from modules.schema.catalog import Catalog, Checkpoint
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.schema.settings import Settings
from tests.admitted import Folders
from tests.tiny import tiny_tensors, write_tiny_checkpoint

PREFIX = "first_stage_model."
PLACE = Placement(torch.device("cpu"), torch.float32, torch.float32, torch.float32)
SMALL: dict[str, Any] = {
    "prompt": "a cat", "width": 64, "height": 64, "steps": 1, "seed": 7, "subseed": 1, "sampler_name": "Euler",
}  # fmt: skip
SOURCE = Picture.from_image(Image.new("RGB", (64, 64), "teal"))

Run = Callable[..., list[Event | EngineState]]


def write_vae(path: Path, change: Callable[[str, Any], Any] = lambda key, value: value) -> Path:
    """The tiny checkpoint's VAE in a separate file, each tensor transformed by `change`."""
    own = {key.removeprefix(PREFIX): value for key, value in tiny_tensors().items() if key.startswith(PREFIX)}
    path.parent.mkdir(exist_ok=True)
    save_file({key: np.ascontiguousarray(change(key, value)) for key, value in own.items()}, path)
    return path


def darker(key: str, value: Any) -> Any:
    """Other pictures for the same latents, and other latents for the same pictures."""
    return value * np.float16(0.8) if key in ("decoder.conv_out.weight", "encoder.conv_out.weight") else value


def wider(key: str, value: Any) -> Any:
    """Latents of 16 channels."""
    part = key.rpartition(".")[0]
    if part in ("encoder.conv_out", "quant_conv", "post_quant_conv"):
        value = np.repeat(value, 4, axis=0)
    if key in ("quant_conv.weight", "post_quant_conv.weight", "decoder.conv_in.weight"):
        value = np.repeat(value, 4, axis=1)
    return value


class Studio:
    """An engine, its checkpoint, and a folder of VAEs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.vaes = folder, folder / "VAE"
        self.checkpoint = Checkpoint("tiny.safetensors", write_tiny_checkpoint(folder / "tiny.safetensors"))
        write_vae(self.vaes / "same.safetensors")
        self.dark = write_vae(self.vaes / "dark.safetensors", darker)
        write_vae(self.vaes / "wide.safetensors", wider)
        save_file({"lora_unet_x.lora_up.weight": np.zeros((2, 2), np.float32)}, self.vaes / "lora.safetensors")
        theirs = {f"encoder.down_blocks.{name}.conv1.weight": (8, 8, 3, 3)
                  for name in ("0.resnets.0", "1.resnets.0", "1.resnets.1")}  # fmt: skip
        theirs["decoder.conv_in.weight"] = (8, 4, 3, 3)
        save_file({key: np.zeros(shape, np.float32) for key, shape in theirs.items()}, self.vaes / "theirs.safetensors")
        (self.vaes / "short.safetensors").write_bytes(self.dark.read_bytes()[:-8])
        self.hashes = HashCache(folder / "cache" / "hashes.json")
        self.folders = Folders(folder / "cache", (self.folder,), vaes=(self.vaes,))
        self.engine = create_engine("cpu", "full", str(folder / "cache"))

    def run(self, request: GenerationRequest, sd_vae: str = "Automatic", **settings: Any) -> list[Event | EngineState]:
        options = Settings(live_previews_enable=False, sd_vae=sd_vae, **settings)
        return list(self.folders.run(self.engine, request, options, self.checkpoint))

    def done(self, request: GenerationRequest, sd_vae: str = "Automatic", **settings: Any) -> ImageDone:
        events = self.run(request, sd_vae, **settings)
        found = [event for event in events if isinstance(event, ImageDone)]
        assert len(found) == 1, [event for event in events if isinstance(event, Failed)]
        return found[0]

    def catalog(self) -> Catalog:
        return Catalog((self.checkpoint,), vaes=find_vaes([self.vaes], [self.folder], self.hashes))


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(tmp_path_factory.mktemp("studio"))


TEXT, IMAGE = Txt2ImgRequest(**SMALL), Img2ImgRequest(**SMALL, init_images=(SOURCE,), denoising_strength=0.1)


@pytest.mark.parametrize("request_", [TEXT, IMAGE], ids=["txt2img", "img2img"])
def test_a_vae_acts_while_it_is_chosen_and_leaves_no_bit_behind(studio: Studio, request_: GenerationRequest) -> None:
    own = studio.done(request_)
    dark = studio.done(request_, "dark.safetensors")
    assert dark.pixels != own.pixels
    assert studio.done(request_, "same").pixels == own.pixels
    assert studio.done(request_, "dark").pixels == dark.pixels
    for none in ("None", "Automatic"):
        assert studio.done(request_, none).pixels == own.pixels


def test_the_source_is_encoded_anew_for_another_vae(studio: Studio) -> None:
    """Both have the same decoder: if the cached latents were used, the pictures would be the same too."""
    write_vae(
        studio.vaes / "encoder.safetensors",
        lambda key, value: value * np.float16(0.5) if key == "encoder.conv_out.weight" else value,
    )
    assert studio.done(IMAGE).pixels != studio.done(IMAGE, "encoder").pixels


def test_the_infotext_names_the_file_as_a1111_does(studio: Studio) -> None:
    own, dark = (parse(studio.done(TEXT, name).infotext).pairs for name in ("None", "dark"))
    assert "VAE" not in own
    assert "VAE hash" not in own
    assert (dark["VAE"], dark["VAE hash"]) == ("dark.safetensors", studio.hashes.sha256(studio.dark)[:10])
    keys = list(dark)
    assert keys[keys.index("Model") + 1 :][:2] == ["VAE hash", "VAE"]


def test_an_override_of_the_request_chooses_it(studio: Studio) -> None:
    chosen = TEXT.model_copy(update={"override_settings": {"sd_vae": "dark"}})
    assert studio.done(chosen).pixels == studio.done(TEXT, "dark").pixels


def test_automatic_takes_the_file_of_the_checkpoints_name(studio: Studio) -> None:
    own, dark = studio.done(TEXT, "None"), studio.done(TEXT, "dark")
    beside = studio.folder / "tiny.vae.safetensors"
    for path in (beside, studio.vaes / beside.name):
        path.write_bytes(studio.dark.read_bytes())
        try:
            found = studio.done(TEXT)
            assert found.pixels == dark.pixels
            assert parse(found.infotext).pairs["VAE"] == beside.name
            assert studio.done(TEXT, "None").pixels == own.pixels
        finally:
            path.unlink()
    assert studio.done(TEXT).pixels == own.pixels


@pytest.mark.parametrize("ending", [".vae.pt", ".vae.ckpt"])
@pytest.mark.parametrize("is_old", [False, True])
def test_automatic_takes_a_pickle_of_the_checkpoints_name(studio: Studio, ending: str, is_old: bool) -> None:
    beside = studio.folder / f"tiny{ending}"
    torch.save({"state_dict": load_file(studio.dark)}, beside, _use_new_zipfile_serialization=not is_old)
    try:
        found = studio.done(TEXT)
        assert found.pixels == studio.done(TEXT, "dark").pixels
        assert parse(found.infotext).pairs["VAE"] == beside.name
    finally:
        beside.unlink()


@pytest.mark.parametrize("in_folder", [True, False])
@pytest.mark.parametrize("old_names", [True, False])
def test_a_vae_may_have_diffusers_layout(studio: Studio, in_folder: bool, old_names: bool) -> None:
    """Written by diffusers itself; saved alone, its shapes replace its config.json."""
    vae = load_vae(studio.dark, PLACE)
    folder = studio.vaes / "ours"
    vae.save_pretrained(folder)
    weights = folder / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    if old_names:
        renamed = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        for new, old in renamed.items():
            tensors = {key.replace(f".{new}.", f".{old}."): value for key, value in tensors.items()}
        save_torch(tensors, weights)
    if not in_folder:
        weights.rename(studio.vaes / "ours.safetensors")
    try:
        assert ("ours" if in_folder else "ours.safetensors") in [vae.name for vae in studio.catalog().vaes]
        assert studio.done(TEXT, "ours").pixels == studio.done(TEXT, "dark").pixels
    finally:
        shutil.rmtree(folder)
        (studio.vaes / "ours.safetensors").unlink(missing_ok=True)


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_checkpoint_without_a_vae_takes_the_one_that_is_chosen(
    studio: Studio, is_folder: bool, tmp_path: Path
) -> None:
    if is_folder:
        model = load_checkpoint(studio.checkpoint, PLACE, ClipBPE(), studio.hashes)
        path = tmp_path / "bare"
        model.unet.save_pretrained(path / "unet")
        model.text_encoder.save_pretrained(path / "text_encoder")
        (path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    else:
        path = write_tiny_checkpoint(tmp_path / "bare.safetensors")
        save_torch({key: value for key, value in load_file(path).items() if not key.startswith(PREFIX)}, path)
    bare = Checkpoint(path.name, path)
    folders = Folders(tmp_path / "cache", (tmp_path,), vaes=(studio.vaes,))
    engine = create_engine("cpu", "full", str(tmp_path / "cache"))

    def last(sd_vae: str) -> ImageDone | Failed:
        options = Settings(live_previews_enable=False, sd_vae=sd_vae)
        events = list(folders.run(engine, TEXT, options, bare))
        return next(event for event in events if isinstance(event, ImageDone | Failed))

    states = list(engine.load(bare, Settings(), folders.catalog().vae("dark")))
    assert states[-1].state == "ready"
    for name in ("dark", "same", "dark"):
        made = last(name)
        assert isinstance(made, ImageDone)
        assert made.pixels == studio.done(TEXT, name).pixels
        assert parse(made.infotext).pairs["VAE"] == f"{name}.safetensors"
    for name in ("None", "Automatic"):
        failed = last(name)
        assert isinstance(failed, Failed)
        assert "VAE" in failed.message
        assert "settings" in f"{failed.message} {failed.hint}"


def test_tiling_ends_with_the_job_for_a_vae_too(studio: Studio) -> None:
    before = studio.done(TEXT, "dark").pixels
    assert studio.done(TEXT, "dark", tiling=True).pixels != before
    assert studio.done(TEXT, "dark").pixels == before


def test_a_picture_is_made_again_with_its_vae(studio: Studio) -> None:
    done = studio.done(TEXT, "dark")
    picture = Picture.from_image(Image.frombytes("RGB", (done.width, done.height), done.pixels))
    made = recipe(picture, done.infotext, studio.catalog(), lambda sha256: None)
    report = rerun(studio.engine, made, studio.folders.resources(studio.catalog(), made), picture)
    assert (made.settings.sd_vae, report.sentences()) == ("dark.safetensors", ["identical"])
    without = replace(studio.catalog(), vaes=())
    made = recipe(picture, done.infotext, without, lambda sha256: None)
    sentence = "It was decoded with the VAE 'dark.safetensors', but here with the checkpoint's own."
    assert sentence in rerun(studio.engine, made, studio.folders.resources(without, made), picture).causes


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("darg.safetensors", "no VAE named 'darg.safetensors'; did you mean 'dark.safetensors'?"),
        ("lora", "lora.safetensors is a LoRA, not a VAE."),
        (
            "wide",
            "The VAE wide.safetensors does not fit the checkpoint tiny: its latents have 16 channels and cells of 8 "
            "pixels, expected 4 and 8.",
        ),
        ("theirs", "theirs.safetensors has a layout that cannot be loaded: its VAE's levels differ in their blocks"),
        ("short", "short.safetensors is truncated"),
    ],
)
def test_one_that_cannot_be_used_gets_a_sentence(studio: Studio, name: str, sentence: str) -> None:
    before = studio.done(TEXT).pixels
    failed = studio.run(TEXT, name)[-1]
    assert isinstance(failed, Failed)
    assert (failed.field, failed.message[: len(sentence)]) == ("sd_vae", sentence)
    assert studio.done(TEXT).pixels == before
