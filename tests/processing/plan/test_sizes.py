"""The arithmetic of sizes: whole cells, hires. fix, outpainting, A1111's old rule."""

from typing import Any

import pytest
from PIL import Image

from modules.base.errors import WebuiError
from modules.base.picture import Picture
from modules.images.geometry import Size
from modules.processing.plan.sizes import hires_sizes, ignored_size, result_size, size_advice, with_first_size
from modules.schema.request import Img2ImgRequest, Txt2ImgRequest
from modules.schema.settings import Settings
from modules.schema.sizes import SD1_SIZES, SizeRule

SIXTEENTHS = SizeRule(cell=8, multiple_of=16, native=1024)


def txt2img(**fields: Any) -> Txt2ImgRequest:
    return Txt2ImgRequest.parse({"prompt": "", **fields})


def img2img(size: tuple[int, int] = (100, 60), **fields: Any) -> Img2ImgRequest:
    source = Picture.from_image(Image.new("RGB", size))
    return Img2ImgRequest.parse({"init_images": (source,), **fields})


@pytest.mark.parametrize(
    ("request_", "rule", "result", "asked"),
    [
        (txt2img(width=520, height=512), SD1_SIZES, (520, 512), (520, 512)),
        (txt2img(width=520, height=512), SIXTEENTHS, (512, 512), (520, 512)),
        (img2img(width=64, height=72), SD1_SIZES, (64, 72), (64, 72)),
        (img2img(resize_by=1.5), SD1_SIZES, (144, 88), (150, 90)),  # not the form's size but the source's
        (img2img(resize_by=1.255), SD1_SIZES, (120, 72), (125, 75)),  # 125.5 and 75.3 are truncated
        (img2img(outpaint_left=20), SD1_SIZES, (120, 64), (120, 60)),  # cells cover the old pixels
        (img2img(outpaint_left=20, outpaint_top=8), SIXTEENTHS, (128, 80), (120, 68)),
        (img2img(outpaint_left=20, resize_by=2), SD1_SIZES, (240, 120), (240, 120)),
        (img2img(outpaint_left=20, inpaint_full_res=1, width=64, height=64), SD1_SIZES, (64, 64), (64, 64)),
    ],
)
def test_a_result_has_whole_cells(
    request_: Txt2ImgRequest | Img2ImgRequest, rule: SizeRule, result: tuple[int, int], asked: tuple[int, int]
) -> None:
    assert result_size(request_, rule) == (result, asked)


def test_a_result_below_one_cell_is_an_error_about_the_scale() -> None:
    with pytest.raises(WebuiError, match=r"resize_by\) = 0\.1: the result would be 10x6 pixels") as caught:
        result_size(img2img(resize_by=0.1), SD1_SIZES)
    assert caught.value.field == "resize_by"


def test_outpainting_beyond_the_largest_side_is_an_error() -> None:
    with pytest.raises(WebuiError, match="Outpainting: the result would be 8200x16 pixels") as caught:
        result_size(img2img((8100, 16), outpaint_left=100), SD1_SIZES)
    assert caught.value.field == "outpaint_left"


@pytest.mark.parametrize(
    ("fields", "enlarged", "second"),
    [
        ({"hr_scale": 2}, (1024, 768), (1024, 768)),
        ({"hr_scale": 1.3}, (665, 499), (664, 496)),
        ({"hr_resize_x": 768}, (768, 576), (768, 576)),
        ({"hr_resize_y": 768}, (1024, 768), (1024, 768)),
        ({"hr_resize_x": 768, "hr_resize_y": 768}, (1024, 768), (768, 768)),  # covered, the excess is cropped
        ({"hr_resize_x": 1024, "hr_resize_y": 512}, (1024, 768), (1024, 512)),
    ],
)
def test_hires_fix_covers_the_asked_size(
    fields: dict[str, float], enlarged: tuple[int, int], second: tuple[int, int]
) -> None:
    request = txt2img(width=512, height=384, enable_hr=True, **fields)
    assert hires_sizes(request, SD1_SIZES) == (enlarged, second)


@pytest.mark.parametrize(("fields", "field"), [({"hr_scale": 4}, "hr_scale"), ({"hr_resize_x": 8}, "hr_resize_x")])
def test_a_second_pass_outside_the_limits_names_the_field_that_asked_for_it(
    fields: dict[str, float], field: str
) -> None:
    with pytest.raises(WebuiError, match="Hires fix: the result would be") as caught:
        hires_sizes(txt2img(width=4096, height=64, enable_hr=True, **fields), SD1_SIZES)
    assert caught.value.field == field


def test_the_old_rule_makes_the_first_pass_as_large_as_512_squared() -> None:
    old = Settings(use_old_hires_fix_width_height=True)
    request = txt2img(width=1024, height=512, enable_hr=True)
    first = with_first_size(request, old)
    # sqrt(1/2) of 1024 and 512 are 724.1 and 362.04, rounded up to multiples of 64
    assert (first.width, first.height) == (768, 384)
    assert isinstance(first, Txt2ImgRequest)
    assert (first.hr_resize_x, first.hr_resize_y) == (1024, 512)
    assert with_first_size(request, Settings()) is request
    assert with_first_size(txt2img(width=1024, height=512), old).width == 1024


def test_a_size_that_outpainting_ignores_is_told() -> None:
    sentence = ignored_size(img2img(outpaint_left=20, width=512, height=512), SD1_SIZES)
    assert "(512x512) are ignored" in sentence
    assert sentence.endswith("its margins, 120x60.")
    assert ignored_size(img2img(outpaint_left=20), SD1_SIZES) == ""
    assert ignored_size(img2img((100, 64), outpaint_left=20, width=120, height=64), SD1_SIZES) == ""
    assert ignored_size(img2img(width=512, height=512), SD1_SIZES) == ""


@pytest.mark.parametrize(
    ("request_", "is_second", "field", "cure"),
    [
        (txt2img(), False, "width", "Set the size to 80x48."),
        (txt2img(), True, "hr_scale", "Set the second pass's size to 80x48."),
        (img2img(outpaint_left=8), False, "outpaint_left", "Extend it less, or use a smaller copy of the source."),
        # 80 of 100 pixels
        (img2img(resize_by=2), False, "resize_by", "Set Resize by to 0.8, or the size to 80x48."),
    ],
)
def test_advice_names_the_field_that_sets_the_size(
    request_: Txt2ImgRequest | Img2ImgRequest, is_second: bool, field: str, cure: str
) -> None:
    named, advice = size_advice(request_, is_second)
    assert (named, advice(Size(80, 48))) == (field, cure)
