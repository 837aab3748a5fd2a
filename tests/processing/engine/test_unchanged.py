"""*Change only what was asked* through the engine. In place of the decoder, the tests edit the source and tint it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from modules.base.events import ImageDone, Stop, Warned
from modules.base.picture import Picture
from modules.infotext.parse import parse
from modules.infotext.read import to_fields
from modules.processing.engine import batch, create_engine
from modules.schema.catalog import Checkpoint
from modules.schema.request import Img2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from tests.tiny import write_tiny_checkpoint

WIDTH, HEIGHT = 96, 64
EDITED = (slice(16, 40), slice(30, 62))  # rows, columns
Run = Callable[..., list[Any]]


def drawn(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    across, down = np.meshgrid(np.linspace(60, 190, width), np.linspace(80, 160, height))
    image = Image.fromarray(np.dstack([across, down, (across + down) / 2]).astype(np.uint8), "RGB")
    draw = ImageDraw.Draw(image)
    draw.ellipse((width * 0.6, height * 0.5, width * 0.9, height * 0.9), (30, 60, 200))
    draw.rectangle((4, 4, width * 0.2, height * 0.4), (220, 200, 40))
    return image


def redrawn(image: Image.Image, is_edited: bool = True) -> NDArray[np.uint8]:
    pixels = np.asarray(image).astype(np.float32)
    if is_edited:
        pixels[EDITED] = (20, 170, 60)
    tinted = pixels * (0.95, 1.0, 0.97) + (9, -4, 3)
    return np.around(tinted.clip(0, 255)).astype(np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = write_tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny.safetensors")
    engine = create_engine("cpu", "full", str(tmp_path_factory.mktemp("cache")))

    def events(request: Img2ImgRequest, **settings: Any) -> list[Any]:
        resources = Resources(Checkpoint(path.stem, Path(path)))
        return list(engine.run(request, Settings(**settings), resources, lambda: Stop.NONE))

    return events


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Callable[[NDArray[np.uint8]], None]:
    """Has the decoder return these pixels."""
    return lambda pixels: monkeypatch.setattr(batch, "decoded", lambda *_: pixels)


def redraw(image: Image.Image | None = None, **changes: Any) -> Img2ImgRequest:
    values: dict[str, Any] = {
        "init_images": (Picture.from_image(image or drawn()),), "width": WIDTH, "height": HEIGHT, "steps": 2,
        "denoising_strength": 0.5, "seed": 3, "subseed": 1, "keep_unchanged": True,
    }  # fmt: skip
    return Img2ImgRequest(**values | changes)


def pictures(events: list[Any]) -> list[ImageDone]:
    return [event for event in events if isinstance(event, ImageDone)]


def pixels_of(done: ImageDone) -> NDArray[np.uint8]:
    return np.frombuffer(done.pixels, np.uint8).reshape(done.height, done.width, 3)


def test_only_the_edit_reaches_the_result(run: Run, model: Callable[..., None]) -> None:
    model(redrawn(drawn()))
    done, layer, other, _ = pictures(run(redraw(batch_size=2, change_grow=1, change_feather=3), return_mask=True))
    result, before = pixels_of(done), np.asarray(drawn())
    opacity = pixels_of(layer)[..., 0]
    assert np.array_equal(result[opacity == 0], before[opacity == 0])
    assert (opacity[EDITED] == 255).all()
    assert 0 < (opacity > 0).mean() < 0.35
    assert np.abs(result[EDITED].astype(int) - (20, 170, 60)).mean() < 4  # its own color, without the tint
    assert done.pixels == other.pixels


def test_the_infotext_says_how_it_was_kept(run: Run, model: Callable[..., None]) -> None:
    model(redrawn(drawn()))
    (done,) = pictures(run(redraw(change_sensitivity=0.75, change_feather=3)))
    fields = to_fields(parse(done.infotext)).fields
    assert {name: fields[name] for name in fields if name.startswith(("keep", "change"))} == {
        "keep_unchanged": True, "change_sensitivity": 0.75, "change_grow": 2, "change_feather": 3,
    }  # fmt: skip
    (plain,) = pictures(run(redraw(keep_unchanged=False)))
    assert "Keep unchanged" not in plain.infotext
    assert to_fields(parse(plain.infotext)).fields["keep_unchanged"] is False  # a text without the key turns it off


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_a_source_of_another_size_is_fitted_first(run: Run, model: Callable[..., None], mode: int) -> None:
    large = drawn(WIDTH * 2, HEIGHT * 2)
    model(redrawn(large.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)))
    (done,) = pictures(run(redraw(large, resize_mode=mode)))
    result = pixels_of(done)
    assert np.abs(result[EDITED].astype(int) - (20, 170, 60)).mean() < 6
    fitted = np.asarray(large.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))
    assert np.array_equal(result[-10:], fitted[-10:])


def test_a_result_without_a_change_says_so(run: Run, model: Callable[..., None]) -> None:
    model(redrawn(drawn(), is_edited=False))
    events = run(redraw())
    assert pixels_of(pictures(events)[0]).tobytes() == drawn().tobytes()
    assert [event.message for event in events if isinstance(event, Warned) and "nothing changed" in event.message]


def test_a_result_that_changed_everywhere_is_taken_whole(run: Run, model: Callable[..., None]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    model(noise)
    events = run(redraw())
    assert np.array_equal(pixels_of(pictures(events)[0]), noise)
    assert [event.message for event in events if isinstance(event, Warned) and "nearly everything" in event.message]


def test_a_mask_keeps_the_rest_by_itself(run: Run) -> None:
    mask = Image.new("L", (WIDTH, HEIGHT))
    mask.paste(255, (8, 8, 40, 40))
    results = [
        pictures(run(redraw(mask=Picture.from_image(mask), keep_unchanged=is_kept)))[0] for is_kept in (False, True)
    ]
    assert results[0].pixels == results[1].pixels
