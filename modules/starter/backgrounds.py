"""What stands behind a portrait or around a scene."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from modules.starter.palette import CLOTH, PLAIN, WHITE, Colour, darker, lighter, mix, rgb, varied
from modules.starter.pen import UNITS, Pen, Point, below, blob, ovals, path, smooth


def cloud(pen: Pen, x: float, y: float, size: float) -> None:
    puffs = [(x + i * size * 0.5, y, size * (0.62 - 0.12 * abs(i)) * pen.rng.uniform(0.85, 1.15)) for i in range(-2, 3)]
    pen.shape(ovals([(px, py - r * 0.1, r, r * 0.8) for px, py, r in puffs]), WHITE, 0.9)


def blossom(pen: Pen, x: float, y: float, size: float, colour: Colour, heart: Colour, turn: float = 0.0) -> None:
    """A flower of five petals."""
    angles = [turn + i * 2 * math.pi / 5 for i in range(5)]
    petals = [(x + math.cos(a) * size * 0.55, y + math.sin(a) * size * 0.55, size * 0.48, size * 0.48) for a in angles]
    pen.shape(ovals(petals), colour, edge=size > 6 or pen.mode == "line")
    pen.oval(x, y, size * 0.24, size * 0.24, heart, edge=False)


def plain(pen: Pen, colour: str) -> None:
    base = varied(PLAIN[colour], pen.rng, 0.03)
    if pen.rng.random() < 0.6:
        pen.sky(lighter(base, 0.25), darker(base, 0.06))
    else:
        pen.sky(base, base)


def windows(pen: Pen, x: float, top: float, width: float, colour: Colour, alpha: float) -> None:
    columns = max(2, int(width / 13))
    step = width / columns
    drawn = pen.mode == "line"
    y = top + 8
    while y < UNITS - (20 if drawn else 0):
        for i in range(columns):
            pen.box(x + i * step + step * 0.24, y, step * 0.52, 8.5, colour, alpha, edge=drawn)
        y += 28 if drawn else 16


def city(pen: Pen) -> None:
    rng = pen.rng
    top, bottom = rng.choice(
        [(rgb("86c5f4"), rgb("dff0fa"))] * 2 + [(rgb("b4c0cc"), rgb("e4e9ee")), (rgb("f6d3a6"), rgb("fbeedd"))]
    )
    pen.sky(varied(top, rng), bottom, 190)
    if rng.random() < 0.6:
        cloud(pen, rng.uniform(20, 236), rng.uniform(18, 60), rng.uniform(14, 24))
    walls = [rgb(code) for code in ("8ea3b8", "a9b6c6", "c7a58c", "b98a78", "7f8fa8", "d3c2ad", "9aa89e")]
    for near in (False, True):
        x = rng.uniform(-30, -5)
        while x < UNITS:
            width = rng.uniform(34, 54) if near else rng.uniform(24, 40)
            roof = (92 if near else 56) + rng.uniform(-30, 45)
            wall = varied(rng.choice(walls), rng, 0.03) if near else lighter(rng.choice(walls), 0.45)
            pen.box(x, roof, width, UNITS - roof, wall)
            if not near and rng.random() < 0.3:
                pen.box(x + width * 0.45, roof - 16, 2.5, 16, wall, edge=False)
            glass = lighter(wall, 0.55) if rng.random() < 0.65 else rgb("fdf0b4")
            if rng.random() < 0.25:
                glass = darker(glass, 0.4)
            if near or rng.random() < 0.6:
                windows(pen, x, roof, width, glass, 0.95 if near else 0.7)
            x += width + rng.choice((0, 0, 0, 3))


def sakura(pen: Pen) -> None:
    rng = pen.rng
    skies = [(rgb("bfe0f7"), rgb("fdeef3")), (rgb("fbd5e2"), rgb("fff3f6")), (rgb("f7c3d6"), rgb("fde3ec"))]
    pen.sky(*rng.choices(skies, (40, 42, 18))[0], 210)
    pinks = [rgb(code) for code in ("f9b7cd", "f7a3c0", "fccfdd", "f48fb3", "fbdbe6")]
    if rng.random() < 0.5:
        for _ in range(6):
            tree = blob(rng.uniform(0, UNITS), rng.uniform(150, 190), rng.uniform(28, 45), rng.uniform(22, 32), rng)
            pen.shape(tree, lighter(rng.choice(pinks), 0.35), 0.9)
    tips: list[Point] = []
    for mirrored in rng.choice(((False,), (True,), (False, True), (False, True))):
        for k in range(rng.choice((1, 2))):
            tips += branch(pen, mirrored, rng.uniform(0, 70) + k * 55)
    if pen.mode != "line":
        for x, y in tips:
            cluster = blob(
                x + rng.uniform(-6, 6), y + rng.uniform(-6, 6), rng.uniform(15, 24), rng.uniform(12, 19), rng
            )
            pen.shape(cluster, rng.choice(pinks[:3]), 0.85)
    petals = [*pinks[2:], rgb("fff0f5")]
    for x, y in tips:
        for _ in range(1 if pen.mode == "line" else 2):
            at = (x + rng.uniform(-16, 16), y + rng.uniform(-13, 13))
            blossom(pen, *at, rng.uniform(6, 9.5), rng.choice(petals), rgb("e0648f"), rng.random() * 6)
    for _ in range(rng.randint(8, 18)):
        with pen.moved(rng.uniform(0, UNITS), rng.uniform(0, UNITS), turn=rng.uniform(0, 180)):
            pen.oval(0, 0, rng.uniform(3.2, 5), rng.uniform(1.8, 2.8), rng.choice(pinks), 0.95, edge=False)


def branch(pen: Pen, mirrored: bool, y: float) -> list[Point]:
    """A branch that reaches in from one side; returns where blossoms sit."""
    rng = pen.rng
    reach = rng.uniform(80, 150)

    def side(x: float) -> float:
        return UNITS - x if mirrored else x

    course: list[Point] = [(side(-8), y)]
    course += [(side(reach * i / 3), y + rng.uniform(-16, 14) - i * 3) for i in (1, 2, 3)]
    bark = rgb("6e4a42")
    pen.line(smooth(course), bark, rng.uniform(4, 6.5))
    tips: list[Point] = []
    for x0, y0 in course[1:]:
        x1, y1 = x0 + rng.uniform(-22, 22), y0 + rng.uniform(-28, 20)
        pen.line(smooth([(x0, y0), ((x0 + x1) / 2 + 3, (y0 + y1) / 2), (x1, y1)]), bark, 2.4)
        tips += [(x0, y0), (x1, y1)]
    for _ in range(6):
        at = rng.random() * 2.99
        (x0, y0), (x1, y1), share = course[int(at)], course[int(at) + 1], at % 1
        tips.append((x0 * (1 - share) + x1 * share, y0 * (1 - share) + y1 * share))
    return tips


def forest(pen: Pen) -> None:
    rng = pen.rng
    pen.sky(rgb("cfe8c0"), rgb("e9f4cf"), 180)
    greens = [rgb(code) for code in ("4f8a4a", "659f55", "3e7744", "7fb262", "2f6340")]
    for i in range(8):
        crown = blob(i * 36 + rng.uniform(-10, 10), rng.uniform(50, 100), rng.uniform(30, 46), rng.uniform(32, 50), rng)
        pen.shape(crown, lighter(rng.choice(greens), 0.38), 0.95)
    for _ in range(rng.randint(3, 5)):
        x, w = rng.uniform(-5, UNITS), rng.uniform(9, 18)
        trunk = [(x, 20.0), (x + w, 20.0), (x + w * 1.25, UNITS), (x - w * 0.25, UNITS)]
        pen.polygon(trunk, varied(rgb("6d4e38"), rng, 0.05))
    for low, high, count in ((0, 36, 9), (215, 240, 9)):
        for i in range(count):
            at = (i * 32 + rng.uniform(-10, 10), rng.uniform(low, high))
            pen.shape(blob(*at, rng.uniform(26, 42), rng.uniform(22, 36), rng), rng.choice(greens))


def beach(pen: Pen) -> None:
    rng = pen.rng
    pen.sky(rgb("74c4f2"), rgb("d8f1fb"), 130)
    horizon = rng.uniform(105, 135)
    if rng.random() < 0.6:
        pen.oval(rng.uniform(30, 226), rng.uniform(28, 55), 15, 15, rgb("fff3b0"))
    for _ in range(rng.randint(1, 2)):
        cloud(pen, rng.uniform(10, 246), rng.uniform(30, 80), rng.uniform(12, 22))
    pen.box(-3, horizon, UNITS + 6, UNITS, ((0, horizon), (0, horizon + 60), rgb("2b8fc9"), rgb("63cbd8")))
    for i in range(5):
        x, y = rng.uniform(0, 200), horizon + 8 + i * 10
        pen.line(path("MQ", x, y, x + 18, y - 3, x + 40, y), WHITE, 1.5, 0.6, detail=True)
    shore = horizon + rng.uniform(45, 65)
    course = [(-6.0, shore + rng.uniform(2, 10)), *((x, shore + rng.uniform(-5, 5)) for x in range(40, 230, 50))]
    course.append((UNITS + 6, shore + 4))
    pen.line(smooth(course), WHITE, 6, 0.9)
    pen.shape(below(course), rgb("f3ddac"))
    if rng.random() < 0.5:
        palm(pen, rng.random() < 0.5, horizon)


def palm(pen: Pen, mirrored: bool, horizon: float) -> None:
    rng = pen.rng
    foot = rng.uniform(10, 35)
    xs = [UNITS - x if mirrored else x for x in (foot, foot + 6, foot + 22)]
    top = horizon - 60 + rng.uniform(-10, 10)
    pen.line(smooth([(xs[0], UNITS - 30), (xs[1], horizon + 10), (xs[2], top)]), rgb("8a623f"), 7)
    for i in range(6):
        angle = -0.3 + i * 0.75
        x, y = xs[2] + 44 * math.cos(angle), top + 26 * math.sin(angle) + 8
        mx, my = (xs[2] + x) / 2, (top + y) / 2
        pen.shape(path("MQQZ", xs[2], top, mx, my - 17, x, y, mx, my - 4, xs[2], top), rgb("3f9350"))


def night(pen: Pen) -> None:
    rng = pen.rng
    pen.sky(rgb("0d1440"), rng.choice((rgb("2a3a78"), rgb("3b2f6e"), rgb("1f3566"))))
    for _ in range(rng.randint(35, 60)):
        size = rng.choice((0.9, 1.1, 1.4, 2.1))
        colour = rng.choice((WHITE, rgb("fff2c0"), rgb("cfe0ff")))
        at = (rng.uniform(0, UNITS), rng.uniform(0, 215))
        pen.oval(*at, size, size, colour, rng.uniform(0.6, 1), edge=pen.mode == "line" and size > 1.2)
    x, y = rng.choice((rng.uniform(28, 66), rng.uniform(190, 228))), rng.uniform(28, 62)
    pen.oval(x, y, 26, 26, rgb("fdf6cf"), 0.18, blur=8, soft=True)
    pen.oval(x, y, 17, 17, rgb("fdf6cf"))
    if rng.random() < 0.5:
        pen.oval(x + 7, y - 4, 14.5, 14.5, WHITE if pen.mode == "line" else rgb("141c4c"))


def mountains(pen: Pen) -> None:
    rng = pen.rng
    pen.sky(rgb("8fc7ee"), rgb("eaf5fa"), 160)
    if rng.random() < 0.6:
        cloud(pen, rng.uniform(20, 236), rng.uniform(18, 50), rng.uniform(13, 22))
    for left, right in ((20, 80), (165, 240), (100, 150)):
        x, peak, w = rng.uniform(left, right), rng.uniform(40, 80), rng.uniform(80, 110)
        rock = varied(rng.choice((rgb("7d90ad"), rgb("6b7fa0"), rgb("8c86a8"))), rng, 0.03)
        pen.polygon([(x, peak), (x + w, 200), (x - w, 200)], rock)
        high, reach = 200 - peak, 0.26
        snow = [
            (x, peak),
            (x + w * reach, peak + high * reach),
            (x + w * reach * 0.45, peak + high * reach * 0.78),
            (x, peak + high * reach * 1.1),
            (x - w * reach * 0.5, peak + high * reach * 0.75),
            (x - w * reach, peak + high * reach),
        ]
        pen.polygon(snow, rgb("fbfdff"))
    for colour, y in ((rgb("86b57a"), 165), (rgb("5f9b5b"), 195)):
        pen.shape(below(hills(pen, y, 12)), varied(colour, rng, 0.03))


def hills(pen: Pen, y: float, unrest: float) -> list[Point]:
    return [(x, y + pen.rng.uniform(-unrest, unrest)) for x in (-8, 60, 130, 200, UNITS + 8)]


def room(pen: Pen) -> None:
    rng = pen.rng
    wall = varied(rng.choice((rgb("eadcc8"), rgb("d6e2dc"), rgb("e9d3cf"), rgb("d9d6e6"))), rng, 0.03)
    pen.sky(wall, wall)
    pen.box(-3, 205, UNITS + 6, 60, rgb("b58a62"))
    window_left = rng.random() < 0.5
    x = rng.uniform(8, 24) if window_left else rng.uniform(165, 182)
    pen.box(x, 28, 66, 92, WHITE, radius=2)
    pen.box(x + 5, 33, 56, 82, ((0, 33), (0, 115), rgb("9ed3f5"), rgb("e6f5fb")))
    pen.box(x + 31, 33, 3.5, 82, WHITE, edge=False)
    pen.box(x + 5, 72, 56, 3.5, WHITE, edge=False)
    curtain = rng.choice((rgb("d98f8f"), rgb("8fb0d9"), rgb("b7c98f")))
    pen.polygon([(x - 9, 22), (x + 7, 22), (x + 2, 128), (x - 9, 128)], curtain)
    pen.polygon([(x + 61, 22), (x + 77, 22), (x + 77, 128), (x + 66, 128)], curtain)
    x = rng.uniform(172, 190) if window_left else rng.uniform(8, 22)
    if rng.random() < 0.5:
        pen.box(x, 40, 62, 46, rgb("8a5f3f"))
        pen.box(x + 4, 44, 54, 38, rng.choice((rgb("cde6d0"), rgb("f3dcb6"), rgb("c6d8f0"))))
        pen.polygon([(x + 8, 80), (x + 26, 56), (x + 40, 72), (x + 47, 64), (x + 56, 80)], rgb("6d9a77"))
    else:
        bookshelf(pen, x)


def bookshelf(pen: Pen, x: float) -> None:
    rng = pen.rng
    pen.box(x, 50, 62, 150, rgb("8a5f3f"))
    for k in range(3):
        pen.box(x + 4, 56 + k * 48, 54, 40, rgb("5f3f2a"))
        left = x + 6
        while left < x + 50:
            width, height = rng.uniform(5, 8), rng.uniform(26, 37)
            pen.box(left, 96 + k * 48 - height, width, height, rng.choice(list(CLOTH.values())))
            left += width + 0.8


def sunset(pen: Pen) -> None:
    rng = pen.rng
    pen.sky(rng.choice((rgb("e0567a"), rgb("8d4a9c"), rgb("d9503f"))), rgb("ffc15e"), 185)
    x, y = rng.choice((rng.uniform(30, 70), rng.uniform(186, 226))), rng.uniform(100, 140)
    pen.oval(x, y, 46, 46, rgb("fff0b0"), 0.3, blur=14, soft=True)
    pen.oval(x, y, 25, 25, rgb("fff3c2"))
    for _ in range(rng.randint(2, 4)):
        at = (rng.uniform(0, UNITS), rng.uniform(30, 120))
        pen.oval(*at, rng.uniform(28, 52), rng.uniform(4, 7), rgb("f9a08a"), 0.75)
    pen.shape(below(hills(pen, 182, 14)), rgb("5a2f52"))


def field(pen: Pen) -> None:
    rng = pen.rng
    pen.sky(rgb("8fd0f5"), rgb("e8f6fb"), 150)
    for _ in range(rng.randint(1, 3)):
        cloud(pen, rng.uniform(10, 246), rng.uniform(20, 70), rng.uniform(12, 22))
    y = rng.uniform(140, 165)
    course = [(-8, y), (70, y - rng.uniform(0, 16)), (160, y + rng.uniform(-4, 10)), (UNITS + 8, y - 6)]
    pen.shape(below(course), varied(rgb("86c06a"), rng))
    for _ in range(rng.randint(6, 16)):
        at = (rng.uniform(0, UNITS), rng.uniform(y + 18, UNITS))
        petals = rng.choice((WHITE, rgb("f9d84a"), rgb("f28fb0")))
        blossom(pen, *at, rng.uniform(3, 5.5), petals, rgb("f0a830"), rng.random() * 6)


def sea(pen: Pen, evening: bool = False) -> None:
    rng = pen.rng
    horizon = rng.uniform(120, 150)
    top, bottom = (rgb("d9597a"), rgb("ffc977")) if evening else (rgb("7cc6f2"), rgb("e4f5fb"))
    near, deep = (rgb("c9607c"), rgb("5b3a72")) if evening else (rgb("2f8fc6"), rgb("1f6aa8"))
    pen.sky(top, bottom, horizon)
    if evening:
        pen.oval(rng.uniform(50, 206), horizon - 8, 24, 24, rgb("fff0b8"))
    else:
        cloud(pen, rng.uniform(20, 236), rng.uniform(25, 60), rng.uniform(13, 22))
    pen.box(-3, horizon, UNITS + 6, UNITS, ((0, horizon), (0, UNITS), near, deep))
    for i in range(14):
        x, y = rng.uniform(-20, 230), rng.uniform(horizon + 8, UNITS - 6)
        wave = path("MQQ", x, y, x + 10, y - 4, x + 20, y, x + 30, y + 4, x + 40, y)
        pen.line(wave, mix(near, WHITE, 0.55), 1.8, 0.8, detail=i > 7)


def underwater(pen: Pen) -> None:
    rng = pen.rng
    pen.sky(rgb("3fb0d8"), rgb("1a5590"))
    pen.shape(below(hills(pen, 222, 7)), rgb("e6cf9a"))
    for _ in range(3):
        x = rng.uniform(10, 246)
        pen.line(smooth([(x, 240), (x + 8, 205), (x - 6, 175), (x + 5, 150)]), rgb("3f9f6a"), 6)
    for _ in range(9):
        size = rng.uniform(2.5, 6)
        pen.oval(rng.uniform(0, UNITS), rng.uniform(10, 190), size, size, WHITE, 0.4)


def sea_at_sunset(pen: Pen) -> None:
    sea(pen, evening=True)


BACKGROUNDS: Final[Mapping[str, Callable[[Pen], None]]] = {
    "city": city,
    "sakura": sakura,
    "forest": forest,
    "beach": beach,
    "night": night,
    "mountains": mountains,
    "room": room,
    "sunset": sunset,
    "field": field,
    "sea": sea,
    "sea at sunset": sea_at_sunset,
    "underwater": underwater,
}
