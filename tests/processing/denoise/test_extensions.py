"""Extensions that act during sampling: the documentation's example, tokens and residuals."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modules.base.events import Failed, ImageDone, Stop
from modules.base.picture import Picture
from modules.infotext.parse import parse
from modules.infotext.read import to_fields
from modules.processing.engine import Engine, create_engine
from modules.schema.catalog import Checkpoint
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from tests.processing.masked.test_inpaint import source
from tests.tiny import TEXT_WIDTH, write_tiny_checkpoint

DOCS = Path(__file__).parents[3] / "docs" / "extensions.md"
SMALL: dict[str, Any] = {"width": 64, "height": 64, "steps": 4, "seed": 7, "subseed": 1, "prompt": "a cat"}

NETWORK = f"""
from modules.base.fields import Control
from modules.extension.hooks import Arguments, Extension


class Adding(Arguments):
    tokens: int = 0
    middle: float = 0.0
    down: float = 0.0


class Network(Extension):
    def arguments(self):
        return Adding

    def before_predict(self, x, sigma, extra, view):
        asked = view.arguments
        if asked.tokens:
            extra = extra.with_tokens(x.new_ones(1, asked.tokens, {TEXT_WIDTH}))
        if asked.middle:
            extra = extra.with_residuals(middle=x.new_full((1, 32, view.height // 16, view.width // 16), asked.middle))
        if asked.down:
            sides = (1, 1, 2, 2)
            down = [x.new_full((1, 32, view.height // 8 // s, view.width // 8 // s), asked.down) for s in sides]
            extra = extra.with_residuals(down)
        return extra
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    path = write_tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny.safetensors")
    return Checkpoint(path.stem, path)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("extensions")
    (example,) = (code for code in re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
                  if "wrap_denoise" in code)  # fmt: skip
    for name, code in (("soft_start", example), ("network", NETWORK)):
        (folder / name).mkdir()
        (folder / name / "extension.py").write_text(code, encoding="utf-8")
    return create_engine("cpu", "full", str(tmp_path_factory.mktemp("cache")), str(folder))


def half() -> Picture:
    """A mask over the right half."""
    return Picture.from_image(Image.fromarray(np.repeat([[0] * 32 + [255] * 32], 64, axis=0).astype(np.uint8)))


def made(engine: Engine, checkpoint: Checkpoint, request: GenerationRequest) -> ImageDone:
    events = list(engine.run(request, Settings(live_previews_enable=False), Resources(checkpoint), lambda: Stop.NONE))
    (done,) = (event for event in events if isinstance(event, ImageDone))
    return done


def failure(engine: Engine, checkpoint: Checkpoint, extensions: dict[str, Any]) -> Failed:
    request = Txt2ImgRequest(extensions=extensions, **SMALL)
    (failed,) = engine.run(request, Settings(), Resources(checkpoint), lambda: Stop.NONE)
    assert isinstance(failed, Failed)
    return failed


def test_an_extension_acts_on_the_jobs_that_name_it(engine: Engine, checkpoint: Checkpoint) -> None:
    plain = made(engine, checkpoint, Txt2ImgRequest(**SMALL))
    nothing, half = (
        made(engine, checkpoint, Txt2ImgRequest(extensions={"soft_start": {"share": share}}, **SMALL))
        for share in (0, 0.5)
    )
    assert nothing.pixels == plain.pixels
    assert half.pixels != plain.pixels
    assert "Extensions" not in parse(plain.infotext).pairs


def test_the_infotext_makes_the_picture_again(engine: Engine, checkpoint: Checkpoint) -> None:
    done = made(engine, checkpoint, Txt2ImgRequest(extensions={"soft_start": {"share": 0.5}, "network": {}}, **SMALL))
    text = parse(done.infotext)
    assert json.loads(text.pairs["Extensions"]) == {
        "soft_start": {"share": 0.5}, "network": {"tokens": 0, "middle": 0.0, "down": 0.0},
    }  # fmt: skip
    fields: dict[str, Any] = {**to_fields(text).fields, "subseed": 1}
    again = Txt2ImgRequest(**fields)
    assert made(engine, checkpoint, again).pixels == done.pixels


@pytest.mark.parametrize("sampler", ["Euler", "DDIM", "DDIM CFG++"])
def test_what_is_not_masked_stays(engine: Engine, checkpoint: Checkpoint, sampler: str) -> None:
    picture, drawn = source(64, 64), half()
    request = Img2ImgRequest(
        init_images=(picture,), mask=drawn, mask_blur_x=0, mask_blur_y=0, sampler_name=sampler,
        extensions={"soft_start": {"share": 1.0}}, **SMALL,
    )  # fmt: skip
    done = made(engine, checkpoint, request)
    result = np.frombuffer(done.pixels, np.uint8).reshape(64, 64, 3)
    assert np.array_equal(result[:, :32], np.asarray(picture.rgb("#ffffff"))[:, :32])


@pytest.mark.parametrize("arguments", [{"tokens": 3}, {"middle": 0.5}, {"down": 0.5}, {"tokens": 2, "middle": 0.5}])
@pytest.mark.parametrize("more", [{}, {"negative_prompt": "a dog"}, {"prompt": "a cat AND a dog"}, {"cfg_scale": 1.0}])
def test_tokens_and_residuals_reach_the_network(
    engine: Engine, checkpoint: Checkpoint, arguments: dict[str, Any], more: dict[str, Any]
) -> None:
    base = {**SMALL, **more}
    plain, added = (
        made(engine, checkpoint, Txt2ImgRequest(extensions=requested, **base))
        for requested in ({}, {"network": arguments})
    )
    assert plain.pixels != added.pixels


def test_unknown_names_and_wrong_values_are_refused(engine: Engine, checkpoint: Checkpoint) -> None:
    unknown = failure(engine, checkpoint, {"soft_star": {}})
    assert (unknown.field, unknown.message) == (
        "extensions", "extensions: no extension named 'soft_star'; did you mean 'soft_start'?",
    )  # fmt: skip
    wrong = failure(engine, checkpoint, {"soft_start": {"share": 7}})
    assert wrong.field == "extensions.soft_start.share"
    assert "7" in wrong.message
