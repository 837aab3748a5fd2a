"""Names of files: which file a name means, and how it is displayed."""

from pathlib import Path

import pytest

from modules.base.errors import WebuiError
from modules.base.names import as_on_disk, digits_in, distinct_names, shown
from modules.schema.catalog import Catalog, Checkpoint, Lora, Vae

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def checkpoints(*names: str, hashes: tuple[str, ...] = ()) -> Catalog:
    given = (*hashes, *[""] * len(names))
    return Catalog(tuple(Checkpoint(name, Path("models") / name, given[i]) for i, name in enumerate(names)))


ODD = checkpoints(
    "mix [final].safetensors", " lead.safetensors", "trail .safetensors", f"{DECOMPOSED}.safetensors",
    "Mix.safetensors", "mix.safetensors", "sub/deep/twin.safetensors", "a [deadbeef].ckpt", "v1.5", "x\\y.safetensors",
    "caf%E9.safetensors",
)  # fmt: skip


@pytest.mark.parametrize("name", [row.name for row in ODD.checkpoints])
def test_what_the_list_offers_can_be_chosen(name: str) -> None:
    assert ODD.checkpoint(name).name == name


@pytest.mark.parametrize(
    "title", [row.label for row in checkpoints(*ODD.names("checkpoints"), hashes=("ab" * 32,) * 11).checkpoints]
)
def test_so_can_its_title(title: str) -> None:
    assert f"{ODD.checkpoint(title).name} [ababababab]" == title


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("mix [final]", "mix [final].safetensors"),
        ("lead", " lead.safetensors"),
        (f"{COMPOSED}.safetensors", f"{DECOMPOSED}.safetensors"),
        (COMPOSED.upper(), f"{DECOMPOSED}.safetensors"),
        ("Mix", "Mix.safetensors"),
        ("mix", "mix.safetensors"),  # exactly, although another one comes first
        ("MIX", "Mix.safetensors"),
        ("sub\\deep\\twin.safetensors", "sub/deep/twin.safetensors"),
        ("sub/deep/twin", "sub/deep/twin.safetensors"),
        ("SUB\\deep\\twin [0123456789]", "sub/deep/twin.safetensors"),
        ("sub_deep_twin", "sub/deep/twin.safetensors"),  # A1111's model_name
        ("a [deadbeef]", "a [deadbeef].ckpt"),
        ("mix [no hash]", "mix.safetensors"),
    ],
)
def test_an_exact_match_comes_first_and_unicode_forms_and_slashes_do_not_matter(said: str, name: str) -> None:
    assert ODD.checkpoint(said).name == name


TWINS = checkpoints(
    "a/twin.safetensors", "b/twin.safetensors", "other.safetensors", hashes=("1" * 64, "2" * 64, "3" * 64)
)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("twin.safetensors [2222222222]", "b/twin.safetensors"),
        ("twin [1111111111]", "a/twin.safetensors"),
        ("renamed.ckpt [22222222]", "b/twin.safetensors"),
        ("c\\twin [2222222222]", "b/twin.safetensors"),
        ("22222222", "b/twin.safetensors"),
        ("2" * 64, "b/twin.safetensors"),
        ("b\\twin.safetensors [99999999]", "b/twin.safetensors"),
    ],
)
def test_a_hash_tells_twins_apart(said: str, name: str) -> None:
    assert TWINS.checkpoint(said).name == name


@pytest.mark.parametrize("said", ["2222222", "2" * 65, "zzzzzzzz", "[22222222]"])
def test_what_is_no_hash_finds_nothing(said: str) -> None:
    with pytest.raises(WebuiError, match="no checkpoint named"):
        TWINS.checkpoint(said)


@pytest.mark.parametrize(
    ("name", "digits", "chosen", "note"),
    [
        ("twin", "2222222222", "b/twin.safetensors", ""),
        ("old name", "3333333333", "other.safetensors", ""),
        ("other", "2222222222", "b/twin.safetensors", ""),
        ("", "22222222", "b/twin.safetensors", ""),
        ("other", "", "other.safetensors", ""),
        ("other", "9999999999", "other.safetensors",
         "The picture was made with a different 'other': its hash was 9999999999, "
         "the file here has the hash 3333333333."),
    ],
)  # fmt: skip
def test_a_text_means_the_file_with_its_hash(name: str, digits: str, chosen: str, note: str) -> None:
    found, said = TWINS.checkpoint_of_text(name, digits)
    assert (found.name, said) == (chosen, note)


@pytest.mark.parametrize(("name", "digits"), [("gone", "9999999999"), ("", "9999999999"), ("gone", "")])
def test_a_text_whose_file_is_not_here_says_so(name: str, digits: str) -> None:
    with pytest.raises(WebuiError):
        TWINS.checkpoint_of_text(name, digits)


def test_loras_and_vaes_are_compared_alike() -> None:
    catalog = Catalog(
        loras=(Lora("Ink", Path("Ink.safetensors")), Lora("ink", Path("ink.safetensors")),
               Lora(f" {DECOMPOSED}", Path("x.safetensors"))),
        vaes=(Vae(f"{DECOMPOSED}.pt", Path(f"VAE/{DECOMPOSED}.pt")), Vae(" soft.pt", Path("VAE/ soft.pt"))),
    )  # fmt: skip
    assert [catalog.lora(said).name for said in ("ink", "Ink", "INK", COMPOSED)] == [
        "ink", "Ink", "Ink", f" {DECOMPOSED}"
    ]  # fmt: skip
    assert [catalog.vae_choice(said) for said in (COMPOSED, " soft.pt", "soft", "none")] == [
        f"{DECOMPOSED}.pt", " soft.pt", " soft.pt", "None"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("on_disk", "name"),
    [(b"caf\xe9.png", "caf%E9.png"), (b"\xff\xfe", "%FF%FE"), ("café".encode(), "café"), (b"100%.png", "100%.png")],
)
def test_bytes_that_are_no_text_are_shown_and_found_again(on_disk: bytes, name: str) -> None:
    said = shown(on_disk.decode("utf-8", "surrogateescape"))
    assert said == name
    assert as_on_disk(said).encode("utf-8", "surrogateescape") == on_disk


def test_names_that_are_taken_get_their_folders() -> None:
    files = [("/m/x/a.pt", "a.pt"), ("/m/y/a.pt", "a.pt"), ("/n/y/a.pt", "a.pt"), ("/n/s/b.pt", "s/b.pt")]
    assert distinct_names((Path(path), name) for path, name in files) == ["a.pt", "y/a.pt", "n/y/a.pt", "s/b.pt"]


@pytest.mark.parametrize(
    ("said", "digits"),
    [("fox [ABCDEF12]", "abcdef12"), (" abcdef12 ", "abcdef12"), ("fox [final]", ""), ("fox", ""), ("", "")],
)
def test_the_digits_in_a_title(said: str, digits: str) -> None:
    assert digits_in(said) == digits
