"""What is needed to make a picture again, and the words for how close the result is."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import modules
from modules.base.errors import WebuiError
from modules.base.picture import Picture
from modules.infotext.parse import parse
from modules.infotext.recipe import compared, ran_with, recipe
from modules.schema.catalog import Catalog, Checkpoint, Embedding, Lora, Vae
from modules.schema.request import Img2ImgRequest
from modules.schema.settings import EXACT

CATALOG = Catalog((Checkpoint("one", Path("one.safetensors")), Checkpoint("two", Path("two.safetensors"))))
OURS = f"Version: Palimpsest {modules.__version__}, Compatibility: Palimpsest, RNG: CPU"


def picture(color: str) -> Picture:
    return Picture.from_image(Image.new("RGB", (64, 64), color))


SOURCE, MASK = picture("teal"), picture("white")


def text(*pairs: str) -> str:
    return "a cat\n" + ", ".join(("Steps: 4", "Sampler: Euler", "Seed: 7", "Size: 64x64", "Model: two", OURS, *pairs))


def kept(sha256: str) -> Picture | None:
    return {p.sha256: p for p in (SOURCE, MASK)}.get(sha256)


def test_a_picture_of_ours_is_run_as_it_was_asked_for() -> None:
    made = recipe(picture("red"), text(f"Source hash: {SOURCE.sha256}", "Denoising strength: 0.5"), CATALOG, kept)
    assert isinstance(made.request, Img2ImgRequest)
    assert (made.request.init_images, made.request.denoising_strength) == ((SOURCE,), 0.5)
    assert (made.checkpoint.name, made.settings.compatibility, made.causes) == ("two", "Palimpsest", ())


def test_a_picture_of_a1111_is_run_as_a1111_would() -> None:
    made = recipe(picture("red"), "a cat\nSteps: 4, Sampler: Euler, Seed: 7, Version: v1.10.0", CATALOG, kept)
    assert (made.settings.compatibility, made.settings.randn_source) == (EXACT, "GPU")
    assert made.causes[0].startswith("The picture was made by version v1.10.0")


def test_source_and_mask_are_found_by_their_names_or_asked_for() -> None:
    pairs = ("Denoising strength: 0.5", "Mask blur: 4")
    made = recipe(
        picture("red"), text(*pairs, f"Source hash: {SOURCE.sha256}, Mask hash: {MASK.sha256}"), CATALOG, kept
    )
    assert isinstance(made.request, Img2ImgRequest)
    assert made.request.mask == MASK
    with pytest.raises(WebuiError, match="Give it with --source FILE"):
        recipe(picture("red"), text(*pairs), CATALOG, kept)
    with pytest.raises(WebuiError, match="Give it with --mask FILE"):
        recipe(picture("red"), text(*pairs), CATALOG, kept, source=SOURCE)
    other = recipe(picture("red"), text(*pairs, f"Source hash: {MASK.sha256}"), CATALOG, kept, SOURCE, MASK)
    assert other.causes == ("The given source is not the file the picture was made from.",)


def test_an_outpainted_picture_needs_a_mask_only_if_it_had_one() -> None:
    pairs = (
        "Denoising strength: 0.8",
        f"Source hash: {SOURCE.sha256}",
        "Outpaint left: 64",
        "Inpaint area: Only masked",
    )
    made = recipe(picture("red"), text(*pairs), CATALOG, kept)
    assert isinstance(made.request, Img2ImgRequest)
    assert (made.request.mask, made.request.outpaint_left, made.request.inpaint_full_res) == (None, 64, 1)
    with_mask = recipe(picture("red"), text(*pairs, "Mask blur: 4", f"Mask hash: {MASK.sha256}"), CATALOG, kept)
    assert isinstance(with_mask.request, Img2ImgRequest)
    assert with_mask.request.mask == MASK


def test_a_picture_without_parameters_is_refused() -> None:
    with pytest.raises(WebuiError, match="has no parameters"):
        recipe(picture("red"), "a cat", CATALOG, kept)


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        ("Model: three", "The checkpoint 'three' is not installed; 'one' was used."),
        ("VAE: soft.pt", "It was decoded with the VAE 'soft.pt', but here with the checkpoint's own."),
        ("Sampler: DPM adaptive", "DPM adaptive depends on all pictures of a batch, but this one was made alone."),
    ],
)
def test_what_is_known_beforehand_is_said(pairs: str, sentence: str) -> None:
    assert sentence in recipe(picture("red"), text(pairs), CATALOG, kept).causes


HASHED = Catalog(
    (
        Checkpoint("first", Path("first.safetensors"), "1" * 64),
        Checkpoint("two", Path("two.safetensors"), "2" * 64),
        Checkpoint("new", Path("new.safetensors")),
    )
)


@pytest.mark.parametrize(
    ("lines", "name", "requested"),
    [
        ("Model: two, Model hash: 2222222222", "two", []),
        ("Model: renamed, Model hash: 2222222222", "two", []),
        ("Model: two, Model hash: 1111111111", "first", []),  # the name now means another one
        ("Model: new, Model hash: 3333333333", "new", []),  # the hash is compared when it is loaded
        ("Model: old, Model hash: 3333333333", "new", ["new.safetensors"]),
        ("Model: two, Model hash: 3333333333", "new", ["new.safetensors"]),
        ("Model: two, Model hash: 4444444444", "two", ["new.safetensors"]),
        ("Model hash: 2222222222", "two", []),
    ],
)
def test_the_checkpoint_is_that_of_the_hash_whatever_it_is_called_by_now(
    lines: str, name: str, requested: list[str]
) -> None:
    read: list[str] = []

    def hash_of(path: Path) -> str:
        read.append(path.name)
        return "3" * 64

    text = f"a cat\nSteps: 4, Sampler: Euler, Seed: 7, {lines}, {OURS}"
    made = recipe(picture("red"), text, HASHED, kept, hash_of=hash_of)
    assert (made.checkpoint.name, read, made.causes) == (name, requested, ())


def test_missing_networks_are_named() -> None:
    made = recipe(picture("red"), "<lora:ink:0.8> " + text(), CATALOG, kept)
    assert "Networks that were not used: ink." in made.causes
    assert "<" not in made.request.prompt


@pytest.mark.parametrize(
    ("line", "chosen", "requested"),
    [
        ("Seed: 7", "None", []),
        ("VAE: soft.pt, VAE hash: 1111111111", "soft.pt", []),
        ("VAE: renamed.pt, VAE hash: 1111111111", "soft.pt", []),
        ("VAE: new.pt", "new.pt", []),
        ("VAE: old.pt, VAE hash: 3333333333", "new.pt", ["new.pt"]),
    ],
)
def test_the_vae_is_that_of_the_hash_or_of_the_name(line: str, chosen: str, requested: list[str]) -> None:
    read: list[str] = []

    def hash_of(path: Path) -> str:
        read.append(path.name)
        return "3" * 64

    catalog = replace(CATALOG, vaes=(Vae("soft.pt", Path("soft.pt"), "1" * 64), Vae("new.pt", Path("new.pt"))))
    made = recipe(picture("red"), text(line), catalog, kept, hash_of=hash_of)
    assert (made.settings.sd_vae, read, made.causes) == (chosen, requested, ())


def test_a_vae_of_the_same_name_can_be_another() -> None:
    again = "a\nSteps: 1, Seed: 2, VAE: x.pt, VAE hash: bbbb"
    sentence = "The VAE 'x.pt' is another file: its hash is bbbb, the picture's was aaaa."
    for was, is_said in (("aaaa", True), ("bbbb", False)):
        assert (sentence in ran_with(parse(again.replace("bbbb", was)), "", "CPU", again)) == is_said


def test_missing_embeddings_are_named() -> None:
    catalog = replace(CATALOG, embeddings=(Embedding("a:b", Path("a.pt")),))
    made = recipe(picture("red"), text('TI hashes: "ab: 12, gone: 34, gone: 34"'), catalog, kept)
    assert "Networks that were not used: gone." in made.causes


def test_networks_that_are_here_are_used_under_their_names_here() -> None:
    ink, wash = Lora("ink", Path("ink.safetensors"), hash="0123456789ab"), Lora("wash", Path("wash.safetensors"))
    catalog = replace(CATALOG, loras=(ink, wash))
    prompt = "<lora:wash:0.5> <lora:tinte:0.8:1> <lora:gone:1> <hypernet:net:1> "
    made = recipe(
        picture("red"), prompt + text('Lora hashes: "tinte: 0123456789ab, gone: ffffffffffff"'), catalog, kept
    )
    assert "Networks that were not used: gone, net." in made.causes
    assert made.request.prompt.startswith("<lora:wash:0.5> <lora:ink:0.8:1>")
    assert "gone" not in made.request.prompt


def test_a_network_of_the_same_name_can_be_another() -> None:
    was, now = (parse(f'a\nSteps: 1, Seed: 2, Lora hashes: "x: {x}, y: 12"') for x in ("aaaa", "bbbb"))
    again = 'a\nSteps: 1, Seed: 2, Lora hashes: "x: bbbb, y: 12"'
    sentence = "The LoRA 'x' is another file: its hash is bbbb, the picture's was aaaa."
    assert [sentence in ran_with(text, "", "CPU", again) for text in (was, now)] == [True, False]


@pytest.mark.parametrize(
    ("line", "device", "count"),
    [
        ("Model hash: aaaa, RNG: CPU", "CPU, fp32", 0),
        ("Model hash: bbbb, RNG: CPU", "CPU, fp32", 1),
        ("Model hash: bbbb, Seed: 1", "CPU, fp32", 2),
        ("Model hash: aaaa, RNG: NV", "NVIDIA H100, fp16", 1),
    ],
)
def test_where_it_ran_can_be_the_cause(line: str, device: str, count: int) -> None:
    assert len(ran_with(parse(f"a\nSteps: 1, {line}"), "aaaa", device)) == count


def test_pictures_are_held_against_each_other() -> None:
    first = np.zeros((4, 4, 3), np.uint8)
    assert compared(first, first, ("why",)).sentences() == ["identical"]
    second = first.copy()
    second[0, 0], second[1, 1, 2] = (3, 0, 0), 5
    report = compared(first, second, ("Why.",))
    assert (report.differing, report.largest) == (2, 5)
    assert report.psnr == pytest.approx(10 * math.log10(255**2 / (34 / 48)))
    assert report.sentences() == [
        "2 of 16 pixels differ (12 %), by 5 of 255 at most; PSNR 49.6 dB.",
        "Why.",
    ]
    assert compared(first, np.zeros((2, 4, 3), np.uint8), ()).sentences() == [
        "The sizes differ.", "The picture has 4x4 pixels, the new one 4x2.",
    ]  # fmt: skip
