"""Inpainting through the engine, on a tiny random checkpoint: what stays, what changes, and what is reported."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from modules.base.events import EngineState, Event, Failed, ImageDone, Stop, Warned
from modules.base.picture import Picture
from modules.images.geometry import Size
from modules.images.masks import blurred
from modules.infotext.parse import parse
from modules.networks.posterior import Posterior
from modules.processing.engine import create_engine
from modules.processing.masked.latents import inpainting_input, latent_mask
from modules.schema.catalog import Checkpoint
from modules.schema.request import Img2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import EXACT, Settings
from tests.tiny import write_tiny_checkpoint

QUIET = Settings(live_previews_enable=False)
SMALL: dict[str, Any] = {"width": 64, "height": 64, "steps": 3, "seed": 7, "subseed": 1, "sampler_name": "Euler"}
Run = Callable[..., list[Event | EngineState]]


def run_with(folder: Path, in_channels: int) -> Run:
    path = write_tiny_checkpoint(folder / f"tiny{in_channels}.safetensors", in_channels)
    engine = create_engine("cpu", "full", str(folder))

    def run(request: Img2ImgRequest, settings: Settings = QUIET) -> list[Event | EngineState]:
        events = list(engine.run(request, settings, Resources(Checkpoint(path.stem, path)), lambda: Stop.NONE))
        assert not [event for event in events if isinstance(event, Failed)]
        return events

    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_with(tmp_path_factory.mktemp("models"), 4)


def picture(image: Image.Image) -> Picture:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return Picture.from_bytes(buffer.getvalue())


def source(width: int, height: int) -> Picture:
    rng = np.random.default_rng(3)
    return picture(Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8), "RGB"))


def mask(width: int, height: int, box: tuple[int, int, int, int] | None = None) -> Picture:
    drawn = Image.new("L", (width, height))
    drawn.paste(255, box or (width // 2, height // 4, width * 3 // 4, height // 2))
    return picture(drawn)


def pixels(events: list[Event | EngineState]) -> list[NDArray[np.uint8]]:
    return [
        np.frombuffer(event.pixels, np.uint8).reshape(event.height, event.width, 3)
        for event in events
        if isinstance(event, ImageDone)
    ]


def warnings(events: list[Event | EngineState]) -> list[str]:
    return [event.message for event in events if isinstance(event, Warned)]


def changed(result: NDArray[np.uint8], whole: Picture) -> NDArray[np.bool_]:
    return (result != np.asarray(whole.rgb())).any(axis=2)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (96, 64), (72, 120), (100, 70)])
@pytest.mark.parametrize("blur", [0, 4])
def test_whole_picture_keeps_every_byte_outside_the_blurred_mask(run: Run, width: int, height: int, blur: int) -> None:
    whole, drawn = source(width, height), mask(width, height)
    values: dict[str, Any] = {**SMALL, "width": width, "height": height}
    request = Img2ImgRequest(init_images=(whole,), mask=drawn, mask_blur=blur, denoising_strength=0.9, **values)
    (result,) = pixels(run(request))
    assert result.shape == (height // 8 * 8, width // 8 * 8, 3)  # cut to whole cells, like all results
    kept = np.asarray(blurred(drawn.open().convert("L"), blur, blur))[: result.shape[0], : result.shape[1]] == 0
    apart = (result != np.asarray(whole.rgb())[: result.shape[0], : result.shape[1]]).any(axis=2)
    assert not apart[kept].any()
    assert apart.any()


@pytest.mark.parametrize(("width", "height"), [(64, 64), (200, 120), (97, 211), (333, 75)])
@pytest.mark.parametrize(("blur", "padding"), [(0, 0), (4, 32)])
@pytest.mark.parametrize("invert", [0, 1])
def test_only_masked_gives_the_whole_source_back_with_every_byte_outside_the_blurred_mask(
    run: Run, width: int, height: int, blur: int, padding: int, invert: int
) -> None:
    whole, drawn = source(width, height), mask(width, height)
    request = Img2ImgRequest(
        init_images=(whole,), mask=drawn, mask_blur=blur, inpaint_full_res=1, inpaint_full_res_padding=padding,
        inpainting_mask_invert=invert, denoising_strength=0.9, **SMALL,
    )  # fmt: skip
    (result,) = pixels(run(request))
    assert result.shape == (height, width, 3)
    said = np.asarray(drawn.open().convert("L"))
    said = Image.fromarray(255 - said if invert else said, "L")
    kept = np.asarray(blurred(said, blur, blur)) == 0
    assert kept.any() or invert
    assert not changed(result, whole)[kept].any()
    assert changed(result, whole).any()


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ SDE", "DDIM", "DDIM CFG++", "PLMS", "UniPC"])
def test_every_family_of_samplers_keeps_the_latent_outside_the_mask(run: Run, sampler: str) -> None:
    whole, drawn = source(64, 64), mask(64, 64)
    values: dict[str, Any] = {**SMALL, "sampler_name": sampler, "steps": 8}
    request = Img2ImgRequest(init_images=(whole,), mask=drawn, mask_blur=0, **values)
    (result,) = pixels(run(request))
    assert not changed(result, whole)[np.asarray(drawn.open().convert("L")) == 0].any()
    everything = mask(64, 64, (0, 0, 64, 64))
    (masked,) = pixels(run(request.model_copy(update={"mask": everything})))
    (plain,) = pixels(run(request.model_copy(update={"mask": None})))
    assert np.abs(masked.astype(int) - plain).max() <= 1  # a full mask is img2img


def test_what_stands_under_the_mask_matters(run: Run) -> None:
    request = Img2ImgRequest(init_images=(source(64, 64),), mask=mask(64, 64), denoising_strength=0.6, **SMALL)
    results = [pixels(run(request.model_copy(update={"inpainting_fill": fill})))[0] for fill in range(4)]
    assert len({result.tobytes() for result in results}) == 4


def test_the_latent_mask_says_what_is_drawn_and_the_mask_what_is_shown(run: Run) -> None:
    whole = source(64, 64)
    request = Img2ImgRequest(init_images=(whole,), mask=mask(64, 64), mask_blur=0, **SMALL)
    elsewhere = request.model_copy(update={"latent_mask": mask(64, 64, (0, 0, 16, 16))})
    one, other = pixels(run(request))[0], pixels(run(elsewhere))[0]
    outside = np.asarray(mask(64, 64).open().convert("L")) == 0
    assert not changed(other, whole)[outside].any()
    assert (one != other).any()


def test_soft_inpainting_redraws_by_degrees(run: Run) -> None:
    gray = picture(Image.new("L", (64, 64), 128))
    request = Img2ImgRequest(init_images=(source(64, 64),), mask=gray, mask_blur=0, denoising_strength=0.8, **SMALL)
    hard, soft = (run(request.model_copy(update={"soft_inpainting": on})) for on in (False, True))
    assert (pixels(hard)[0] != pixels(soft)[0]).any()
    assert warnings(hard) == warnings(soft) == []
    exact = Settings(compatibility=EXACT, live_previews_enable=False)
    assert warnings(run(request.model_copy(update={"soft_inpainting": True}), exact)) == [
        "Soft inpainting blends according to what changed: unmasked pixels near the mask may change too."
    ]


def test_a_batch_under_a_mask_is_its_single_pictures(run: Run) -> None:
    request = Img2ImgRequest(
        init_images=(source(64, 64),), mask=mask(64, 64), batch_size=2, soft_inpainting=True, **SMALL
    )
    together = pixels(run(request))
    alone = [pixels(run(request.model_copy(update={"batch_size": 1, "seed": 7 + i})))[0] for i in range(2)]
    assert [np.abs(a.astype(int) - b).max() <= 2 for a, b in zip(together, alone, strict=True)] == [True] * 2


NOTHING, EVERYTHING = (picture(Image.new("L", (64, 64), gray)) for gray in (0, 255))


@pytest.mark.parametrize("area", [0, 1])
def test_an_empty_mask_is_img2img_and_told(run: Run, area: int) -> None:
    whole = source(64, 64)
    request = Img2ImgRequest(init_images=(whole,), inpainting_fill=2, inpaint_full_res=area, **SMALL)
    events = run(request.model_copy(update={"mask": NOTHING}))
    assert warnings(events) == ["The mask is empty: the whole picture is redrawn, as without a mask."]
    (result,), (plain,) = pixels(events), pixels(run(request))
    assert result.tobytes() == plain.tobytes()
    assert changed(result, whole).mean() > 0.9
    (done,) = [event for event in events if isinstance(event, ImageDone)]
    keys = parse(done.infotext).pairs.keys()
    assert {"Mask blur"} <= keys
    assert not {"Inpaint area", "Masked area padding", "Masked content"} & keys


def test_where_a1111_redraws_nothing_under_an_empty_mask_only_its_own_requests_do(run: Run) -> None:
    whole = source(64, 64)
    exact = Settings(compatibility=EXACT, live_previews_enable=False)
    request = Img2ImgRequest(init_images=(whole,), mask=NOTHING, **SMALL)
    events = run(request, exact)
    assert warnings(events) == ["The mask is empty: nothing is redrawn."]
    assert pixels(events)[0].tobytes() == np.asarray(whole.rgb()).tobytes()
    only_masked = run(request.model_copy(update={"inpaint_full_res": 1}), exact)
    assert warnings(only_masked) == ["The mask is empty: the whole picture is redrawn, as without a mask."]
    assert changed(pixels(only_masked)[0], whole).any()


@pytest.mark.parametrize("area", [0, 1])
def test_a_mask_of_everything_is_img2img_and_told(run: Run, area: int) -> None:
    request = Img2ImgRequest(init_images=(source(64, 64),), inpaint_full_res=area, **SMALL)
    (plain,) = pixels(run(request))
    events = run(request.model_copy(update={"mask": EVERYTHING}))
    assert warnings(events) == ["The mask covers the whole picture: all of it is redrawn, as without a mask."]
    assert np.abs(pixels(events)[0].astype(int) - plain).max() <= 1  # the latent is blended with itself at the end
    events = run(request.model_copy(update={"mask": NOTHING, "inpainting_mask_invert": 1}))
    assert warnings(events) == [
        "The mask is empty and Inpaint not masked is selected: all of it is redrawn, as without a mask."
    ]
    assert np.abs(pixels(events)[0].astype(int) - plain).max() <= 1


def test_who_keeps_everything_keeps_everything(run: Run) -> None:
    whole = source(64, 64)
    request = Img2ImgRequest(init_images=(whole,), mask=EVERYTHING, inpainting_mask_invert=1, **SMALL)
    events = run(request)
    reason = "The mask covers the whole picture and Inpaint not masked is selected"
    assert warnings(events) == [f"{reason}: nothing is redrawn."]
    assert pixels(events)[0].tobytes() == np.asarray(whole.rgb()).tobytes()
    events = run(request.model_copy(update={"inpaint_full_res": 1}))
    assert warnings(events) == [f"{reason}: the whole picture is redrawn, as without a mask."]


def test_a_mask_too_small_for_the_latent_is_told(run: Run) -> None:
    whole, dot = source(64, 64), mask(64, 64, (33, 33, 36, 36))
    request = Img2ImgRequest(init_images=(whole,), mask=dot, mask_blur=0, **SMALL)
    told = (
        "The mask covers no 8x8 pixel cell by half, so nothing is redrawn: paint more of it, or whiter, or lower "
        "Mask blur"
    )
    assert warnings(run(request)) == [f"{told}, or choose Only masked."]
    assert warnings(run(request.model_copy(update={"inpaint_full_res": 1, "inpaint_full_res_padding": 0}))) == []
    faint = picture(Image.new("L", (64, 64), 90))
    assert warnings(run(request.model_copy(update={"mask": faint, "inpaint_full_res": 1}))) == [f"{told}."]


@pytest.mark.parametrize("area", [0, 1])
@pytest.mark.parametrize("values", [{}, {"resize_mode": 1}, {"resize_mode": 2}, {"inpainting_mask_invert": 1}])
def test_a_mask_of_another_size_is_brought_to_the_sources_and_told(run: Run, area: int, values: dict[str, Any]) -> None:
    drawn = mask(40, 56)
    request = Img2ImgRequest(init_images=(source(64, 96),), inpaint_full_res=area, **values, **SMALL)
    events = run(request.model_copy(update={"mask": drawn}))
    assert warnings(events) == ["The mask is 40x56 and the source 64x96: it was resized to match the source."]
    fitting = picture(drawn.open().convert("L").resize((64, 96), Image.Resampling.LANCZOS))
    expected = run(request.model_copy(update={"mask": fitting}))
    assert warnings(expected) == []
    assert pixels(events)[0].tobytes() == pixels(expected)[0].tobytes()


def test_in_a1111s_requests_a_mask_of_another_size_is_brought_to_the_results(run: Run) -> None:
    exact = Settings(compatibility=EXACT, live_previews_enable=False)
    request = Img2ImgRequest(init_images=(source(64, 96),), mask=mask(40, 56), mask_blur=0, resize_mode=1, **SMALL)
    events = run(request, exact)
    assert warnings(events) == [
        "The mask is 40x56 and the source 64x96: it was resized to 64x64 separately (Crop and resize), as in A1111."
    ]
    # Scaled to 64x89 and cut to the middle: rows 12 to 76.
    cover = mask(40, 56).open().convert("L").resize((64, 89), Image.Resampling.LANCZOS).crop((0, 12, 64, 76))
    middle = source(64, 96).rgb().crop((0, 16, 64, 80))
    expected = run(request.model_copy(update={"init_images": (picture(middle),), "mask": picture(cover)}), exact)
    assert warnings(expected) == []
    assert pixels(events)[0].tobytes() == pixels(expected)[0].tobytes()


def test_without_the_overlay_the_masked_region_comes_back_alone(run: Run) -> None:
    request = Img2ImgRequest(init_images=(source(200, 120),), mask=mask(200, 120), inpaint_full_res=1, **SMALL)
    events = run(request, Settings(overlay_inpaint=False, live_previews_enable=False))
    assert pixels(events)[0].shape == (64, 64, 3)
    assert warnings(events) == [
        "Overlay original for inpaint is off: unmasked areas change too, and only the masked region is returned."
    ]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"mask": mask(32, 32, (8, 8, 28, 28)), "inpaint_full_res": 1}, "The mask is 32x32 and the source 64x96"),
        ({"mask": mask(64, 96), "resize_mode": 3}, "Latent upscale keeps the source at its own size"),
    ],
)
def test_where_a1111s_rule_displaces_something_it_is_told(run: Run, values: dict[str, Any], told: str) -> None:
    exact = Settings(compatibility=EXACT, live_previews_enable=False)
    events = run(Img2ImgRequest(init_images=(source(64, 96),), **values, **SMALL), exact)
    assert len(pixels(events)) == 1
    (sentence,) = warnings(events)
    assert sentence.startswith(told)


def test_colors_are_corrected_before_the_original_is_laid_over(run: Run) -> None:
    whole = source(64, 64)
    request = Img2ImgRequest(init_images=(whole,), mask=mask(64, 64), mask_blur=0, denoising_strength=0.9, **SMALL)
    plain = pixels(run(request))[0]
    corrected = pixels(run(request, Settings(img2img_color_correction=True, live_previews_enable=False)))[0]
    redrawn = np.asarray(mask(64, 64).open().convert("L")) == 255
    assert (plain != corrected).any(axis=2)[redrawn].any()
    assert not changed(corrected, whole)[~redrawn].any()


def test_the_infotext_tells_how_it_was_masked(run: Run) -> None:
    request = Img2ImgRequest(
        init_images=(source(64, 64),), mask=mask(64, 64), latent_mask=mask(64, 64), inpainting_mask_invert=1,
        inpainting_fill=0, inpaint_full_res=1, inpaint_full_res_padding=8, soft_inpainting=True, **SMALL,
    )  # fmt: skip
    (done,) = [event for event in run(request) if isinstance(event, ImageDone)]
    expected = {
        "Mask mode": "Inpaint not masked", "Mask blur": "4", "Inpaint area": "Only masked",
        "Masked area padding": "8", "Masked content": "fill", "Soft inpainting enabled": "True",
        "Soft inpainting schedule bias": "1", "Soft inpainting preservation strength": "0.5",
        "Soft inpainting transition contrast boost": "4", "Soft inpainting mask influence": "0",
        "Soft inpainting difference threshold": "0.5", "Soft inpainting difference contrast": "2",
        "Mask hash": mask(64, 64).sha256, "Latent mask hash": mask(64, 64).sha256,
    }  # fmt: skip
    pairs = parse(done.infotext).pairs
    assert {key: pairs.get(key) for key in expected} == expected
    assert "Conditional mask weight" not in pairs


def test_inpainting_checkpoints_see_mask_and_surroundings(tmp_path: Path) -> None:
    run = run_with(tmp_path, 9)
    request = Img2ImgRequest(init_images=(source(64, 64),), mask=mask(64, 64), denoising_strength=0.9, **SMALL)
    first = run(request)
    (done,) = [event for event in first if isinstance(event, ImageDone)]
    assert parse(done.infotext).pairs["Conditional mask weight"] == "1.0"
    unhidden = run(request, Settings(inpainting_mask_weight=0.0, live_previews_enable=False))
    assert (pixels(first)[0] != pixels(unhidden)[0]).any()
    assert len(pixels(run(request.model_copy(update={"mask": None})))) == 1
    assert len(pixels(run(request.model_copy(update={"batch_size": 2, "inpaint_full_res": 1})))) == 2


def test_an_inpainting_checkpoint_is_shown_gray_under_the_mask() -> None:
    shown: list[torch.Tensor] = []

    def encoded(given: torch.Tensor) -> Posterior:
        shown.append(given)
        mean = given[:, :1, ::8, ::8].expand(1, 4, 2, 2)
        return Posterior(mean, torch.zeros_like(mean))

    image = Image.new("RGB", (16, 16), (255, 0, 255))
    drawn = Image.new("L", (16, 16))
    drawn.paste(200, (8, 0, 16, 16))
    seen = inpainting_input(encoded, image, drawn, True, 1.0, Size(2, 2), 8)
    assert seen.tolist() == [[[[0, 1], [0, 1]], *[[[1, 0], [1, 0]]] * 4]]
    assert shown[0][0, :, 0, [0, 15]].tolist() == [[1, 0], [-1, 0], [1, 0]]
    half = inpainting_input(encoded, image, drawn, False, 0.5, Size(2, 2), 8)
    torch.testing.assert_close(half[0, :2, 0], torch.tensor([[0, 200 / 255], [1, 1 - 100 / 255]]))
    assert inpainting_input(encoded, None, None, True, 1.0, Size(2, 2), 8).tolist() == [
        [[[1, 1], [1, 1]], *[[[0, 0], [0, 0]]] * 4]
    ]


def test_halves_of_a_latent_mask_round_to_even() -> None:
    gray = Image.fromarray(np.array([[0, 127, 128, 255]], np.uint8), "L")
    assert latent_mask(gray, Size(4, 1), True).flatten().tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(latent_mask(gray, Size(4, 1), False).flatten() * 255, torch.tensor([0.0, 127, 128, 255]))


BESIDE = Settings(
    live_previews_enable=False, return_mask=True, save_mask=True, save_mask_composite=True, save_init_img=True
)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("area", [0, 1])
def test_mask_and_what_is_painted_under_it_come_after_each_picture(run: Run, area: int, soft: bool) -> None:
    whole, drawn = source(72, 64), mask(72, 64, (20, 10, 60, 54))
    values: dict[str, Any] = {**SMALL, "width": 64 if area else 72, "inpaint_full_res": area, "soft_inpainting": soft}
    request = Img2ImgRequest(init_images=(whole,), mask=drawn, n_iter=2, denoising_strength=0.9, **values)
    done = [event for event in run(request, BESIDE) if isinstance(event, ImageDone)]
    assert [(event.suffix, event.shown, event.index, event.mode) for event in done] == [
        ("", True, 0, "RGB"), ("-mask", True, 2, "RGB"), ("-mask-composite", False, 4, "RGBA"),
        ("", True, 1, "RGB"), ("-mask", True, 3, "RGB"), ("-mask-composite", False, 5, "RGBA"),
    ]  # fmt: skip
    assert {event.infotext for event in done[:3]} == {done[0].infotext}
    result, hole, painted = (
        np.asarray(Image.frombytes(event.mode, (event.width, event.height), event.pixels)) for event in done[:3]
    )
    assert result.shape[:2] == hole.shape[:2] == painted.shape[:2] == (64, 72)
    np.testing.assert_array_equal(hole[..., 0], painted[..., 3])
    original = np.asarray(whole.rgb())
    np.testing.assert_array_equal(result[hole[..., 0] == 0], original[hole[..., 0] == 0])
    alone = hole[..., 0] == 255
    assert soft or alone.any()
    np.testing.assert_array_equal(result[alone], painted[alone][:, :3])
    assert not painted[hole[..., 0] == 0].any()
    if not soft:
        soft_edge = np.asarray(blurred(drawn.open().convert("L"), 4, 4)).astype(int)
        np.testing.assert_array_equal(hole[..., 0], soft_edge if area else (2 * soft_edge).clip(0, 255))
    assert parse(done[0].infotext).pairs["Init image hash"] == hashlib.md5(original.tobytes()).hexdigest()
    plain = [event for event in run(request) if isinstance(event, ImageDone)]
    assert [event.pixels for event in plain] == [event.pixels for event in done if not event.suffix]


def test_of_an_outpainting_they_have_its_size_and_of_img2img_there_are_none(run: Run) -> None:
    request = Img2ImgRequest(init_images=(source(61, 64),), outpaint_left=9, **{**SMALL, "width": 70})
    done = [event for event in run(request, BESIDE) if isinstance(event, ImageDone)]
    assert [(event.suffix, event.width, event.height) for event in done] == [
        ("", 70, 64), ("-mask", 70, 64), ("-mask-composite", 70, 64)
    ]  # fmt: skip
    plain = Img2ImgRequest(init_images=(source(64, 64),), **SMALL)
    assert [event.suffix for event in run(plain, BESIDE) if isinstance(event, ImageDone)] == [""]
