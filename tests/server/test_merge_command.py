"""`webui.py merge`: from the command line to a checkpoint that loads, and the sentences for mistakes."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from modules import app
from modules.clip.bpe import ClipBPE
from modules.networks.device import Placement
from modules.networks.files.listing import HashCache, read_metadata
from modules.networks.sd1.checkpoint import load_checkpoint
from modules.schema.catalog import Checkpoint
from tests.tiny import write_tiny_checkpoint


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with two tiny checkpoints whose numbers differ."""
    folder = tmp_path / "models" / "Stable-diffusion"
    folder.mkdir(parents=True)
    first = write_tiny_checkpoint(folder)
    second = first.with_name("other.safetensors")
    tensors = {key: tensor * 0.5 for key, tensor in load_file(first).items()}
    save_file(tensors, second)
    return tmp_path


def merged(data: Path, *words: str) -> int:
    return app.main(["merge", *words, "--data-dir", str(data)])


def test_two_checkpoints_become_one_that_loads(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert merged(data, "tiny", "other.safetensors", "-m", "0.25", "--save-as", "fp32", "--name", "half way") == 0
    assert capsys.readouterr().out.startswith("half way.safetensors (0.0")
    folder = data / "models" / "Stable-diffusion"
    path = folder / "half way.safetensors"
    a, result = load_file(folder / "tiny.safetensors"), load_file(path)
    key = "model.diffusion_model.out.2.weight"
    torch.testing.assert_close(result[key], a[key].float() * 0.875, rtol=0, atol=1e-4)
    assert path.with_suffix(".yaml").read_text() == (folder / "tiny.yaml").read_text()
    assert '"interp_method": "Weighted sum"' in read_metadata(path)["sd_merge_recipe"]
    place = Placement(torch.device("cpu"), torch.float32, torch.float32, torch.float32)
    load_checkpoint(Checkpoint(path.name, path), place, ClipBPE(), HashCache(data / "hashes.json"))


def test_files_are_named_by_path_and_the_name_is_a1111s(data: Path) -> None:
    folder = data / "models" / "Stable-diffusion"
    assert merged(data, str(folder / "tiny.safetensors"), "other", "--no-recipe") == 0
    assert (folder / "0.7(tiny) + 0.3(other).safetensors").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["tiny"], "secondary_model_name: 'Weighted sum' takes 2 checkpoints."),
        (["tiny", "othre"], "did you mean 'other"),
        (["tiny", "other", "--method", "add-difference"], "tertiary_model_name: 'Add difference' takes 3"),
        (["tiny", "other", "--name", "../evil"], "custom_name = '../evil': expected a plain file name"),
        (["tiny", "other", "--name", "a\nb"], "custom_name"),
        (["tiny", "other", "--name", "con"], "custom_name"),
        (["tiny", "other", "-m", "7"], "multiplier = 7.0"),
        (["tiny", "other", "--block-weights", "1,2"], "block_weights = '1,2': 2 values, expected 26"),
        (["tiny", "other", "--discard", "("], "discard_weights = '(': expected a regular expression"),
        (["tiny", "other", "--metadata", "[]"], "metadata_json = '[]': expected a JSON object"),
        (["tiny", "other", "--lora", "<lora:none:1>"], "there is no LoRA 'none'"),
        (["tiny", "other", "--lora", "a fox"], "loras = 'a fox': expected nothing but tags"),
        (["tiny", "other", "--vae", "none such"], "no VAE named 'none such'"),
        (["tiny", "other", "--name", "tiny"], "custom_name: tiny.safetensors exists already."),
        (["a", "b", "c", "d"], "4 models, expected at most 3."),
    ],
)
def test_a_mistake_is_one_sentence(
    data: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert merged(data, *words) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert sentence in error[-1]
    folder = data / "models" / "Stable-diffusion"
    assert sorted(path.name for path in folder.iterdir()) == [
        "other.safetensors", "tiny.safetensors", "tiny.yaml",
    ]  # fmt: skip
