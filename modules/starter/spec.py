"""What a picture of the drawn world shows: frozen values, drawn at random from weighted tables."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

Weights: TypeAlias = Mapping[str, float]

# Styles that repaint a finished flat picture; the others change how shapes themselves are drawn.
PAINTED: Final = frozenset({"watercolor", "pencil", "pixel", "oil", "neon"})
COLOURLESS: Final = frozenset({"pencil", "line"})
NO_HAT_ROOM: Final = frozenset({"hair ribbon", "cat ears", "flower in hair"})


@dataclass(frozen=True)
class Person:
    """One portrait. Lengths are in units of a 256-unit canvas, angles in degrees."""

    who: str
    hair: str
    hair_style: str
    fringe: str
    skin: str
    eyes: str
    expression: str
    eyes_closed: bool
    clothes: str
    clothes_colour: str
    glasses: str | None
    hat: str | None
    hat_colour: str
    beard: bool
    side: int
    jaw: float
    blush: float
    gaze: float
    hair_length: float
    centre_x: float
    centre_y: float
    scale: float
    tilt: float

    @property
    def feminine(self) -> bool:
        return self.who in ("girl", "woman")


@dataclass(frozen=True)
class Spec:
    """One picture: everything `draw` needs besides the size. `seed` decides what no field names."""

    seed: int
    style: str
    outlined: bool
    background: str
    plain_colour: str
    subject: str
    subject_colour: str
    person: Person | None
    damage: str | None


@dataclass(frozen=True)
class Mix:
    """How often each value is drawn; weights need not sum to one."""

    portraits: float
    styles: Weights
    backgrounds: Weights
    scenes: Weights
    hair: Weights
    hair_styles: Weights
    boy_hair_styles: Weights
    expressions: Weights
    skin: Weights
    eyes: Weights
    who: Weights
    clothes: Weights
    colours: Weights
    plain: Weights
    hats: Weights
    hat: float = 0.1
    glasses: float = 0.12
    closed_eyes: float = 0.0
    damage: float = 0.0
    damages: Weights = field(
        default_factory=lambda: {"scratches": 3, "blur": 2, "low resolution": 2, "noise": 1, "grey": 1}
    )
    spread: float = 1.0
    distances: float = 0.0


def equal(*names: str) -> Weights:
    return dict.fromkeys(names, 1.0)


# The small world of the first checkpoint: few values, so that little training suffices to tell them apart.
FIRST: Final = Mix(
    portraits=0.87,
    styles={"flat": 40, "watercolor": 32, "pencil": 14, "line": 7, "neon": 7},
    backgrounds={"plain": 13, "city": 16, "sakura": 20, "forest": 15, "beach": 13, "night": 12, "sunset": 11},
    scenes=equal("house", "tree", "cat", "sailboat", "scenery"),
    hair={"black": 15, "brown": 16, "blonde": 17, "red": 12, "pink": 14, "blue": 13, "white": 8, "green": 5},
    hair_styles={"long hair": 40, "bob cut": 22, "ponytail": 18, "twin tails": 20},
    boy_hair_styles={"short hair": 1},
    expressions={"neutral": 14, "light smile": 38, "big smile": 12, "sad": 36},
    skin={"fair": 70, "tan": 18, "brown": 12},
    eyes={"blue": 35, "brown": 35, "green": 30},
    who={"girl": 76, "boy": 24},
    clothes={"t-shirt": 45, "hoodie": 30, "shirt": 25},
    colours={"red": 20, "blue": 20, "green": 16, "yellow": 14, "white": 16, "black": 14},
    plain=equal("white", "blue", "pink", "yellow"),
    hats=equal("straw hat", "witch hat", "cat ears"),
    hat=0.06,
    glasses=0.08,
    spread=0.4,
)

# What the shipped checkpoint was finished on: all styles, and scenes and mouths often enough to be learnt.
SECOND: Final = replace(
    FIRST,
    portraits=0.82,
    styles={"flat": 28, "watercolor": 34, "pencil": 10, "line": 7, "pixel": 5, "oil": 6, "crayon": 4, "neon": 6},
    expressions={"neutral": 12, "light smile": 34, "big smile": 16, "sad": 38},
)

# Everything the world can draw.
FULL: Final = Mix(
    portraits=0.74,
    styles={"flat": 30, "watercolor": 24, "pencil": 10, "line": 7, "pixel": 6, "oil": 9, "crayon": 5, "neon": 6},
    backgrounds={
        "plain": 16, "city": 16, "sakura": 18, "forest": 9, "beach": 8, "night": 8, "mountains": 7, "room": 7,
        "sunset": 7, "field": 5,
    },
    scenes=equal(
        "house", "tree", "cat", "dog", "sailboat", "car", "castle", "flowers", "fish", "sun", "mountains", "scenery"
    ),
    hair={
        "black": 16, "brown": 18, "blonde": 16, "red": 9, "pink": 10, "blue": 8, "white": 7, "purple": 6, "green": 4,
        "orange": 5,
    },
    hair_styles={
        "long hair": 30, "short hair": 14, "bob cut": 16, "ponytail": 14, "twin tails": 10, "hair bun": 8,
        "curly hair": 8,
    },
    boy_hair_styles={"short hair": 80, "curly hair": 20},
    expressions={"neutral": 24, "light smile": 28, "big smile": 17, "sad": 15, "surprised": 9, "angry": 7},
    skin={"fair": 58, "tan": 20, "brown": 12, "dark": 10},
    eyes=equal("blue", "green", "brown", "red", "purple", "grey"),
    who={"girl": 50, "woman": 17, "boy": 18, "man": 15},
    clothes=equal("t-shirt", "sweater", "dress", "hoodie", "shirt", "suit"),
    colours=equal("red", "blue", "green", "yellow", "white", "black", "pink", "purple", "orange", "grey"),
    plain=equal("white", "blue", "pink", "yellow", "green", "grey", "purple", "orange"),
    hats=equal(
        "straw hat", "beanie", "cap", "witch hat", "hair ribbon", "flower in hair", "cat ears", "headphones", "crown"
    ),
    hat=0.27,
    glasses=0.18,
    closed_eyes=0.06,
    damage=0.08,
    distances=0.2,
)  # fmt: skip

# The whole world for the last sitting: damage and mouths often enough to be learnt.
THIRD: Final = replace(
    FULL,
    expressions={"neutral": 18, "light smile": 30, "big smile": 16, "sad": 22, "surprised": 8, "angry": 6},
    damage=0.14,
)

# Fewer values again, for the last hour on two cores: what is asked for most must look best.
FOURTH: Final = replace(
    SECOND,
    backgrounds=dict(SECOND.backgrounds) | {"mountains": 6, "room": 5, "field": 6},
    damage=0.08,
)

MIXES: Final[Mapping[str, Mix]] = {"first": FIRST, "second": SECOND, "third": THIRD, "fourth": FOURTH, "full": FULL}

# Where each scene may stand: backgrounds of its own ("sea") are never behind a portrait.
SCENE_BACKGROUNDS: Final[Mapping[str, Weights]] = {
    "house": {"field": 5, "mountains": 2, "forest": 1, "sunset": 2, "night": 1},
    "tree": {"field": 5, "mountains": 2, "sunset": 2, "beach": 1},
    "cat": {"plain": 4, "field": 3, "night": 2, "sakura": 2, "city": 1},
    "dog": {"plain": 4, "field": 3, "beach": 2, "city": 2},
    "sailboat": {"sea": 3, "sea at sunset": 2},
    "car": {"city": 3, "field": 2, "mountains": 2},
    "castle": {"field": 2, "mountains": 2, "sunset": 2, "night": 1},
    "flowers": {"plain": 3, "room": 2, "field": 1},
    "fish": {"plain": 1, "underwater": 3},
    "sun": {"plain": 1, "field": 2},
    "mountains": {"mountains": 1},
}


def pick(weights: Weights, rng: random.Random) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def random_person(mix: Mix, rng: random.Random) -> Person:
    who = pick(mix.who, rng)
    feminine = who in ("girl", "woman")
    hair_style = pick(mix.hair_styles if feminine else mix.boy_hair_styles, rng)
    expression = pick(mix.expressions, rng)
    hat = pick(mix.hats, rng) if rng.random() < mix.hat else None
    if hat in NO_HAT_ROOM and (not feminine or hair_style == "hair bun"):
        hat = None
    scale = 1.12 + rng.gauss(0, 0.055) * mix.spread
    centre_y = 110 + rng.gauss(0, 6) * mix.spread
    if rng.random() < mix.distances:
        further = rng.random() < 0.6
        scale *= 0.74 if further else 1.22
        centre_y += 16 if further else 6
    smiling = "smile" in expression
    return Person(
        who=who,
        hair=pick(mix.hair, rng),
        hair_style=hair_style,
        fringe=pick({"full": 5, "side": 3, "parted": 2} if feminine else {"side": 4, "short": 4, "full": 2}, rng),
        skin=pick(mix.skin, rng),
        eyes=pick(mix.eyes, rng),
        expression=expression,
        eyes_closed=rng.random() < mix.closed_eyes,
        clothes=pick(mix.clothes, rng),
        clothes_colour=pick(mix.colours, rng),
        glasses=("sunglasses" if rng.random() < 0.2 else "glasses") if rng.random() < mix.glasses else None,
        hat=hat,
        hat_colour=pick(mix.colours, rng),
        beard=who == "man" and rng.random() < 0.35,
        side=rng.choice((-1, 1)),
        jaw=rng.uniform(0, 0.6) if feminine else rng.uniform(0.7, 1.4),
        blush=(0.75 if smiling else 0.3) * rng.uniform(0.7, 1.1) if feminine or smiling else 0.0,
        gaze=rng.choice((0.0, 0.0, 0.0, -1.5, 1.5)),
        hair_length=rng.uniform(100, 140),
        centre_x=128 + rng.gauss(0, 10) * mix.spread,
        centre_y=centre_y,
        scale=scale,
        tilt=rng.gauss(0, 3.0) * mix.spread,
    )


def random_spec(
    rng: random.Random,
    mix: Mix = FULL,
    style: str | None = None,
    background: str | None = None,
    portrait: bool | None = None,
) -> Spec:
    """A picture drawn from `mix`; what is given is kept."""
    chosen = style or pick(mix.styles, rng)
    is_portrait = portrait if portrait is not None else rng.random() < mix.portraits
    if is_portrait:
        subject, behind = "portrait", pick(mix.backgrounds, rng)
    else:
        subject = pick(mix.scenes, rng)
        behind = pick(SCENE_BACKGROUNDS.get(subject, mix.backgrounds), rng)
        if subject == "scenery" and behind == "plain":
            behind = "beach"
    outlines = {"flat": 0.35, "watercolor": 0.15, "line": 1.0, "crayon": 1.0, "pencil": 0.6}
    return Spec(
        seed=rng.randrange(1 << 60),
        style=chosen,
        outlined=rng.random() < outlines.get(chosen, 0.3),
        background=background or behind,
        plain_colour=pick(mix.plain, rng),
        subject=subject,
        subject_colour=rng.choice(("black", "white", "orange", "grey"))
        if subject in ("cat", "dog")
        else pick(mix.colours, rng),
        person=random_person(mix, rng) if is_portrait else None,
        damage=pick(mix.damages, rng) if chosen in ("flat", "watercolor") and rng.random() < mix.damage else None,
    )
