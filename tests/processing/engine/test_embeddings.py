"""Textual inversions by their words: in both prompts, named with their hashes; new ones are found by the next job."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from modules.base.events import EngineState, Failed, ImageDone, Stop, Warned
from modules.infotext.parse import parse
from modules.processing.engine import Engine, create_engine
from modules.schema.catalog import Checkpoint
from modules.schema.request import Txt2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from tests.admitted import Folders
from tests.tiny import TEXT_WIDTH, write_tiny_checkpoint

SMALL: dict[str, Any] = {"width": 64, "height": 64, "steps": 2, "seed": 7, "subseed": 1}


class Shop:
    """An engine with the embeddings "dusk" and "bad: hands", and one that is too wide."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "embeddings"
        self.folder.mkdir()
        self.path = write_tiny_checkpoint(folder / "tiny.safetensors")
        self.dusk = self.write("dusk", 3)
        self.bad = self.write("bad: hands", 2)
        self.write("wide", 2, 2 * TEXT_WIDTH)
        self.folders = Folders(folder / "cache", embeddings=(self.folder,))
        self.engine: Engine = create_engine("cpu", "full", str(folder / "cache"))

    def write(self, name: str, vectors: int, width: int = TEXT_WIDTH) -> str:
        """The twelve digits of the file."""
        draw = torch.Generator().manual_seed(vectors)
        path = self.folder / f"{name}.safetensors"
        save_file({"emb_params": torch.randn(vectors, width, generator=draw)}, path)
        return hashlib.sha256(path.read_bytes()).hexdigest()[:12]

    def events(self, prompt: str, negative: str = "", settings: Settings | None = None, **more: Any) -> list[Any]:
        request = Txt2ImgRequest(prompt=prompt, negative_prompt=negative, **{**SMALL, **more})
        checkpoint = Checkpoint(self.path.stem, self.path)
        return list(self.folders.run(self.engine, request, settings or Settings(), checkpoint))

    def picture(self, prompt: str, negative: str = "", settings: Settings | None = None, **more: Any) -> ImageDone:
        events = self.events(prompt, negative, settings, **more)
        (done,) = (event for event in events if isinstance(event, ImageDone))
        return done

    def hashes(self, prompt: str, negative: str = "", settings: Settings | None = None, **more: Any) -> str | None:
        return parse(self.picture(prompt, negative, settings, **more).infotext).pairs.get("TI hashes")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))


def test_the_infotext_names_the_words_that_were_spoken(shop: Shop) -> None:
    dusk, bad = f"dusk: {shop.dusk}", f"bad hands: {shop.bad}"
    for _ in range(2):  # what was encoded before is reported as well
        assert shop.hashes("a cat at dusk", "bad: hands, dusk") == f"{dusk}, {bad}"
        assert shop.hashes("a cat", "bad: hands") == bad
        assert shop.hashes("a cat, wide") is None
    assert shop.hashes("a [cat:dusk:0.5]") == dusk
    assert shop.hashes("a cat AND dusk") == dusk
    assert shop.hashes("a (dusk)", settings=Settings(use_old_emphasis_implementation=True)) == dusk
    hires: dict[str, Any] = {"enable_hr": True, "hr_scale": 1.0, "hr_upscaler": "Latent", "denoising_strength": 0.7}
    assert shop.hashes("a cat", hr_prompt="dusk", **hires) == dusk


def test_the_word_draws_another_picture_in_either_prompt(shop: Shop) -> None:
    plain, spoken, avoided = shop.picture("a cat"), shop.picture("a cat dusk"), shop.picture("a cat", "dusk")
    without = create_engine("cpu", "full", str(shop.folder.parent / "cache"))
    request = Txt2ImgRequest(prompt="a cat dusk", **SMALL)
    events = without.run(request, Settings(), Resources(Checkpoint(shop.path.stem, shop.path)), lambda: Stop.NONE)
    (read,) = (event.pixels for event in events if isinstance(event, ImageDone))
    assert len({plain.pixels, spoken.pixels, avoided.pixels, read}) == 4


def test_an_embedding_that_cannot_be_used_is_told_where_it_is_named(shop: Shop) -> None:
    """One of another width and one that is damaged, in either prompt; a word with the same start is a different
    word.
    """
    (shop.folder / "torn.pt").write_bytes(b"PK")
    wide = (
        "The embedding 'wide' has no effect: wide.safetensors has vectors 32 wide, but the checkpoint's text "
        "encoder is 16 wide."
    )
    torn = "The embedding 'torn' has no effect: torn.pt is damaged or truncated: it has 2 bytes."

    def told(prompt: str, negative: str = "", **more: Any) -> list[str]:
        return [event.message for event in shop.events(prompt, negative, **more) if isinstance(event, Warned)]

    for _ in range(2):  # what was encoded before is reported as well
        assert told("a cat, (Wide:1.2), wide", n_iter=2) == [wide]
        assert told("a cat", "torn") == [torn]
        assert told("a [cat:torn:0.5] AND wide") == [torn, wide]
        assert told("a widest cat, dusk") == []
    (shop.folder / "torn.pt").unlink()
    assert told("a cat", "torn") == []


def test_a_file_that_is_new_or_changed_counts_for_the_next_job(shop: Shop) -> None:
    plain = shop.picture("a dawn")
    first = shop.write("dawn", 1)
    spoken = shop.picture("a dawn")
    assert spoken.pixels != plain.pixels
    second = shop.write("dawn", 4)
    assert first != second
    assert shop.picture("a dawn").pixels not in (plain.pixels, spoken.pixels)
    assert shop.hashes("a dawn") == f"dawn: {second}"
    (shop.folder / "dawn.safetensors").unlink()
    assert shop.picture("a dawn").pixels == plain.pixels


def test_one_with_numbers_that_are_none_fails_its_job_in_a_sentence(shop: Shop) -> None:
    path = shop.folder / "void.safetensors"
    save_file({"v": torch.full((1, TEXT_WIDTH), torch.inf)}, path)
    failed = shop.events("a void")[-1]
    path.unlink()
    assert isinstance(failed, Failed)
    assert (failed.field, "'void' contains NaN or infinite numbers" in failed.message) == ("prompt", True)


def test_the_state_tells_how_wide_the_text_encoder_is(shop: Shop) -> None:
    states = list(shop.engine.load(Checkpoint(shop.path.stem, shop.path), Settings()))
    assert [state.text_width for state in states if isinstance(state, EngineState)][-1] == TEXT_WIDTH
