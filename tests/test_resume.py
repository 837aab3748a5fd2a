"""Palimpsest is killed and restarted: accepted jobs are made exactly once, with the same bytes as without the kill."""

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.test_app import PATIENCE, Studio, studio
from tests.tiny import write_tiny_checkpoint

pytestmark = pytest.mark.slow

SMALL = {"width": 64, "height": 64, "subseed": 1}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny.safetensors")


def submit(palimpsest: Studio, kind: str, **request: Any) -> str:
    answer = palimpsest.client.post("/v1/jobs", json={"kind": kind, "request": {**SMALL, **request}})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def three_jobs(palimpsest: Studio) -> list[str]:
    source = palimpsest.upload()
    return [
        submit(palimpsest, "txt2img", prompt="a [red:blue:0.5] fox", seed=10, steps=30, n_iter=3, batch_size=2),
        submit(palimpsest, "img2img", prompt="a fox", seed=20, steps=12, init_images=[source], mask=source),
        submit(palimpsest, "txt2img", prompt="a cat", seed=30, steps=4),
    ]


def saved(palimpsest: Studio, job_id: str) -> list[str]:
    return [image["path"] for image in palimpsest.job(job_id)["images"]]


def all_ended(palimpsest: Studio, ids: list[str]) -> bool:
    return all(palimpsest.job(job_id)["status"] == "finished" for job_id in ids)


def files(data: Path) -> dict[str, bytes]:
    return {file.relative_to(data).as_posix(): file.read_bytes() for file in (data / "outputs").rglob("*.png")}


def test_a_killed_server_goes_on_where_it_was(tmp_path: Path, checkpoint: Path) -> None:
    with studio(tmp_path / "calm", "--ckpt", checkpoint) as palimpsest:
        ids = three_jobs(palimpsest)
        palimpsest.until("all jobs", lambda: all_ended(palimpsest, ids))
        results = [saved(palimpsest, job_id) for job_id in ids]

    data = tmp_path / "killed"
    with studio(data, "--ckpt", checkpoint) as palimpsest:
        ids = three_jobs(palimpsest)
        palimpsest.until("two pictures", lambda: len(saved(palimpsest, ids[0])) >= 2)
        palimpsest.process.kill()  # SIGKILL
    with studio(data, "--ckpt", checkpoint) as palimpsest:
        palimpsest.until("another batch", lambda: len(saved(palimpsest, ids[0])) >= 4)
        palimpsest.process.send_signal(signal.SIGTERM)
        palimpsest.process.wait(PATIENCE)
    with studio(data, "--ckpt", checkpoint) as palimpsest:
        palimpsest.until("all jobs", lambda: all_ended(palimpsest, ids))
        assert [saved(palimpsest, job_id) for job_id in ids] == results
        assert all(palimpsest.job(job_id)["resumed"] for job_id in ids)
    assert files(data) == files(tmp_path / "calm")
