"""The drawn world: the same seed draws the same picture, and every value of every table can occur."""

import random
from dataclasses import replace

import numpy as np
import pytest

from modules.starter.spec import FIRST, FULL, SCENE_BACKGROUNDS, random_spec
from modules.starter.world import draw, photo_like, tutorial_start


@pytest.mark.parametrize("style", list(FULL.styles))
def test_a_spec_draws_the_same_picture_each_time(style: str) -> None:
    spec = random_spec(random.Random(3), FULL, style=style)
    assert np.array_equal(draw(spec, 64), draw(spec, 64))


def test_specs_from_one_seed_are_equal_and_from_another_differ() -> None:
    assert random_spec(random.Random(1), FULL) == random_spec(random.Random(1), FULL)
    assert random_spec(random.Random(1), FULL) != random_spec(random.Random(2), FULL)


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (64, 96)])
def test_a_picture_has_the_size_asked_for_and_values_from_zero_to_one(size: tuple[int, int]) -> None:
    width, height = size
    for seed in range(4):
        picture = draw(random_spec(random.Random(seed), FULL), width, height)
        assert picture.shape == (height, width, 3)
        assert picture.dtype == np.float32
        assert 0 <= picture.min() <= picture.max() <= 1


@pytest.mark.parametrize("background", list(FULL.backgrounds))
def test_every_background_can_stand_behind_a_portrait(background: str) -> None:
    spec = random_spec(random.Random(5), FULL, style="flat", background=background, portrait=True)
    assert draw(spec, 64).std() > 0.05


@pytest.mark.parametrize("scene", list(FULL.scenes))
def test_every_scene_can_be_drawn_in_front_of_each_of_its_backgrounds(scene: str) -> None:
    base = random_spec(random.Random(6), FULL, style="flat", portrait=False)
    for background in SCENE_BACKGROUNDS.get(scene, {"beach": 1.0}):
        assert draw(replace(base, subject=scene, background=background), 64).std() > 0.02


@pytest.mark.parametrize("field", ["hair_style", "fringe", "expression", "clothes", "hat", "glasses"])
def test_every_part_of_a_person_shows_in_the_picture(field: str) -> None:
    values = {
        "hair_style": list(FULL.hair_styles),
        "fringe": ["full", "side", "parted", "short"],
        "expression": list(FULL.expressions),
        "clothes": list(FULL.clothes),
        "hat": [None, *FULL.hats],
        "glasses": [None, "glasses", "sunglasses"],
    }[field]
    spec = random_spec(random.Random(7), FIRST, style="flat", background="city", portrait=True)
    assert spec.person is not None
    pictures = [draw(replace(spec, person=replace(spec.person, **{field: value})), 96) for value in values]
    different = {picture.tobytes() for picture in pictures}
    assert len(different) == len(values)


@pytest.mark.parametrize("damage", list(FULL.damages))
def test_damage_changes_the_picture_and_only_what_is_seen_of_it(damage: str) -> None:
    spec = replace(random_spec(random.Random(8), FULL, style="flat"), damage=None)
    whole, damaged = draw(spec, 64), draw(replace(spec, damage=damage), 64)
    assert 0.005 < np.abs(whole - damaged).mean() < 0.5


def test_photo_like_textures_are_reproducible() -> None:
    assert np.array_equal(photo_like(random.Random(2), 64), photo_like(random.Random(2), 64))


def test_the_tutorial_starts_with_a_serious_girl_in_front_of_a_city() -> None:
    spec, picture = tutorial_start(64)
    assert spec.person is not None
    assert (spec.person.who, spec.person.expression, spec.background, spec.style) == ("girl", "neutral", "city", "flat")
    assert picture.shape == (64, 64, 3)
