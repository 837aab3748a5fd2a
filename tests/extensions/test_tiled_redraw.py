"""Ultimate SD upscale: the positions of its tiles, the noise they share, and the result of an interruption."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from modules.base.events import ImageDone, Stop
from modules.extension.hooks import changed
from modules.images.geometry import Box, Size
from modules.processing.engine import Engine, create_engine
from modules.schema.catalog import Catalog, Checkpoint
from modules.schema.request import Img2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from tests.extensions.conftest import Stage, color, img2img, opened, part_of, refusal, source, values_of
from tests.tiny import write_tiny_checkpoint

NAME = "Ultimate SD upscale"
FIELDS = (
    "info", "tile_width", "tile_height", "mask_blur", "padding", "seams_fix_width", "seams_fix_denoise",
    "seams_fix_padding", "upscaler_index", "save_upscaled_image", "redraw_mode", "save_seams_fix_image",
    "seams_fix_mask_blur", "seams_fix_type", "target_size_type", "custom_width", "custom_height", "custom_scale",
)  # fmt: skip
DEFAULTS = ("", 64, 0, 0, 16, 16, 0.35, 16, "Lanczos", False, 0, True, 0, 0, 2, 2048, 2048, 2.0)


def args(**values: Any) -> tuple[Any, ...]:
    return tuple(values.get(name, default) for name, default in zip(FIELDS, DEFAULTS, strict=True))


def request(width: int = 96, height: int = 64, **values: Any) -> Img2ImgRequest:
    return img2img(NAME, *args(**values), init_images=(source(width, height),), denoising_strength=0.25)


def source_of(child: Any) -> Image.Image:
    return child.init_images[0].rgb()


def boxes(children: list[Any]) -> list[tuple[int, int]]:
    return [(child.width, child.height) for child in children]


def test_the_arguments_are_in_the_order_of_the_extension_for_a1111(stage: Stage) -> None:
    _, script, _ = stage.extensions.chosen(request())
    assert tuple(script.arguments("img2img").model_fields) == FIELDS


@pytest.mark.parametrize(("size", "tile"), [((192, 128), (64, 64)), ((200, 136), (128, 64)), ((72, 64), (512, 512))])
@pytest.mark.parametrize("order", ["linear", "chess"])
def test_tiles_cover_each_pixel_once(size: tuple[int, int], tile: tuple[int, int], order: str) -> None:
    grid = part_of("tiled_redraw", "tiles").grid
    covered = np.zeros(size[::-1], int)
    for each in grid(Size(*size), Size(*tile), 32, order):
        left, top, right, bottom = each.core
        covered[top:bottom, left:right] += 1
        assert each.region.left <= left <= right <= each.region.right <= size[0]
        assert each.region.left % 8 == each.region.size.width % 8 == 0
        mask = np.asarray(each.mask())
        assert mask.sum() == 255 * each.core.size.width * each.core.size.height
    assert (covered == 1).all()


def test_the_fields_of_one_color_come_first_in_chess_order() -> None:
    grid = part_of("tiled_redraw", "tiles").grid
    tiles = grid(Size(192, 128), Size(64, 64), 0, "chess")
    colors = [(tile.core.left // 64 + tile.core.top // 64) % 2 for tile in tiles]
    assert colors == [0, 0, 0, 1, 1, 1]


def test_repairs_are_strongest_on_the_seam() -> None:
    tiles = part_of("tiled_redraw", "tiles")
    across, down = (
        tiles.bands(Size(128, 64), Size(64, 64), 16, 16),
        tiles.half_tiles(Size(64, 128), Size(64, 64), 0, True),
    )
    (band,), (half,) = list(across), list(down)
    assert (band.core, half.core) == (Box(56, 0, 72, 64), Box(0, 32, 64, 96))
    row = np.asarray(band.mask())[10]
    assert row.argmax() + band.region.left in (63, 64)
    assert row[0] == row[-1] == 0
    column = np.asarray(half.mask())[:, 10]
    assert column.argmax() + half.region.top in (63, 64)
    crossings = [each for each in tiles.half_tiles(Size(128, 128), Size(64, 64), 0, True) if each.shape == "peak"]
    assert [each.core for each in crossings] == [Box(32, 32, 96, 96)]


def test_tiles_that_overlap_have_the_same_noise_where_they_do() -> None:
    noise_at = part_of("tiled_redraw", "noise").noise_at
    whole = noise_at(7, 4, 0, 0, 200, 130)
    np.testing.assert_array_equal(noise_at(7, 4, 50, 60, 90, 70), whole[:, 60:130, 50:140])
    assert abs(float(whole.mean())) < 0.01
    assert abs(float(whole.std()) - 1) < 0.01
    assert not np.array_equal(noise_at(8, 4, 0, 0, 64, 64), whole[:, :64, :64])
    blocks = whole[:, :64, :64], whole[:, :64, 64:128], whole[:, 64:128, :64]
    assert abs(np.corrcoef([each.ravel() for each in blocks]) - np.eye(3)).max() < 0.03


def test_each_tile_sees_what_the_tiles_before_have_made(stage: Stage) -> None:
    (done,) = stage.pictures(request(64, 32))
    assert (done.width, done.height, done.seed) == (128, 64, 7)
    assert boxes(stage.requested) == [(128, 64), (128, 64)]
    assert (
        values_of(stage.requested, "seed", "denoising_strength", "inpaint_full_res", "mask_blur")
        == [(7, 0.25, 0, 0)] * 2
    )
    assert source_of(stage.requested[1]).getpixel((0, 0)) == color(7)
    for pair in (
        "upscaler: Lanczos",
        "tile_width: 64",
        "tile_height: 64",
        "mask_blur: 0",
        "padding: 16",
        "order: Linear",
    ):
        assert f"Ultimate SD upscale {pair}" in done.infotext


@dataclass(frozen=True)
class Shown:
    """What the noise for a tile of `size` looks like."""

    noise: torch.Tensor


def test_tiles_get_the_noise_of_their_place(stage: Stage) -> None:
    made = changed(
        request(128, 64, padding=32),
        {"script_name": NAME, "script_args": args(padding=32), "initial_noise_multiplier": 0.5},
    )
    stage.pictures(made)
    first, second = (
        noise(Shown(torch.zeros(1, 4, child.height // 8, child.width // 8)))
        for child, noise in zip(stage.requested[:2], stage.noises[:2], strict=True)
    )
    assert (first.shape, second.shape) == ((1, 4, 16, 16), (1, 4, 16, 16))
    assert torch.equal(first[..., 4:], second[..., :12])  # the second region starts 32 pixels after the first
    assert 0.4 < float(first.std()) < 0.6


@pytest.mark.parametrize(
    ("fix", "repairs"), [("Band pass", 4), ("Half tile offset pass", 4), ("Half tile offset pass + intersections", 5)]
)
def test_seams_are_redrawn_at_their_own_strength(stage: Stage, fix: str, repairs: int) -> None:
    values = request(64, 64, seams_fix_type=fix, save_upscaled_image=True)
    done = stage.pictures(values)
    strengths = values_of(stage.requested, "denoising_strength")
    assert strengths == [0.25] * 4 + [0.35] * repairs
    assert len(done) == 2
    assert f"Ultimate SD upscale seams fix: {fix}" in done[0].infotext


def test_an_interruption_leaves_the_tiles_that_are_finished(stage: Stage) -> None:
    stage.stops = {2: Stop.INTERRUPT}
    (done,) = stage.pictures(request(128, 128, padding=0))
    assert len(stage.requested) == 3
    picture = opened(done)
    assert picture.size == (256, 256)
    enlarged = source(128, 128).rgb().resize((256, 256), Image.Resampling.LANCZOS)
    assert [picture.getpixel(at) for at in ((10, 10), (70, 10))] == [color(7)] * 2
    assert picture.crop((0, 64, 256, 256)).tobytes() == enlarged.crop((0, 64, 256, 256)).tobytes()


@pytest.mark.parametrize(
    ("values", "size"),
    [
        ({"target_size_type": "Custom size", "custom_width": 320, "custom_height": 320}, (320, 208)),
        ({"target_size_type": 0}, (128, 80)),
        ({"custom_scale": 1.5}, (144, 96)),
        ({"upscaler_index": "None"}, (192, 128)),
    ],
)
def test_target_sizes_keep_the_proportions(stage: Stage, values: dict[str, Any], size: tuple[int, int]) -> None:
    form = {"width": 128, "height": 512, "script_name": NAME, "script_args": args(**values)}
    events = stage.pictures(changed(request(), form))
    assert [(done.width, done.height) for done in events] == [size]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"redraw_mode": "None"}, "would redraw nothing"),
        ({"custom_scale": 1, "width": 56}, "the result would be 56x64 pixels, at least 64x64 are needed"),
        ({"tile_height": 8}, "Tile height = 8: expected 0, or 64 to 2048."),
        ({"upscaler_index": "lanczoz"}, "did you mean 'Lanczos'"),
        ({"custom_scale": 16, "target_size_type": "Scale from image size", "width": 4000}, "megapixels, at most 100"),
        ({"redraw_mode": 3}, "Order"),
        ({"seams_fix_type": "some"}, "Seams fix"),
    ],
)
def test_what_cannot_be_redrawn(stage: Stage, values: dict[str, Any], words: str) -> None:
    width = values.pop("width", 96)
    made = request(width, 4000 if width > 96 else 64, **values)
    assert words in str(refusal(lambda: stage.extensions.checked(made, Catalog())))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return create_engine("cpu", "full", str(tmp_path_factory.mktemp("cache")), "extensions")


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> Resources:
    checkpoint = Checkpoint("tiny", write_tiny_checkpoint(Path(tmp_path_factory.mktemp("models")) / "tiny.safetensors"))
    return Resources(checkpoint, catalog=Catalog((checkpoint,)))


def test_the_engine_redraws_with_the_noise_map(engine: Engine, resources: Resources) -> None:
    made = img2img(NAME, *args(seams_fix_type=1), init_images=(source(64, 40),), steps=1, denoising_strength=0.4)
    done = [
        event for event in engine.run(made, Settings(), resources, lambda: Stop.NONE) if isinstance(event, ImageDone)
    ]
    assert [(event.width, event.height) for event in done] == [(128, 80)]
    assert "Ultimate SD upscale seams fix: Band pass" in done[0].infotext
