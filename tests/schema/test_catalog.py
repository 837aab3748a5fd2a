"""Names that can be selected."""

from pathlib import Path

import pytest

from modules.base.errors import WebuiError
from modules.schema.catalog import Catalog, Checkpoint, Lora, Vae

ONE = Checkpoint("painter", Path("models/painter.safetensors"))
TWO = Checkpoint("sub/photo-v2", Path("models/sub/photo-v2.safetensors"), "9a129038d9" + 54 * "0")


@pytest.mark.parametrize(
    ("name", "checkpoint"),
    [
        ("", ONE), ("painter", ONE), ("Painter", ONE), ("painter [0123456789]", ONE), ("painter.safetensors", ONE),
        ("photo-v2", TWO), ("sub/photo-v2", TWO), ("PHOTO-V2.safetensors", TWO),
        ("9a129038d9", TWO), ("9A129038", TWO), ("renamed.safetensors [9a129038d9]", TWO),
    ],
)  # fmt: skip
def test_a_checkpoint_is_found_by_any_of_its_names(name: str, checkpoint: Checkpoint) -> None:
    assert Catalog((ONE, TWO)).checkpoint(name) == checkpoint


def test_an_unknown_checkpoint_gets_the_nearest_name() -> None:
    with pytest.raises(WebuiError, match="no checkpoint named 'panter'; did you mean 'painter'"):
        Catalog((ONE, TWO)).checkpoint("panter")


def test_without_checkpoints_the_cure_is_told() -> None:
    with pytest.raises(WebuiError, match=r"There is no checkpoint\. Put a \.safetensors file in models"):
        Catalog().checkpoint("any")


def test_lists_by_the_names_that_controls_use() -> None:
    catalog = Catalog((ONE, TWO))
    assert catalog.names("checkpoints") == ("painter", "sub/photo-v2")
    assert "Euler a" in catalog.names("samplers")
    assert catalog.names("schedulers")[0] == "Automatic"


INK = Lora("ink", Path("ink.safetensors"), "India")
SECOND = Lora("Wash", Path("Wash.safetensors"), "ink")


@pytest.mark.parametrize(("name", "lora"), [("ink", INK), ("India", INK), ("wash", SECOND), (" INDIA ", INK)])
def test_a_lora_is_found_by_its_names_and_the_files_goes_first(name: str, lora: Lora) -> None:
    assert Catalog(loras=(SECOND, INK)).lora(name) == lora


@pytest.mark.parametrize(
    ("name", "sentence"), [("inc", "did you mean 'ink'"), ("", "did you mean"), ("x" * 100_000, "did you mean")]
)
def test_an_unknown_lora_gets_the_nearest_name(name: str, sentence: str) -> None:
    with pytest.raises(WebuiError, match=sentence) as caught:
        Catalog(loras=(INK, SECOND)).lora(name)
    assert len(caught.value.message) < 200


def test_without_loras_the_cure_is_told() -> None:
    with pytest.raises(WebuiError, match=r"no LoRAs are installed\. Put its \.safetensors file in models/Lora"):
        Catalog().lora("ink")


SOFT = Vae("Soft.pt", Path("VAE/Soft.pt"), "ab" * 32)
BESIDE = Vae("painter.vae.safetensors", Path("models/painter.vae.safetensors"))
APART = Vae("painter.vae.safetensors", Path("VAE/painter.vae.safetensors"))
VAES = Catalog((ONE, TWO), vaes=(APART, BESIDE, SOFT))


@pytest.mark.parametrize(
    ("name", "checkpoint", "vae"),
    [
        ("Automatic", ONE, BESIDE), ("automatic", ONE, BESIDE), ("Automatic", TWO, None), ("None", ONE, None),
        ("soft.pt", ONE, SOFT), ("SOFT", TWO, SOFT), ("abababab", TWO, SOFT),
    ],
)  # fmt: skip
def test_a_vae_is_found_by_its_names_or_belongs_to_a_checkpoint(
    name: str, checkpoint: Checkpoint, vae: Vae | None
) -> None:
    assert VAES.vae_for(name, checkpoint) == vae


def test_a_vae_of_the_checkpoints_name_may_lie_among_the_others() -> None:
    assert Catalog(vaes=(APART,)).vae_for("Automatic", ONE) == APART


@pytest.mark.parametrize(
    ("name", "choice"), [("none", "None"), ("AUTOMATIC", "Automatic"), ("soft", "Soft.pt"), ("abababababab", "Soft.pt")]
)
def test_a_vae_is_chosen_by_the_name_that_the_list_has(name: str, choice: str) -> None:
    assert VAES.vae_choice(name) == choice
    assert VAES.names("vaes") == ("Automatic", "None", "painter.vae.safetensors", "Soft.pt")


@pytest.mark.parametrize(("name", "near"), [("Sofd.pt", "Soft.pt"), ("", ""), ("x" * 100_000, ""), ("abab", "")])
def test_an_unknown_vae_gets_the_nearest_name(name: str, near: str) -> None:
    with pytest.raises(WebuiError, match=f"no VAE named .*did you mean '{near}") as caught:
        VAES.vae(name)
    assert (len(caught.value.message) < 200, caught.value.field) == (True, "sd_vae")


def test_the_strength_of_hires_fix_is_another_than_img2imgs() -> None:
    defaults = {"steps": 12, "denoising_strength": 0.65, "hr_denoising_strength": 0.3, "hr_upscaler": "Lanczos"}
    checkpoint = Checkpoint("a", Path("a.safetensors"), defaults=defaults)
    own = {"width": 512, "height": 512, "steps": 12, "hr_upscaler": "Lanczos"}
    assert checkpoint.form_defaults("txt2img") == {**own, "denoising_strength": 0.3}
    assert checkpoint.form_defaults("img2img") == {**own, "denoising_strength": 0.65}
    plain = Checkpoint("a", Path("a.safetensors"), defaults={"denoising_strength": 0.65})
    assert plain.form_defaults("txt2img") == {"width": 512, "height": 512}
