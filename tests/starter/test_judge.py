"""The judge's measures: classes only if a picture shows them, doodles without color, meaningful figures."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from modules.starter.judge import (
    DOODLES,
    EXPRESSIONS,
    HEADS,
    QUESTIONS,
    Eye,
    Lips,
    doodles,
    face_place,
    fit,
    jolted,
    labels,
    psnr,
    renders,
)
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


def test_what_a_close_look_must_stand_keeps_the_pictures_apart() -> None:
    torch.manual_seed(1)
    pictures = torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])
    jolted_ones = jolted(pictures, 3)
    assert torch.equal(jolted_ones[0], pictures[0])
    assert float(jolted_ones[1].std()) < 1e-6
    assert 0.3 < float(jolted_ones[1].mean()) < 1.7


def test_a_classifier_learns_what_it_is_shown() -> None:
    torch.manual_seed(2)
    pictures = torch.randn(96, 3, 48, 56) * 0.1
    targets = torch.arange(96) % 2
    pictures[targets == 1] += 0.5
    lips = Lips()
    fit(lips, pictures, targets, 6, 1)
    assert not lips.training
    assert (lips(pictures).argmax(1) == targets).float().mean() > 0.95


def test_every_question_names_what_a_classifier_knows() -> None:
    known = dict(HEADS) | {"expression": EXPRESSIONS}
    assert [question for question in QUESTIONS if question.value not in known[question.attribute]] == []


def test_psnr_in_decibels() -> None:
    black = np.zeros((4, 4, 3), np.float32)
    assert psnr(black, black + np.float32(0.1)) == pytest.approx(20)
    assert psnr(black, black) == pytest.approx(100)
