"""What a job names is resolved at admission: while it runs, no model folder is read, and names keep their meaning."""

import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from modules.base.events import Failed, ImageDone, Stop, Warned
from modules.extension.loading import load as load_extensions
from modules.infotext.parse import parse
from modules.jobs.admission import Admission, FixedCatalog
from modules.processing.engine import Engine, create_engine
from modules.processing.kinds.generate import TXT2IMG
from modules.processing.kinds.kind import Work
from modules.schema.request import Txt2ImgRequest
from modules.schema.settings import EXACT, Settings
from tests.admitted import Folders
from tests.tiny import TEXT_WIDTH, TINY_YAML, tiny_tensors, write_tiny_checkpoint

SMALL: dict[str, Any] = {"width": 64, "height": 64, "steps": 2, "seed": 7, "subseed": 1, "sampler_name": "Euler"}
QUIET = Settings(live_previews_enable=False)
LISTED: list[str] = []  # folders that this process has read, while someone counts
IS_COUNTED = [False]


def _count(event: str, arguments: tuple[Any, ...]) -> None:
    if IS_COUNTED[0] and event in ("os.listdir", "os.scandir") and isinstance(arguments[0], str | Path):
        LISTED.append(str(arguments[0]))


@pytest.fixture(scope="module", autouse=True)
def _hear() -> None:
    sys.addaudithook(_count)  # an audit hook cannot be removed


@contextmanager
def listed() -> Iterator[list[str]]:
    LISTED.clear()
    IS_COUNTED[0] = True
    try:
        yield LISTED
    finally:
        IS_COUNTED[0] = False


class Studio:
    """Checkpoints tiny and sharp, the LoRA ink, the VAE soft, the embedding dusk; and an engine that knows none of
    them.
    """

    def __init__(self, folder: Path) -> None:
        self.models = folder / "models"
        write_tiny_checkpoint(self.models / "tiny.safetensors")
        half = {
            key: (value * np.float16(0.9)).astype(value.dtype) if value.dtype == np.float16 else value
            for key, value in tiny_tensors().items()
        }
        save_file(half, self.models / "sharp.safetensors", metadata={"format": "pt"})
        (self.models / "sharp.yaml").write_text(TINY_YAML, encoding="utf-8")
        self.loras, self.vaes, self.words = (self.models / name for name in ("Lora", "VAE", "embeddings"))
        for each in (self.loras, self.vaes, self.words):
            each.mkdir()
        vae = {key.removeprefix(PREFIX): value for key, value in half.items() if key.startswith(PREFIX)}
        save_file(vae, self.vaes / "soft.safetensors", metadata={"format": "pt"})
        self.write_lora("ink", 0.01)
        rng = np.random.default_rng(3)
        save_file({"emb_params": rng.normal(size=(2, TEXT_WIDTH)).astype(np.float32)}, self.words / "dusk.safetensors")
        self.folders = Folders(folder / "cache", (self.models,), (self.loras,), (self.words,), (self.vaes,))
        self.engine: Engine = create_engine("cpu", "full", str(folder / "cache"))

    def write_lora(self, name: str, size: float) -> Path:
        key = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
        weight = tiny_tensors()["model.diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.weight"]
        rows, columns = weight.shape
        up, down = np.full((rows, 1), size, np.float32), np.ones((1, columns), np.float32)
        path = self.loras / f"{name}.safetensors"
        save_file({f"{key}.lora_up.weight": up, f"{key}.lora_down.weight": down}, path)
        return path

    def work(self, settings: Settings = QUIET, **values: Any) -> Work:
        """A job as it arrives in the engine process."""
        request = Txt2ImgRequest.parse({**SMALL, **values})
        catalog = self.folders.catalog()
        chosen = settings.overridden({"sd_model_checkpoint": "tiny"})
        spec = Admission(FixedCatalog(catalog), load_extensions(None)).admitted(TXT2IMG, request, chosen)
        return pickle.loads(pickle.dumps(Work(TXT2IMG, spec.request, spec.settings, spec.resources)))

    def events(self, work: Work) -> list[Any]:
        return list(work.kind.run(self.engine, work, lambda: Stop.NONE))

    def pictures(self, work: Work) -> list[ImageDone]:
        events = self.events(work)
        assert not [event for event in events if isinstance(event, Failed)], events[-1]
        return [event for event in events if isinstance(event, ImageDone)]


PREFIX = "first_stage_model."


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(tmp_path_factory.mktemp("studio"))


HIRES: dict[str, Any] = {"enable_hr": True, "hr_scale": 1.0, "hr_upscaler": "Lanczos", "denoising_strength": 0.6}
PLOT = "X/Y/Z plot"
# X/Y/Z's axes by number: 13 is the checkpoint, 32 the VAE, 40 the refiner, 8 Prompt S/R.
JOBS: dict[str, dict[str, Any]] = {
    "a LoRA and an embedding": {"prompt": "a cat at dusk <lora:ink:1>"},
    "a refiner": {"refiner_checkpoint": "sharp", "refiner_switch_at": 0.5},
    "hires fix": {**HIRES, "hr_checkpoint_name": "sharp", "hr_prompt": "dusk <lora:ink:1>"},
    "a VAE": {"override_settings": {"sd_vae": "soft"}},
    "a checkpoint axis": {"script_name": PLOT, "script_args": ("Checkpoint name", "tiny,sharp")},
    "a VAE axis": {"script_name": PLOT, "script_args": ("VAE", "None,soft")},
    "a refiner axis": {
        "script_name": PLOT, "script_args": ("Refiner checkpoint", "None,sharp"), "refiner_switch_at": 0.5,
    },
    "a LoRA that only the script names": {
        "prompt": "a cat, plain", "script_name": PLOT, "script_args": ("Prompt S/R", "plain,<lora:ink:1> dusk"),
    },
}  # fmt: skip


@pytest.mark.parametrize("values", JOBS.values(), ids=JOBS)
def test_a_running_job_reads_no_folder_of_models(studio: Studio, values: dict[str, Any]) -> None:
    work = studio.work(**values)
    with listed() as folders:
        done = studio.pictures(work)
    assert done
    assert [folder for folder in folders if folder.startswith(str(studio.models))] == []
    with listed() as folders:
        studio.folders.catalog()
    assert str(studio.models) in folders, "the counting counts nothing"


def axis_pictures(studio: Studio, work: Work) -> list[ImageDone]:
    return [done for done in studio.pictures(work) if not done.sheet]


def test_the_names_of_a_script_mean_the_files_that_were_there_when_it_was_submitted(studio: Studio) -> None:
    """Later files with the same name, earlier in the list, change nothing; and the infotext names both."""
    work = studio.work(**JOBS["a LoRA that only the script names"])
    other = studio.loras / "deep"
    other.mkdir()
    (studio.loras / "ink.safetensors").rename(other / "moved.safetensors")
    try:
        failed = studio.events(work)[-1]
    finally:
        (other / "moved.safetensors").rename(studio.loras / "ink.safetensors")
        other.rmdir()
    assert isinstance(failed, Failed)
    assert "the LoRA 'ink' cannot be read" in failed.message
    plain, inked = axis_pictures(studio, work)
    assert plain.pixels != inked.pixels
    assert ("Lora hashes" in parse(plain.infotext).pairs, "Lora hashes" in parse(inked.infotext).pairs) == (False, True)
    assert "TI hashes" in parse(inked.infotext).pairs


def test_a_missing_lora_of_a1111s_way_suggests_a_name_that_was_known_when_the_job_was_submitted(
    studio: Studio,
) -> None:
    work = studio.work(replace_settings(compatibility=EXACT), prompt="a cat <lora:imk:1>")
    studio.write_lora("imk2", 0.02)
    warned = [event.message for event in studio.events(work) if isinstance(event, Warned)]
    (studio.loras / "imk2.safetensors").unlink()
    sentence = "prompt: there is no LoRA 'imk'; did you mean 'ink'? The picture is made without it."
    assert warned == [sentence]


def replace_settings(**values: Any) -> Settings:
    return QUIET.overridden(values)


def rewritten(path: Path) -> None:
    path.write_bytes(path.read_bytes())  # the same bytes, at another time


REPLACED: dict[str, tuple[dict[str, Any], Callable[[Studio], Path]]] = {
    "ink": ({"prompt": "a cat <lora:ink:1>"}, lambda studio: studio.loras / "ink.safetensors"),
    "dusk": ({"prompt": "a cat at dusk"}, lambda studio: studio.words / "dusk.safetensors"),
    "soft.safetensors": (JOBS["a VAE"], lambda studio: studio.vaes / "soft.safetensors"),
    "sharp.safetensors": (JOBS["a refiner"], lambda studio: studio.models / "sharp.safetensors"),
}


@pytest.mark.parametrize("name", REPLACED)
def test_a_file_that_was_replaced_while_the_job_waited_is_told_and_used(studio: Studio, name: str) -> None:
    values, file = REPLACED[name]
    work = studio.work(**values)
    assert not [event for event in studio.events(work) if isinstance(event, Warned)]
    rewritten(file(studio))
    events = studio.events(work)
    assert [event.message for event in events if isinstance(event, Warned)] == [
        f"{name} was replaced after the job was submitted: the picture is made with the new file."
    ]
    assert isinstance(next(event for event in events if isinstance(event, ImageDone | Failed)), ImageDone)


def test_the_catalog_that_travels_leaves_the_notes_of_loras_behind(studio: Studio) -> None:
    catalog = studio.folders.catalog()
    noted = replace(catalog, loras=(replace(catalog.loras[0], metadata={"ss_tag_frequency": {"a": 1}}),))
    request = Txt2ImgRequest(prompt="<lora:ink:1>")
    spec = Admission(FixedCatalog(noted)).admitted(TXT2IMG, request, QUIET.overridden({"sd_model_checkpoint": "tiny"}))
    assert spec.resources.catalog == noted
    assert [lora.metadata for lora in spec.resources.catalog.loras] == [{}]
    assert spec.resources.catalog is noted.without_notes  # shared by all jobs for which it was current
