"""Things that stand alone in a picture: their foot is at (x, y), `s` is their scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from modules.starter.backgrounds import blossom
from modules.starter.palette import CLOTH, FUR, HAIR, WHITE, Colour, darker, lighter, rgb, varied
from modules.starter.pen import Pen, Point, ovals, path, smooth


def house(pen: Pen, x: float, y: float, s: float, colour: str) -> None:
    del colour
    rng = pen.rng
    wall = varied(rgb(rng.choice(("f3e3c4", "e9c8b4", "cfdde6", "f5f0e6", "e7a39a"))), rng)
    roof = varied(rgb(rng.choice(("b5483c", "6d4a8a", "4f6f96", "8a5a3a", "3f7a5c"))), rng)
    w, h = 84 * s, 58 * s
    if rng.random() < 0.6:
        side = rng.choice((-1, 1))
        (tree if rng.random() < 0.6 else pine)(pen, x + side * rng.uniform(84, 106), y + 2, 0.85, "green")
    pen.box(x + w * 0.2, y - h - 44 * s, 12 * s, 34 * s, darker(wall, 0.35))
    pen.box(x - w / 2, y - h, w, h, wall)
    pen.polygon([(x - w / 2 - 9 * s, y - h), (x, y - h - 46 * s), (x + w / 2 + 9 * s, y - h)], roof)
    pen.box(x - 9 * s, y - 32 * s, 18 * s, 32 * s, rgb("7a4f35"), radius=1)
    for side in (-1, 1):
        pen.box(x + side * 26 * s - 8 * s, y - 44 * s, 16 * s, 16 * s, rgb("bfe3f5"))
    pen.oval(x + 5 * s, y - 16 * s, 1.6 * s, 1.6 * s, rgb("f2c53d"), edge=False)


def tree(pen: Pen, x: float, y: float, s: float, colour: str) -> None:
    del colour
    rng = pen.rng
    leaf = varied(rgb(rng.choice(("4f8a4a", "6aa457", "3e7744"))), rng)
    trunk = path("MQLQZ", x - 8 * s, y, x - 5 * s, y - 30 * s, x - 6 * s, y - 60 * s, x + 6 * s, y - 60 * s,
                 x + 5 * s, y - 30 * s, x + 9 * s, y)  # fmt: skip
    pen.shape(trunk, rgb("7a5236"))
    puffs: list[tuple[float, float, float, float]] = []
    for dx, dy, r in ((-24, -66, 24), (24, -66, 24), (0, -60, 26), (-14, -90, 25), (14, -90, 25), (0, -106, 20)):
        r *= s * rng.uniform(0.9, 1.1)
        puffs.append((x + dx * s, y + dy * s, r, r))
    pen.shape(ovals(puffs), leaf)
    for _ in range(5):
        at = (x + rng.uniform(-28, 20) * s, y + rng.uniform(-106, -66) * s)
        pen.oval(*at, 7 * s, 5 * s, lighter(leaf, 0.28), 0.7, edge=False, soft=True)


def pine(pen: Pen, x: float, y: float, s: float, colour: str) -> None:
    del colour
    needles = varied(rgb("2f6b4a"), pen.rng)
    pen.box(x - 5 * s, y - 20 * s, 10 * s, 20 * s, rgb("6b4630"))
    for k in range(3):
        w, foot, top = (34 - k * 8) * s, y - (16 + k * 26) * s, y - (62 + k * 26) * s
        pen.polygon([(x - w, foot), (x, top), (x + w, foot)], lighter(needles, 0.08 * k))


def sitting_body(pen: Pen, x: float, y: float, s: float, fur: Colour) -> None:
    outline = path("MCCZ", x - 36 * s, y, x - 42 * s, y - 50 * s, x - 22 * s, y - 76 * s, x, y - 76 * s,
                   x + 22 * s, y - 76 * s, x + 42 * s, y - 50 * s, x + 36 * s, y)  # fmt: skip
    pen.shape(outline, fur)
    pen.oval(x, y - 28 * s, 17 * s, 25 * s, lighter(fur, 0.5), soft=True)


def cat(pen: Pen, x: float, y: float, s: float, colour: str) -> None:
    rng = pen.rng
    fur = varied(FUR.get(colour, HAIR["orange"]), rng, 0.03)
    tail: list[Point] = [(30, -10), (58, -22), (56, -52), (66, -66)]
    pen.line(smooth([(x + a * s, y + b * s) for a, b in tail]), fur, 10 * s)
    sitting_body(pen, x, y, s, fur)
    for side in (-1, 1):
        ear = [(x + side * a * s, y + b * s) for a, b in ((10, -110), (34, -136), (38, -96))]
        inner = [(x + side * a * s, y + b * s) for a, b in ((19, -112), (31, -126), (33, -104))]
        pen.polygon(ear, fur)
        pen.polygon(inner, rgb("f4a9b8"), edge=False)
    pen.oval(x, y - 88 * s, 38 * s, 32 * s, fur)
    iris = rgb(rng.choice(("f0d24a", "8fd06a", "7ac0ef")))
    for side in (-1, 1):
        pen.oval(x + side * 15 * s, y - 91 * s, 7.5 * s, 8.5 * s, iris)
        pen.oval(x + side * 15 * s, y - 91 * s, 2.6 * s, 7 * s, (0.05, 0.05, 0.08))
        for k in range(2):
            hair = path("ML", x + side * 20 * s, y - (76 - k * 5) * s, x + side * 46 * s, y - (80 - k * 9) * s)
            pen.line(hair, darker(fur, 0.5), 1.4, 0.8, detail=True)
        pen.oval(x + side * 14 * s, y - 3 * s, 12 * s, 8 * s, lighter(fur, 0.15))
    pen.polygon([(x - 4 * s, y - 81 * s), (x + 4 * s, y - 81 * s), (x, y - 76 * s)], rgb("d9667a"))
    lips = path(
        "MQQ", x - 8 * s, y - 72 * s, x - 4 * s, y - 68 * s, x, y - 75 * s, x + 4 * s, y - 68 * s, x + 8 * s, y - 72 * s
    )
    pen.line(lips, darker(fur, 0.65), 2)


def dog(pen: Pen, x: float, y: float, s: float, colour: str) -> None:
    fur = varied(rgb("c68a4e") if colour == "orange" else FUR.get(colour, rgb("c68a4e")), pen.rng, 0.03)
    tail: list[Point] = [(30, -22), (50, -40), (52, -58)]
    pen.line(smooth([(x + a * s, y + b * s) for a, b in tail]), fur, 11 * s)
    sitting_body(pen, x, y, s, fur)
    pen.oval(x, y - 90 * s, 36 * s, 34 * s, fur)
    pen.oval(x, y - 78 * s, 20 * s, 16 * s, lighter(fur, 0.55))
    for side in (-1, 1):
        ear = path("MQQZ", x + side * 22 * s, y - 118 * s,
                   x + side * 54 * s, y - 116 * s, x + side * 46 * s, y - 74 * s,
                   x + side * 36 * s, y - 70 * s, x + side * 31 * s, y - 96 * s)  # fmt: skip
        pen.shape(ear, darker(fur, 0.35))
        pen.oval(x + side * 14 * s, y - 96 * s, 4.6 * s, 5.4 * s, (0.1, 0.07, 0.07))
        pen.oval(x + side * 13 * s, y - 98 * s, 1.5 * s, 1.5 * s, WHITE, edge=False)
        pen.oval(x + side * 14 * s, y - 3 * s, 12 * s, 8 * s, lighter(fur, 0.2))
    pen.oval(x, y - 85 * s, 6.5 * s, 4.6 * s, (0.12, 0.08, 0.08))
    tongue = path(
        "MQQ", x - 9 * s, y - 75 * s, x, y - 68 * s, x + 9 * s, y - 75 * s, x, y - 54 * s, x - 9 * s, y - 75 * s
    )
    pen.shape(tongue, rgb("e8788a"))


def sailboat(pen: Pen, x: float, y: float, s: float, colour: str) -> None:
    del colour
    rng = pen.rng
    hull = varied(rgb(rng.choice(("b8433c", "8a5a3a", "3f68a8", "f2f0ec"))), rng)
    sail = rgb(rng.choice(("fbf7ec", "f6d9a0", "f0908a")))
    pen.box(x - 1.8 * s, y - 100 * s, 3.6 * s, 88 * s, rgb("6b4630"))
    big = path("MQLZ", x + 4 * s, y - 98 * s, x + 56 * s, y - 56 * s, x + 52 * s, y - 26 * s, x + 4 * s, y - 26 * s)
    small = path("MQLZ", x - 4 * s, y - 88 * s, x - 34 * s, y - 50 * s, x - 36 * s, y - 26 * s, x - 4 * s, y - 26 * s)
    pen.shape(big, sail)
    pen.shape(small, lighter(sail, 0.3))
    body = path("MLQLQZ", x - 60 * s, y - 16 * s, x + 62 * s, y - 16 * s,
                x + 46 * s, y + 10 * s, x + 36 * s, y + 10 * s,
                x - 38 * s, y + 10 * s, x - 50 * s, y + 6 * s, x - 60 * s, y - 16 * s)  # fmt: skip
    pen.shape(body, hull)
    pen.line(path("ML", x - 58 * s, y - 12 * s, x + 60 * s, y - 12 * s), lighter(hull, 0.5), 2.4, detail=True)


def car(pen: Pen, x: float, y: float, s: float, colour: str) -> None:
    paint = varied(CLOTH.get(colour, CLOTH["red"]), pen.rng, 0.03)
    cabin = path("MQLQZ", x - 40 * s, y - 40 * s, x - 28 * s, y - 70 * s, x - 10 * s, y - 70 * s,
                 x + 18 * s, y - 70 * s,
                 x + 34 * s, y - 68 * s, x + 44 * s, y - 40 * s)  # fmt: skip
    pen.shape(cabin, paint)
    for corners in (((-33, -42), (-23, -62), (-1, -62), (-1, -42)), ((4, -42), (4, -62), (20, -62), (35, -42))):
        pen.polygon([(x + a * s, y + b * s) for a, b in corners], rgb("cfeaf7"))
    pen.box(x - 72 * s, y - 42 * s, 144 * s, 30 * s, paint, radius=11 * s)
    pen.oval(x + 67 * s, y - 30 * s, 5 * s, 6 * s, rgb("fff2b0"))
    pen.line(path("ML", x - 60 * s, y - 27 * s, x + 56 * s, y - 27 * s), lighter(paint, 0.35), 2, detail=True)
    for dx in (-40, 40):
        pen.oval(x + dx * s, y - 12 * s, 16 * s, 16 * s, rgb("2b2a30"))
        pen.oval(x + dx * s, y - 12 * s, 7 * s, 7 * s, rgb("c9ccd2"))


def castle(pen: Pen, x: float, y: float, s: float, colour: str) -> None:
    del colour
    stone = varied(rgb(pen.rng.choice(("b9b4c0", "d5c4ac", "c9b3bd"))), pen.rng)
    roof = varied(rgb(pen.rng.choice(("5a6fb0", "b5483c", "7a559e"))), pen.rng)
    pen.box(x - 40 * s, y - 60 * s, 80 * s, 60 * s, stone)
    for k in range(5):
        pen.box(x - 40 * s + k * 17 * s, y - 68 * s, 11 * s, 10 * s, stone)
    for dx, height, half in ((-50, 90, 13), (50, 90, 13), (0, 112, 15)):
        cx, w = x + dx * s, half * s
        pen.box(cx - w, y - height * s, 2 * w, height * s, lighter(stone, 0.1))
        pen.polygon(
            [(cx - w - 5 * s, y - height * s), (cx, y - (height + 42) * s), (cx + w + 5 * s, y - height * s)], roof
        )
        pen.box(cx - 4 * s, y - (height - 14) * s, 8 * s, 13 * s, rgb("4a4258"), radius=3)
    gate = path("MLQLZ", x - 13 * s, y, x - 13 * s, y - 22 * s, x, y - 42 * s, x + 13 * s, y - 22 * s, x + 13 * s, y)
    pen.shape(gate, rgb("6b4630"))


def flowers(pen: Pen, x: float, y: float, s: float, colour: str) -> None:
    rng = pen.rng
    vase = varied(rgb(rng.choice(("5f8fbf", "d98f6a", "e8e2d6", "7fae8f"))), rng)
    heads = [
        (x + dx * s + rng.uniform(-5, 5), y + dy * s + rng.uniform(-6, 6))
        for dx, dy in ((-34, -96), (0, -118), (34, -98), (-17, -82), (18, -80))
    ]
    for hx, hy in heads:
        stem = path("MQ", x, y - 50 * s, (hx + x) / 2 + 3, (hy + y - 50 * s) / 2 - 8, hx, hy)
        pen.line(stem, rgb("4f8a4a"), 3)
    for hx, hy in heads:
        petals = varied(CLOTH.get(colour, CLOTH["red"]), rng)
        blossom(pen, hx, hy, 17 * s, petals, rgb("f6c544"), rng.random() * 6)
    outline = path("MQQLQQZ", x - 14 * s, y - 58 * s, x - 10 * s, y - 46 * s, x - 26 * s, y - 30 * s, x - 36 * s, y,
                   x - 16 * s, y, x + 16 * s, y, x + 36 * s, y, x + 26 * s, y - 30 * s, x + 10 * s, y - 46 * s,
                   x + 14 * s, y - 58 * s)  # fmt: skip
    pen.shape(outline, vase)


def sun(pen: Pen, x: float, y: float, s: float, colour: str) -> None:
    del colour
    for k in range(12):
        c, d = math.cos(k * math.pi / 6) * s, math.sin(k * math.pi / 6) * s
        pen.line(path("ML", x + c * 44, y + d * 44, x + c * 62, y + d * 62), rgb("f5b63c"), 5 * s)
    pen.oval(x, y, 35 * s, 35 * s, rgb("fbd34c"))


def fish(pen: Pen, x: float, y: float, s: float, colour: str) -> None:
    scales = varied(CLOTH.get(colour, CLOTH["orange"]), pen.rng)
    pen.polygon([(x + 40 * s, y - 40 * s), (x + 76 * s, y - 64 * s), (x + 76 * s, y - 16 * s)], darker(scales, 0.1))
    body = path("MQQZ", x - 54 * s, y - 40 * s, x - 10 * s, y - 86 * s, x + 50 * s, y - 40 * s, x - 10 * s, y + 6 * s,
                x - 54 * s, y - 40 * s)  # fmt: skip
    pen.shape(body, scales)
    fin = path("MQZ", x - 10 * s, y - 62 * s, x + 6 * s, y - 86 * s, x + 24 * s, y - 60 * s)
    pen.shape(fin, darker(scales, 0.15))
    pen.oval(x - 30 * s, y - 46 * s, 7 * s, 7 * s, WHITE)
    pen.oval(x - 31 * s, y - 46 * s, 3.4 * s, 3.4 * s, (0.0, 0.0, 0.0))
    gill = path("MQ", x - 12 * s, y - 56 * s, x - 2 * s, y - 40 * s, x - 12 * s, y - 24 * s)
    pen.line(gill, lighter(scales, 0.4), 3, detail=True)


class Scene(NamedTuple):
    """`low` and `high` bound the height of the foot on the canvas."""

    draw: Callable[[Pen, float, float, float, str], None]
    scale: float
    low: float = 196.0
    high: float = 224.0


SCENES: Final[Mapping[str, Scene]] = {
    "house": Scene(house, 1.3),
    "tree": Scene(tree, 1.35),
    "cat": Scene(cat, 1.25, 206, 226),
    "dog": Scene(dog, 1.25, 206, 226),
    "sailboat": Scene(sailboat, 1.4, 180, 205),
    "car": Scene(car, 1.25),
    "castle": Scene(castle, 1.3),
    "flowers": Scene(flowers, 1.35),
    "fish": Scene(fish, 1.4, 150, 190),
    "sun": Scene(sun, 1.0, 70, 120),
}


def scene(pen: Pen, name: str, colour: str) -> None:
    """`mountains` and `scenery` are backgrounds alone."""
    kind = SCENES.get(name)
    if kind is None:
        return
    rng = pen.rng
    x, y, scale = 128 + rng.gauss(0, 8), rng.uniform(kind.low, kind.high), kind.scale * rng.uniform(0.88, 1.08)
    kind.draw(pen, x, y, scale, colour)
