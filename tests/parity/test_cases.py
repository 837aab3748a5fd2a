"""The same request makes the same picture as in A1111: every recorded case through the engine, one table.

`pytest tests/parity/test_cases.py -m parity -s` prints the table that `docs/parity.md` holds. Settings are A1111's
defaults, which differ from ours in the source of random numbers.
"""

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from modules.a1111.request import FormKind, translated
from modules.base.events import Failed, ImageDone, Stop
from modules.infotext.parse import parse
from modules.networks.model import Model
from modules.processing.engine import Engine, batch
from modules.schema.catalog import Checkpoint
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from tests.parity.conftest import recorded_cases, with_inputs

A1111 = Settings(randn_source="GPU", live_previews_enable=False)
LATENT, LATENT_SDE = 1e-3, 5e-3  # largest difference relative to the latent's standard deviation
# Between the passes of hires fix the pixel upscalers go by way of bytes: one that rounds otherwise moves the latent by
# about 1e-3.
LATENT_THROUGH_BYTES = 5e-3
SDE = ("SDE", "Restart", "adaptive")
MEAN_PIXEL, LARGEST_PIXEL = 0.5, 8  # of 255
CASES = recorded_cases()

# What A1111's cache did to a case: it kept the prompt as an earlier request had split it (the option is not part of the
# cache's key), which its recorded conditioning shows.
AS_RECORDED: dict[str, dict[str, Any]] = {"t2i_pad_cond_uncond": {"comma_padding_backtrack": 0}}

# Cases that do not match, each with the reason; docs/parity.md repeats them.
UNMET = {
    "script_prompt_matrix": "scripts have a test of their own, test_scripts.py: their answer begins with a sheet",
    "script_x_y_z": "scripts have a test of their own, test_scripts.py: their answer begins with a sheet",
    "t2i_sampler_dpm_adaptive": "its step size control amplifies rounding; test_replay.py holds it call by call",
}


@dataclass
class Row:
    """One line of the table."""

    name: str
    latent: float = 0.0
    mean: float = 0.0
    largest: int = 0
    beyond_two: int = 0
    keys: str = "equal"

    def __str__(self) -> str:
        pixels = f"{self.mean:7.3f} {self.largest:4d} {self.beyond_two:6d}"
        return f"{self.name:40} {self.latent:9.1e} {pixels}  {self.keys}"


@pytest.fixture(scope="module")
def head() -> None:
    sys.stdout.write(f"\n{'case':40} {'latent':>9} {'mean':>7} {'max':>4} {'>2/255':>6}  infotext\n")


@pytest.fixture
def row(request: pytest.FixtureRequest, head: None) -> Iterator[Row]:
    """The line of a case, printed when it has run, whatever the result."""
    line = Row(request.node.callspec.params["case"]["name"])
    yield line
    sys.stdout.write(f"{line}\n")


@pytest.fixture
def finals(monkeypatch: pytest.MonkeyPatch) -> list[NDArray[np.float32]]:
    """The latents that the engine decodes into the job's pictures, in order; not those between passes of hires fix."""
    seen: list[NDArray[np.float32]] = []
    decoded = batch.decoded

    def decode_and_keep(model: Model, latent: Tensor, is_exact: bool) -> NDArray[np.uint8]:
        seen.append(latent[None].numpy().copy())
        return decoded(model, latent, is_exact)

    monkeypatch.setattr(batch, "decoded", decode_and_keep)
    return seen


def test_every_recorded_case_is_listed() -> None:
    assert len(CASES) == 158
    assert set(UNMET) < {case["name"] for case in CASES}


@pytest.mark.parametrize("case", [c for c in CASES if c["name"] not in UNMET], ids=lambda case: case["name"])
def test_the_picture_of_a1111(
    case: dict[str, Any],
    engine: Engine,
    tiny_checkpoint: Checkpoint,
    arrays: dict[str, NDArray[Any]],
    finals: list[NDArray[np.float32]],
    row: Row,
) -> None:
    kind: FormKind = case["endpoint"]
    body = with_inputs(case["request"])
    if case["name"] in AS_RECORDED:
        body["override_settings"] |= AS_RECORDED[case["name"]]
    request = translated(kind, body, A1111).request.resolved(random.Random(0))
    events = list(engine.run(request, A1111, Resources(tiny_checkpoint), lambda: Stop.NONE))
    assert not [event for event in events if isinstance(event, Failed)]
    done = [event for event in events if isinstance(event, ImageDone)]

    expected = recorded_finals(case["name"], arrays)
    if finals and expected.shape == np.concatenate(finals).shape:
        row.latent = float(np.abs(np.concatenate(finals) - expected).max() / expected.std())
    else:
        row.keys = f"latents {np.concatenate(finals).shape}, recorded {expected.shape}"
    for i, event in enumerate(done):
        pixels = np.frombuffer(event.pixels, np.uint8).reshape(event.height, event.width, 3).astype(int)
        wanted = arrays[f"{case['name']}.image{i}"].astype(int)
        assert pixels.shape == wanted.shape
        apart = np.abs(pixels - wanted)
        row.mean = max(row.mean, float(apart.mean()))
        row.largest = max(row.largest, int(apart.max()))
        row.beyond_two += int((apart.max(axis=2) > 2).sum())
    texts = [differences(event.infotext, text) for event, text in zip(done, case["infotexts"], strict=True)]
    row.keys = "; ".join(sorted({text for text in texts if text})) or row.keys

    sampler = request.sampler_name + getattr(request, "hr_sampler_name", "")
    tolerance = LATENT_SDE if any(word in sampler for word in SDE) else LATENT
    if getattr(request, "enable_hr", False) and not getattr(request, "hr_upscaler", "").startswith("Latent"):
        tolerance = LATENT_THROUGH_BYTES
    assert row.latent <= tolerance
    assert row.mean <= MEAN_PIXEL
    assert row.largest <= LARGEST_PIXEL
    assert row.keys == "equal"


def recorded_finals(name: str, arrays: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    """The final latents of all pictures of a case; for hires fix, the last pass's."""
    passes = [arrays[f"{name}.final{k}"] for k in range(10) if f"{name}.final{k}" in arrays]
    if name.startswith("hr_"):
        passes = passes[-1:]
    return np.concatenate(passes)


def differences(ours: str, theirs: str) -> str:
    """The keys in which two texts differ, except the version's value; empty if there are none."""
    a, b = parse(ours), parse(theirs)
    pairs_a, pairs_b = a.pairs | {"Version": ""}, b.pairs | {"Version": ""}
    found = [
        f"{key}: {pairs_a.get(key)} for {pairs_b.get(key)}"
        for key in {**pairs_b, **pairs_a}
        if pairs_a.get(key) != pairs_b.get(key)
    ]
    if (a.prompt, a.negative_prompt) != (b.prompt, b.negative_prompt):
        found.append("prompts")
    return ", ".join(found)
