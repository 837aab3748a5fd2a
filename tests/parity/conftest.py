"""The recorded cases of A1111, and the small checkpoint they were made with."""

import hashlib
import json
import subprocess
import sys
import tempfile
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modules.processing.engine import Engine, create_engine
from modules.schema.catalog import Checkpoint

DATA = Path(__file__).parent / "data"
CHECKPOINT_SHA256 = "58564d6acf29ef000b8290ad13d33e8624958985731bb9a002f8ff9b2d05a228"


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(pytest.mark.parity)


@pytest.fixture(scope="session")
def tiny_checkpoint() -> Checkpoint:
    """The checkpoint of the recordings, made once on this machine and checked by its hash."""
    folder = Path(tempfile.gettempdir()) / f"palimpsest-parity-{CHECKPOINT_SHA256[:10]}"
    path = folder / "tiny.safetensors"
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != CHECKPOINT_SHA256:
        script = Path(__file__).parent / "make_ckpt.py"
        subprocess.run([sys.executable, str(script), "tiny", "--out", str(folder)], check=True, stdout=subprocess.PIPE)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == CHECKPOINT_SHA256
    return Checkpoint("tiny", path)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """fp32 and one thread, as in the recordings."""
    engine = create_engine("cpu", "full", str(tmp_path_factory.mktemp("cache")))
    torch.set_num_threads(1)
    return engine


@pytest.fixture(scope="session")
def arrays() -> dict[str, np.ndarray[Any, Any]]:
    with np.load(DATA / "cases.npz") as file:
        return {name: file[name] for name in file.files}


def recorded_cases() -> list[dict[str, Any]]:
    return json.loads((DATA / "cases.json").read_text(encoding="utf-8"))


def with_inputs(value: Any) -> Any:
    """A request with "@file" replaced by the base64 of that input."""
    if isinstance(value, str) and value.startswith("@"):
        return b64encode((DATA / "inputs" / value[1:]).read_bytes()).decode()
    if isinstance(value, list):
        return [with_inputs(item) for item in value]
    if isinstance(value, dict):
        return {key: with_inputs(item) for key, item in value.items()}
    return value
