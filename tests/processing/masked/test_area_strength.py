"""Grays of the mask as strengths: when each place starts to change, and how far it changes."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from modules.base.events import ImageDone
from modules.infotext.parse import parse
from modules.processing.masked.area_strength import freed, remaining, steps_of
from modules.processing.plan import img2img_steps
from modules.sampling.denoise import Split, joined, masked, split
from modules.sampling.discrete import DiscreteNoise
from modules.sampling.registry import SigmaRange, levels, partial_range, resolve
from modules.sampling.schedules import ScheduleOptions
from modules.sampling.step import SamplerOptions
from modules.sampling.timesteps import noised
from modules.schema.request import Img2ImgRequest
from modules.schema.sampler_names import SAMPLERS
from tests.processing.masked.test_inpaint import SMALL, Run, mask, picture, pixels, run_with, source

OWN_LEVELS = ("DPM fast", "DPM adaptive")  # these choose their own, so that the job's have no effect


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_with(tmp_path_factory.mktemp("models"), 4)


@pytest.mark.parametrize("strength", [0.2, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("gray", [0.25, 0.5, 0.8, 1.0])
def test_a_gray_is_redrawn_in_as_many_steps_as_a_job_of_its_strength(strength: float, gray: float) -> None:
    own = steps_of(torch.tensor([gray]), strength, 20)
    assert own.item() == img2img_steps(20, strength * gray, exact=False).count


def test_what_is_not_masked_has_no_steps() -> None:
    assert steps_of(torch.tensor([0.0, 1 / 255, -0.1, 1.2]), 0.75, 20).tolist() == [0, 1, 0, 16]


def test_steps_are_counted_from_the_end() -> None:
    levels = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.0])
    counted = [remaining(levels, torch.tensor([level, level])) for level in (9.0, 8.0, 4.0, 3.0, 2.0, 1.0, 0.5)]
    assert counted == [4, 4, 3, 2, 2, 1, 0]


def test_places_are_freed_one_after_the_other() -> None:
    levels = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.0])  # 4 of 5 steps: strength 0.6
    mask = torch.tensor([0.0, 0.1, 0.4, 0.7, 1.0])
    original, current = torch.zeros(5), torch.ones(5)
    course = [
        freed(levels, 0.6, 5, original, current, mask, torch.tensor([level])).tolist() for level in (8.0, 4.0, 2.0, 1.0)
    ]
    assert course == [[0, 0, 0, 0, 1], [0, 0, 0, 1, 1], [0, 0, 1, 1, 1], [0, 1, 1, 1, 1]]


STRENGTH, STEPS = 0.9, 20
GRAYS = torch.tensor([0, 64, 128, 192, 255]).view(1, 1, 1, 5) / 255
PLACES = 400  # for each gray


class World:
    """Latents are normal around 2; the picture is -2 everywhere, so every free prediction leads away from it.

    `walked` is a sampler's result after its last `count` steps, with the mask of GRAYS or without one.
    """

    def __init__(self, name: str) -> None:
        self.sampler, schedule = resolve(name)
        self.model = DiscreteNoise.scaled_linear()
        self.levels = levels(self.sampler, schedule, STEPS, self.model, ScheduleOptions())
        self.original = torch.full((1, 4, PLACES, 5), -2.0)

    def walk(self, count: int) -> SigmaRange:
        options = SamplerOptions(eta=0.0, eta_ddim=0.0)
        return partial_range(self.sampler, self.levels, STEPS, count - 1, self.model, options)

    def predicted(self, x: Tensor, level: Tensor) -> Tensor:
        is_scaled = self.sampler.row.timesteps
        variance = (self.model.t_to_sigma(level) if is_scaled else level).square().view(-1, 1, 1, 1)
        return ((x * (1 + variance).sqrt() if is_scaled else x) + variance * 2) / (1 + variance)

    def walked(self, count: int, is_masked: bool) -> Tensor:
        walk = self.walk(count)
        noise = torch.randn(self.original.shape, generator=torch.Generator().manual_seed(1))
        more = torch.Generator().manual_seed(2)
        blend = partial(freed, walk.sigmas, STRENGTH, STEPS)
        network = split(self.predicted)
        denoise = joined(masked(network, self.original, GRAYS, blend) if is_masked else network)

        def both(x: Tensor, sigma: Tensor) -> Split:
            denoised = denoise(x, sigma)
            return Split(denoised, denoised)

        x = self.original + noise * walk.sigma
        if self.sampler.row.timesteps:
            x = noised(self.original, noise, walk.sigma)
        *_, step = self.sampler.function(
            denoise, x, walk.sigmas, lambda *_: torch.randn(self.original.shape, generator=more),
            replace(walk.options, split=both),
        )  # fmt: skip
        return step.x


OWN_STEPS = [int(steps) for steps in steps_of(GRAYS, STRENGTH, STEPS).flatten()]


@pytest.mark.parametrize("name", [row.name for row in SAMPLERS if row.name not in OWN_LEVELS])
def test_white_is_a_walk_without_a_mask_whatever_the_sampler(name: str) -> None:
    world = World(name)
    whole, free = (world.walked(OWN_STEPS[-1], is_masked) for is_masked in (True, False))
    torch.testing.assert_close(whole[..., 4], free[..., 4], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["Euler", "Euler a"])
def test_a_gray_is_a_walk_of_its_own_steps(name: str) -> None:
    """Without a memory of earlier steps, a held place is where a shorter run would start."""
    world = World(name)
    whole = world.walked(OWN_STEPS[-1], is_masked=True)
    for place, steps in enumerate(OWN_STEPS[1:], 1):
        shorter = world.walked(steps, is_masked=False)
        torch.testing.assert_close(whole[..., place], shorter[..., place], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "name", [row.name for row in SAMPLERS if row.name not in (*OWN_LEVELS, "LCM") and not row.timesteps]
)
def test_the_change_grows_with_the_gray(name: str) -> None:
    """A place changes at least as much as a run of its own steps changes it, and less than a run with one step more:
    samplers with two predictions per step see the next level half a step early, others look back to where the place was
    still held. DPM2 takes the whole step from the second prediction, so a place starts one step early with it, and from
    the middle of a step.
    """
    world, more = World(name), 2 if name.startswith("DPM2") else 1
    whole = world.walked(OWN_STEPS[-1], is_masked=True)
    for place, steps in enumerate(OWN_STEPS[1:-1], 1):
        least, change, most = (
            float((result - world.original)[..., place].mean())
            for result in (world.walked(steps, False), whole, world.walked(steps + more, False))
        )
        assert least - 1e-4 <= change < most, f"gray {place}: {change} is not between {least} and {most}"


@pytest.mark.parametrize("name", [row.name for row in SAMPLERS if row.timesteps])
def test_in_ddims_family_the_change_grows_with_the_gray_too(name: str) -> None:
    """There, A1111 treats a latent as less noisy than it is, so that a shorter run is no reference; distances are."""
    world = World(name)
    whole = world.walked(OWN_STEPS[-1], is_masked=True)
    change = (whole - world.original)[..., 1:].mean((0, 1, 2)).tolist()
    assert change == sorted(change)


def test_lcm_goes_as_far_as_its_formula_says() -> None:
    """Each step draws anew around the prediction: the mean's distance from 2 is divided by 1 + sigma squared."""
    world = World("LCM")
    whole = world.walked(OWN_STEPS[-1], is_masked=True)
    for place, steps in enumerate(OWN_STEPS[1:], 1):
        sigmas = world.walk(steps).sigmas[:-1]
        expected = 4 - 4 / (1 + sigmas.square()).prod()
        found = (whole - world.original)[..., place].mean()
        torch.testing.assert_close(found, expected, rtol=0, atol=4 / (4 * PLACES) ** 0.5)  # four standard errors


def test_white_is_inpainting_at_full_strength(run: Run) -> None:
    whole, drawn = source(64, 64), mask(64, 64)
    request = Img2ImgRequest(init_images=(whole,), mask=drawn, mask_blur=0, denoising_strength=0.8, **SMALL)
    (plain,) = pixels(run(request))
    (by_gray,) = pixels(run(request.model_copy(update={"mask_strength_by_grey": True})))
    assert by_gray.tobytes() == plain.tobytes()


@pytest.mark.parametrize(("width", "height"), [(64, 64), (200, 121)])
@pytest.mark.parametrize("area", [0, 1])
def test_black_keeps_every_byte(run: Run, width: int, height: int, area: int) -> None:
    whole = source(width, height)
    drawn = Image.new("L", (width, height))
    drawn.paste(90, (width // 2, 0, width, height // 2))
    values: dict[str, Any] = {**SMALL, "width": 64 if area else width, "height": 64 if area else height}
    request = Img2ImgRequest(
        init_images=(whole,),
        mask=picture(drawn),
        mask_blur=0,
        mask_strength_by_grey=True,
        inpaint_full_res=area,
        **values,
    )
    (result,) = pixels(run(request))
    kept = (np.asarray(drawn) == 0)[: result.shape[0], : result.shape[1]]
    apart = (result != np.asarray(whole.rgb())[: result.shape[0], : result.shape[1]]).any(axis=2)
    assert not apart[kept].any()
    assert apart.any()


def test_a_third_of_the_strength_is_a_job_of_a_third(run: Run) -> None:
    """Euler's line keeps a held place on the noised original, so it is released where such a job would start."""
    whole = source(64, 64)
    gray = picture(Image.new("L", (64, 64), 85))
    values: dict[str, Any] = {**SMALL, "steps": 20}
    request = Img2ImgRequest(init_images=(whole,), mask_blur=0, **values)
    update = {"mask": gray, "mask_strength_by_grey": True, "denoising_strength": 0.9}
    (by_gray,) = pixels(run(request.model_copy(update=update)))
    (third,) = pixels(run(request.model_copy(update={"denoising_strength": 0.3})))
    assert np.abs(by_gray.astype(int) - third).max() <= 1


def test_it_stands_in_the_text_and_soft_inpainting_gives_way(run: Run) -> None:
    request = Img2ImgRequest(
        init_images=(source(64, 64),), mask=mask(64, 64), mask_strength_by_grey=True, soft_inpainting=True, **SMALL
    )
    (done,) = [event for event in run(request) if isinstance(event, ImageDone)]
    pairs = parse(done.infotext).pairs
    assert pairs["Mask strength by grey"] == "True"
    assert "Soft inpainting enabled" not in pairs
