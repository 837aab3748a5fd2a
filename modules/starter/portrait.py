"""A person from the chest up, drawn over a background."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from modules.starter.hair import back_hair, front_hair, hat
from modules.starter.palette import CLOTH, EYES, HAIR, SKIN, WHITE, Colour, darker, lighter, mix, rgb, varied
from modules.starter.pen import Pen, path
from modules.starter.spec import Person

EYE_X: Final = 20.0
EYE_Y: Final = 8.0
MOUTH_Y: Final = 39.0
NECKLINE: Final = {"t-shirt": 104, "sweater": 98, "dress": 126, "hoodie": 104, "suit": 96, "shirt": 100}


def portrait(pen: Pen, person: Person) -> None:
    rng = pen.rng
    hair = varied(HAIR[person.hair], rng, 0.035)
    skin = varied(SKIN[person.skin], rng, 0.02)
    cloth = varied(CLOTH[person.clothes_colour], rng, 0.035)
    with pen.moved(person.centre_x, person.centre_y, person.scale):
        with pen.moved(turn=person.tilt * 0.5):
            back_hair(pen, person, hair)
        body(pen, person, skin, cloth)
        with pen.moved(turn=person.tilt):
            head(pen, person, skin, hair)


def body(pen: Pen, person: Person, skin: Colour, cloth: Colour) -> None:
    rng = pen.rng
    shoulders = (74 if person.feminine else 88) + rng.uniform(-5, 6)
    top, neck = 100 + rng.uniform(-3, 4), 15 if person.feminine else 20
    throat = path(
        "MLQLQLZ", -neck, 30, -neck, 78, -neck - 2, 88, -neck - 24, 94, neck + 24, 94, neck + 2, 88, neck, 78, neck, 30
    )
    pen.shape(throat, skin)
    shadow = path("MQLQZ", -neck, 44, 0, 78, neck, 44, neck, 58, 0, 84, -neck, 58)
    pen.shape(shadow, darker(skin, 0.22), 0.8, soft=True)
    outline = path(
        "MCLLLCQZ",
        *(-26, 86, -46, 92, -shoulders, 94, -shoulders - 6, top + 28, -shoulders - 14, 260, shoulders + 14, 260),
        *(shoulders + 6, top + 28, shoulders, 94, 46, 92, 26, 86, 0, NECKLINE[person.clothes], -26, 86),
    )
    pen.shape(outline, cloth)
    CLOTHES[person.clothes](pen, cloth)


def t_shirt(pen: Pen, cloth: Colour) -> None:
    pen.line(path("MQ", -26, 86, 0, 104, 26, 86), darker(cloth, 0.25), 3)


def sweater(pen: Pen, cloth: Colour) -> None:
    pen.shape(path("MQLQZ", -24, 80, 0, 92, 24, 80, 28, 92, 0, 110, -28, 92), lighter(cloth, 0.16))
    for x in range(-70, 71, 14):
        pen.line(path("ML", x, 112, x * 1.04, 256), darker(cloth, 0.12), 1.6, 0.7, detail=True)


def hoodie(pen: Pen, cloth: Colour) -> None:
    hood = path(
        "MCQQCQQZ",
        *(-44, 90, -36, 70, -24, 74, -20, 80, -6, 104, 0, 112, 6, 104, 20, 80, 24, 74, 36, 70, 44, 90),
        *(16, 120, 0, 128, -16, 120, -44, 90),
    )
    pen.shape(hood, darker(cloth, 0.16))
    for x in (-9, 9):
        pen.line(path("ML", x, 112, x * 1.1, 142), (0.97, 0.97, 0.97), 2.8)


def suit(pen: Pen, cloth: Colour) -> None:
    pen.polygon([(-20, 88), (20, 88), (0, 150)], (0.97, 0.97, 0.97))
    tie = CLOTH[pen.rng.choice(("red", "blue", "black", "purple"))]
    pen.polygon([(-5, 98), (5, 98), (8, 140), (0, 152), (-8, 140)], tie)
    for s in (-1, 1):
        pen.polygon([(s * 24, 84), (s * 2, 154), (s * 36, 118), (s * 30, 104)], darker(cloth, 0.2))


def shirt(pen: Pen, cloth: Colour) -> None:
    for s in (-1, 1):
        pen.polygon([(s * 2, 102), (s * 24, 80), (s * 38, 94), (s * 17, 116)], lighter(cloth, 0.28))
    pen.line(path("ML", 0, 104, 0, 258), darker(cloth, 0.25), 1.8, 0.8)
    for y in (124, 146):
        pen.oval(0, y, 2.4, 2.4, lighter(cloth, 0.6), edge=False)


def dress(pen: Pen, cloth: Colour) -> None:
    pen.shape(path("MQLQZ", -26, 86, 0, 126, 26, 86, 31, 90, 0, 138, -31, 90), lighter(cloth, 0.45))


CLOTHES: Final[Mapping[str, Callable[[Pen, Colour], None]]] = {
    "t-shirt": t_shirt,
    "sweater": sweater,
    "hoodie": hoodie,
    "suit": suit,
    "shirt": shirt,
    "dress": dress,
}


def head(pen: Pen, person: Person, skin: Colour, hair: Colour) -> None:
    if person.hair_style not in ("bob cut", "long hair", "curly hair"):
        for s in (-1, 1):
            pen.oval(s * 45, 8, 8, 11, skin)
            pen.oval(s * 46, 9, 4, 6, darker(skin, 0.2), 0.6, soft=True)
    j = person.jaw
    face = path(
        "MCCQQCZ",
        *(-45, -8, -45, -64, 45, -64, 45, -8, 45, 14 + 8 * j, 40, 24 + 10 * j, 22 + 8 * j, 44 + 3 * j),
        *(8 + 6 * j, 56, 0, 57, -8 - 6 * j, 56, -22 - 8 * j, 44 + 3 * j, -40, 24 + 10 * j, -45, 14 + 8 * j, -45, -8),
    )
    pen.shape(face, skin)
    if person.blush:
        for s in (-1, 1):
            pen.oval(s * 29, 25, 10, 6, mix(skin, rgb("f2605e"), 0.65), person.blush, blur=2.5, soft=True)
    lash = darker(mix(hair, (0.1, 0.06, 0.1), 0.75), 0.3)
    for s in (-1, 1):
        if person.eyes_closed:
            bow = -8 if "smile" in person.expression else 9
            x = s * EYE_X
            pen.line(path("MQ", x - 10, EYE_Y + 2, x, EYE_Y + bow, x + 10, EYE_Y + 2), lash, 3)
        else:
            eye(pen, person, s, lash)
    brows(pen, person, hair)
    pen.line(path("MQ", -2, 24, 1, 27.5, 4, 25), darker(skin, 0.38), 1.9, 0.9)
    mouth(pen, person, skin, hair)
    front_hair(pen, person, hair, skin, face)
    if person.glasses:
        glasses(pen, person.glasses)
    if person.hat:
        hat(pen, person, varied(CLOTH[person.hat_colour], pen.rng, 0.03), hair)


def eye(pen: Pen, person: Person, side: int, lash: Colour) -> None:
    x, y, drawn = side * EYE_X, EYE_Y, pen.mode == "line"
    iris = EYES[person.eyes]
    w, h = (10.6, 10.0) if person.feminine else (9.4, 7.6)
    white = path(
        "MQQQQZ",
        *(x - w, y + 1, x - w * 0.5, y - h * 1.25, x, y - h * 1.05, x + w * 0.7, y - h * 1.05, x + w, y + 1),
        *(x + w * 0.6, y + h, x, y + h, x - w * 0.6, y + h, x - w, y + 1),
    )
    pen.shape(white, WHITE, edge=drawn)
    with pen.inside(white):
        at = x + person.gaze
        pen.oval(at, y, 6.8, h * 0.98, iris, edge=drawn)
        pen.oval(at, y - 3.4, 6.8, h * 0.6, darker(iris, 0.55), 0.75, soft=True)
        pen.oval(at, y, 3.1, h * 0.46, (0.0, 0.0, 0.0) if drawn else darker(iris, 0.85))
    pen.oval(x + person.gaze - 2.3, y - 3.2, 2.3, 2.6, WHITE, edge=False)
    lid = path(
        "MQQ", x - w - 1, y + 1, x - w * 0.5, y - h * 1.35, x, y - h * 1.12, x + w * 0.7, y - h * 1.12, x + w + 1, y + 1
    )
    pen.line(lid, lash, 3.0 if person.feminine else 2.3)
    if person.feminine:
        pen.line(path("ML", side * (EYE_X + w), y, side * (EYE_X + w + 4), y - 4), lash, 2)


def brows(pen: Pen, person: Person, hair: Colour) -> None:
    """Sad brows rise towards the middle, angry ones fall."""
    colour = darker(hair, 0.45 if person.hair == "white" else 0.3)
    y, width = (-10, 2.6) if person.feminine else (-7, 4.0)
    rise = {"sad": -6.0, "angry": 5.0}.get(person.expression, 0.0)
    lift = {"surprised": -4.0, "big smile": -2.0}.get(person.expression, 0.0)
    for s in (-1, 1):
        course = path("MQ", s * 10, y + rise + lift, s * 20, y - 5 + lift, s * 31, y - rise * 0.7 + lift)
        pen.line(course, colour, width)


def mouth(pen: Pen, person: Person, skin: Colour, hair: Colour) -> None:
    lip = mix(darker(skin, 0.3), rgb("b0242f"), 0.72)
    y, kind = MOUTH_Y, person.expression
    if person.beard:
        beard = path(
            "MCCQQQZ",
            *(-43, 6, -43, 34, -30, 62, 0, 66, 30, 62, 43, 34, 43, 6, 36, 28, 18, 31, 0, 26, -18, 31, -36, 28, -43, 6),
        )
        pen.shape(beard, hair)
        lip = rgb("c25c5c")
    if kind == "neutral":
        pen.line(path("ML", -9, y, 9, y), lip, 2.8)
    elif kind == "light smile":
        pen.line(path("MQ", -16, y - 5, 0, y + 11, 16, y - 5), lip, 3.4)
    elif kind in ("sad", "angry"):
        pen.line(path("MQ", -14, y + 7, 0, y - 9, 14, y + 7), lip, 3.4)
        if kind == "sad" and pen.rng.random() < 0.5:
            x = person.side * 25
            pen.shape(path("MQQZ", x, 22, x + 7, 34, x, 36, x - 7, 34, x, 22), rgb("8fd0f2"))
    elif kind == "big smile":
        open_mouth = path("MQQQZ", -18, y - 6, 0, y - 1, 18, y - 6, 14, y + 13, 0, y + 13, -14, y + 13, -18, y - 6)
        pen.shape(open_mouth, rgb("9c2a35"))
        with pen.inside(open_mouth):
            pen.box(-16, y - 7, 32, 8, WHITE, edge=False)
            pen.oval(0, y + 12, 9, 5, rgb("ef8a8a"), edge=False)
        pen.line(open_mouth, lip, 1.8)
    else:
        pen.oval(0, y + 2, 7.5, 9, rgb("8c2530"))
        pen.oval(0, y + 7, 5, 3, rgb("ef8a8a"), edge=False)


def glasses(pen: Pen, kind: str) -> None:
    y = EYE_Y
    if kind == "sunglasses":
        dark = rgb("22222a")
        for s in (-1, 1):
            lens = path(
                "MLQQZ", s * 4, y - 9, s * 36, y - 11, s * 37, y + 13, s * 20, y + 13, s * 6, y + 12, s * 4, y - 9
            )
            pen.shape(lens, dark)
            pen.line(path("ML", s * 12, y - 4, s * 20, y - 5), WHITE, 2, 0.5, detail=True)
        pen.line(path("ML", -5, y - 7, 5, y - 7), dark, 3)
        return
    colour = pen.rng.choice((rgb("2a2a32"), rgb("7a2f2f"), rgb("4a3a30")))
    for s in (-1, 1):
        rim = path("MCCZ", s * 6, y, s * 6, y - 17, s * 35, y - 17, s * 35, y, s * 35, y + 16, s * 6, y + 16, s * 6, y)
        pen.line(rim, colour, 2.8)
        pen.line(path("ML", s * 35, y - 3, s * 46, y - 5), colour, 2.2)
    pen.line(path("MQ", -6, y - 1, 0, y - 4, 6, y - 1), colour, 2.4)
