from pathlib import Path

import pytest
import torch

from modules.clip.bpe import ClipBPE
from modules.networks.device import Placement
from modules.networks.files.listing import HashCache
from modules.networks.sd1.checkpoint import load_checkpoint
from modules.networks.sd1.model import StableDiffusion
from modules.schema.catalog import Checkpoint
from tests.tiny import write_tiny_checkpoint


@pytest.fixture(scope="session")
def place() -> Placement:
    """The CPU in fp32 on every machine."""
    return Placement(torch.device("cpu"), torch.float32, torch.float32, torch.float32)


@pytest.fixture(scope="session")
def bpe() -> ClipBPE:
    return ClipBPE()


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint on disk; not to be modified."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny(tiny_file: Path, place: Placement, bpe: ClipBPE) -> StableDiffusion:
    """The tiny checkpoint, loaded; not to be modified."""
    hashes = HashCache(tiny_file.with_name("hashes.json"))
    return load_checkpoint(Checkpoint("tiny.safetensors", tiny_file), place, bpe, hashes)
