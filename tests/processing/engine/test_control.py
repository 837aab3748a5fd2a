"""Control units in whole jobs: what changes a picture and what does not, in which steps and passes, and the
infotext.
"""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from PIL import Image, ImageDraw

from modules.base.events import Failed, ImageDone
from modules.base.picture import Picture
from modules.clip.bpe import ClipBPE
from modules.images.preprocessors import Preprocessor
from modules.networks.device import Placement
from modules.networks.files.listing import HashCache
from modules.networks.sd1.checkpoint import load_checkpoint
from modules.processing.control import StepCount
from modules.processing.control_maps import MapCache, MapKey
from modules.processing.engine import Engine, create_engine
from modules.schema.catalog import Checkpoint
from modules.schema.control import BALANCED, BOTH, CONTROL, CROP, FIRST, PROMPT, SECOND, ControlUnit
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.schema.settings import EXACT, Settings
from tests.admitted import Folders
from tests.networks.control.test_control_net import HINTS, saved
from tests.tiny import write_tiny_checkpoint

SMALL: dict[str, Any] = {"width": 64, "height": 64, "steps": 4, "seed": 7, "subseed": 1, "sampler_name": "Euler"}
QUIET = Settings(live_previews_enable=False)


def lines(width: int = 64, height: int = 64) -> Picture:
    image = Image.new("RGB", (width, height), "black")
    ImageDraw.Draw(image).ellipse((width // 4, height // 4, width * 3 // 4, height * 3 // 4), outline="white")
    return Picture.from_image(image)


class Studio:
    """An engine, the checkpoint tiny, and the ControlNets lines and depth for it."""

    def __init__(self, folder: Path) -> None:
        path = write_tiny_checkpoint(folder / "models" / "tiny.safetensors")
        self.checkpoint = Checkpoint("tiny", path)
        place = Placement(torch.device("cpu"), torch.float32, torch.float32, torch.float32)
        model = load_checkpoint(self.checkpoint, place, ClipBPE(), HashCache(folder / "other.json"))
        self.controls = folder / "models" / "ControlNet"
        self.controls.mkdir()
        for seed, name in enumerate(("lines", "depth"), 1):
            saved(drawn_from(model.unet, seed), self.controls / f"{name}.safetensors", "")
        self.engine: Engine = create_engine("cpu", "full", str(folder / "cache"), "extensions")
        self.folders = Folders(folder / "cache", (folder / "models",), control_models=(self.controls,))

    def events(self, request: GenerationRequest, settings: Settings = QUIET) -> list[Any]:
        return list(self.folders.run(self.engine, request, settings, self.checkpoint))

    def made(self, *units: ControlUnit, kind: Any = Txt2ImgRequest, settings: Settings = QUIET, **values: Any):
        request = kind(**{**SMALL, "controlnet": units, "control_images": (lines(),), **values})
        events = self.events(request, settings)
        assert [event for event in events if isinstance(event, Failed)] == []
        return next(event for event in events if isinstance(event, ImageDone))

    def refused(self, *units: ControlUnit, **values: Any) -> Failed:
        request = Txt2ImgRequest(**{**SMALL, "controlnet": units, "control_images": (lines(),), **values})
        return next(event for event in self.events(request) if isinstance(event, Failed))


def drawn_from(unet: UNet2DConditionModel, seed: int) -> ControlNetModel:
    torch.manual_seed(seed)
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=HINTS)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "controlnet_" in name:
                parameter.normal_(std=0.3)
    return net


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(tmp_path_factory.mktemp("studio"))


def unit(model: str = "lines", **values: Any) -> ControlUnit:
    return ControlUnit(**{"image": 0, "model": model, **values})


def test_a_unit_changes_the_picture_and_weight_0_is_no_unit_to_the_byte(studio: Studio) -> None:
    plain = studio.made()
    assert studio.made(unit()).pixels != plain.pixels
    nothing = studio.made(unit(weight=0))
    assert (nothing.pixels, nothing.infotext) == (plain.pixels, plain.infotext)


def test_two_units_add_in_any_order_and_another_picture_is_another_result(studio: Studio) -> None:
    both = studio.made(unit(), unit("depth", module="canny"))
    swapped = studio.made(unit("depth", module="canny"), unit())
    difference = np.abs(pixels(both).astype(int) - pixels(swapped))
    assert difference.max() <= 1  # another order of floating-point sums
    assert both.pixels != studio.made(unit()).pixels
    other = studio.made(unit(), control_images=(Picture.from_image(Image.new("RGB", (64, 64), "white")),))
    assert other.pixels != studio.made(unit()).pixels


def pixels(done: ImageDone) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(done.pixels, np.uint8).reshape(done.height, done.width, 3)


@pytest.mark.parametrize("mode", [BALANCED, PROMPT, CONTROL])
def test_each_control_mode_gives_a_picture_of_its_own(studio: Studio, mode: str) -> None:
    others = {studio.made(unit(control_mode=other)).pixels for other in (BALANCED, PROMPT, CONTROL) if other != mode}
    assert len(others) == 2
    assert studio.made(unit(control_mode=mode)).pixels not in others


@pytest.mark.parametrize(
    ("start", "end", "steps", "acting"),
    [
        (0.0, 1.0, 4, [0, 1, 2, 3]),
        (0.0, 0.0, 4, [0, 1]),  # the step counts by its end
        (0.25, 1.0, 4, [2, 3]),
        (0.26, 1.0, 4, [3]),
        (0.25, 0.25, 4, [2]),
        (0.8, 1.0, 4, []),
        (0.0, 0.5, 10, [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_a_unit_acts_between_its_start_and_end_as_a1111_counts(
    start: float, end: float, steps: int, acting: list[int]
) -> None:
    given = unit(guidance_start=start, guidance_end=end)
    assert [step for step in range(steps) if StepCount(steps, step).is_within(given)] == acting


def test_what_acts_in_no_step_changes_nothing(studio: Studio) -> None:
    assert studio.made(unit(guidance_start=0.8)).pixels == studio.made().pixels
    early, late = studio.made(unit(guidance_end=0.0)), studio.made(unit(guidance_start=0.5))
    assert len({early.pixels, late.pixels, studio.made(unit()).pixels}) == 3


def test_each_pass_of_hires_fix_can_be_left_out(studio: Studio) -> None:
    hires = {"enable_hr": True, "hr_scale": 2, "hr_second_pass_steps": 2, "denoising_strength": 0.7}
    made = {option: studio.made(unit(hr_option=option), **hires).pixels for option in (BOTH, FIRST, SECOND)}
    assert len({*made.values(), studio.made(**hires).pixels}) == 4
    assert studio.made(unit(hr_option=SECOND)).pixels == studio.made(unit()).pixels  # without a second pass


def test_in_img2img_a_unit_without_a_picture_sees_the_source(studio: Studio) -> None:
    source = {"init_images": (lines(),), "kind": Img2ImgRequest, "denoising_strength": 0.6, "control_images": ()}
    assert (
        studio.made(unit(image=None), **source).pixels
        == studio.made(unit(), **{**source, "control_images": (lines(),)}).pixels
    )


def test_in_a_masked_region_the_units_picture_is_cropped_too_and_nothing_outside_changes(studio: Studio) -> None:
    mask = Image.new("L", (128, 128))
    mask.paste(255, (70, 70, 110, 110))
    masked = {
        "kind": Img2ImgRequest, "init_images": (lines(128, 128),), "mask": Picture.from_image(mask), "mask_blur": 0,
        "denoising_strength": 0.8, "inpaint_full_res": 1, "inpaint_full_res_padding": 8,
    }  # fmt: skip
    own = studio.made(unit(), **{**masked, "control_images": (lines(128, 128),)})
    assert own.pixels == studio.made(unit(image=None), **masked).pixels
    plain = studio.made(**masked)
    assert own.pixels != plain.pixels
    before = np.array(lines(128, 128).open().convert("RGB"))
    assert (pixels(own)[np.array(mask) == 0] == before[np.array(mask) == 0]).all()


def test_for_inpainting_the_masked_part_is_hidden_from_the_network(studio: Studio) -> None:
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 48, 48))
    plain = {"kind": Img2ImgRequest, "init_images": (lines(),), "denoising_strength": 0.8, "control_images": ()}
    masked = {**plain, "mask": Picture.from_image(mask), "mask_blur": 0}
    seen = unit(image=None)
    hidden = unit(image=None, module="inpaint_only")
    assert studio.made(hidden, **masked).pixels != studio.made(seen, **masked).pixels
    alike = unit(image=None, module="inpaint_global_harmonious")
    assert studio.made(alike, **masked).pixels == studio.made(hidden, **masked).pixels
    assert studio.made(hidden, **plain).pixels == studio.made(seen, **plain).pixels  # nothing is masked


def test_a_map_is_drawn_once_for_all_batches_and_anew_for_other_settings(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[float] = []
    draw = Preprocessor.drawn

    def counted(self: Preprocessor, picture: Any, resolution: int, threshold_a: float, threshold_b: float) -> Any:
        drawn.append(threshold_a)
        return draw(self, picture, resolution, threshold_a, threshold_b)

    monkeypatch.setattr(Preprocessor, "drawn", counted)
    first = studio.made(unit(module="canny", threshold_a=77), n_iter=2)
    studio.made(unit("depth", module="canny", threshold_a=77, weight=0.5))
    assert drawn == [77]
    assert studio.made(unit(module="canny", threshold_a=78)).pixels
    assert studio.made(unit(module="canny", threshold_a=77)).pixels == first.pixels
    assert drawn == [77, 78]


def test_maps_beyond_the_limit_are_dropped_the_oldest_first() -> None:
    kept = MapCache(most_bytes=250)
    keys = [MapKey(name, ("none", 512, -1, -1), (10, 10, CROP)) for name in "abc"]
    drawn: list[str] = []

    def draw(name: str) -> Any:
        return lambda: (drawn.append(name), np.zeros((10, 10), np.uint8))[1]

    for key in (keys[0], keys[1], keys[0], keys[2], keys[0], keys[1]):
        kept.taken(key, draw(key.picture))
    assert drawn == ["a", "b", "c", "b"]  # b was used the longest time ago when c came


def test_the_infotext_tells_units_as_a1111s_extension_does(studio: Studio) -> None:
    text = studio.made(unit(module="canny", guidance_end=0.5, control_mode=PROMPT), unit("depth")).infotext
    digits = studio.folders.catalog().control_model("lines").hash
    assert (
        f'ControlNet 0: "Module: canny, Model: lines [{digits}], Weight: 1.0, Resize Mode: Crop and Resize, '
        "Processor Res: 512, Threshold A: 100.0, Threshold B: 200.0, Guidance Start: 0.0, Guidance End: 0.5, "
        'Pixel Perfect: False, Control Mode: My prompt is more important"'
    ) in text
    assert 'ControlNet 1: "Module: none, Model: depth' in text


@pytest.mark.parametrize("precision", [QUIET, QUIET.overridden({"compatibility": EXACT})])
def test_a_second_run_gives_the_same_bytes(studio: Studio, precision: Settings) -> None:
    units = (unit(module="scribble_xdog", pixel_perfect=True), unit("depth", module="tile_resample", threshold_a=2.0))
    assert studio.made(*units, settings=precision).pixels == studio.made(*units, settings=precision).pixels


@pytest.mark.parametrize(
    ("units", "values", "sentence"),
    [
        ([unit("line")], {}, None),  # a part of only one name
        ([unit("lin3s")], {}, "there is no ControlNet 'lin3s'; did you mean 'lines'?"),
        ([unit(module="cany")], {}, "there is no preprocessor 'cany'; did you mean 'canny'?"),
        ([unit(image=None)], {}, "a unit has no picture"),
        ([unit("None")], {}, "a unit has no model"),
        ([unit(), unit("None", module="openpose")], {}, "there is no preprocessor 'openpose'"),
    ],
)
def test_a_wrong_unit_is_refused_before_the_job_begins(
    studio: Studio, units: list[ControlUnit], values: dict[str, Any], sentence: str | None
) -> None:
    if sentence is None:
        assert studio.made(*units, **values).pixels == studio.made(unit()).pixels
        return
    failed = studio.refused(*units, **values)
    assert sentence in failed.message
    assert failed.field == "controlnet"


def broken_file(path: Path) -> None:
    path.write_bytes(b"\x20\x00\x00\x00\x00\x00\x00\x00{nonsense")


@pytest.mark.parametrize("damage", [broken_file, lambda path: path.unlink()])
def test_a_damaged_file_costs_the_job_one_sentence_and_the_next_job_runs(
    studio: Studio, damage: Callable[[Path], None]
) -> None:
    path = studio.controls / "other.safetensors"
    path.write_bytes((studio.controls / "lines.safetensors").read_bytes())
    catalog = studio.folders.catalog()
    assert studio.made(unit("other")).pixels == studio.made(unit()).pixels
    damage(path)
    studio.folders.catalog = lambda: catalog  # type: ignore[method-assign]  # as admission saw it
    try:
        failed = studio.refused(unit("other"))
    finally:
        del studio.folders.catalog
        path.unlink(missing_ok=True)
    assert "other.safetensors" in failed.message
    assert studio.made(unit()).pixels
