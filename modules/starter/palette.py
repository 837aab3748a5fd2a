"""Colours of the drawn world: RGB triples in [0, 1], and how they are mixed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final, TypeAlias

Colour: TypeAlias = tuple[float, float, float]


def rgb(code: str) -> Colour:
    """`"ff8000"` as a triple."""
    red, green, blue = (int(code[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return red, green, blue


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`share` is how much of `second` there is."""
    red, green, blue = (a * (1 - share) + b * share for a, b in zip(first, second, strict=True))
    return red, green, blue


def darker(colour: Colour, share: float) -> Colour:
    """Towards a blue black, as shadows are."""
    return mix(colour, (0.08, 0.04, 0.14), share)


def lighter(colour: Colour, share: float) -> Colour:
    return mix(colour, WHITE, share)


def varied(colour: Colour, rng: random.Random, amount: float = 0.04) -> Colour:
    red, green, blue = (min(1.0, max(0.0, x + rng.uniform(-amount, amount))) for x in colour)
    return red, green, blue


WHITE: Final[Colour] = (1.0, 1.0, 1.0)
HAIR: Final[Mapping[str, Colour]] = {
    "black": rgb("2b2630"), "brown": rgb("6b4029"), "blonde": rgb("edc766"), "red": rgb("b83426"),
    "pink": rgb("f08fb4"), "blue": rgb("4a78cf"), "white": rgb("e6e6ee"), "purple": rgb("8a5cc0"),
    "green": rgb("4f9f6a"), "orange": rgb("e9853a"),
}  # fmt: skip
SKIN: Final[Mapping[str, Colour]] = {
    "fair": rgb("ffe3d0"), "tan": rgb("ecbb93"), "brown": rgb("b07a52"), "dark": rgb("7a4e36"),
}  # fmt: skip
EYES: Final[Mapping[str, Colour]] = {
    "blue": rgb("3f7fd6"), "green": rgb("3f9c58"), "brown": rgb("7a4a24"), "red": rgb("c8323c"),
    "purple": rgb("8450c4"), "grey": rgb("7a8694"),
}  # fmt: skip
CLOTH: Final[Mapping[str, Colour]] = {
    "red": rgb("d0403c"), "blue": rgb("3c68c0"), "green": rgb("3f9463"), "yellow": rgb("f0c53e"),
    "white": rgb("f2f0ec"), "black": rgb("35333d"), "pink": rgb("f2a0bd"), "purple": rgb("8559b8"),
    "orange": rgb("ee8a3c"), "grey": rgb("8f959e"),
}  # fmt: skip
PLAIN: Final[Mapping[str, Colour]] = {
    "white": rgb("f7f5f2"), "blue": rgb("a9d0f0"), "pink": rgb("f8c6d4"), "yellow": rgb("f9e6a0"),
    "green": rgb("b6dfb2"), "grey": rgb("c4c8cf"), "purple": rgb("d2bfea"), "orange": rgb("f9cfa0"),
}  # fmt: skip
FUR: Final[Mapping[str, Colour]] = {
    "black": HAIR["black"], "white": HAIR["white"], "orange": HAIR["orange"], "grey": CLOTH["grey"],
}  # fmt: skip
