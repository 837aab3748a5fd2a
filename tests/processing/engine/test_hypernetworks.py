"""Hypernetworks named in the prompt."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modules.base.events import ImageDone, Warned
from modules.processing.engine import create_engine
from modules.schema.catalog import Checkpoint
from modules.schema.request import Txt2ImgRequest
from modules.schema.settings import Settings
from tests.admitted import Folders
from tests.tiny import write_tiny_checkpoint

SMALL: dict[str, Any] = {"width": 64, "height": 64, "steps": 2, "seed": 7, "subseed": 1}


class Shop:
    """An engine, a checkpoint, and the hypernetwork fox."""

    def __init__(self, folder: Path) -> None:
        self.path = write_tiny_checkpoint(folder / "tiny.safetensors")
        draw = torch.Generator().manual_seed(4)
        state = {"linear.0.weight": torch.randn(16, 16, generator=draw), "linear.0.bias": torch.zeros(16)}
        torch.save({16: (state, state), "layer_structure": [1, 1]}, folder / "fox.pt")
        self.folders = Folders(folder / "cache", hypernetworks=(folder,))
        self.engine = create_engine("cpu", "full", str(folder / "cache"))

    def events(self, prompt: str, **more: Any) -> list[Any]:
        request = Txt2ImgRequest(prompt=prompt, **{**SMALL, **more})
        checkpoint = Checkpoint("tiny.safetensors", self.path)
        return list(self.folders.run(self.engine, request, Settings(), checkpoint))

    def pixels(self, prompt: str, **more: Any) -> bytes:
        (done,) = (event for event in self.events(prompt, **more) if isinstance(event, ImageDone))
        return done.pixels


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))


def test_a_tag_changes_the_picture_as_far_as_its_multiplier_says(shop: Shop) -> None:
    plain = shop.pixels("a cat")
    pictures = [shop.pixels(f"a cat <hypernet:{name}>") for name in ("fox", "fox:0.2", "Fox:-1")]
    assert len({plain, *pictures}) == 4
    first, weak, *_ = (np.frombuffer(each, np.uint8).astype(int) for each in pictures)
    before = np.frombuffer(plain, np.uint8)
    assert np.abs(weak - before).sum() < np.abs(first - before).sum()
    assert shop.pixels("a cat <hypernet:fox:0>") == plain
    assert shop.pixels("a cat") == plain


def test_each_pass_has_those_of_its_prompt(shop: Shop) -> None:
    hires = {"enable_hr": True, "hr_scale": 1.5, "denoising_strength": 0.7}
    both = shop.pixels("a cat <hypernet:fox>", **hires)
    first = shop.pixels("a cat <hypernet:fox>", hr_prompt="a cat", **hires)
    second = shop.pixels("a cat", hr_prompt="a cat <hypernet:fox>", **hires)
    assert len({both, first, second, shop.pixels("a cat", **hires)}) == 4


def test_one_that_is_not_here_is_left_out_and_told(shop: Shop) -> None:
    told = [event.message for event in shop.events("a cat <hypernet:owl:1>") if isinstance(event, Warned)]
    assert told == ["<hypernet:owl> has no effect: there is no hypernetwork of this name. The tag was removed."]
