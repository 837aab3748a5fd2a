"""The arithmetic from the request to the computation, against A1111's numbers."""

import io

import pytest
from PIL import Image

from modules.base.errors import WebuiError
from modules.base.picture import Picture
from modules.images.geometry import Size
from modules.processing.plan import MOST_STRETCHED, ImagePlan, StepRange, img2img_steps, make_plan, result_size
from modules.prompts.lora_arguments import Window
from modules.schema.request import Img2ImgRequest, Txt2ImgRequest
from modules.schema.settings import EXACT, Settings
from modules.schema.sizes import SD1_SIZES


def picture(width: int, height: int) -> Picture:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, "PNG")
    return Picture.from_bytes(buffer.getvalue())


# Reference table: 20 steps, evaluations of a first-order sampler.
@pytest.mark.parametrize(
    ("strength", "count"),
    [(0, 1), (0.05, 2), (0.1, 3), (0.25, 6), (0.3, 7), (0.5, 11), (0.6, 13), (0.75, 16), (0.8, 17), (0.9, 19),
     (0.95, 20), (1, 20)],
)  # fmt: skip
def test_img2img_stepss_as_many_steps_as_a1111(strength: float, count: int) -> None:
    taken = img2img_steps(20, strength, exact=False)
    assert (taken.steps, taken.count) == (20, count)


@pytest.mark.parametrize(
    ("strength", "taken"),
    [
        (0.75, StepRange(26, 6)),
        (0.5, StepRange(40, 20)),
        (0.1, StepRange(200, 180)),
        (1.0, StepRange(20, 0)),
        (0.0, StepRange(0, 0)),
    ],
)
def test_exact_steps_stretch_the_schedule(strength: float, taken: StepRange) -> None:
    assert img2img_steps(20, strength, exact=True) == taken


@pytest.mark.parametrize("strength", [1e-7, 1e-12, 5e-324])
def test_no_strength_stretches_the_schedule_beyond_its_bound(strength: float) -> None:
    assert img2img_steps(20, strength, exact=True) == StepRange(MOST_STRETCHED, MOST_STRETCHED - 20)


@pytest.mark.parametrize(
    ("source", "scale", "cut", "requested"),
    [((160, 120), 1.05, (168, 120), (168, 126)), ((511, 65), 1.0, (504, 64), (511, 65)),
     ((200, 120), 2.0, (400, 240), (400, 240))],
)  # fmt: skip
def test_resize_by_truncates_to_cells(
    source: tuple[int, int], scale: float, cut: tuple[int, int], requested: tuple[int, int]
) -> None:
    request = Img2ImgRequest(init_images=(picture(*source),), resize_by=scale)
    assert result_size(request, SD1_SIZES) == (Size(*cut), Size(*requested))


def test_a_scale_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(WebuiError, match="at least 8x8"):
        result_size(Img2ImgRequest(init_images=(picture(100, 100),), resize_by=0.05), SD1_SIZES)


def test_images_count_the_seed_up() -> None:
    plan = make_plan(Txt2ImgRequest(seed=7, subseed=1, n_iter=2, batch_size=2), Settings(), SD1_SIZES)
    assert plan.batches == (
        (ImagePlan(0, 7, 1), ImagePlan(1, 8, 2)),
        (ImagePlan(2, 9, 3), ImagePlan(3, 10, 4)),
    )


def test_after_the_largest_seed_comes_the_first() -> None:
    plan = make_plan(Txt2ImgRequest(seed=2**64 - 1, subseed=2**64 - 2, n_iter=3), Settings(), SD1_SIZES)
    assert plan.batches == (
        (ImagePlan(0, 2**64 - 1, 2**64 - 2),), (ImagePlan(1, 0, 2**64 - 1),), (ImagePlan(2, 1, 0),),
    )  # fmt: skip


def test_a_variation_counts_the_variation_seed_up_and_holds_the_seed() -> None:
    plan = make_plan(Txt2ImgRequest(seed=7, subseed=1, subseed_strength=0.3, n_iter=2), Settings(), SD1_SIZES)
    assert plan.batches == ((ImagePlan(0, 7, 1),), (ImagePlan(1, 7, 2),))


def test_txt2img_walks_the_whole_schedule() -> None:
    plan = make_plan(Txt2ImgRequest(steps=12, width=500, height=260), Settings(), SD1_SIZES)
    assert (plan.first.steps, plan.size, plan.requested) == (StepRange(12, 0), Size(496, 256), Size(500, 260))


@pytest.mark.parametrize(
    ("prompt", "sampler", "exact"),
    [
        ("[<lora:ink:1>::0.25]", "Euler", False),
        ("<lora:ink:1:stop=2>", "Euler", False),
        ("<lora:ink:1:stop=0.5>", "Euler", False),
        ("[<lora:ink:1>::0.25]", "Heun", False),
        ("<lora:ink:1:stop=2>", "Euler", True),
        ("[<lora:ink:1:stop=2>::3]", "Euler", True),
    ],
)
def test_a_lora_acts_in_the_steps_that_its_prompt_gives_it(prompt: str, sampler: str, exact: bool) -> None:
    """By arguments, and by prompt editing, which has no effect around a tag in A1111."""
    settings = Settings(compatibility=EXACT) if exact else Settings()
    plan = make_plan(Txt2ImgRequest(prompt=prompt, steps=4, sampler_name=sampler), settings, SD1_SIZES)
    assert [lora.window for lora in plan.first.loras] == [Window(0, 2)]
