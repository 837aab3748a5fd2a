"""A picture that needs more memory than is available is refused before it starts, with the size that fits."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from modules.base.errors import WebuiError
from modules.base.events import Failed, Staged, Stop
from modules.base.picture import Picture
from modules.images.geometry import Size
from modules.processing import room as room_module
from modules.processing.engine import create_engine
from modules.processing.room import ASKED_FROM, Room, largest, peak_bytes
from modules.schema.catalog import Checkpoint
from modules.schema.request import Img2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from modules.schema.sizes import SD1_SIZES
from tests.tiny import write_tiny_checkpoint

CPU = torch.device("cpu")
MEGABYTE = 10**6


def fill() -> list[torch.Tensor]:
    return [torch.ones(20 * MEGABYTE) for _ in range(2)]  # 80 MB each


@pytest.mark.parametrize("system", ["counts", "does not count"])
def test_what_work_holds_at_its_peak_is_measured_on_a_machine_too_busy_to_look(
    system: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(room_module, "LOOKS", 3600.0)  # the second thread gets no turn
    if system == "does not count":
        monkeypatch.setattr(room_module, "CLEAR_REFS", tmp_path / "no such folder" / "clear_refs")
    assert 150 * MEGABYTE < peak_bytes(CPU, fill) < 300 * MEGABYTE


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not count peaks")
def test_a_peak_that_work_gives_back_is_measured_too() -> None:
    assert 150 * MEGABYTE < peak_bytes(CPU, lambda: len(fill())) < 300 * MEGABYTE


def test_the_size_that_fits_has_the_proportions_and_whole_cells() -> None:
    assert largest(Size(7304, 5472), SD1_SIZES, 0.1) == Size(2304, 1728)
    assert largest(Size(4096, 64), SD1_SIZES, 1e-6) == Size(8, 8)


def test_a_small_picture_is_never_asked_for() -> None:
    def fail(side: int) -> None:
        raise AssertionError("nothing was to be measured")

    side = int(ASKED_FROM**0.5) * 8
    Room(CPU).require("a", fail, Size(side, side), 1, SD1_SIZES, lambda fitting: "", "width")


def test_it_is_measured_once_and_what_is_offered_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []
    monkeypatch.setattr(room_module, "available_bytes", lambda device: 1000 * MEGABYTE)
    room, hint = Room(CPU), lambda fitting: f"Take {fitting.width}x{fitting.height}."

    def evaluate(side: int) -> torch.Tensor:
        measured.append(side)
        return torch.ones(50 * MEGABYTE)  # 200 MB for 4096 cells

    with pytest.raises(WebuiError, match=r"7304x5472 pixels: sampling takes about .* and 1\.0 GB are free") as caught:
        room.require("a", evaluate, Size(7304, 5472), 1, SD1_SIZES, hint, "width")
    assert caught.value.field == "width"
    width, height = map(int, caught.value.hint.removeprefix("Take ").removesuffix(".").split("x"))
    assert 1000 < width < 1300
    room.require("a", evaluate, Size(width, height), 1, SD1_SIZES, hint, "width")
    with pytest.raises(WebuiError, match=f"{width}x{height} pixels, 2 at a time"):
        room.require("a", evaluate, Size(width, height), 2, SD1_SIZES, hint, "width")
    assert measured == [64]


@pytest.fixture(scope="module")
def source() -> Picture:
    return Picture.from_image(Image.new("RGB", (7304, 5476)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "field", "hint"),
    [
        ({"resize_by": 1.0}, "resize_by", "Set Resize by to 0."),
        ({"width": 4096, "height": 4096}, "width", "Set the size to "),
        ({"outpaint_left": 64}, "outpaint_left", "Extend it less, or use a smaller copy of the source."),
    ],
)
def test_forty_megapixels_on_a_small_machine(
    tmp_path: Path, source: Picture, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], field: str, hint: str
) -> None:
    monkeypatch.setattr(room_module, "available_bytes", lambda device: 100 * MEGABYTE)
    path = write_tiny_checkpoint(tmp_path / "tiny.safetensors")
    engine = create_engine("cpu", "full", str(tmp_path))
    request = Img2ImgRequest(init_images=(source,), seed=1, subseed=1, steps=1, **values)
    events = list(engine.run(request, Settings(), Resources(Checkpoint("tiny", path)), lambda: Stop.NONE))
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert (failed.field, failed.hint[: len(hint)]) == (field, hint)
    assert "measured here at 512x512), and 0.1 GB are free." in failed.message
    assert Staged("encoding") not in events
