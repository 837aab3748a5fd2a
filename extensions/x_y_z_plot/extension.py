"""X/Y/Z plot: a picture for each combination of up to three axes, on a sheet with a legend."""

# pyright: reportInvalidTypeForm=false
# An argument's choices depend on the form, so a call makes its type, which pydantic reads at run time.

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from PIL import Image
from pydantic import Field, field_validator

from modules.base.errors import WebuiError
from modules.base.fields import Control
from modules.extension.hooks import (
    Ahead,
    Arguments,
    Course,
    Extension,
    Keep,
    Run,
    RunImage,
    Script,
    Studio,
    changed,
    with_pairs,
)
from modules.images.geometry import Size
from modules.images.grid import grid, shape
from modules.images.sheet import Sheet, SheetLabel
from modules.infotext.grammar import FormKind
from modules.schema.catalog import Catalog
from modules.schema.request import SEED_RANGE, GenerationRequest
from modules.schema.upscalers import named

from .axes import Axis, axes
from .values import joined, listed, values

MOST_CELLS = 5000
MOST_MEGAPIXELS = 200  # in the sheet, as in A1111
SEEDS = ("Seed", "Var. seed")
LETTERS = ("X", "Y", "Z")


def plot_arguments(kind: FormKind) -> type[Arguments]:
    """The arguments for a form: A1111 numbers the axes of txt2img and img2img separately, so their choices differ."""
    labels = tuple(axis.label for axis in axes(kind))
    missing = tuple(axis.label for axis in axes(kind) if axis.missing)

    def axis(letter: str) -> Any:
        return Annotated[
            int,
            Field(ge=0, le=len(labels) - 1, description="What to vary along this axis."),
            Control(f"{letter} type", kind="dropdown", choices=labels, unlisted=missing),
        ]

    def text(letter: str) -> Any:
        return Annotated[
            str,
            Field(max_length=100_000, description="Values separated by commas, or ranges: 1-5, 1-5 (+2), 1-10 [5]."),
            Control(f"{letter} values", kind="textbox", placeholder="1,3,5 or 1-5 (+2) or 1-10 [5]"),
        ]  # fmt: skip

    def chosen(letter: str) -> Any:
        return Annotated[
            tuple[str, ...],
            Field(description="Values chosen from a list; they take precedence over the text."),
            Control(f"{letter} values", kind="hidden"),
        ]

    def switch(label: str, description: str) -> Any:
        return Annotated[bool, Field(description=description), Control(label, kind="checkbox")]

    class PlotArguments(Arguments):
        x_type: axis("X") = 1
        x_values: text("X") = ""
        x_values_dropdown: chosen("X") = ()
        y_type: axis("Y") = 0
        y_values: text("Y") = ""
        y_values_dropdown: chosen("Y") = ()
        z_type: axis("Z") = 0
        z_values: text("Z") = ""
        z_values_dropdown: chosen("Z") = ()
        draw_legend: switch("Draw legend", "Label the grid with the values.") = True
        include_lone_images: switch("Include Sub Images", "Show each picture too; they are always saved.") = False
        include_sub_grids: switch("Include Sub Grids", "Also keep a grid for each value of Z.") = False
        no_fixed_seeds: switch("Keep -1 for seeds", "Use a new random seed for each picture.") = False
        vary_seeds_x: switch("Vary seeds for X", "Increase the seed along X.") = False
        vary_seeds_y: switch("Vary seeds for Y", "Increase the seed along Y.") = False
        vary_seeds_z: switch("Vary seeds for Z", "Increase the seed along Z.") = False
        margin_size: Annotated[
            int,
            Field(ge=0, le=500, description="Pixels between the pictures of the grid."),
            Control("Grid margins (px)", kind="slider", step=2),
        ] = 0
        csv_mode: Annotated[
            bool,
            Field(description="Use the text, ignoring values chosen from the lists."),
            Control("Use text inputs instead of dropdowns", kind="hidden"),
        ] = False

        @field_validator("x_type", "y_type", "z_type", mode="before")
        @classmethod
        def _by_label(cls, value: Any) -> Any:
            folded = [label.casefold() for label in labels]
            return folded.index(value.casefold()) if isinstance(value, str) and value.casefold() in folded else value

        @field_validator("x_values_dropdown", "y_values_dropdown", "z_values_dropdown", mode="before")
        @classmethod
        def _none_is_empty(cls, value: Any) -> Any:
            return () if value is None or value == "" else value

    return PlotArguments


@dataclass(frozen=True)
class Side:
    """One axis with its values. `text` is their text in the infotext, `fixed` the seeds that were drawn for −1."""

    axis: Axis
    values: Sequence[Any]
    text: str
    fixed: str = ""

    def pairs(self, letter: str) -> dict[str, str]:
        if self.axis.label == "Nothing":
            return {}
        found = {f"{letter} Type": self.axis.label, f"{letter} Values": self.text}
        return found | ({f"Fixed {letter} Values": self.fixed} if self.fixed else {})


class XYZPlot(Script):
    name = "X/Y/Z plot"
    description = "Varies up to three parameters, each along its own axis, and arranges all combinations in a grid."

    def __init__(self) -> None:
        self._arguments = {kind: plot_arguments(kind) for kind in self.kinds}

    def arguments(self, kind: FormKind) -> type[Arguments]:
        return self._arguments[kind]

    def offers(self, kind: FormKind, catalog: Catalog) -> Mapping[str, Mapping[str, str]]:
        lists = {
            str(number): joined(axis.choices(catalog))
            for number, axis in enumerate(axes(kind))
            if axis.choices is not None and not axis.missing
        }
        return {f"{letter.lower()}_values": lists for letter in LETTERS}

    def check(self, kind: FormKind, request: GenerationRequest, arguments: Any, catalog: Catalog) -> None:
        for side in sides(kind, arguments):
            for value in side.values:
                side.axis.apply(request, value, side.values)
                is_refiner = side.axis.label == "Refiner checkpoint" and value.strip().lower() not in ("", "none")
                if side.axis.label == "Checkpoint name" or is_refiner:
                    catalog.checkpoint(value)
                if side.axis.label == "VAE":
                    catalog.vae(value)
                if side.axis.label == "Hires upscaler":
                    named(value, catalog.upscalers, "hr_upscaler")

    def run(self, kind: FormKind, request: GenerationRequest, arguments: Any, studio: Studio) -> Course:
        x, y, z = (fixed(side, arguments, request, studio) for side in sides(kind, arguments))
        base = changed(request, {}) if arguments.no_fixed_seeds else studio.seeded(request)
        cells = {
            (ix, iy, iz): self._child(base, arguments, (x, y, z), (ix, iy, iz))
            for ix, iy, iz in itertools.product(*(range(len(side.values)) for side in (x, y, z)))
        }
        yield Ahead(sum(child.images for child in cells.values()), sum(child.n_iter for child in cells.values()))
        sheets = _Sheets(x, y, z, _cell(cells.values(), studio), arguments)
        costs = [side.axis.cost for side in (x, y, z)]
        order = sorted(range(3), key=lambda axis: (costs[axis], axis))  # innermost first; X first if costs are equal
        texts: dict[int, RunImage] = {}
        for place in sorted(cells, key=lambda place: [place[axis] for axis in reversed(order)]):
            made = yield Run(cells[place], is_shown=arguments.include_lone_images)
            if not made:
                continue
            pictures = [one.image for one in made]
            sheets.put(place, pictures[0] if len(pictures) == 1 else grid(pictures))
            texts.setdefault(place[2], made[0])
        if not texts:
            return
        of_plane = {"Script": self.name, **x.pairs("X"), **y.pairs("Y")}
        first = texts[min(texts)]
        yield Keep(sheets.image, with_pairs(first.infotext, {**of_plane, **z.pairs("Z")}), first.seed, "xyz_grid")
        if arguments.include_sub_grids and len(z.values) > 1:
            for iz, made in sorted(texts.items()):
                yield Keep(sheets.plane(iz), with_pairs(made.infotext, of_plane), made.seed, "xyz_grid")

    def _child(
        self, base: GenerationRequest, arguments: Any, all_sides: Sequence[Side], place: Sequence[int]
    ) -> GenerationRequest:
        child = base
        for side, index in zip(all_sides, place, strict=True):
            child = side.axis.apply(child, side.values[index], side.values)
        steps = [1, 1, 1]
        for axis, varies in enumerate((arguments.vary_seeds_x, arguments.vary_seeds_y)):
            steps[axis + 1] = steps[axis] * (len(all_sides[axis].values) if varies else 1)
        varies_by_axis = (arguments.vary_seeds_x, arguments.vary_seeds_y, arguments.vary_seeds_z)
        further = sum(index * step for index, step, varies in zip(place, steps, varies_by_axis, strict=True) if varies)
        return changed(child, {"seed": child.seed + further}) if further and child.seed != -1 else child


class XYZPlotExtension(Extension):
    def scripts(self) -> Sequence[Script]:
        return (XYZPlot(),)


class _Sheets:
    """The sheet of all pictures: one plane of X and Y for each value of Z. The pictures themselves are not kept."""

    def __init__(self, x: Side, y: Side, z: Side, cell: Size, arguments: Any) -> None:
        def legend(side: Side) -> list[list[SheetLabel]]:
            legends = [side.axis.legend(value) for value in side.values] if arguments.draw_legend else []
            return [[SheetLabel(text)] for text in legends] if any(legends) else []

        count = len(x.values) * len(y.values) * len(z.values)
        megapixels = count * cell.width * cell.height / 1e6
        if megapixels > MOST_MEGAPIXELS:
            raise WebuiError(
                f"X/Y/Z plot: the grid would have {megapixels:.0f} megapixels, at most {MOST_MEGAPIXELS} are "
                "allowed.",
                "Use fewer values or smaller pictures.",
                "script_args",
            )  # fmt: skip
        self._plane = Sheet(len(y.values), len(x.values), cell, legend(x), legend(y), arguments.margin_size)
        self._whole = Sheet(1, len(z.values), Size(*self._plane.image.size), legend(z))
        for iz in range(len(z.values)):
            self._whole.put(0, iz, self._plane.image)

    @property
    def image(self) -> Image.Image:
        return self._whole.image

    def put(self, place: tuple[int, int, int], picture: Image.Image) -> None:
        ix, iy, iz = place
        plane, cell = self._whole.box(0, iz), self._plane.box(iy, ix)
        left = plane.left + cell.left + (cell.size.width - picture.width) // 2
        top = plane.top + cell.top + (cell.size.height - picture.height) // 2
        self._whole.image.paste(picture, (left, top))

    def plane(self, iz: int) -> Image.Image:
        return self._whole.image.crop(self._whole.box(0, iz))


def sides(kind: FormKind, arguments: Any) -> tuple[Side, Side, Side]:
    """The three axes with their values. Raises WebuiError if an axis is not offered, a value cannot be read, or there
    are too many."""
    found = [_side(kind, arguments, letter) for letter in LETTERS]
    count = 1
    for side in found:
        count *= len(side.values)
    if count > MOST_CELLS:
        raise WebuiError(
            f"X/Y/Z plot: these values make {count} pictures, at most {MOST_CELLS} are allowed in one plot.",
            "Use fewer values.",
            "script_args",
        )
    return found[0], found[1], found[2]


def _side(kind: FormKind, arguments: Any, letter: str) -> Side:
    axis = axes(kind)[getattr(arguments, f"{letter.lower()}_type")]
    at = f"script_args.{letter.lower()}_values"
    if axis.missing:
        raise WebuiError(f"{letter} type = {axis.label!r}: {axis.missing}.", "Choose another axis.", at)
    if axis.label == "Nothing":
        return Side(axis, (0,), "")
    chosen = getattr(arguments, f"{letter.lower()}_values_dropdown")
    from_list = axis.choices is not None and not arguments.csv_mode and chosen
    text = joined(chosen) if from_list else getattr(arguments, f"{letter.lower()}_values")
    items = listed(text)
    if not any(items):
        raise WebuiError(f"{letter} values: there are none for {axis.label}.", "Enter at least one.", at)
    try:
        return Side(axis, values(items, axis.grammar, f"{letter} values"), text)
    except WebuiError as error:
        raise WebuiError(error.message, error.hint, at) from error


def fixed(side: Side, arguments: Any, request: GenerationRequest, studio: Studio) -> Side:
    """`side` with random seeds for −1, unless −1 is to be kept."""
    if side.axis.label not in SEEDS or arguments.no_fixed_seeds:
        return side
    drawn = [
        studio.seeded(request.model_copy(update={"seed": -1})).seed % SEED_RANGE if value == -1 else value
        for value in side.values
    ]
    return Side(side.axis, drawn, side.text, ", ".join(map(str, drawn)))


def _cell(children: Any, studio: Studio) -> Size:
    """The size of the largest cell; several pictures of one request form a sheet of their own in it."""
    width = height = 0
    for child in children:
        rows, columns = shape(child.images)
        size = studio.size(child)
        width, height = max(width, size[0] * columns), max(height, size[1] * rows)
    return Size(width, height)
