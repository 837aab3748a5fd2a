"""Where a pass starts: the last levels of its schedule, and the noise added to the source."""

import pytest
import torch

from modules.processing.plan import ImagePlan, make_plan
from modules.processing.schedule import PassSchedule, begin
from modules.sampling.discrete import DiscreteNoise
from modules.sampling.noise import ImageNoise
from modules.sampling.registry import highest, levels, partial_range, resolve
from modules.sampling.schedules import ScheduleOptions
from modules.sampling.step import SamplerOptions
from modules.schema.request import Txt2ImgRequest
from modules.schema.settings import Settings
from modules.schema.sizes import SD1_SIZES

MODEL = DiscreteNoise.scaled_linear()
OPTIONS = ScheduleOptions()
SHAPE = (4, 8, 8)


def started(sampler_name: str, extra_noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(the start of 20 steps at strength 0.75 from a source of ones, the noise that was drawn)."""
    sampler, schedule = resolve(sampler_name)
    walk = partial_range(sampler, levels(sampler, schedule, 20, MODEL, OPTIONS), 20, 15, MODEL, SamplerOptions())
    pass_schedule = PassSchedule(sampler, MODEL, (0.1, 10.0), walk, is_partial=True)
    images = (ImagePlan(0, 7, 1),)
    settings = Settings(img2img_extra_noise=extra_noise)
    source = torch.ones(1, *SHAPE)
    plan = make_plan(Txt2ImgRequest(seed=7, subseed=1), settings, SD1_SIZES)
    x = begin(pass_schedule, plan, images, source, SHAPE, settings, torch.device("cpu")).x
    return x, ImageNoise("CPU", SHAPE, [7]).first()


# A1111 adds noise · k · sqrt(ᾱ) at the timestep to which the picture is noised, 751 for the DDIM family at 0.75.
@pytest.mark.parametrize(
    ("sampler", "factor"),
    [("DDIM", float(MODEL.alphas_cumprod[751]) ** 0.5), ("PLMS", float(MODEL.alphas_cumprod[751]) ** 0.5),
     ("UniPC", float(MODEL.alphas_cumprod[751]) ** 0.5), ("Euler", 1.0), ("DPM++ 2M", 1.0)],
)  # fmt: skip
def test_extra_noise_has_the_scale_of_the_latent(sampler: str, factor: float) -> None:
    plain, noise = started(sampler, 0.0)
    noisy, _ = started(sampler, 0.25)
    torch.testing.assert_close(noisy - plain, noise * 0.25 * factor, atol=2e-6, rtol=0)


@pytest.mark.parametrize("steps", [20, 300, 777])
@pytest.mark.parametrize(
    ("sampler", "schedule"),
    [("Euler", "Karras"), ("Euler", "Polyexponential"), ("DPM++ 2M", "Beta"), ("DPM2", "Exponential"),
     ("Euler a", "Simple"), ("Heun", "KL Optimal"), ("LCM", "SGM Uniform"), ("Euler", "Align Your Steps"),
     ("Euler", "Uniform"), ("Euler", "Normal"), ("Euler", "DDIM")],
)  # fmt: skip
def test_the_end_of_a_schedule_is_that_of_the_whole_to_the_last_bit(sampler: str, schedule: str, steps: int) -> None:
    rows = resolve(sampler, schedule)
    whole = levels(*rows, steps, MODEL, OPTIONS)
    for first in (0, 1, steps // 2, steps - 1):
        assert torch.equal(levels(*rows, steps, MODEL, OPTIONS, first), whole[first:])
    assert highest(*rows, steps, MODEL, OPTIONS) == float(whole[0])


@pytest.mark.parametrize("schedule", ["Simple", "DDIM", "Beta", "Karras"])
@pytest.mark.parametrize("sampler", ["DPM++ 2M", "DPM++ 2M SDE", "LMS", "Euler"])
def test_a_schedule_longer_than_the_models_table_is_walked(sampler: str, schedule: str) -> None:
    rows, steps, count = resolve(sampler, schedule), 40_000, 20
    last = levels(*rows, steps, MODEL, OPTIONS, steps - count)
    walk = partial_range(rows[0], last, count, count - 1, MODEL, SamplerOptions())
    assert len(walk.sigmas) <= count + 1
    noise = ImageNoise("CPU", SHAPE, [7])
    x = noise.first()
    for step in rows[0].function(lambda x, sigma: x / 2, x, walk.sigmas, noise, walk.options):
        x = step.x
    assert bool(torch.isfinite(x).all())
