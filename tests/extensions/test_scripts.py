"""What the scripts request from the engine, and what they do with its pictures."""

from typing import Any

import pytest
from PIL import Image

from modules.base.events import EngineState, Event, Failed, Finished, ImageDone, Started, Stepped, Stop, Warned
from modules.base.picture import Picture
from modules.images.grid import grid
from modules.schema.catalog import Catalog
from modules.schema.control import BALANCED, PROMPT, ControlUnit
from modules.schema.request import GenerationRequest, Img2ImgRequest
from tests.extensions.conftest import (
    CATALOG,
    Stage,
    color,
    img2img,
    opened,
    part_of,
    refusal,
    source,
    txt2img,
    values_of,
)

# -- One job of many


def source_of(request: GenerationRequest) -> Picture:
    assert isinstance(request, Img2ImgRequest)
    return request.init_images[0]


def test_many_runs_are_one_job(stage: Stage) -> None:
    events = stage.events(txt2img("Prompt matrix", prompt="a|b", n_iter=5))
    assert [event for event in events if isinstance(event, Started)] == [Started(2, 2, 4, 64, 64, 7)]
    assert [event.batch for event in events if isinstance(event, Stepped)] == [0, 1]
    done = [event for event in events if isinstance(event, ImageDone)]
    assert [(event.index, event.sheet, event.shown) for event in done] == [
        (0, "", True), (1, "", True), (2, "prompt_matrix", True),
    ]  # fmt: skip
    assert events[-1] == Finished(1.0, {"unet": 1.0})


def test_a_warning_is_told_once(stage: Stage) -> None:
    events = stage.events(txt2img("Prompts from file or textbox", False, False, "start", "warn\nwarn"))
    assert [event for event in events if isinstance(event, Warned)] == [Warned("something")]


def test_a_failed_run_ends_the_job(stage: Stage) -> None:
    events = stage.events(txt2img("Prompts from file or textbox", False, False, "start", "fine\nfail\nfine"))
    assert (events[-1], len(stage.requested)) == (Failed("It went wrong."), 2)


def test_an_interruption_leaves_the_sheet_of_what_there_is(stage: Stage) -> None:
    stage.stops = {1: Stop.INTERRUPT}
    events = stage.events(txt2img("X/Y/Z plot", 4, "4,5,6"))
    sheet = next(event for event in events if isinstance(event, ImageDone) and event.sheet)
    assert len(stage.requested) == 2
    assert events[-1] == Finished(1.0, {"unet": 1.0}, interrupted=True)
    cells = [opened(sheet).getpixel((32 + 64 * i, sheet.height - 32)) for i in range(3)]
    assert cells == [color(7), (255, 255, 255), (255, 255, 255)]


def test_a_skipped_cell_stays_empty_and_the_rest_is_drawn(stage: Stage) -> None:
    stage.stops = {0: Stop.SKIP}
    done = stage.pictures(txt2img("X/Y/Z plot", 4, "4,5"))
    assert [(event.sheet, event.shown) for event in done] == [("", False), ("xyz_grid", True)]
    assert "Script: X/Y/Z plot, X Type: Steps, X Values:" in done[1].infotext


# -- Prompt matrix


@pytest.mark.parametrize(
    ("args", "prompts"),
    [
        ((), ["a", "a, b", "a, c", "a, b, c"]),
        ((True,), ["a", "b, a", "c, a", "b, c, a"]),
        ((False, False, "positive", "space"), ["a", "a b", "a c", "a b c"]),
    ],
)
def test_prompt_matrix_combines_the_parts(stage: Stage, args: tuple[Any, ...], prompts: list[str]) -> None:
    stage.pictures(txt2img("prompt matrix", *args, prompt="a|b|c,"))
    assert values_of(stage.requested, "prompt") == prompts
    assert values_of(stage.requested, "seed") == [7, 7, 7, 7]


def test_prompt_matrix_of_the_negative_prompt_with_other_seeds(stage: Stage) -> None:
    stage.pictures(txt2img("prompt matrix", False, True, "negative", prompt="x|y", negative_prompt="a|b"))
    requested = values_of(stage.requested, "prompt", "negative_prompt", "seed", "subseed")
    assert requested == [("x|y", "a", 7, 3), ("x|y", "a, b", 8, 4)]


def test_too_many_parts_are_refused(stage: Stage) -> None:
    request = txt2img("prompt matrix", prompt="|".join("abcdefghijklm"))
    assert "12 variable parts" in refusal(lambda: stage.extensions.checked(request, Catalog())).message


# -- Prompts from file


def test_lines_are_jobs_with_options(stage: Stage) -> None:
    text = (
        'a fox\n\n--prompt a cat on --steps 9 --cfg_scale 2.5\n--prompt "b, c" --seed 3 --n_iter 2 --sampler_name euler'
    )
    done = stage.pictures(txt2img("Prompts from file or textbox", False, False, "start", text, prompt="oil"))
    assert values_of(stage.requested, "prompt", "steps", "cfg_scale", "seed", "n_iter", "sampler_name") == [
        ("a fox oil", 4, 7.0, 7, 1, "DPM++ 2M"),
        ("a cat on oil", 9, 2.5, 7, 1, "DPM++ 2M"),
        ("b, c oil", 4, 7.0, 3, 2, "Euler"),
    ]
    assert len(done) == 4


def test_seeds_of_lines(stage: Stage) -> None:
    stage.pictures(txt2img("Prompts from file or textbox", True, False, "end", "a\nb\nc", n_iter=2))
    assert values_of(stage.requested, "seed") == [7, 9, 11]
    stage.requested.clear()
    stage.pictures(txt2img("Prompts from file or textbox", False, True, "end", "a\nb", seed=-1))
    one, other = values_of(stage.requested, "seed")
    assert one == other > -1
    stage.requested.clear()
    stage.pictures(txt2img("Prompts from file or textbox", False, False, "end", "a\nb", seed=-1))
    one, other = values_of(stage.requested, "seed")
    assert one != other


def test_another_checkpoint_for_a_line(stage: Stage) -> None:
    stage.pictures(txt2img("Prompts from file or textbox", False, False, "start", "a\n--prompt b --sd_model other"))
    assert stage.checkpoints == ["here", "other"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--steps many", "Line 2 (--steps many): --steps = 'many' cannot be read."),
        ("--speed 5", "there is no option --speed"),
        ("--prompt 'a", "a quote is not closed"),
        ("--steps 999", "expected a whole number from 1 to 150"),
    ],
)
def test_a_wrong_line_is_named(stage: Stage, line: str, words: str) -> None:
    request = txt2img("Prompts from file or textbox", False, False, "start", f"fine\n{line}")
    error = refusal(lambda: stage.extensions.checked(request, Catalog()))
    assert words in str(error)
    assert error.field == "script_args.prompt_txt"


# -- Loopback


@pytest.mark.parametrize(
    ("curve", "strengths"),
    [
        ("Linear", [0.75, 0.6667, 0.5833, 0.5]),
        ("Aggressive", [0.75, 0.625, 0.5335, 0.5]),
        ("Lazy", [0.75, 0.7165, 0.625, 0.5]),
    ],
)
def test_loopback_feeds_the_result_back(stage: Stage, curve: str, strengths: list[float]) -> None:
    done = stage.pictures(img2img("Loopback", 4, 0.5, curve, batch_size=2))
    assert [round(value, 4) for value in values_of(stage.requested, "denoising_strength")] == strengths
    assert values_of(stage.requested, "seed", "batch_size") == [(7, 1), (8, 1), (9, 1), (10, 1)]
    sources = [source_of(request).rgb().getpixel((0, 0)) for request in stage.requested]
    assert sources == [(200, 40, 90), color(7), color(8), color(9)]
    assert [event.sheet for event in done] == ["", "", "", "", "grid"]
    assert (done[-1].width, done[-1].height) == (256, 64)
    assert f"Final denoising strength: 0.5, Denoising curve: {curve}, Version" in done[0].infotext


def test_loopback_begins_anew_for_each_batch(stage: Stage) -> None:
    done = stage.pictures(img2img("Loopback", 2, n_iter=2))
    sources = [source_of(request).rgb().getpixel((0, 0)) for request in stage.requested]
    assert sources == [(200, 40, 90), color(7), (200, 40, 90), color(9)]
    assert (done[-1].sheet, done[-1].width) == ("grid", 128)  # the last of each


def test_loopback_does_not_put_pictures_into_words(stage: Stage) -> None:
    request = img2img("Loopback", 2, 0.5, "Linear", "CLIP")
    assert "no interrogator" in refusal(lambda: stage.extensions.checked(request, Catalog())).message


# -- SD upscale


def test_sd_upscale_redraws_tiles_and_blends_them(stage: Stage) -> None:
    done = stage.pictures(img2img("SD upscale", "", 16, "Lanczos", 2.0, n_iter=2))
    (first, second) = done
    assert [(event.width, event.height, event.seed) for event in done] == [(192, 128, 7), (192, 128, 8)]
    assert len(stage.requested) == 2 * 12  # 4 x 3 tiles of 64 with 16 pixels of overlap
    assert [request.seed for request in stage.requested] == [*range(7, 19), *range(8, 20)]  # one more per tile
    assert opened(first).getpixel((0, 0)) == color(7)
    assert opened(first).getpixel((191, 127)) == color(18)
    assert "SD upscale overlap: 16, SD upscale upscaler: Lanczos" in second.infotext


def test_tiles_of_a_batch_count_from_the_first_tile_of_the_batch_before(stage: Stage) -> None:
    stage.pictures(img2img("SD upscale", "", 16, "None", 2.0, batch_size=3, init_images=(source(160, 112),)))
    assert values_of(stage.requested, "seed") == [7, 8, 9, 8, 9, 10]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("", 64, "None"), "the tiles are only 64x64"),
        (("", 8, "lanczoz"), "did you mean 'Lanczos'"),
        (("", 8, "None", 9), "expected a number from 1 to 4"),
    ],
)
def test_what_sd_upscale_cannot_do(stage: Stage, args: tuple[Any, ...], words: str) -> None:
    assert words in str(refusal(lambda: stage.extensions.checked(img2img("sd upscale", *args), Catalog())))


# -- Outpainting


def test_outpainting_mk2_grows_side_by_side(stage: Stage) -> None:
    (done,) = stage.pictures(img2img("Outpainting mk2", "", 64, 8, ["left", "down"], width=128, height=128))
    assert (done.width, done.height) == (192, 128)
    assert len(stage.requested) == 2
    assert values_of(stage.requested, "width", "height", "mask_blur_x", "mask_blur_y") == [
        (128, 64, 32, 32), (192, 128, 32, 32),
    ]  # fmt: skip
    mask = stage.requested[0].mask.open().convert("L")  # type: ignore[attr-defined]
    assert [mask.getpixel((x, 32)) for x in (0, 103, 104)] == [255, 255, 0]


def test_outpainting_mk2_grows_right_by_what_fits_64(stage: Stage) -> None:
    (done,) = stage.pictures(img2img("Outpainting mk2", "", 8, 0, ["right"], width=128))
    assert (done.width, done.height) == (128, 64)
    assert stage.requested[0].init_images[0].rgb().getpixel((40, 20)) == (20, 160, 60)  # type: ignore[attr-defined]


def test_poor_mans_outpainting_paints_the_margins_in_tiles(stage: Stage) -> None:
    request = img2img("Poor man's outpainting", 32, 4, "latent noise", ["left"], init_images=(source(128, 128),))
    (done,) = stage.pictures(request)
    assert (done.width, done.height) == (192, 128)
    assert values_of(stage.requested, "seed", "inpainting_fill", "mask_blur") == [
        (7 + i, 2, 8) for i in range(len(stage.requested))
    ]
    assert opened(done).getpixel((190, 10)) == (200, 40, 90)
    assert opened(done).getpixel((0, 0)) == color(7)


def test_outpainting_wants_a_direction(stage: Stage) -> None:
    request = img2img("Outpainting mk2", "", 64, 8, [])
    assert refusal(lambda: stage.extensions.checked(request, Catalog())).field == "script_args.direction"


# -- X/Y/Z plot


def test_axes_apply_to_the_request(stage: Stage) -> None:
    stage.pictures(txt2img("x/y/z plot", 4, "4,6", [], 6, "3-4 [2]", [], 41, "64x64, 72x80"))
    requested = values_of(stage.requested, "steps", "cfg_scale", "width", "height")
    assert requested == [
        (steps, cfg, width, height)
        for width, height in ((64, 64), (72, 80))
        for cfg in (3.0, 4.0)
        for steps in (4, 6)
    ]  # fmt: skip


def test_a_dear_axis_is_walked_outermost(stage: Stage) -> None:
    stage.pictures(txt2img("x/y/z plot", "Checkpoint name", "other", ["other", "other"], "Steps", "4,5"))
    assert values_of(stage.requested, "steps") == [4, 5, 4, 5]
    assert stage.checkpoints == ["other"] * 4


def test_prompt_search_and_replace(stage: Stage) -> None:
    stage.pictures(txt2img("x/y/z plot", "Prompt S/R", '"a, b",c', prompt="x a, b", negative_prompt="a, b"))
    assert values_of(stage.requested, "prompt", "negative_prompt") == [("x a, b", "a, b"), ("x c", "c")]


def test_orders_of_words(stage: Stage) -> None:
    stage.pictures(txt2img("x/y/z plot", "Prompt order", "one,two", prompt="a one, big two!"))
    assert values_of(stage.requested, "prompt") == ["a one, big two!", "a two, big one!"]


UNITS = ({"model": "lines", "image": 0}, {"model": "depth", "image": 0, "weight": 0.5})


@pytest.mark.parametrize(
    ("axis", "written", "field", "expected"),
    [
        ("Model", "lines, depth", "model", ["lines", "depth"]),
        ("Weight", "0.5-1 [2]", "weight", [0.5, 1.0]),
        ("Guidance Start", "0,0.2", "guidance_start", [0.0, 0.2]),
        ("Guidance End", "0.4,1", "guidance_end", [0.4, 1.0]),
        ("Control Mode", "Balanced,My prompt is more important", "control_mode", [BALANCED, PROMPT]),
        ("Resize Mode", "Just Resize", "resize_mode", ["Just Resize"]),
        ("Preprocessor", "none,canny", "module", ["none", "canny"]),
        ("Pre Resolution", "256,512", "processor_res", [256, 512]),
        ("Pre Threshold A", "50,60.5", "threshold_a", [50.0, 60.5]),
        ("Pre Threshold B", "70", "threshold_b", [70.0]),
    ],
)
def test_an_axis_varies_the_first_control_unit_alone(
    stage: Stage, axis: str, written: str, field: str, expected: list[Any]
) -> None:
    stage.pictures(txt2img("x/y/z plot", f"[ControlNet] {axis}", written, controlnet=UNITS, control_images=(source(),)))
    units = values_of(stage.requested, "controlnet")
    assert [getattr(first, field) for first, _ in units] == expected
    assert all((other.model, other.weight) == ("depth", 0.5) for _, other in units)


def test_every_field_of_a_unit_that_is_a_setting_is_an_axis_or_named_here() -> None:
    labels = {axis.label for axis in part_of("x_y_z_plot", "axes").AXES}
    assert len([label for label in labels if label.startswith("[ControlNet] ")]) == 10
    assert set(ControlUnit.model_fields) - {"image", "pixel_perfect", "hr_option"} == {
        "model", "weight", "guidance_start", "guidance_end", "control_mode", "resize_mode", "module", "processor_res",
        "threshold_a", "threshold_b",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("units", "axis", "written", "sentence"),
    [
        ((), "Weight", "1", "there is no unit to vary"),
        (UNITS, "Weight", "7", "Control Weight (weight) = 7.0: expected a number from 0 to 2"),
        (UNITS, "Model", "lins", "there is no ControlNet 'lins'; did you mean 'lines'?"),
        (
            ({**UNITS[0], "guidance_end": 0.5},),
            "Guidance Start",
            "0.9",
            "[ControlNet]: guidance_start = 0.9 is after guidance_end = 0.5; swap them.",
        ),
    ],
)
def test_a_value_that_a_unit_cannot_have_is_told(
    stage: Stage, units: tuple[dict[str, Any], ...], axis: str, written: str, sentence: str
) -> None:
    request = txt2img("x/y/z plot", f"[ControlNet] {axis}", written, controlnet=units, control_images=(source(),))
    failed = stage.events(request)[-1]
    assert isinstance(failed, Failed)
    assert sentence in failed.message


@pytest.mark.parametrize(
    ("written", "seeds"),
    [
        ("6687881544318117707, 6687881544318117708", [6687881544318117707, 6687881544318117708]),
        ("18446744073709551609-18446744073709551615 (+3)", [2**64 - 7, 2**64 - 4, 2**64 - 1]),
        ("9007199254740993-9007199254740990 (-1)", [2**53 + 1, 2**53]),  # to one before the end, as in A1111
    ],
)
def test_seeds_of_64_bits_on_an_axis_keep_their_digits(stage: Stage, written: str, seeds: list[int]) -> None:
    stage.pictures(txt2img("x/y/z plot", "Seed", written))
    assert values_of(stage.requested, "seed") == seeds


def test_seeds_that_vary_with_the_axes(stage: Stage) -> None:
    args = (4, "4,5", [], 6, "1,2", [], 0, "", [], True, False, False, False, True, True)
    stage.pictures(txt2img("x/y/z plot", *args))
    assert values_of(stage.requested, "seed") == [7, 8, 9, 10]


def test_seeds_of_minus_one_are_drawn_once_or_kept(stage: Stage) -> None:
    done = stage.pictures(txt2img("x/y/z plot", 1, "-1,5", [], 4, "4,5"))
    drawn = values_of(stage.requested, "seed")
    assert drawn[0] == drawn[2] > -1
    assert drawn[1] == 5
    assert f'X Values: "-1,5", Fixed X Values: "{drawn[0]}, 5"' in done[-1].infotext
    stage.requested.clear()
    kept = (4, "4,5", [], 0, "", [], 0, "", [], True, False, False, True)
    stage.pictures(txt2img("x/y/z plot", *kept, seed=-1))
    one, other = values_of(stage.requested, "seed")
    assert one != other


def test_sheets_of_each_z(stage: Stage) -> None:
    args = (4, "4,5", [], 0, "", [], 6, "1,2", [], True, True, True)
    done = stage.pictures(txt2img("x/y/z plot", *args))
    assert [(event.sheet, event.shown) for event in done] == [("", True)] * 4 + [("xyz_grid", True)] * 3
    whole, one, other = done[4:]
    assert (one.width, one.height) == (other.width, other.height)
    assert whole.width == 2 * one.width
    assert ("Z Type: CFG Scale" in whole.infotext, "Z Type" in one.infotext) == (True, False)


def test_a_cell_of_several_pictures_is_a_sheet(stage: Stage) -> None:
    no_legend = (4, "4,5", [], 0, "", [], 0, "", [], False)
    done = stage.pictures(txt2img("x/y/z plot", *no_legend, n_iter=2))
    cell = grid([Image.new("RGB", (64, 64), color(seed)) for seed in (7, 8)])
    assert opened(done[-1]).crop((0, 0, 128, 64)).tobytes() == cell.tobytes()
    assert (done[-1].width, done[-1].height) == (256, 64)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((4, "four"), "X values = 'four': expected a whole number, or a range"),
        ((4, "900"), "Sampling steps (steps) = 900: expected a whole number from 1 to 150"),
        ((9, "Euller"), "Euler"),
        ((4, ""), "X values: there are none for Steps."),
        ((7, "dog,cat"), "Prompt S/R: 'dog' is in neither"),
        ((4, "1-100000"), "more than 1000 values"),
        ((1, "1-1000", [], 4, "1-150"), "150000 pictures"),
        ((99, "1"), "expected a whole number from 0 to 51"),
        (("Face restore", "GFPGAN"), "there is no face restoration"),
        (("VAE", "Automatic, Non"), "no VAE named 'Non'; did you mean 'None'?"),
    ],
)
def test_what_cannot_be_plotted_is_told_before_it_begins(stage: Stage, args: tuple[Any, ...], words: str) -> None:
    assert words in str(refusal(lambda: stage.extensions.checked(txt2img("x/y/z plot", *args), Catalog())))


@pytest.mark.parametrize("axis", ["Checkpoint name", "Refiner checkpoint"])
def test_the_checkpoints_of_an_axis_are_looked_up_before_it_begins(stage: Stage, axis: str) -> None:
    told = refusal(lambda: stage.extensions.checked(txt2img("x/y/z plot", axis, "here,othr"), CATALOG))
    assert "no checkpoint named 'othr'; did you mean 'other'?" in str(told)
    stage.extensions.checked(txt2img("x/y/z plot", "Refiner checkpoint", "None,other"), CATALOG)


def test_a_hires_sampler_is_looked_up_where_the_hires_pass_is_on(stage: Stage) -> None:
    plot = txt2img("x/y/z plot", 10, "Euller", enable_hr=True)
    told = refusal(lambda: stage.extensions.checked(plot, Catalog()))
    assert "hr_sampler_name='Euller': there is no such sampler; did you mean 'Euler'?" in str(told)


def test_a_sheet_that_would_be_too_large_is_refused(stage: Stage) -> None:
    events: list[Event | EngineState] = stage.events(txt2img("x/y/z plot", 1, "1-60", width=2048, height=2048))
    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert "252 megapixels, at most 200" in failed.message
    assert stage.requested == []


# -- img2img alternative


def test_alternative_overrides_what_it_is_told(stage: Stage) -> None:
    (done,) = stage.pictures(img2img("img2img alternative test", "", True, True, "a fox", "", True, 30, True, 1.5))
    (child,) = stage.requested
    assert (child.sampler_name, child.prompt, child.steps) == ("Euler", "a fox", 30)
    assert "Decode prompt: a fox, Decode CFG scale: 1.5, Decode steps: 30, Randomness: 0.0" in done.infotext
