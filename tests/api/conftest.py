"""The application over a real queue, store and (fake) engine process."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from modules.api.app import create_api
from modules.api.services import CatalogHolder, Services, SettingsHolder
from modules.api.v1.tokens import TokenCounter
from modules.flags.flags import Flags
from modules.jobs.batch.batches import Batches
from modules.jobs.batch.intake import BatchIntake
from modules.jobs.queue import JobQueue
from modules.jobs.saving import JobSavers, Saver
from modules.jobs.workers.process import EngineProcess
from modules.schema.catalog import Catalog, Checkpoint, ControlModel, Vae
from modules.schema.settings import Settings
from modules.store.history import History
from modules.store.job_store import JobStore
from modules.store.metadata import as_file
from modules.store.outputs import Outputs
from modules.store.pictures import Pictures

BASE = "http://127.0.0.1:7860"
CHECKPOINTS = ("good", "refused")
VAES = ("Soft.safetensors", "sharp.vae.pt")


@contextmanager
def services_in(
    tmp_path: Path,
    engine: str = "tests.jobs.fake_engine:create",
    job_store: Path | None = None,
    control_models: tuple[ControlModel, ...] = (),
) -> Iterator[Services]:
    """All services over an engine process without a model, with files below `tmp_path`; `job_store` stores the jobs."""
    outputs = Outputs(tmp_path / "outputs")
    savers = JobSavers(Saver(outputs))
    pictures = Pictures(tmp_path / "pictures")
    queue = JobQueue(EngineProcess(engine), savers, job_store=JobStore(job_store, pictures) if job_store else None)
    settings = SettingsHolder(Settings(), tmp_path / "config.json")
    yield Services(
        queue=queue,
        catalog=CatalogHolder(
            lambda: Catalog(
                tuple(Checkpoint(name, Path(f"{name}.safetensors"), defaults={"steps": 12}) for name in CHECKPOINTS),
                vaes=tuple(Vae(name, Path(name)) for name in VAES),
                control_models=control_models,
            ),
            known_hash=lambda path: path.stem * 10,
        ),
        settings=settings,
        outputs=outputs,
        pictures=pictures,
        flags=Flags(data_dir=tmp_path, models_dir=tmp_path / "models", offline=True),
        count_tokens=TokenCounter(settings),
        intake=BatchIntake.of(Batches(queue, savers, outputs, pictures), tmp_path, outputs.root),
        savers=savers,
        history=History(outputs, tmp_path / "history.sqlite"),
    )
    queue.close()


def saved_picture(outputs: Outputs, image: Image.Image, kind: str, seed: int, text: str) -> Path:
    """A picture in the outputs folder, as a job would save it there."""
    return outputs.root / outputs.write(outputs.numbered(kind, seed), as_file(image, text, Settings()))


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    with services_in(tmp_path) as services:
        yield services


@pytest.fixture
def client(services: Services) -> Iterator[TestClient]:
    with ExitStack() as stack:
        yield stack.enter_context(TestClient(create_api(services), base_url=BASE))


@pytest.fixture
def finished(client: TestClient) -> Callable[..., dict[str, Any]]:
    """Submits a job and waits until it has ended."""

    def run(kind: str = "txt2img", **request: Any) -> dict[str, Any]:
        answer = client.post("/v1/jobs", json={"kind": kind, "request": request})
        assert answer.status_code == 201, answer.text
        url = answer.json()["url"]
        client.get(f"{url}/events")  # ends with the job
        return client.get(url).json()

    return run
