"""The pen: shapes on a 256-unit canvas, drawn flat, outlined, as a wobbly line drawing or in crayon."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeAlias

import numpy as np
import skia

from modules.starter.noise import Field
from modules.starter.palette import WHITE, Colour, darker, mix, rgb

UNITS: Final = 256.0

Point: TypeAlias = tuple[float, float]
Gradient: TypeAlias = tuple[Point, Point, Colour, Colour]

# Shapes smaller than this many units are drawn without wobble, or eyes and buttons would fall apart.
WOBBLE_FROM: Final = 26.0


def path(text: str, *numbers: float) -> skia.Path:
    """An outline in SVG's letters, one number after another: `path("MQZ", x, y, cx, cy, x, y)`."""
    result, values = skia.Path(), iter(numbers)

    def take(count: int) -> list[float]:
        return [next(values) for _ in range(count)]

    for letter in text:
        if letter == "M":
            result.moveTo(*take(2))
        elif letter == "L":
            result.lineTo(*take(2))
        elif letter == "Q":
            result.quadTo(*take(4))
        elif letter == "C":
            result.cubicTo(*take(6))
        else:
            result.close()
    assert next(values, None) is None, f"{text}: too many numbers"
    return result


def smooth(points: Sequence[Point], closed: bool = False) -> skia.Path:
    """A Catmull-Rom spline through `points`."""
    count, result = len(points), skia.Path()
    result.moveTo(*points[0])
    for i in range(count if closed else count - 1):
        start, end = points[i], points[(i + 1) % count]
        before = points[i - 1] if closed or i > 0 else start
        after = points[(i + 2) % count] if closed or i + 2 < count else end
        result.cubicTo(
            start[0] + (end[0] - before[0]) / 6,
            start[1] + (end[1] - before[1]) / 6,
            end[0] - (after[0] - start[0]) / 6,
            end[1] - (after[1] - start[1]) / 6,
            *end,
        )
    if closed:
        result.close()
    return result


def blob(
    x: float, y: float, rx: float, ry: float, rng: random.Random, corners: int = 9, unrest: float = 0.14
) -> skia.Path:
    """An uneven oval."""
    points: list[Point] = []
    for i in range(corners):
        angle = 2 * math.pi * i / corners
        points.append(
            (
                x + rx * math.cos(angle) * (1 + rng.uniform(-unrest, unrest)),
                y + ry * math.sin(angle) * (1 + rng.uniform(-unrest, unrest)),
            )
        )
    return smooth(points, closed=True)


def ovals(shapes: Sequence[tuple[float, float, float, float]]) -> skia.Path:
    """The union of ovals given as centre and radii."""
    result = skia.Path()
    for x, y, rx, ry in shapes:
        result.addOval(skia.Rect.MakeLTRB(x - rx, y - ry, x + rx, y + ry))
    return skia.Simplify(result) or result


def below(points: Sequence[Point]) -> skia.Path:
    """Everything under a line of hills: `points` from left to right."""
    result = smooth(points)
    result.lineTo(UNITS + 8, UNITS + 8)
    result.lineTo(-8, UNITS + 8)
    result.close()
    return result


class Pen:
    """Draws on a square of `size` pixels.

    `mode` is `flat`, `outlined` (flat with dark edges), `line` (black on white, nothing filled) or `crayon`. Soft
    shapes are shading and left out of line drawings; details are lines that line drawings do without.
    """

    def __init__(self, size: int, rng: random.Random, mode: str = "flat") -> None:
        self.rng = rng
        self.mode = mode
        self.sketchy = mode in ("line", "crayon")
        self._surface = skia.Surface(size, size)
        self.canvas = self._surface.getCanvas()
        self.canvas.clear(skia.ColorWHITE)
        self.canvas.scale(size / UNITS, size / UNITS)
        self._ink: Colour = darker(rng.choice(((0.1, 0.1, 0.1), (0.1, 0.1, 0.1), rgb("2a2f55"), rgb("5a2b22"))), 0.1)
        self._ink_width = rng.uniform(1.8, 3.2)
        self._wobble = skia.DiscretePathEffect.Make(9.0, 1.1, rng.randrange(1 << 30)) if self.sketchy else None

    def picture(self) -> Field:
        """What was drawn: (size, size, 3) in [0, 1]."""
        pixels = self._surface.toarray(colorType=skia.ColorType.kRGBA_8888_ColorType)
        return pixels[..., :3].astype(np.float32) / 255

    @contextmanager
    def moved(self, x: float = 0, y: float = 0, scale: float = 1, turn: float = 0) -> Iterator[None]:
        self.canvas.save()
        self.canvas.translate(x, y)
        self.canvas.scale(scale, scale)
        self.canvas.rotate(turn)
        yield
        self.canvas.restore()

    @contextmanager
    def inside(self, outline: skia.Path) -> Iterator[None]:
        """Clip to `outline`."""
        self.canvas.save()
        self.canvas.clipPath(outline, skia.ClipOp.kIntersect, True)
        yield
        self.canvas.restore()

    def shape(
        self,
        outline: skia.Path,
        colour: Colour | Gradient,
        alpha: float = 1.0,
        blur: float = 0.0,
        edge: bool = True,
        soft: bool = False,
    ) -> None:
        """A filled shape."""
        plain = mix(colour[2], colour[3], 0.5) if len(colour) == 4 else colour
        if self.sketchy:
            if soft or (self.mode == "line" and not edge):
                return
            fill = WHITE if self.mode == "line" else plain
            self.canvas.drawPath(outline, self._paint(fill, 1.0 if self.mode == "line" else alpha, wobble=outline))
            if edge:
                self.canvas.drawPath(outline, self._paint(self._ink, width=self._ink_width, wobble=outline))
            return
        self.canvas.drawPath(outline, self._paint(colour, alpha, blur=blur))
        if self.mode == "outlined" and edge and not soft:
            self.canvas.drawPath(outline, self._paint(darker(plain, 0.62), width=1.5))

    def line(self, course: skia.Path, colour: Colour, width: float, alpha: float = 1.0, detail: bool = False) -> None:
        if self.mode == "line":
            if not detail:
                width = max(1.5, min(width, self._ink_width))
                self.canvas.drawPath(course, self._paint(self._ink, width=width, wobble=course))
            return
        self.canvas.drawPath(course, self._paint(colour, alpha, width=width))

    def oval(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        colour: Colour | Gradient,
        alpha: float = 1.0,
        blur: float = 0.0,
        edge: bool = True,
        soft: bool = False,
    ) -> None:
        outline = skia.Path()
        outline.addOval(skia.Rect.MakeLTRB(x - rx, y - ry, x + rx, y + ry))
        self.shape(outline, colour, alpha, blur, edge, soft)

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        colour: Colour | Gradient,
        alpha: float = 1.0,
        radius: float = 0.0,
        edge: bool = True,
    ) -> None:
        outline = skia.Path()
        outline.addRoundRect(skia.Rect.MakeXYWH(x, y, width, height), radius, radius)
        self.shape(outline, colour, alpha, edge=edge)

    def polygon(self, points: Sequence[Point], colour: Colour, alpha: float = 1.0, edge: bool = True) -> None:
        outline = skia.Path()
        outline.addPoly([skia.Point(*point) for point in points], True)
        self.shape(outline, colour, alpha, edge=edge)

    def sky(self, top: Colour, bottom: Colour, bottom_y: float = UNITS) -> None:
        """The whole canvas; white paper in a line drawing."""
        if self.mode == "line":
            return
        colour = mix(top, bottom, 0.5) if self.mode == "crayon" else ((0.0, 0.0), (0.0, bottom_y), top, bottom)
        self.canvas.drawRect(skia.Rect.MakeWH(UNITS, UNITS), self._paint(colour))

    def _paint(
        self,
        colour: Colour | Gradient,
        alpha: float = 1.0,
        width: float = 0.0,
        blur: float = 0.0,
        wobble: skia.Path | None = None,
    ) -> skia.Paint:
        paint = skia.Paint(AntiAlias=True)
        if len(colour) == 4:
            start, end, first, second = colour
            colours = [skia.Color4f(*first, 1.0).toColor(), skia.Color4f(*second, 1.0).toColor()]
            paint.setShader(skia.GradientShader.MakeLinear([skia.Point(*start), skia.Point(*end)], colours))
            paint.setAlphaf(alpha)
        else:
            paint.setColor(skia.Color4f(*colour, alpha).toColor())
        if width:
            paint.setStyle(skia.Paint.kStroke_Style)
            paint.setStrokeWidth(width)
            paint.setStrokeCap(skia.Paint.kRound_Cap)
            paint.setStrokeJoin(skia.Paint.kRound_Join)
        if blur:
            paint.setMaskFilter(skia.MaskFilter.MakeBlur(skia.kNormal_BlurStyle, blur))
        if wobble is not None and self._wobble is not None:
            bounds = wobble.getBounds()
            if max(bounds.width(), bounds.height()) > WOBBLE_FROM:
                paint.setPathEffect(self._wobble)
        return paint
