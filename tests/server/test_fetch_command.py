"""`webui.py fetch`: the list, the licence terms, a file, and the sentences for mistakes."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from modules import app
from tests.fetching.mirror import DATA, FILE, REPO, Mirror, serving


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """Replaces the hub, with huggingface_hub's own variable for that."""
    with serving(Mirror()) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setattr("modules.fetching.fetcher.get_token", lambda: None)
        monkeypatch.setattr("sys.stdin", io.StringIO())
        yield running


def fetch(tmp_path: Path, *words: str) -> int:
    return app.main(["fetch", *words, "--data-dir", str(tmp_path)])


def test_a_file_is_fetched_once_its_terms_are_accepted(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch(tmp_path, f"{REPO}/{FILE}", "--kind", "vae") == 1
    said = capsys.readouterr().err
    assert f"Licence: mit. Its terms: {mirror.url}/{REPO}" in said
    assert "then add --yes" in said
    assert not (tmp_path / "models" / "VAE").exists()
    assert fetch(tmp_path, f"{REPO}/{FILE}", "--kind", "vae", "--name", "mine.safetensors", "--yes") == 0
    assert (tmp_path / "models" / "VAE" / "mine.safetensors").read_bytes() == DATA
    assert capsys.readouterr().out.startswith("mine.safetensors (0.00 GB)")


def test_the_list_needs_no_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch(tmp_path, "--list", "--offline") == 0
    assert "sdxl-base" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["sdxl-bas"], "Did you mean 'sdxl-base'?"),
        ([f"{REPO}/none.safetensors"], "There is no file owner/project/none.safetensors"),
        ([f"{REPO}/{FILE}", "--offline"], "started with --offline"),
        ([f"{REPO}/{FILE}", "--name", "../x.pt"], "name = '../x.pt': expected a plain file name"),
        (["x" * 1001], "file: string should have at most 1000 characters"),
    ],
)
def test_a_mistake_is_one_sentence(
    mirror: Mirror, tmp_path: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch(tmp_path, *words, "--yes") == 1
    assert sentence in capsys.readouterr().err
