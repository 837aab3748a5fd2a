"""The judge's ruler: classes only where a picture tells them, doodles without colour, figures that mean something."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from modules.starter.judge import DOODLES, HEADS, Eye, doodles, face_place, labels, psnr, renders
from modules.starter.spec import FIRST, Spec, random_spec


@pytest.fixture
def portrait() -> Spec:
    return random_spec(random.Random(1), FIRST, style="flat", background="city", portrait=True)


@pytest.fixture
def scene() -> Spec:
    spec = random_spec(random.Random(1), FIRST, style="watercolor", portrait=False)
    return replace(spec, subject="tree", background="field")


def test_a_portrait_tells_background_hair_style_and_place(portrait: Spec) -> None:
    person = portrait.person
    assert person is not None
    assert {name: HEADS[name][i] for name, i in labels(portrait).items()} == {
        "background": "city",
        "hair": person.hair,
        "style": "flat",
        "subject": "portrait",
    }
    assert face_place(portrait) == (person.centre_x / 256, person.centre_y / 256)


def test_hair_is_not_told_where_there_is_no_colour(portrait: Spec) -> None:
    assert labels(replace(portrait, style="pencil"))["hair"] == -1


def test_a_scene_tells_its_subject_and_no_face(scene: Spec) -> None:
    assert labels(scene) == {
        "background": -1,
        "hair": -1,
        "style": HEADS["style"].index("watercolor"),
        "subject": HEADS["subject"].index("tree"),
    }
    assert all(math.isnan(place) for place in face_place(scene))


@pytest.mark.parametrize("subject", DOODLES)
def test_a_doodle_has_strokes_and_no_colour(subject: str) -> None:
    (picture,) = doodles(subject, 1, 64)
    assert float(np.ptp(picture, 2).mean()) < 0.02
    assert 0.01 < float((picture.mean(2) < 0.9).mean()) < 0.3


def test_doodles_are_the_same_every_time() -> None:
    assert np.array_equal(doodles("cat", 2, 64), doodles("cat", 2, 64))


def test_the_eye_answers_for_every_attribute() -> None:
    seen = renders(3, random.Random(2), size=64)
    logits, places = Eye().eval()(seen.pictures)
    assert {name: tuple(value.shape) for name, value in logits.items()} == {
        name: (3, len(values)) for name, values in HEADS.items()
    }
    assert places.shape == (3, 2)
    assert torch.isfinite(places).all()


def test_psnr_in_decibels() -> None:
    black = np.zeros((4, 4, 3), np.float32)
    assert psnr(black, black + np.float32(0.1)) == pytest.approx(20)
    assert psnr(black, black) == pytest.approx(100)
