"""LoRAs in the prompt: pictures as with a checkpoint merged by hand, and as before once they are removed."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from modules.base.events import Failed, Finished, ImageDone, Warned
from modules.infotext.parse import parse
from modules.networks.files.listing import HashCache
from modules.processing.engine import create_engine
from modules.schema.catalog import Checkpoint
from modules.schema.request import Txt2ImgRequest
from modules.schema.settings import EXACT, Settings
from tests.admitted import Folders
from tests.tiny import write_tiny_checkpoint

SMALL: dict[str, Any] = {"width": 64, "height": 64, "steps": 2, "seed": 7, "subseed": 1}

# kohya's name -> the checkpoint's own, as in single files
LAYERS = {
    "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v":
        "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_v.weight",
    "lora_unet_down_blocks_0_resnets_0_conv1": "model.diffusion_model.input_blocks.1.0.in_layers.2.weight",
    "lora_te_text_model_encoder_layers_0_mlp_fc1":
        "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight",
}  # fmt: skip
RANK, ALPHA = 2, 1.0


class Shop:
    """An engine, a checkpoint, and LoRAs named ink and wash; ink has the alias India."""

    def __init__(self, folder: Path) -> None:
        self.path = write_tiny_checkpoint(folder / "tiny.safetensors")
        self.loras = folder / "Lora"
        (self.loras / "deep").mkdir(parents=True)
        self.originals = load_file(self.path)
        self.factors = {name: factors(self.originals, seed) for name, seed in (("ink", 1), ("wash", 2))}
        save_file(kohya(self.factors["ink"]), self.loras / "ink.safetensors", {"ss_output_name": "India"})
        save_file(kohya(self.factors["wash"]), self.loras / "deep" / "wash.safetensors")
        self.cache = folder / "cache"
        self.folders = Folders(self.cache, loras=(self.loras,))
        self.engine = create_engine("cpu", "full", str(self.cache))

    def events(
        self, prompt: str = "a cat", path: Path | None = None, settings: Settings | None = None, **more: Any
    ) -> list[Any]:
        path = path or self.path
        request = Txt2ImgRequest(prompt=prompt, **{**SMALL, **more})
        return list(self.folders.run(self.engine, request, settings or Settings(), Checkpoint(path.stem, path)))

    def picture(self, prompt: str = "a cat", path: Path | None = None, **more: Any) -> ImageDone:
        events = self.events(prompt, path, **more)
        (done,) = (event for event in events if isinstance(event, ImageDone))
        return done

    def merged(self, path: Path, strengths: dict[str, tuple[float, float]]) -> Path:
        """A checkpoint with LoRAs in its weights: name -> (text encoder's, UNet's)."""
        state = {key: tensor.float() for key, tensor in self.originals.items()}
        for name, (te, unet) in strengths.items():
            for layer, (up, down) in self.factors[name].items():
                strength = te if layer.startswith("lora_te") else unet
                state[LAYERS[layer]] += strength * ALPHA / RANK * torch.einsum("or,r...->o...", up, down)
        save_file(state, path)
        path.with_suffix(".yaml").write_bytes(self.path.with_suffix(".yaml").read_bytes())
        return path


def factors(originals: dict[str, Tensor], seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    shapes = {layer: originals[key].shape for layer, key in LAYERS.items()}
    return {
        layer: (torch.randn(shape[0], RANK, generator=draw), 0.2 * torch.randn(RANK, *shape[1:], generator=draw))
        for layer, shape in shapes.items()
    }


def kohya(layers: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for layer, (up, down) in layers.items():
        tensors[f"{layer}.lora_up.weight"] = up[:, :, None, None].clone() if down.ndim == 4 else up
        tensors[f"{layer}.lora_down.weight"] = down
        tensors[f"{layer}.alpha"] = torch.tensor(ALPHA)
    return tensors


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))


def apart(one: ImageDone, other: ImageDone) -> int:
    first, second = (np.frombuffer(done.pixels, np.uint8).astype(int) for done in (one, other))
    return int(np.abs(first - second).max())


@pytest.mark.parametrize(
    ("tags", "strengths"),
    [
        ("<lora:ink:0.7>", {"ink": (0.7, 0.7)}),
        ("<lora:ink:0.5:1.2>", {"ink": (0.5, 1.2)}),
        ("<lora:ink:te=0:unet=-1>", {"ink": (0.0, -1.0)}),
        ("<lora:India:1> <lyco:wash:0.3>", {"ink": (1.0, 1.0), "wash": (0.3, 0.3)}),
    ],
)
def test_the_picture_is_that_of_a_checkpoint_merged_by_hand(
    tags: str, strengths: dict[str, tuple[float, float]], shop: Shop, tmp_path: Path
) -> None:
    plain = shop.picture()
    with_loras = shop.picture(f"a cat{tags}")
    by_hand = shop.picture(path=shop.merged(tmp_path / "merged.safetensors", strengths))
    assert apart(with_loras, by_hand) <= 1  # sums are computed in another order
    assert apart(with_loras, plain) > 8
    assert shop.picture().pixels == plain.pixels


def test_one_after_the_other_is_as_if_alone(shop: Shop) -> None:
    requested = ["a <lora:ink:1>", "a <lora:ink:0.5>", "a <lora:wash:1>", "a", "a <lora:ink:1><lora:wash:1>"]
    first = {prompt: shop.picture(prompt).pixels for prompt in requested}
    assert len(set(first.values())) == len(requested)
    for prompt in [*reversed(requested), *requested]:
        assert shop.picture(prompt).pixels == first[prompt], prompt


def test_a_text_encoders_lora_makes_the_same_words_anew(shop: Shop) -> None:
    """Encoded prompts are cached, and must not be reused for another LoRA."""
    before = shop.picture("a fox").pixels
    assert shop.picture("a fox<lora:ink:1:0>").pixels != before
    assert shop.picture("a fox").pixels == before


def test_a_file_that_was_exchanged_counts_at_once(shop: Shop) -> None:
    path = shop.loras / "new.safetensors"
    save_file(kohya(shop.factors["ink"]), path)
    first = shop.picture("a <lora:new:1>").pixels
    save_file(kohya(shop.factors["wash"]), path)
    os.utime(path, ns=(1, 1))
    assert shop.picture("a <lora:new:1>").pixels not in (first, shop.picture("a").pixels)
    path.unlink()
    assert isinstance(shop.events("a <lora:new:1>")[-1], Failed)


def test_the_infotext_names_them_with_their_hashes(shop: Shop) -> None:
    said = parse(shop.picture("a cat <lora:India:0.5> <lora:wash:1:0.2>").infotext)
    digests = [HashCache(shop.cache / "hashes.json").known_tensors(path)[:12] for path in
               (shop.loras / "ink.safetensors", shop.loras / "deep" / "wash.safetensors")]  # fmt: skip
    assert said.prompt == "a cat <lora:India:0.5> <lora:wash:1:0.2>"
    assert said.pairs["Lora hashes"] == f"India: {digests[0]}, wash: {digests[1]}"
    assert [len(digest) for digest in digests] == [12, 12]
    assert "Lora hashes" not in shop.picture("a cat").infotext
    exact = shop.picture("a cat <lora:wash:1>\n# a note", override_settings={"compatibility": EXACT})
    assert parse(exact.infotext).prompt.strip() == "a cat <lora:wash:1>"


def test_the_second_pass_has_those_of_its_own_prompt(shop: Shop) -> None:
    def enlarged(prompt: str, hr_prompt: str = "") -> bytes:
        hires: dict[str, Any] = {"enable_hr": True, "hr_scale": 1.0, "hr_upscaler": "Latent", "denoising_strength": 0.7}
        return shop.picture(prompt, hr_prompt=hr_prompt, **hires).pixels

    both = enlarged("a <lora:ink:1>")
    assert both == enlarged("a <lora:ink:1>", "a <lora:ink:1>")
    assert len({both, enlarged("a <lora:ink:1>", "a"), enlarged("a", "a <lora:ink:1>"), enlarged("a")}) == 4


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("a <lora:inc:1>", "prompt: there is no LoRA 'inc'; did you mean 'ink'?"),
        ("a <lora:ink:much>", "prompt: weight 'much' of <lora:ink> must be a number such as 0.8."),
        ("a <lora:ink:1:1:0>", "prompt: rank 0 of <lora:ink> must be at least 1."),
    ],
)
def test_a_tag_that_means_nothing_fails_the_job_in_a_sentence(prompt: str, message: str, shop: Shop) -> None:
    failed = shop.events(prompt)[-1]
    assert isinstance(failed, Failed)
    assert (failed.message, failed.field) == (message, "prompt")


def test_under_a1111_exact_a_picture_is_made_without_a_lora_that_is_not_here(shop: Shop) -> None:
    plain, without = (
        shop.events(prompt, settings=Settings(compatibility=EXACT)) for prompt in ("a ", "a <lora:inc:1>")
    )
    warned = [event.message for event in without if isinstance(event, Warned)]
    assert warned == ["prompt: there is no LoRA 'inc'; did you mean 'ink'? The picture is made without it."]
    [one], [other] = ([event for event in events if isinstance(event, ImageDone)] for events in (plain, without))
    assert one.pixels == other.pixels
    assert "Lora hashes" not in other.infotext


@pytest.mark.parametrize(
    ("prompt", "more", "expected"),
    [
        ("a <hypernet:x:1>", {}, ["<hypernet:x>"]),
        ("a\n# <hypernet:x:1>\nb", {}, []),
        ("a # <hypernet:x:1>", {}, []),
        ("a", {"hr_prompt": "b <hypernet:y:1>"}, []),
        ("a", {"hr_prompt": "b <hypernet:y:1>", "enable_hr": True, "hr_scale": 1.0}, ["<hypernet:y>"]),
        ("a", {"hr_prompt": "b # <hypernet:y:1>", "enable_hr": True, "hr_scale": 1.0}, []),
    ],
)
def test_only_tags_that_are_read_are_warned_of(
    prompt: str, more: dict[str, Any], expected: list[str], shop: Shop
) -> None:
    events = shop.events(prompt, **more)
    warned = [event.message for event in events if isinstance(event, Warned)]
    assert [sentence.split(" has no effect")[0] for sentence in warned] == expected
    assert isinstance(events[-1], Finished)


def test_the_hires_checkpoint_of_a_pass_that_is_off_is_not_looked_for(shop: Shop) -> None:
    assert isinstance(shop.events("a", hr_checkpoint_name="gone")[-1], Finished)


@pytest.mark.parametrize("content", [*(b"\x10\0\0\0\0\0\0"[:size] for size in range(8)), b"<html>", b"PK", b"{}"])
def test_a_file_that_is_none_fails_the_job_in_a_sentence(content: bytes, shop: Shop) -> None:
    (shop.loras / "none.safetensors").write_bytes(content)
    failed = shop.events("a <lora:none:1>")[-1]
    assert isinstance(failed, Failed)
    assert failed.message.startswith("prompt: the LoRA 'none': none.safetensors is ")
    assert failed.field == "prompt"


ONES = ",".join("1" * 25)


@pytest.mark.parametrize(
    ("argument", "same"),
    [
        ("lbw=NONE", "0"),
        ("lbw=all", "1"),
        ("lbw=ALL0.5", "0.5"),
        (f"lbw=0,{ONES}", "0:1"),
        ("lbw=1" + ",0" * 16, "1:0"),
        ("lbw=0.5" + ",0" * 25, "0.5:0"),
        ("start=3", "1:0"),
        ("stop=0", "1:0"),
        ("step=0-3", "1"),
        ("start=0", "1"),
    ],
)
def test_blocks_are_weighed_and_steps_chosen(argument: str, same: str, shop: Shop) -> None:
    found = shop.picture(f"a cat<lora:ink:1:{argument}>", steps=3)
    assert found.pixels == shop.picture(f"a cat<lora:ink:{same}>", steps=3).pixels


def test_a_lora_acts_in_its_steps_alone(shop: Shop) -> None:
    """Of three steps, each choice produces a different picture, twice the same one, and none leaves a trace."""
    plain = shop.picture(steps=3).pixels
    choices = ("start=1", "start=2", "stop=1", "stop=2", "step=1-2", "start=0", "stop=0")
    made: list[bytes] = []
    for _ in range(2):
        made = [shop.picture(f"a cat<lora:ink:1:{choice}>", steps=3, n_iter=1).pixels for choice in choices]
        assert len(set(made)) == len(choices)
        assert shop.picture(steps=3).pixels == plain
    both = shop.events("a cat<lora:ink:1:start=1>", steps=3, n_iter=2, seed=7)
    assert next(event.pixels for event in both if isinstance(event, ImageDone)) == made[0]


@pytest.mark.parametrize("argument", ["lbw=SOME", "lbw=1,2", "lbw=nan" + ",1" * 16, "start=soon", "step=5", "x=1"])
def test_an_argument_that_means_nothing_is_told(argument: str, shop: Shop) -> None:
    told = [event.message for event in shop.events(f"a <lora:ink:1:{argument}>") if isinstance(event, Warned)]
    assert told == [f"{argument[:60]!r} in <lora:ink> has no effect: it is unknown."]


def test_layers_without_effect_are_told_once(shop: Shop) -> None:
    layers = kohya(shop.factors["ink"]) | {
        f"lora_unet_none.lora_{role}.weight": torch.ones(1, 1) for role in ("up", "down")
    }
    save_file(layers, shop.loras / "odd.safetensors")
    for _ in range(2):
        told = [event.message for event in shop.events("a <lora:odd:1>", n_iter=2) if isinstance(event, Warned)]
        assert len(told) == 1
        assert told[0].startswith("1 of the 4 layers of the LoRA 'odd' have no effect")


def test_an_embedding_inside_a_lora_is_a_word_where_the_lora_is_named(shop: Shop) -> None:
    word = {"bundle_emb.vixen.string_to_param.*": 3 * torch.randn(2, 16, generator=torch.Generator().manual_seed(3))}
    save_file(kohya(shop.factors["ink"]) | word, shop.loras / "bundle.safetensors")
    plain = [shop.picture(f"a vixen <lora:{name}:1>") for name in ("ink", "bundle")]
    assert apart(*plain) > 1
    assert shop.picture("a cat <lora:bundle:1>").pixels == shop.picture("a cat <lora:ink:1>").pixels
    assert "TI hashes" not in plain[1].infotext
    told = [event for event in shop.events("a vixen <lora:bundle:1>") if isinstance(event, Warned)]
    assert told == []
