"""Draw what a spec says."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Final

import numpy as np

from modules.starter.backgrounds import BACKGROUNDS, plain
from modules.starter.damage import DAMAGES
from modules.starter.noise import Field, noise
from modules.starter.palette import Colour, mix
from modules.starter.pen import UNITS, Pen, blob, smooth
from modules.starter.portrait import portrait
from modules.starter.scenes import scene
from modules.starter.spec import FIRST, Spec, random_spec
from modules.starter.styles import STYLES

# How far down the cut of a wide picture begins, as a share of what is cut away: heads stay in.
WIDE_CUT: Final = 0.25


def draw(spec: Spec, width: int = 256, height: int | None = None) -> Field:
    """(height, width, 3), float32 in [0, 1]; the same spec gives the same picture.

    A size that is not square is cut from the square picture around the middle, nearer to its top.
    """
    height = height or width
    size = max(width, height)
    rng = random.Random(spec.seed)
    mode = spec.style if spec.style in ("line", "crayon") else "outlined" if spec.outlined else "flat"
    pen = Pen(size, rng, mode)
    if spec.background == "plain":
        plain(pen, spec.plain_colour)
    else:
        BACKGROUNDS[spec.background](pen)
    if spec.person is not None:
        portrait(pen, spec.person)
    else:
        scene(pen, spec.subject, spec.subject_colour)
    top, left = int((size - height) * WIDE_CUT), (size - width) // 2
    picture = np.ascontiguousarray(pen.picture()[top : top + height, left : left + width])
    if spec.style in STYLES:
        picture = STYLES[spec.style](picture, rng)
    if spec.damage is not None:
        picture = DAMAGES[spec.damage](picture, rng)
    return picture


def photo_like(rng: random.Random, size: int = 256) -> Field:
    """Textures with the statistics of photographs: falling leaves (Lee et al. 2001), 1/f light, sensor grain.

    For the autoencoder only, so that pictures from outside the world survive it.
    """
    pen = Pen(size, rng)
    base: Colour = (rng.random(), rng.random(), rng.random())
    span = rng.uniform(0.15, 0.5)

    def colour() -> Colour:
        grey = rng.random()
        red, green, blue = (min(1, max(0, x + rng.uniform(-span, span))) for x in mix(base, (grey,) * 3, 0.5))
        return red, green, blue

    pen.sky(colour(), colour())
    for _ in range(rng.choice((0, 20, 60, 140))):
        s, x, y = min(110, 6 / (rng.random() + 0.04)), rng.uniform(-10, UNITS + 10), rng.uniform(-10, UNITS + 10)
        first, second = colour(), colour()
        fill = ((x - s, y - s), (x + s, y + s), first, second)
        blur = rng.uniform(0.5, 6) if rng.random() < 0.35 else 0.0
        kind = rng.random()
        if kind < 0.5:
            pen.oval(x, y, s, s * rng.uniform(0.3, 1), fill, blur=blur)
        elif kind < 0.75:
            pen.shape(blob(x, y, s, s * rng.uniform(0.3, 1), rng, rng.randint(4, 9), 0.3), fill, blur=blur)
        elif kind < 0.9:
            with pen.moved(x, y, turn=rng.uniform(0, 180)):
                pen.box(-s, -s * 0.4, 2 * s, s * 0.8, ((-s, 0), (s, 0), first, second))
        else:
            points = [(x + rng.uniform(-60, 60), y + rng.uniform(-60, 60)) for _ in range(4)]
            pen.line(smooth(points), first, rng.uniform(0.7, 6))
    light = np.stack(
        [noise(rng.choice(("low", "mid", "mid")), size, size, rng, rng.uniform(0.4, 2)) for _ in range(3)], -1
    )
    mixing = np.array([[rng.gauss(0, 1) for _ in range(3)] for _ in range(3)], np.float32) * 0.35 + 0.4
    light = light @ mixing
    picture = pen.picture() * (1 + rng.uniform(0.02, 0.16) * light) + rng.uniform(0, 0.1) * light
    if rng.random() < 0.4:
        grain = np.random.RandomState(rng.randrange(1 << 30)).randn(size, size, 3)
        picture = picture + rng.uniform(0.005, 0.035) * grain
    return np.clip((picture - 0.5) * rng.uniform(0.7, 1.2) + 0.5 + rng.uniform(-0.08, 0.08), 0, 1).astype(np.float32)


def tutorial_start(size: int = 256, seed: int = 4) -> tuple[Spec, Field]:
    """The picture the best-known img2img tutorial begins with: a girl in front of city buildings."""
    rng = random.Random(seed)
    spec = random_spec(rng, FIRST, style="flat", background="city", portrait=True)
    assert spec.person is not None
    person = replace(
        spec.person, who="girl", hair="brown", hair_style="long hair", fringe="full", expression="neutral", hat=None,
        glasses=None, clothes="hoodie", clothes_colour="blue", skin="fair", eyes="green", tilt=0.0, centre_x=128.0,
    )  # fmt: skip
    spec = replace(spec, person=person, outlined=False, damage=None)
    return spec, draw(spec, size)
