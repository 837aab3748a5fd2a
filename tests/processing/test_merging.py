"""A merge as a job: valid requests, what it reports, and what remains when it is stopped."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from modules.base.errors import WebuiError
from modules.base.events import FileSaved, Finished, Staged, Started, Stepped, Stop, Warned
from modules.jobs.admission import Admission, FixedCatalog
from modules.networks.files.listing import HashCache, find_checkpoints, read_metadata
from modules.processing.kinds.merge import MERGE
from modules.processing.merging import Merger
from modules.schema.catalog import Catalog, Checkpoint, Lora, Vae
from modules.schema.settings import Settings
from modules.ui.merge_tab import merge_controls
from tests.tiny import write_tiny_checkpoint


class Finder:
    def __init__(self, folder: Path) -> None:
        self.catalog = Catalog(tuple(find_checkpoints([folder], None)))

    def checkpoint(self, name: str) -> Checkpoint:
        return self.catalog.checkpoint(name)

    def vae(self, name: str) -> Vae | None:
        return self.catalog.vae(name)

    def lora(self, name: str) -> Lora:
        return self.catalog.lora(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two tiny checkpoints."""
    first = write_tiny_checkpoint(tmp_path)
    save_file({key: tensor * 0.5 for key, tensor in load_file(first).items()}, first.with_name("other.safetensors"))
    return tmp_path


def merger(folder: Path) -> Merger:
    return Merger(Finder(folder), HashCache(folder / "cache" / "hashes.json"), folder)


AB = {"primary_model_name": "tiny", "secondary_model_name": "other"}


def test_a_job_tells_its_stages_steps_and_file(folder: Path) -> None:
    events = list(merger(folder).run(MERGE.parse({**AB, "custom_name": "new"}), lambda: Stop.NONE))
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert [event.stage for event in events if isinstance(event, Staged)] == [
        "hashing tiny.safetensors", "hashing other.safetensors", "merging",
    ]  # fmt: skip
    assert [event.step for event in events if isinstance(event, Stepped)][-1] == 100
    size = (folder / "new.safetensors").stat().st_size
    assert FileSaved("new.safetensors", size) in events
    models = json.loads(read_metadata(folder / "new.safetensors")["sd_merge_models"])
    assert {told["name"] for told in models.values()} == {"tiny.safetensors", "other.safetensors"}


def test_a_stopped_job_goes_on_when_it_is_run_again(folder: Path) -> None:
    request = MERGE.parse({**AB, "custom_name": "new", "add_merge_recipe": False})
    requested = iter([Stop.NONE] * 20)
    events = list(merger(folder).run(request, lambda: next(requested, Stop.INTERRUPT)))
    assert isinstance(events[-1], Finished)
    assert events[-1].interrupted
    assert any(isinstance(event, Warned) and ".new.safetensors.merging" in event.message for event in events)
    again = list(merger(folder).run(request, lambda: Stop.NONE))
    assert any(isinstance(event, Warned) and "The merge resumes: 20 of" in event.message for event in again)
    assert (folder / "new.safetensors").exists()


def test_admission_knows_names_also_of_families_that_draw_nothing(folder: Path) -> None:
    rows = (
        Checkpoint("a.safetensors", folder / "a", reason="not supported"),
        Checkpoint("b.safetensors", folder / "b"),
    )
    admission = Admission(FixedCatalog(Catalog(rows)))
    request = MERGE.parse({"primary_model_name": "A", "secondary_model_name": "b"})
    spec = admission.admitted(MERGE, request, Settings())
    assert (spec.request.primary_model_name, spec.request.secondary_model_name) == ("a.safetensors", "b.safetensors")
    assert spec.resources.checkpoint is rows[0]
    for values, field in (({"secondary_model_name": "b"}, "primary"), ({**AB, "secondary_model_name": "c"}, "primary")):
        with pytest.raises(WebuiError, match=f"{field}_model_name: "):
            admission.admitted(MERGE, MERGE.parse(values), Settings())


def test_the_page_has_a_control_for_each_field() -> None:
    controls = {control["name"]: control for control in merge_controls()}
    assert set(controls) == set(MERGE.request.model_fields)
    assert controls["interp_method"]["choices"][:2] == ["No interpolation", "Weighted sum"]
    assert controls["bake_in_vae"]["models"] == "vaes"
