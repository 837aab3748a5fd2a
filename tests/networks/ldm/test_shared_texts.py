"""Checkpoints without a text encoder use one from a separate file, in any layout."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from modules.base.errors import WebuiError
from modules.clip.bpe import ClipBPE
from modules.networks.device import Placement
from modules.networks.families import family_of
from modules.networks.files.checkpoints import CheckpointFiles
from modules.networks.files.listing import HashCache
from modules.networks.model import LoadTools, Model
from tests.tiny_line import (
    CLIP_G,
    CLIP_L,
    SD2_TEXT,
    Tiny,
    openclip_tensors,
    save_single,
    single_tensors,
    tiny_sd2,
    tiny_xl,
)

Tensors = Mapping[str, Tensor]


def plain(tiny: Tiny, index: int) -> dict[str, Tensor]:
    """A text encoder under transformers' names, without a prefix."""
    return {key.removeprefix("text_model."): value for key, value in tiny.texts[index].state_dict().items()}


def below(prefix: str, tensors: Tensors, projection: str = "") -> dict[str, Tensor]:
    """`tensors` with `prefix`, and the projection's as `projection`."""
    return {(projection if key.startswith("text_proj") else prefix) + key: each for key, each in tensors.items()}


def sd2_openclip(tiny: Tiny) -> dict[str, Tensor]:
    """With the unread layer, as OpenCLIP saves it."""
    return {key: each for key, each in single_tensors(tiny).items() if key.startswith(SD2_TEXT)}


LAYOUTS: dict[str, tuple[Callable[[], Tiny], tuple[str, ...], Callable[[Tiny], list[Tensors]]]] = {
    "transformers": (tiny_xl, (CLIP_L,), lambda xl: [below("text_model.", plain(xl, 0))]),
    "diffusers": (tiny_xl, (CLIP_G,), lambda xl: [plain(xl, 1)]),
    "ComfyUI, both in one file": (
        tiny_xl,
        (CLIP_L, CLIP_G),
        lambda xl: [
            below("clip_g.transformer.text_model.", plain(xl, 1), "clip_g.transformer.")
            | below("clip_l.transformer.text_model.", plain(xl, 0))
        ],
    ),
    "OpenCLIP and kohya": (
        tiny_xl,
        (CLIP_L, CLIP_G),
        lambda xl: [openclip_tensors(xl.texts[1]), below(CLIP_L, plain(xl, 0))],
    ),
    "Stable Diffusion 2's, as OpenCLIP has it": (tiny_sd2, (SD2_TEXT,), lambda two: [sd2_openclip(two)]),
    "Stable Diffusion 2's, as transformers has it": (tiny_sd2, (SD2_TEXT,), lambda two: [plain(two, 0)]),
}


@pytest.fixture
def load(tmp_path: Path, place: Placement, bpe: ClipBPE) -> Callable[[], Model]:
    """Load the folder's checkpoint as admission finds it."""

    def loaded() -> Model:
        hashes = HashCache(tmp_path / "hashes.json")
        (row,) = CheckpointFiles([tmp_path / "models"], text_encoders=[tmp_path / "texts"]).found(hashes)
        return family_of(row).load(row, LoadTools(place, bpe, hashes))

    (tmp_path / "models").mkdir()
    (tmp_path / "texts").mkdir()
    return loaded


def write(tensors: Tensors, path: Path) -> None:
    save_file({key: each.contiguous().clone() for key, each in tensors.items()}, path)


def save_without(tiny: Tiny, prefixes: tuple[str, ...], path: Path) -> None:
    write({key: each for key, each in single_tensors(tiny).items() if not key.startswith(prefixes)}, path)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_a_text_encoder_comes_from_a_file_of_its_own(
    layout: str, ending: str, tmp_path: Path, load: Callable[[], Model]
) -> None:
    make, prefixes, files = LAYOUTS[layout]
    tiny = make()
    save_without(tiny, prefixes, tmp_path / "models" / "x.safetensors")
    for number, tensors in enumerate(files(tiny)):
        path = tmp_path / "texts" / f"{number}.{ending}"
        write(tensors, path) if ending == "safetensors" else torch.save(dict(tensors), path)
    (tmp_path / "texts" / "aaa damaged.safetensors").write_bytes(b"no header")
    model = load()
    texts = [part for name, part in model.parts.items() if name not in ("denoiser", "vae")]
    for mine, theirs in zip(texts, tiny.texts, strict=True):
        expected = theirs.state_dict()
        assert mine.state_dict().keys() == expected.keys()
        assert [key for key, each in mine.state_dict().items() if not torch.equal(each, expected[key])] == []


def test_a_checkpoint_with_text_encoders_keeps_its_own(tmp_path: Path, load: Callable[[], Model]) -> None:
    save_single(tiny_xl(), tmp_path / "models" / "x.safetensors")
    write(plain(tiny_xl(), 0), tmp_path / "texts" / "l.safetensors")
    files = CheckpointFiles([tmp_path / "models"], text_encoders=[tmp_path / "texts"])
    assert [row.text_encoders for row in files.found(HashCache(tmp_path / "hashes.json"))] == [()]
    load()


def test_of_several_that_fit_the_one_named_like_the_checkpoint_is_taken(
    tmp_path: Path, load: Callable[[], Model]
) -> None:
    two = tiny_sd2()
    save_without(two, (SD2_TEXT,), tmp_path / "models" / "paint.safetensors")
    write({key: each * 2 for key, each in plain(two, 0).items()}, tmp_path / "texts" / "a.safetensors")
    write(plain(two, 0), tmp_path / "texts" / "paint text.safetensors")
    norm = "final_layer_norm.weight"
    (found,) = [each for key, each in load().parts["text"].state_dict().items() if key.endswith(norm)]
    assert found.equal(plain(two, 0)[norm])


@pytest.mark.parametrize(
    ("prefixes", "other", "said"),
    [
        ((CLIP_L,), False, "x.safetensors has no text encoder inside. Put one into models/text_encoder, or use a com"),
        ((CLIP_L, CLIP_G), False, "has no text encoder and no second text encoder inside. Put both into models/text_"),
        ((CLIP_L,), True, "nothing in models/text_encoder fits (h.safetensors): its states have to be 32 wide. Put on"),
    ],
)
def test_what_is_missing_is_told_with_the_cure(
    prefixes: tuple[str, ...], other: bool, said: str, tmp_path: Path, load: Callable[[], Model]
) -> None:
    save_without(tiny_xl(), prefixes, tmp_path / "models" / "x.safetensors")
    if other:
        write(plain(tiny_xl(), 1), tmp_path / "texts" / "h.safetensors")
    with pytest.raises(WebuiError) as caught:
        load()
    assert said in str(caught.value)
