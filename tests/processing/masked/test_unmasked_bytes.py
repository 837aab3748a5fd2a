"""Unmasked pixels keep their bytes, in every mode and at every size: from the request to the picture, with the network
replaced by random numbers. So nothing depends on what a network would have left unchanged."""

import io
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from modules.base import icc
from modules.base.picture import Picture
from modules.images.geometry import Size, covering, fitting
from modules.images.resize import CROP_AND_RESIZE, JUST_RESIZE, RESIZE_AND_FILL, resized, resizes_latents
from modules.processing.masked.inpainting import begin_inpainting
from modules.processing.masked.prepare import prepare
from modules.processing.plan import make_plan, margins
from modules.schema.request import Img2ImgRequest
from modules.schema.settings import EXACT, OURS, Settings
from modules.schema.sizes import SD1_SIZES

Bools = NDArray[np.bool_]
LANCZOS_REACH = 3  # pixels on each side of what is scaled, multiplied by the scale when shrinking
SIDES = ("outpaint_left", "outpaint_top", "outpaint_right", "outpaint_bottom")


def noise(rng: np.random.Generator, width: int, height: int, mode: str) -> Picture:
    channels = len(Image.new(mode, (1, 1)).getbands())
    values = rng.integers(0, 256, (height, width, channels), np.uint8)
    image = Image.fromarray(values if channels > 1 else values[..., 0], mode)
    return encoded(image.convert("P") if mode == "L" and width % 2 else image)


def encoded(image: Image.Image) -> Picture:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return Picture.from_bytes(buffer.getvalue())


def drawn_mask(rng: np.random.Generator, size: Size, is_alpha: bool, grays: bool) -> Picture:
    """Up to three rectangles of at most half the size, white or gray, as brightness or as a picture's alpha."""
    mask = np.zeros((size.height, size.width), np.uint8)
    for _ in range(rng.integers(1, 4)):
        left, top = rng.integers(0, size.width), rng.integers(0, size.height)
        width, height = rng.integers(1, size.width // 2 + 1), rng.integers(1, size.height // 2 + 1)
        mask[top : top + height, left : left + width] = rng.integers(1, 256) if grays else 255
    if not is_alpha:
        return encoded(Image.fromarray(mask, "L"))
    layers = np.dstack([rng.integers(0, 256, (*mask.shape, 3), np.uint8), mask])
    return encoded(Image.fromarray(layers, "RGBA"))


def masked(request: Img2ImgRequest) -> Bools:
    """(H, W) of the source: everything masked by any gray, as far as the blur spreads it."""
    assert request.mask is not None
    image = request.mask.open()
    values = np.asarray(image.getchannel("A") if image.mode == "RGBA" else image.convert("L"))
    if (
        image.mode == "RGBA"
        and request.mask_round
        and not request.soft_inpainting
        and not request.mask_strength_by_grey
    ):
        values = np.where(values > 128, 255, 0)
    is_masked = (values < 255) if request.inpainting_mask_invert else (values > 0)
    source = request.init_images[0]
    reach = [int(2.5 * blur + 0.5) for blur in request.blur]
    size = Size(source.width, source.height)
    if image.size != size:
        wide = spread(is_masked, *lanczos_reach(Size(*image.size), JUST_RESIZE, size))
        is_masked = np.asarray(Image.fromarray(wide).resize(size, Image.Resampling.LANCZOS)) > 0
    return spread(is_masked, *reach) > 0


def lanczos_reach(size: Size, mode: int, target: Size) -> tuple[int, int]:
    """The reach (across, down) of Lanczos, in pixels of `size`, when that is brought to `target` by a resize mode."""
    if size == target:
        return 0, 0
    scaled = {CROP_AND_RESIZE: covering, RESIZE_AND_FILL: fitting}[mode](size, target).size if mode else target
    across, down = (
        int(np.ceil(LANCZOS_REACH * max(1.0, old / new))) + 1 for old, new in zip(size, scaled, strict=True)
    )
    return across, down


def spread(is_masked: Bools, across: int, down: int) -> NDArray[np.uint8]:
    """255 if any pixel in a box around is masked."""
    box = np.ones((2 * down + 1, 2 * across + 1), np.uint8)
    return cv2.dilate(is_masked.astype(np.uint8) * 255, box).astype(np.uint8)


def redrawn(request: Img2ImgRequest, compatibility: str, rng: np.random.Generator) -> NDArray[np.uint8] | None:
    """The result, with the network's output replaced by random numbers; None for a job without a mask."""
    chosen = Settings().overridden({"compatibility": compatibility})
    plan = make_plan(request, chosen, SD1_SIZES)
    assert plan.source is not None
    assert plan.canvas is not None
    prepared = prepare(plan.source, plan.canvas, plan.requested, chosen.img2img_background_color, SD1_SIZES)
    if prepared is None:
        return None

    def latent() -> torch.Tensor:
        shape = (1, 4, plan.sizes.cells(plan.size.height), plan.sizes.cells(plan.size.width))
        return torch.from_numpy(rng.standard_normal(shape, np.float32))

    inpainting = begin_inpainting(plan, plan.canvas, prepared, latent(), chosen)
    pixels = rng.integers(0, 256, (plan.size.height, plan.size.width, 3), np.uint8)
    return inpainting.cut(inpainting.laid_over(pixels, 0, inpainting.finished(latent())[0]))


side = st.integers(8, 90)
WHOLE, ONLY_MASKED = 0, 1
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "width": st.integers(64, 80), "height": st.integers(64, 80),
    "mask_blur_x": st.integers(0, 9), "mask_blur_y": st.integers(0, 9), "inpainting_fill": st.integers(0, 3),
    "inpaint_full_res_padding": st.integers(0, 40),
    "inpainting_mask_invert": st.integers(0, 1), "mask_round": st.booleans(), "soft_inpainting": st.booleans(),
    "composite_mask_influence": st.sampled_from([0, 0.5, 1]), "mask_strength_by_grey": st.booleans(),
    "composite_difference_threshold": st.sampled_from([0, 0.5]), "inpaint_color_match": st.sampled_from([0, 1]),
}  # fmt: skip
FRAME = st.one_of(
    st.just(dict[str, int]()),
    st.just(dict[str, int]()),
    st.fixed_dictionaries({**dict.fromkeys(SIDES, st.integers(0, 20)), "outpaint_fill": st.integers(0, 2)}),
)


@pytest.mark.parametrize("area", [WHOLE, ONLY_MASKED])
@pytest.mark.parametrize("resize_mode", range(4))
@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1), size=st.builds(Size, side, side), mode=st.sampled_from(["RGB", "RGBA", "L", "LA"]),
    mask_size=st.one_of(st.none(), st.builds(Size, side, side)), is_alpha=st.booleans(), grays=st.booleans(),
    values=st.fixed_dictionaries(FIELDS), frame=FRAME, compatibility=st.sampled_from([OURS, EXACT]),
)  # fmt: skip
def test_what_is_not_masked_keeps_its_bytes(
    seed: int, size: Size, mode: str, mask_size: Size | None, is_alpha: bool, grays: bool, values: dict[str, Any],
    frame: dict[str, int], compatibility: str, area: int, resize_mode: int,
) -> None:  # fmt: skip
    # A1111 changes or shifts unmasked pixels there, and so do its clients' requests; both are reported.
    is_displacing = values["soft_inpainting"] or resizes_latents(resize_mode) or mask_size is not None
    assume(compatibility == OURS or not is_displacing)
    rng = np.random.default_rng(seed)
    source = noise(rng, *size, mode)
    mask = drawn_mask(rng, mask_size or size, is_alpha, grays)
    fixed = {"init_images": (source,), "mask": mask, "seed": 1, "resize_mode": resize_mode, "inpaint_full_res": area}
    request = Img2ImgRequest.parse({**fixed, **values, **frame})
    result = redrawn(request, compatibility, rng)
    if result is None:
        return
    expected, may_change = source.rgb(), masked(request)
    if request.is_outpainted:
        left, top, _, _ = margins(request)
        assert result.shape == (*margins(request).around(size)[::-1], 3)
        result = result[top : top + size.height, left : left + size.width]
    elif request.inpaint_full_res == WHOLE:
        requested = Size(request.width, request.height)
        if resizes_latents(request.resize_mode):
            cells = (0, 0, SD1_SIZES.floor(size.width), SD1_SIZES.floor(size.height))
            expected, may_change = expected.crop(cells), may_change[: cells[3], : cells[2]]
        fit = JUST_RESIZE if resizes_latents(request.resize_mode) else request.resize_mode
        reach = lanczos_reach(Size(*expected.size), fit, requested)
        expected, far = (
            resized(layer, fit, requested) for layer in (expected, Image.fromarray(spread(may_change, *reach)))
        )
        height, width = result.shape[:2]
        expected, may_change = expected.crop((0, 0, width, height)), np.asarray(far)[:height, :width] > 0
    assert result.shape == (*expected.size[::-1], 3)
    apart = (result != np.asarray(expected)).any(axis=2)
    assert not (apart & ~may_change).any()


@pytest.mark.parametrize("area", [WHOLE, ONLY_MASKED])
def test_of_a_source_in_other_colors_the_converted_pixels_are_kept(area: int) -> None:
    rng = np.random.default_rng(3)
    buffer = io.BytesIO()
    pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG", icc_profile=icc.profile("Display P3", icc.DISPLAY_P3))
    mask = Image.new("L", (64, 64))
    mask.paste(255, (20, 20, 40, 40))
    request = Img2ImgRequest.parse({
        "init_images": [buffer.getvalue()], "mask": encoded(mask), "mask_blur": 2, "width": 64, "height": 64,
        "inpaint_full_res": area, "seed": 1,
    })  # fmt: skip
    source = np.asarray(request.init_images[0].rgb())
    assert (source != pixels).any()
    result = redrawn(request, OURS, rng)
    assert result is not None
    assert (result[~masked(request)] == source[~masked(request)]).all()
    assert (result[masked(request)] != source[masked(request)]).any()


@pytest.mark.parametrize("area", [WHOLE, ONLY_MASKED])
@pytest.mark.parametrize("mode", [JUST_RESIZE, CROP_AND_RESIZE, RESIZE_AND_FILL])
@pytest.mark.parametrize("size", [(1, 1), (3, 40), (50, 2)])
def test_a_tiny_source_is_resized_like_any(size: tuple[int, int], mode: int, area: int) -> None:
    source, mask = Image.new("RGB", size, "red"), Image.new("L", size, 255)
    request = Img2ImgRequest.parse({
        "init_images": [encoded(source)], "mask": encoded(mask), "width": 64, "height": 64, "resize_mode": mode,
        "inpaint_full_res": area, "seed": 1,
    })  # fmt: skip
    result = redrawn(request, OURS, np.random.default_rng(0))
    assert result is not None
    assert result.shape[2] == 3
