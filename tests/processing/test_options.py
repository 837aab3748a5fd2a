"""Which settings apply to a job, which ones its infotext contains, and the sizes of hires fix."""

from typing import Any

import pytest
from PIL import Image

from modules.base.picture import Picture
from modules.images.geometry import Size
from modules.processing.options import effective, named_settings
from modules.processing.plan import hires_sizes, make_plan
from modules.schema.request import Img2ImgRequest, Txt2ImgRequest
from modules.schema.settings import EXACT, Settings
from modules.schema.sizes import SD1_SIZES


def named(request: dict[str, Any], settings: dict[str, Any], noted: tuple[str, ...] = ()) -> set[str]:
    requested = Txt2ImgRequest(**request)
    given = Settings(randn_source="GPU", compatibility=EXACT).overridden(settings)
    return named_settings(requested, given, effective(requested, given), noted)


@pytest.mark.parametrize(
    ("request_", "settings", "names"),
    [
        ({"sampler_name": "Euler a"}, {"eta_ancestral": 0.5}, {"eta_ancestral"}),
        ({"sampler_name": "Euler"}, {"eta_ancestral": 0.5}, set()),
        ({"sampler_name": "DDIM", "eta": 0.3}, {}, {"eta_ddim"}),
        ({"sampler_name": "Euler", "s_churn": 4.0}, {}, set()),  # A1111 writes only the setting
        ({"sampler_name": "Euler"}, {"s_churn": 4.0}, {"s_churn"}),
        ({"sampler_name": "Euler a"}, {"eta_noise_seed_delta": 31337}, {"eta_noise_seed_delta"}),
        ({"sampler_name": "Euler"}, {"eta_noise_seed_delta": 31337}, set()),
        ({"sampler_name": "Euler", "scheduler": "Karras"}, {"rho": 5.0}, {"rho"}),
        ({"sampler_name": "Euler", "scheduler": "Karras"}, {"rho": 7.0}, set()),
        ({"sampler_name": "Euler"}, {"rho": 5.0}, set()),
        ({"sampler_name": "Euler", "scheduler": "Beta"}, {}, {"beta_dist_alpha", "beta_dist_beta"}),
        ({"sampler_name": "Euler"}, {"s_min_uncond": 2.0}, set()),  # it had no effect
    ],
)
def test_settings_are_told_where_they_matter(
    request_: dict[str, Any], settings: dict[str, Any], names: set[str]
) -> None:
    assert named(request_, settings) == names


@pytest.mark.parametrize(
    ("kind", "settings", "overrides", "first", "second"),
    [
        ("txt2img", {"token_merging_ratio": 0.5}, {}, 0.5, 0.5),
        ("txt2img", {"token_merging_ratio": 0.5}, {"token_merging_ratio_hr": 0.2}, 0.5, 0.2),
        ("txt2img", {"token_merging_ratio_img2img": 0.5}, {}, 0.0, 0.0),
        ("img2img", {"token_merging_ratio": 0.5}, {}, 0.5, 0.0),
        ("img2img", {"token_merging_ratio": 0.5, "token_merging_ratio_img2img": 0.3}, {}, 0.3, 0.0),
        ("img2img", {"token_merging_ratio_img2img": 0.3}, {"token_merging_ratio": 0.4}, 0.4, 0.0),
        ("img2img", {"token_merging_ratio_img2img": 0.3}, {"token_merging_ratio": 0.0}, 0.3, 0.0),
    ],
)
def test_each_pass_has_the_ratio_of_token_merging_that_a1111_gives_it(
    kind: str, settings: dict[str, Any], overrides: dict[str, Any], first: float, second: float
) -> None:
    source = Picture.from_image(Image.new("RGB", (64, 64)))
    body: dict[str, Any] = {"override_settings": overrides, "seed": 1, "subseed": 1}
    request = (
        Txt2ImgRequest(enable_hr=True, **body) if kind == "txt2img" else Img2ImgRequest(init_images=(source,), **body)
    )
    given = Settings().overridden(settings)
    held = effective(request, given)
    plan = make_plan(request, held, SD1_SIZES)
    assert [each.token_merging for each in plan.passes] == [first, second][: len(plan.passes)]
    names = named_settings(request, given, held, ())
    assert ("token_merging_ratio" in names) == (first > 0)
    assert ("token_merging_ratio_hr" in names) == (second > 0)


def test_what_shows_while_it_runs_is_told_when_noted() -> None:
    assert named({}, {"s_min_uncond": 2.0, "pad_cond_uncond": True}, ("s_min_uncond",)) == {"s_min_uncond"}


def test_a_request_goes_before_a_setting_but_in_a1111_not_before_a_changed_one() -> None:
    request = Txt2ImgRequest(s_churn=2.0, s_min_uncond=1.0, tiling=True)
    ours = effective(request, Settings(s_churn=4.0, s_min_uncond=3.0))
    assert (ours.s_churn, ours.s_min_uncond, ours.tiling) == (2.0, 1.0, True)
    assert effective(request, Settings(s_churn=4.0, compatibility=EXACT)).s_churn == 4.0
    assert effective(request, Settings(compatibility=EXACT)).s_churn == 2.0


@pytest.mark.parametrize(
    ("requested", "enlarged", "size"),
    [
        ({"hr_scale": 2.0}, (1024, 768), (1024, 768)),
        ({"hr_scale": 1.3}, (665, 499), (664, 496)),
        ({"hr_resize_x": 1024}, (1024, 768), (1024, 768)),
        ({"hr_resize_y": 768}, (1024, 768), (1024, 768)),
        ({"hr_resize_x": 1024, "hr_resize_y": 512}, (1024, 768), (1024, 512)),
        ({"hr_resize_x": 512, "hr_resize_y": 768}, (1024, 768), (512, 768)),
    ],
)
def test_hires_fix_covers_the_size_asked_for(
    requested: dict[str, Any], enlarged: tuple[int, int], size: tuple[int, int]
) -> None:
    request = Txt2ImgRequest(width=512, height=384, enable_hr=True, **requested)
    assert hires_sizes(request, SD1_SIZES) == (Size(*enlarged), Size(*size))
