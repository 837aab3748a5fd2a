"""Hair and hats of a portrait. Coordinates are a head's: the face is about 90 wide and centred on (0, 0)."""

from __future__ import annotations

import math
from typing import Final

import skia

from modules.starter.backgrounds import blossom
from modules.starter.palette import CLOTH, WHITE, Colour, darker, lighter, rgb
from modules.starter.pen import Pen, ovals, path, smooth
from modules.starter.spec import Person

# The front edge of the hair, from the right temple to the left, as letters and numbers for `path`.
FRINGES: Final[dict[str, tuple[str, tuple[float, ...]]]] = {
    "full": (
        "QQQQQQQQ",
        (
            33,
            -12,
            26,
            -9,
            20,
            -18,
            18,
            -26,
            12,
            -10,
            3,
            -8,
            -2,
            -18,
            -5,
            -27,
            -12,
            -12,
            -22,
            -9,
            -28,
            -18,
            -30,
            -25,
            -44,
            0,
        ),
    ),
    "side": ("QCCQ", (20, -42, 4, -46, -4, -47, -18, -24, -34, -14, -41, -4, -46, 6)),
    "parted": ("QCCQ", (32, -26, 14, -38, 0, -49, -14, -38, -32, -26, -40, -8, -46, 6)),
}


def back_hair(pen: Pen, person: Person, colour: Colour) -> None:
    """What is seen behind neck and shoulders."""
    rng, style = pen.rng, person.hair_style
    shade = darker(colour, 0.22)
    w = 56 + rng.uniform(-3, 5)
    if style == "long hair":
        end = person.hair_length
        outline = path(
            "MCCQLQCZ",
            *(-w + 4, -20, -w - 8, -84, w + 8, -84, w - 4, -20, w + 8, 30, w + 14, 60, w + 10, end),
            *(w - 14, end + 12, w - 32, end - 2, -w + 32, end - 2, -w + 14, end + 12, -w - 10, end),
            *(-w - 14, 60, -w - 8, 30, -w + 4, -20),
        )
        pen.shape(outline, shade)
        return
    if style == "bob cut":
        outline = path(
            "MCCQCZ",
            *(-w + 2, -20, -w - 6, -82, w + 6, -82, w - 2, -20, w + 12, 20, w + 10, 44, w + 2, 60),
            *(0, 70, -w - 2, 60, -w - 10, 44, -w - 12, 20, -w + 2, -20),
        )
        pen.shape(outline, shade)
        return
    if style == "curly hair":
        pen.shape(curls(pen), shade)
        return
    if style == "ponytail":
        s = person.side
        tail = path("MCQCZ", *(s * 20, -58, s * 70, -84, s * 104, -30, s * 86, 44, s * 78, 70, s * 62, 76),
                    *(s * 66, 20, s * 62, -20, s * 26, -40))  # fmt: skip
        pen.shape(tail, shade)
    elif style == "twin tails":
        for s in (-1, 1):
            tail = path("MCQCZ", *(s * 44, -42, s * 90, -68, s * 110, 0, s * 92, 74, s * 82, 96, s * 66, 98),
                        *(s * 72, 50, s * 66, 0, s * 44, -18))  # fmt: skip
            pen.shape(tail, shade)
            pen.oval(s * 50, -34, 8, 8, CLOTH[person.clothes_colour])
    elif style == "hair bun":
        pen.oval(0, -76, 25, 22, shade)
        pen.line(path("MQ", -13, -80, 0, -92, 14, -82), lighter(shade, 0.25), 2.5, 0.7, detail=True)
    bottom = 24 if person.feminine else 4
    cap = path(
        "MCQLQZ",
        *(-w + 6, -14, -w - 4, -80, w + 4, -80, w - 6, -14, w - 2, bottom, w - 12, bottom + 8),
        *(-w + 12, bottom + 8, -w + 2, bottom, -w + 6, -14),
    )
    pen.shape(cap, shade)


def curls(pen: Pen) -> skia.Path:
    rng = pen.rng
    shapes: list[tuple[float, float, float, float]] = [(0, -7, 54, 57)]
    for i in range(15):
        angle, r = math.pi * (0.78 + 1.44 * i / 14), rng.uniform(15, 20)
        shapes.append((math.cos(angle) * 54, -8 + math.sin(angle) * 54, r, r))
    for side in (-1, 1):
        for k in range(4):
            r = rng.uniform(14, 19)
            shapes.append((side * (52 + rng.uniform(-3, 5)), 6 + k * 17, r, r))
    return ovals(shapes)


def front_hair(pen: Pen, person: Person, colour: Colour, skin: Colour, face: skia.Path) -> None:
    """Fringe, shine and the locks in front of the shoulders; throws a shadow on the face."""
    rng, style = pen.rng, person.hair_style
    top = -69 + rng.uniform(-2, 2)
    side = (26 if person.feminine and style != "hair bun" else 2) + rng.uniform(-4, 4)
    crown = (-50, side, -58, top + 4, -34, top, 0, top, 34, top, 58, top + 4, 50, side)
    if person.fringe == "short":
        spikes = (44, -22, 38, -30, 30, -36, 27, -27, 20, -38, 15, -40, 10, -29, 2, -41, -5, -43, -11, -30)
        outline = path(
            "MCCQQQQQQQQZ",
            *(-48, 0, -56, top + 6, -34, top + 2, 0, top + 2, 34, top + 2, 56, top + 6, 48, 0),
            *spikes,
            *(-18, -40, -23, -41, -29, -28, -36, -33, -44, -22, -48, 0),
        )
    else:
        letters, numbers = FRINGES[person.fringe]
        start = {"full": (42, side - 20, 38, -23), "side": (45, side - 24, 36, -26), "parted": (46, side - 18, 40, -8)}
        outline = path("MCC" + letters + "Z", *crown, *start[person.fringe], *numbers, -50, side)
        if person.fringe == "side" and person.side < 0:
            mirror = skia.Matrix()
            mirror.setScale(-1, 1)
            outline.transform(mirror)
    if not pen.sketchy:
        with pen.inside(face), pen.moved(0, 5):
            pen.shape(outline, darker(skin, 0.3), 0.5, soft=True)
    pen.shape(outline, colour)
    if style == "curly hair":
        for i in range(8):
            angle = math.pi * (1.08 + 0.84 * i / 7)
            at = (math.cos(angle) * 44, -4 + math.sin(angle) * 52)
            pen.oval(*at, rng.uniform(11, 14), rng.uniform(10, 13), colour)
    shine = smooth([(-36, -42), (-20, -53), (0, -57), (20, -54), (37, -43)])
    pen.line(shine, lighter(colour, 0.45), 5, 0.45, detail=True)
    if style == "long hair" and person.feminine:
        end = person.hair_length * 0.75
        for s in (-1, 1):
            lock = path("MCQCZ", *(s * 50, -12, s * 58, 20, s * 56, 50, s * (54 + rng.uniform(0, 6)), end),
                        *(s * 46, end - 6, s * 43, end - 18, s * 46, 50, s * 42, 20, s * 41, -4))  # fmt: skip
            pen.shape(lock, colour)


def hat(pen: Pen, person: Person, colour: Colour, hair: Colour) -> None:
    kind = person.hat
    if kind == "straw hat":
        straw = rgb("ecc872")
        pen.shape(path("MQQZ", -80, -34, 0, -62, 80, -34, 0, -16, -80, -34), straw)
        pen.shape(path("MCQZ", -46, -40, -44, -98, 44, -98, 46, -40, 0, -54, -46, -40), lighter(straw, 0.12))
        pen.shape(path("MQLQZ", -47, -40, 0, -55, 47, -40, 46, -53, 0, -69, -46, -53), colour)
    elif kind == "beanie":
        pen.shape(path("MCZ", -54, -26, -56, -96, 56, -96, 54, -26), colour)
        pen.box(-57, -40, 114, 19, darker(colour, 0.16), radius=8)
        pen.oval(0, -84, 10, 10, lighter(colour, 0.3))
    elif kind == "cap":
        pen.shape(path("MCZ", -53, -28, -54, -92, 54, -92, 53, -28), colour)
        pen.shape(path("MQQZ", -40, -32, 30, -46, 84, -22, 40, -14, -30, -24), darker(colour, 0.25))
    elif kind == "witch hat":
        felt = darker(colour, 0.1)
        pen.polygon([(-42, -40), (12, -118), (42, -40)], colour)
        pen.shape(path("MQQZ", -80, -32, 0, -62, 80, -32, 0, -14, -80, -32), felt)
        pen.shape(path("MQLQZ", -42, -42, 0, -54, 42, -42, 38, -54, 0, -65, -36, -54), rgb("f0c040"))
    elif kind == "hair ribbon":
        x, y = person.side * 36, -52
        for s in (-1, 1):
            loop = path(
                "MQLQZ", x, y, x + s * 14, y - 17, x + s * 24, y - 9, x + s * 22, y + 9, x + s * 12, y + 9, x, y
            )
            pen.shape(loop, colour)
        pen.oval(x, y, 5, 5, darker(colour, 0.2))
    elif kind == "flower in hair":
        blossom(pen, person.side * 38, -40, 12, colour, rgb("f6c544"), pen.rng.random())
    elif kind == "cat ears":
        for s in (-1, 1):
            pen.polygon([(s * 18, -58), (s * 44, -94), (s * 52, -38)], hair)
            pen.polygon([(s * 27, -58), (s * 42, -80), (s * 46, -48)], rgb("f4a9b8"), edge=False)
    elif kind == "headphones":
        pen.line(path("MC", -52, 2, -58, -94, 58, -94, 52, 2), colour, 6)
        for s in (-1, 1):
            pen.box(s * 53 - 9, -10, 18, 32, darker(colour, 0.15), radius=7)
    elif kind == "crown":
        points = [(-36, -54), (-40, -84), (-20, -68), (0, -92), (20, -68), (40, -84), (36, -54)]
        pen.polygon([(float(x), float(y)) for x, y in points], rgb("f2c53d"))
        for x in (-18, 0, 18):
            pen.oval(x, -62, 3.4, 3.4, WHITE, edge=False)
