"""Outpainting through the engine, on a tiny random checkpoint: what stays, what is new, and that it can be repeated."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from modules.base.errors import WebuiError
from modules.base.events import Failed, ImageDone, Stop
from modules.base.picture import Picture
from modules.images.geometry import Box, Margins, Size
from modules.images.masks import blurred
from modules.infotext.parse import parse
from modules.infotext.recipe import recipe
from modules.networks.posterior import Posterior
from modules.processing.engine import Engine, create_engine
from modules.processing.masked.latents import inpainting_input
from modules.processing.masked.outpaint import cells_outside
from modules.processing.masked.prepare import prepare
from modules.processing.plan import ignored_size, make_plan, result_size
from modules.processing.rerun import rerun
from modules.schema.catalog import Catalog, Checkpoint
from modules.schema.request import Img2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from modules.schema.sizes import SD1_SIZES
from tests.processing.masked.test_inpaint import SMALL, Run, mask, pixels, run_with, source, warnings
from tests.tiny import write_tiny_checkpoint

SIZE = ("width", "height")
SIDES = ("outpaint_left", "outpaint_top", "outpaint_right", "outpaint_bottom")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_with(tmp_path_factory.mktemp("models"), 4)


def grown(margins: Margins, whole: Picture, **values: Any) -> Img2ImgRequest:
    """A small job; width and height are given if they matter."""
    given = {name: value for name, value in SMALL.items() if values.get("inpaint_full_res") or name not in SIZE}
    return Img2ImgRequest(
        init_images=(whole,), **{"denoising_strength": 0.9, **given, **dict(zip(SIDES, margins, strict=True)), **values}
    )


@pytest.mark.parametrize(
    ("width", "height", "margins"),
    [
        (64, 64, Margins(32, 32, 32, 32)),
        (64, 64, Margins(0, 0, 40, 0)),
        (100, 70, Margins(13, 0, 0, 9)),
        (61, 93, Margins(8, 5, 0, 0)),
    ],
)
@pytest.mark.parametrize("area", [0, 1])
def test_the_result_is_the_source_with_its_margins_and_the_old_pixels_keep_every_byte(
    run: Run, width: int, height: int, margins: Margins, area: int
) -> None:
    whole = source(width, height)
    (result,) = pixels(run(grown(margins, whole, inpaint_full_res=area)))
    assert result.shape == (*margins.around(Size(width, height))[::-1], 3)
    old = result[margins.top : margins.top + height, margins.left : margins.left + width]
    assert old.tobytes() == np.asarray(whole.rgb()).tobytes()


def test_a_mask_redraws_in_the_old_part_what_it_covers(run: Run) -> None:
    whole, drawn = source(64, 64), mask(64, 64)
    margins = Margins(16, 0, 0, 24)
    values: dict[str, Any] = {"mask": drawn, "mask_blur": 4, "inpainting_fill": 2}
    (result,) = pixels(run(grown(margins, whole, **values)))
    old = result[:64, 16:]
    apart = (old != np.asarray(whole.rgb())).any(axis=2)
    soft = np.asarray(blurred(drawn.open().convert("L"), 4, 4))
    assert not apart[soft == 0].any()
    assert apart[soft > 128].mean() > 0.9
    (without,) = pixels(run(grown(margins, whole)))
    assert without[:64, 16:].tobytes() == np.asarray(whole.rgb()).tobytes()


@pytest.mark.parametrize("area", [0, 1])
def test_masks_of_another_size_are_brought_to_the_sources(run: Run, area: int) -> None:
    whole, drawn = source(64, 64), mask(128, 144)
    request = grown(Margins(8, 8, 8, 8), whole, mask=drawn, inpaint_full_res=area)
    events = run(request)
    assert warnings(events) == ["The mask is 128x144 and the source 64x64: it was resized to match the source."]
    fitting = Picture.from_image(drawn.open().convert("L").resize((64, 64), Image.Resampling.LANCZOS))
    expected = run(request.model_copy(update={"mask": fitting}))
    assert warnings(expected) == []
    assert pixels(events)[0].tobytes() == pixels(expected)[0].tobytes()


def test_a_size_that_the_margins_make_void_is_told(run: Run) -> None:
    request = grown(Margins(16, 0, 0, 0), source(64, 64))
    given = request.model_copy(update={"width": 96, "height": 64})
    assert warnings(run(given)) == [
        "width and height (96x64) are ignored when outpainting: the result is the source with its margins, 80x64."
    ]
    for silent in ({"width": 80}, {"inpaint_full_res": 1}, {"outpaint_left": 0}):
        assert ignored_size(given.model_copy(update=silent), SD1_SIZES) == ""
    unsaid = Img2ImgRequest(init_images=(source(64, 64),), outpaint_left=16)
    assert ignored_size(unsaid, SD1_SIZES) == ""


def test_fill_and_feather_matter(run: Run) -> None:
    whole = source(64, 64)
    results = [
        pixels(run(grown(Margins(32, 0, 0, 0), whole, denoising_strength=0.5, **values)))[0].tobytes()
        for values in ({"outpaint_fill": fill, "outpaint_feather": feather} for fill in range(3) for feather in (0, 16))
    ]
    assert len(set(results)) == 6


def test_soft_inpainting_never_lets_the_fill_show_through(run: Run) -> None:
    whole = source(64, 64)
    request = grown(Margins(32, 0, 0, 0), whole, soft_inpainting=True, outpaint_feather=0)
    hard, soft = (pixels(run(request.model_copy(update={"soft_inpainting": on})))[0] for on in (False, True))
    assert hard.shape == soft.shape
    fill = np.asarray(whole.rgb())[:, :1]
    assert (soft[:, :24] != fill).any(axis=2).mean() > 0.95


@pytest.mark.parametrize("area", [0, 1])
def test_a_picture_can_be_made_again_from_its_text(tmp_path: Path, area: int) -> None:
    path = write_tiny_checkpoint(tmp_path / "tiny.safetensors")
    checkpoint = Checkpoint("tiny", path)
    engine: Engine = create_engine("cpu", "full", str(tmp_path))
    whole, drawn = source(70, 64), mask(70, 64)
    request = grown(
        Margins(8, 0, 13, 16), whole, mask=drawn, inpaint_full_res=area, outpaint_fill=2, outpaint_feather=9,
        batch_size=2, inpaint_color_match=0.5, prompt="a cat",
    )  # fmt: skip
    events = list(engine.run(request, Settings(live_previews_enable=False), Resources(checkpoint), lambda: Stop.NONE))
    done = [event for event in events if isinstance(event, ImageDone)][1]
    pairs = parse(done.infotext).pairs
    expected = {
        "Outpaint left": "8", "Outpaint right": "13", "Outpaint bottom": "16", "Outpaint fill":
        "noise shaped like the picture", "Outpaint feather": "9", "Inpaint color match": "0.5",
        "Source hash": whole.sha256, "Mask hash": drawn.sha256,
    }  # fmt: skip
    assert {key: value for key, value in pairs.items() if key in expected or key.startswith("Outpaint")} == expected
    assert (pairs["Size-1"], pairs["Size-2"]) == (("64", "64") if area else ("91", "80"))
    first = Image.frombytes("RGB", (done.width, done.height), done.pixels)
    kept = {picture.sha256: picture for picture in (whole, drawn)}
    again = recipe(Picture.from_image(first), done.infotext, Catalog((checkpoint,)), kept.get)
    report = rerun(engine, again, Resources(checkpoint), Picture.from_image(first))
    assert report.largest is not None
    assert report.largest <= 2  # one of a batch of two, made alone


def test_width_and_height_say_nothing_where_the_source_is_painted_on() -> None:
    request = grown(Margins(8, 0, 8, 3), source(100, 64), width=64, height=64)
    assert result_size(request, SD1_SIZES) == (Size(120, 72), Size(116, 67))
    assert result_size(request.model_copy(update={"resize_by": 1.0}), SD1_SIZES) == (Size(120, 72), Size(116, 67))
    assert result_size(request.model_copy(update={"resize_by": 0.5}), SD1_SIZES) == (Size(56, 32), Size(58, 33))
    assert result_size(request.model_copy(update={"inpaint_full_res": 1}), SD1_SIZES) == (Size(64, 64), Size(64, 64))
    plan = make_plan(request.resolved(random.Random(0)), Settings(), SD1_SIZES)
    assert plan.canvas is not None
    assert (plan.canvas.mask, plan.size, plan.requested) == (None, Size(120, 72), Size(116, 67))


def test_a_scaled_outpainting_has_the_scaled_size(run: Run) -> None:
    (result,) = pixels(run(grown(Margins(16, 0, 0, 0), source(64, 64), resize_by=0.5)))
    assert result.shape == (32, 40, 3)


def test_too_large_a_result_is_refused_with_its_size() -> None:
    with pytest.raises(WebuiError, match="8292x64 pixels, expected at most 8192"):
        result_size(grown(Margins(4096, 0, 4096, 0), source(100, 64)), SD1_SIZES)


def test_a_cell_with_any_new_pixel_is_painted() -> None:
    outside = Image.new("L", (32, 16), 0)
    outside.paste(255, Box(0, 0, 9, 16))
    assert cells_outside(outside, Size(4, 2)).tolist() == [[[[1, 1, 0, 0], [1, 1, 0, 0]]]]


def test_an_empty_mask_paints_the_margins_alone(run: Run) -> None:
    whole, nothing = source(64, 64), Picture.from_image(Image.new("L", (64, 64)))
    events = run(grown(Margins(8, 0, 0, 0), whole, mask=nothing))
    assert warnings(events) == ["The mask is empty: only the new area is painted."]
    assert pixels(events)[0][:, 8:].tobytes() == np.asarray(whole.rgb()).tobytes()
    assert not [event for event in events if isinstance(event, Failed)]


@pytest.fixture(scope="module")
def run_inpainting(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_with(tmp_path_factory.mktemp("models"), 9)


@pytest.mark.parametrize("area", [0, 1])
@pytest.mark.parametrize("with_mask", [False, True])
def test_an_inpainting_checkpoint_paints_on_and_keeps_every_old_byte(
    run_inpainting: Run, area: int, with_mask: bool
) -> None:
    whole, drawn = source(61, 64), mask(61, 64) if with_mask else None
    request = grown(Margins(8, 0, 13, 5), whole, mask=drawn, mask_blur=0, inpaint_full_res=area)
    hidden, shown = (
        pixels(run_inpainting(request, Settings(inpainting_mask_weight=weight, live_previews_enable=False)))[0]
        for weight in (1.0, 0.0)
    )
    assert hidden.shape == shown.shape == (69, 82, 3)
    old = hidden[:64, 8:69]
    kept = np.ones((64, 61), bool) if drawn is None else np.asarray(drawn.open().convert("L")) == 0
    np.testing.assert_array_equal(old[kept], np.asarray(whole.rgb())[kept])
    if drawn is not None:
        assert (old != np.asarray(whole.rgb())).any(axis=2)[~kept].mean() > 0.9
    assert (hidden != shown).any(), "what stands in the margins is hidden from it, or shown"


def test_an_inpainting_checkpoint_is_told_that_the_margins_are_to_be_painted() -> None:
    plan = make_plan(grown(Margins(8, 0, 0, 8), source(64, 64)).resolved(random.Random(0)), Settings(), SD1_SIZES)
    assert plan.source is not None
    assert plan.canvas is not None
    prepared = prepare(plan.source, plan.canvas, plan.requested, "#ffffff", SD1_SIZES)
    assert prepared is not None
    seen = inpainting_input(
        lambda given: Posterior(given[:, :1, ::8, ::8].expand(1, 4, 9, 9), torch.zeros(1, 4, 9, 9)),
        prepared.image, prepared.mask, True, 1.0, Size(9, 9), 8,
    )  # fmt: skip
    margins = torch.zeros(9, 9)
    margins[:, 0] = margins[8] = 1
    assert torch.equal(seen[0, 0], margins)
    assert not seen[0, 1:, margins == 1].any(), "gray, which is 0, and none of the fill"
