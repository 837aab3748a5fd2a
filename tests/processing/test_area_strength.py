"""Greys of the mask as strengths: when each place begins, and how far it gets."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from modules.events import ImageDone
from modules.infotext import parse
from modules.processing.area_strength import freed, remaining, steps_of
from modules.processing.plan import img2img_walk
from modules.request import Img2ImgRequest
from modules.sampler_names import SAMPLERS
from modules.sampling.denoise import masked
from modules.sampling.discrete import ModelSchedule
from modules.sampling.registry import levels, partial_walk, resolve
from modules.sampling.schedules import ScheduleOptions
from modules.sampling.step import SamplerOptions
from modules.sampling.timesteps import noised
from tests.processing.test_inpaint import SMALL, Run, mask, picture, pixels, run_with, source

# The first two choose levels of their own; LCM forgets at each step where it came from.
UNGRADED = ("DPM fast", "DPM adaptive", "LCM")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_with(tmp_path_factory.mktemp("models"), 4)


@pytest.mark.parametrize("strength", [0.2, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("grey", [0.25, 0.5, 0.8, 1.0])
def test_a_grey_is_redrawn_in_as_many_steps_as_a_job_of_its_strength(strength: float, grey: float) -> None:
    own = steps_of(torch.tensor([grey]), strength, 20)
    assert own.item() == img2img_walk(20, strength * grey, exact=False).count


def test_what_is_not_masked_has_no_steps() -> None:
    assert steps_of(torch.tensor([0.0, 1 / 255, -0.1, 1.2]), 0.75, 20).tolist() == [0, 1, 0, 16]


def test_steps_are_counted_from_the_end() -> None:
    levels = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.0])
    counted = [remaining(levels, torch.tensor([level, level])) for level in (9.0, 8.0, 4.0, 3.0, 2.0, 1.0, 0.5)]
    assert counted == [4, 4, 3, 2, 2, 1, 0]


def test_places_are_freed_one_after_the_other() -> None:
    levels = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.0])  # a walk of 4 of 5 steps: strength 0.6
    mask = torch.tensor([0.0, 0.1, 0.4, 0.7, 1.0])
    original, current = torch.zeros(5), torch.ones(5)
    course = [
        freed(levels, 0.6, 5, original, current, mask, torch.tensor([level])).tolist() for level in (8.0, 4.0, 2.0, 1.0)
    ]
    assert course == [[0, 0, 0, 0, 1], [0, 0, 0, 1, 1], [0, 0, 1, 1, 1], [0, 1, 1, 1, 1]]


@pytest.mark.parametrize("name", [row.name for row in SAMPLERS if row.name not in UNGRADED])
def test_the_change_grows_with_the_grey(name: str) -> None:
    """In a world whose latents are normal around 2, from a picture that is -2: more steps lead further."""
    sampler, schedule = resolve(name)
    model, strength, count = ModelSchedule.scaled_linear(), 0.9, 20
    options = SamplerOptions(eta=0.0, eta_ddim=0.0)
    walk = partial_walk(sampler, levels(sampler, schedule, count, model, ScheduleOptions()), count, 18, model, options)
    original = torch.full((1, 4, 16, 5), -2.0)
    mask = torch.tensor([0, 64, 128, 192, 255]).view(1, 1, 1, 5) / 255
    noise = torch.randn(original.shape, generator=torch.Generator().manual_seed(1))
    blend = partial(freed, walk.sigmas, strength, count)

    def world(x: Tensor, sigma: Tensor) -> Tensor:
        variance = sigma.square().view(-1, 1, 1, 1)
        return (x + variance * 2) / (1 + variance)

    seen: list[Tensor] = []

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        seen.append(masked(world, original, mask, blend)(x, sigma))
        return seen[-1]

    x = noised(original, noise, walk.sigma) if sampler.row.timesteps else original + noise * walk.sigma
    more = torch.Generator().manual_seed(2)
    *_, step = sampler.function(
        denoise, x, walk.sigmas, lambda *_: torch.randn(original.shape, generator=more),
        replace(walk.options, uncond=lambda: seen[-1]),
    )  # fmt: skip
    result = torch.where(mask > 0, step.x, original)
    change = (result - original).abs().mean(dim=(0, 1, 2)).tolist()
    assert change[0] == 0
    assert change == sorted(change)
    assert change[4] > change[1] + 0.5


def test_white_is_inpainting_at_full_strength(run: Run) -> None:
    whole, drawn = source(64, 64), mask(64, 64)
    request = Img2ImgRequest(init_images=(whole,), mask=drawn, mask_blur=0, denoising_strength=0.8, **SMALL)
    (plain,) = pixels(run(request))
    (by_grey,) = pixels(run(request.model_copy(update={"mask_strength_by_grey": True})))
    assert by_grey.tobytes() == plain.tobytes()


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
    """Euler's line leads a held place along the noised original, so it is freed where such a job would begin."""
    whole = source(64, 64)
    grey = picture(Image.new("L", (64, 64), 85))
    values: dict[str, Any] = {**SMALL, "steps": 20}
    request = Img2ImgRequest(init_images=(whole,), mask_blur=0, **values)
    update = {"mask": grey, "mask_strength_by_grey": True, "denoising_strength": 0.9}
    (by_grey,) = pixels(run(request.model_copy(update=update)))
    (third,) = pixels(run(request.model_copy(update={"denoising_strength": 0.3})))
    assert np.abs(by_grey.astype(int) - third).max() <= 1


def test_it_stands_in_the_text_and_soft_inpainting_gives_way(run: Run) -> None:
    request = Img2ImgRequest(
        init_images=(source(64, 64),), mask=mask(64, 64), mask_strength_by_grey=True, soft_inpainting=True, **SMALL
    )
    (done,) = [event for event in run(request) if isinstance(event, ImageDone)]
    pairs = parse(done.infotext).pairs
    assert pairs["Mask strength by grey"] == "True"
    assert "Soft inpainting enabled" not in pairs
