"""Headers of models: read once, not read at the next start, and read again when a file has changed."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from modules.base.kept import DAMAGED
from modules.flags.flags import Flags
from modules.networks.files import listing
from modules.networks.files.cards import models_of
from modules.networks.files.headers import HeaderCache, stamp_of
from modules.networks.files.listing import HashCache
from modules.networks.files.loras import LoraFiles
from modules.schema.catalog import Catalog
from modules.server.folders import HEADERS, ModelFolders
from modules.server.model_files import ModelFiles
from tests.networks.files.test_cards import safetensors
from tests.networks.files.test_loras import lora
from tests.tiny import write_tiny_checkpoint

COUNT = 5


@pytest.fixture
def models(tmp_path: Path) -> ModelFolders:
    """Five LoRAs, three checkpoints (one is damaged), an embedding and a VAE."""
    folder = tmp_path / "models"
    for number in range(COUNT):
        lora(folder / "Lora" / f"ink-{number}.safetensors", ss_output_name=f"india {number}", ss_v2="False")
    (folder / "Stable-diffusion").mkdir()
    write_tiny_checkpoint(folder / "Stable-diffusion" / "a.safetensors")
    shutil.copy(folder / "Stable-diffusion" / "a.safetensors", folder / "Stable-diffusion" / "b.safetensors")
    (folder / "Stable-diffusion" / "torn.safetensors").write_bytes(b"torn")
    (folder / "embeddings").mkdir()
    save_file({"emb_params": np.ones((2, 8), np.float32)}, folder / "embeddings" / "dusk.safetensors")
    safetensors(folder / "VAE" / "soft.safetensors", {"modelspec.title": "Soft"})
    return ModelFolders.of(Flags(data_dir=tmp_path, models_dir=folder))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files whose headers are read."""
    names: list[str] = []
    real = listing.read_description

    def noting(path: Path, longest: int = listing.LONGEST_HEADER) -> listing.Description:
        names.append(path.name)
        return real(path, longest)

    monkeypatch.setattr(listing, "read_description", noting)
    return names


def looked_into(models: ModelFolders) -> tuple[Catalog, list[Any]]:
    """A start: everything is found, read, shown on cards and stored."""
    files = ModelFiles(models, at_once=0)
    files.scan()
    while files.look_further():
        files.scan()
    cards = files.card_files()
    shown = cards.cards(cards.found(models_of(files.scan())))
    files.look_further()
    return files.scan(), shown


def test_the_second_start_reads_no_header_but_those_of_damaged_files(models: ModelFolders, read: list[str]) -> None:
    first, cards = looked_into(models)
    assert sorted(read)[:3] == ["a.safetensors", "a.safetensors", "b.safetensors"]  # for the list, and for the card
    assert {f"ink-{n}.safetensors" for n in range(COUNT)} <= set(read)
    assert len(read) == len(set(read)) + 4  # the third checkpoint is the bundled one; the embedding has a card too
    read.clear()
    again, same_cards = looked_into(models)
    assert (again, same_cards) == (first, cards)
    assert [(row.alias, row.metadata) for row in again.loras] == [(row.alias, row.metadata) for row in first.loras]
    assert [row.alias for row in again.loras] == [f"india {n}" for n in range(COUNT)]
    assert read == []
    assert [row.reason[:17] for row in again.checkpoints if row.reason] == ["torn.safetensors "]


def test_only_what_has_changed_is_read_again(models: ModelFolders, read: list[str]) -> None:
    looked_into(models)
    path = models.loras[0] / "ink-3.safetensors"
    lora(path, ss_output_name="another")
    os.utime(path, ns=(1, 1))
    read.clear()
    catalog, _ = looked_into(models)
    assert read == ["ink-3.safetensors"]
    assert catalog.lora("another").path == path


def test_a_list_is_there_at_once_and_what_headers_tell_comes_later(models: ModelFolders, read: list[str]) -> None:
    files = LoraFiles(models.loras, at_once=2)
    hashes = HashCache(models.flags.data_dir / "hashes.json")
    found = files.found(hashes)
    assert [row.is_read for row in found] == [True, True, False, False, False]
    assert [row.alias for row in found] == ["india 0", "india 1", "", "", ""]
    assert Catalog(loras=found).lora("ink-4").path.name == "ink-4.safetensors"  # a prompt may name it
    assert len(read) == 2
    assert files.look_further(seconds=0)  # one at a time
    assert [row.is_read for row in files.found(hashes)].count(True) == 5  # two more at once, and the one
    assert not files.look_further()
    assert len(read) == COUNT


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", "null", '{"version": 1, "files": []}', '{"version": 99, "files": {}}', "\0" * 99,
     '{"version": 1, "files": {"lora /x": [1, 2], "lora /y": {"a": 1}, "checkpoint /z": ["1", 2, {}]}}'],
)  # fmt: skip
def test_a_damaged_cache_costs_reading_again_and_no_more(damage: str, models: ModelFolders, read: list[str]) -> None:
    first, cards = looked_into(models)
    cache = models.flags.data_dir / HEADERS
    cache.write_text(damage)
    read.clear()
    assert looked_into(models) == (first, cards)
    assert "ink-0.safetensors" in read
    assert json.loads(cache.read_text())["version"] == 1
    aside = [each for each in cache.parent.iterdir() if DAMAGED in each.name]
    assert len(aside) == (damage in ("", "{", "[]", "null", "\0" * 99))


@pytest.mark.parametrize("field", ["metadata", "what", "vectors"])
def test_entries_of_the_wrong_form_are_read_again(field: str, models: ModelFolders, read: list[str]) -> None:
    first, cards = looked_into(models)
    cache = models.flags.data_dir / HEADERS
    kept = json.loads(cache.read_text())
    for _, _, told in kept["files"].values():
        if field in told:
            told[field] = ["unexpected"]
    cache.write_text(json.dumps(kept))
    assert looked_into(models) == (first, cards)


def test_a_disk_that_refuses_costs_nothing_but_the_cache(models: ModelFolders, read: list[str]) -> None:
    models.flags.data_dir.joinpath("cache").write_text("a file in the way")
    catalog, _ = looked_into(models)
    assert [row.alias for row in catalog.loras] == [f"india {n}" for n in range(COUNT)]


def test_a_file_put_in_the_place_of_another_is_noticed_by_its_number(tmp_path: Path) -> None:
    path = lora(tmp_path / "ink.safetensors", ss_output_name="one")
    headers = HeaderCache()
    stamp = stamp_of(path)
    headers.put("lora", stamp, {"a": 1})
    assert headers.get("lora", stamp) == {"a": 1}
    assert headers.get("lora", stamp._replace(inode=stamp.inode + 1)) is None
    assert headers.get("checkpoint", stamp) is None
