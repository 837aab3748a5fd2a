"""Scripts produce the same pictures and grids as A1111, in the order of its answer: grids first."""

import json
import random
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from modules.a1111.request import translated
from modules.base.events import Failed, ImageDone, Stop
from modules.processing.engine import Engine
from modules.schema.catalog import Catalog, Checkpoint
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from tests.parity.conftest import DATA, recorded_cases, with_inputs
from tests.parity.test_cases import A1111, LARGEST_PIXEL, MEAN_PIXEL, differences

CASES = [case for case in recorded_cases() if case["name"].startswith("script_")]
LEGEND = 90  # of 255: where letters touch, another version of Pillow overlaps them differently
ANSWERS = json.loads((DATA / "scripts.json").read_text(encoding="utf-8"))


def made(
    engine: Engine, checkpoint: Checkpoint, kind: Any, body: dict[str, Any], settings: Settings = A1111
) -> list[ImageDone]:
    """What a client of A1111 receives: grids, then the other pictures."""
    request = translated(kind, with_inputs(body), settings).request.resolved(random.Random(0))
    events = list(
        engine.run(request, settings, Resources(checkpoint, catalog=Catalog((checkpoint,))), lambda: Stop.NONE)
    )
    assert not [event for event in events if isinstance(event, Failed)]
    done = [event for event in events if isinstance(event, ImageDone)]
    return sorted(done, key=lambda event: not event.sheet)


def pixels(done: ImageDone) -> NDArray[np.int64]:
    return np.frombuffer(done.pixels, np.uint8).reshape(done.height, done.width, 3).astype(int)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_pictures_and_sheets_of_a1111(
    case: dict[str, Any], engine: Engine, tiny_checkpoint: Checkpoint, arrays: dict[str, NDArray[Any]]
) -> None:
    done = made(engine, tiny_checkpoint, case["endpoint"], case["request"])
    shown = [event for event in done if event.shown]
    wanted = [arrays[name] for i in range(len(shown) + 1) if (name := f"{case['name']}.image{i}") in arrays]
    assert len(shown) == len(wanted)
    for event, image in zip(shown, wanted, strict=True):
        apart = np.abs(pixels(event) - image)
        assert apart.mean() <= MEAN_PIXEL
        assert apart.max() <= (LEGEND if event.sheet else LARGEST_PIXEL)
        if event.sheet:  # the cells; the legend is 48 pixels wide and at most 9 high
            assert apart[9:, 48:].max() <= LARGEST_PIXEL
    texts = ANSWERS[case["name"]]
    assert [differences(event.infotext, text) for event, text in zip(done, texts, strict=True)] == [""] * len(texts)
