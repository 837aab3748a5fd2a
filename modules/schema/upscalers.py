"""Upscalers of latents and pictures: what a form, a validator and A1111's lists need, without torch.

One row fully describes an upscaler. `modules.images.enlarge` looks up the functions of the built-in ones; extensions
add rows with their own functions (`Extension.upscalers`). The order is A1111's menu order.
"""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from modules.base.errors import WebuiError

Enlarge = Callable[[Image.Image, tuple[int, int]], Image.Image]
"""(RGB or RGBA picture, width and height) -> the picture at about that size; the caller resizes it to the exact one."""

LONGEST = 80  # characters of an unknown name to show


@dataclass(frozen=True)
class Interpolation:
    """How latents are resized: the arguments of torch's `interpolate`."""

    mode: str
    antialias: bool = False


@dataclass(frozen=True)
class Upscaler:
    """One upscaler of the menus.

    name: the label, as in an infotext.  aliases: other names that a request may use.
    interpolation: for an upscaler of latents, between the passes of hires. fix; None for an upscaler of pictures.
    function: for an upscaler of pictures: a name in `modules.images.enlarge`, or the function; "" changes nothing.
    factor: the fixed factor by which it enlarges, whatever size is requested; 0 if it can make any size.
    path: the file of its network, None if it needs none; the engine makes the function.
    reason: why it cannot be used, "" if it can.
    """

    name: str
    aliases: tuple[str, ...] = ()
    interpolation: Interpolation | None = None
    function: str | Enlarge = ""
    factor: int = 0
    path: Path | None = None
    reason: str = ""


NONE: Final = "None"
DEFAULT_FACTOR: Final = 4  # the value in A1111's list for an upscaler that takes any

UPSCALERS: Final = (
    Upscaler("Latent", interpolation=Interpolation("bilinear")),
    Upscaler("Latent (antialiased)", interpolation=Interpolation("bilinear", antialias=True)),
    Upscaler("Latent (bicubic)", interpolation=Interpolation("bicubic")),
    Upscaler("Latent (bicubic antialiased)", interpolation=Interpolation("bicubic", antialias=True)),
    Upscaler("Latent (nearest)", interpolation=Interpolation("nearest")),
    Upscaler("Latent (nearest-exact)", interpolation=Interpolation("nearest-exact")),
    Upscaler(NONE),
    Upscaler("Lanczos", function="lanczos"),
    Upscaler("Nearest", function="nearest"),
)


def of_latents(rows: Iterable[Upscaler]) -> tuple[Upscaler, ...]:
    return tuple(row for row in rows if row.interpolation is not None)


def of_pictures(rows: Iterable[Upscaler]) -> tuple[Upscaler, ...]:
    return tuple(row for row in rows if row.interpolation is None)


def names_of(rows: Iterable[Upscaler]) -> tuple[str, ...]:
    return tuple(row.name for row in rows)


def find(name: str, rows: Iterable[Upscaler]) -> Upscaler | None:
    """The row with this name or alias, in any letter case; "" means the row "None". None if there is no such row."""
    key = name.strip().casefold() or NONE.casefold()
    return next((row for row in rows if key in {each.casefold() for each in (row.name, *row.aliases)}), None)


def named(name: str, rows: Iterable[Upscaler], field: str) -> Upscaler:
    """As `find`. Raises WebuiError about `field`, with the nearest name.

    >>> named("lanczos", UPSCALERS, "hr_upscaler").name
    'Lanczos'
    """
    rows = tuple(rows)
    row = find(name, rows)
    if row is None:
        labels = {each.casefold(): row.name for row in rows for each in (row.name, *row.aliases)}
        near = labels[difflib.get_close_matches(name.strip().casefold()[:LONGEST], labels, 1, 0.0)[0]]
        raise WebuiError(f"{field}={name[:LONGEST]!r}: there is no such upscaler; did you mean {near!r}?", field=field)
    return row
