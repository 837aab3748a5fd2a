"""Loopback: the result becomes the source of the next run, at a strength that changes from loop to loop."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from PIL import Image
from pydantic import Field

from modules.base.errors import WebuiError
from modules.base.fields import Control
from modules.base.picture import Picture
from modules.extension.hooks import Ahead, Arguments, Course, Extension, Keep, Run, RunImage, Script, Studio, changed
from modules.images.grid import grid
from modules.infotext.grammar import FormKind
from modules.schema.request import Img2ImgRequest

ORIGINAL = 1  # masked content
MOST_PIXELS = 200_000_000  # in the sheet
Curve = Literal["Aggressive", "Linear", "Lazy"]


class LoopbackArguments(Arguments):
    loops: Annotated[
        int,
        Field(ge=1, le=32, description="How many times the result is fed back as the source."),
        Control("Loops", kind="slider", step=1),
    ] = 4
    final_denoising_strength: Annotated[
        float,
        Field(ge=0, le=1, description="Denoising strength of the last loop; the first loop uses the form's."),
        Control("Final denoising strength", kind="slider", step=0.01),
    ] = 0.5
    denoising_curve: Annotated[
        Curve,
        Field(description="How the strength changes from first to last: early, evenly or late."),
        Control("Denoising strength curve", kind="dropdown", choices=("Aggressive", "Linear", "Lazy")),
    ] = "Linear"
    append_interrogation: Annotated[
        Literal["None", "CLIP", "DeepBooru"],
        Field(description="A1111 can append an interrogator's caption of the result; there is no interrogator here."),
        Control("Append interrogated prompt at each iteration", kind="hidden", choices=("None", "CLIP", "DeepBooru")),
    ] = "None"


class Loopback(Script):
    name = "Loopback"
    description = "Each result becomes the next loop's source. Batch count repeats the whole series."
    kinds = ("img2img",)

    def arguments(self, kind: FormKind) -> type[Arguments]:
        return LoopbackArguments

    def check(self, kind: FormKind, request: Img2ImgRequest, arguments: LoopbackArguments, catalog: object) -> None:
        if arguments.append_interrogation != "None":
            raise WebuiError(
                f"Append interrogated prompt = {arguments.append_interrogation!r}: there is no interrogator.",
                "Choose None.",
                "script_args.append_interrogation",
            )

    def run(self, kind: FormKind, request: Img2ImgRequest, arguments: LoopbackArguments, studio: Studio) -> Course:
        self.check(kind, request, arguments, None)
        repetitions, request = request.n_iter, studio.seeded(request)
        total = repetitions * arguments.loops
        yield Ahead(total, total)
        pairs = {
            "Final denoising strength": arguments.final_denoising_strength,
            "Denoising curve": arguments.denoising_curve,
        }
        history: list[RunImage] = []
        seed = request.seed
        for _ in range(repetitions):
            source, content = request.init_images, request.inpainting_fill
            latest: RunImage | None = None
            for loop in range(arguments.loops):
                child = changed(
                    request,
                    {
                        "init_images": source, "inpainting_fill": content, "seed": seed, "n_iter": 1, "batch_size": 1,
                        "denoising_strength": strength(loop, request.denoising_strength, arguments),
                    },
                )  # fmt: skip
                made = yield Run(child, pairs)
                if not made:
                    break
                latest = made[0]
                seed = latest.seed + 1
                source, content = (Picture.from_image(latest.image),), ORIGINAL
                if repetitions == 1:
                    history.append(latest)
            if repetitions > 1 and latest is not None:
                history.append(latest)
        if len(history) > 1:
            yield Keep(_row(history, studio), history[0].infotext, request.seed, "grid")


class LoopbackExtension(Extension):
    def scripts(self) -> Sequence[Script]:
        return (Loopback(),)


def strength(loop: int, first: float, arguments: LoopbackArguments) -> float:
    """The denoising strength of a loop, counted from 0."""
    if loop == 0 or arguments.loops == 1:
        return first
    progress = loop / (arguments.loops - 1)
    share = {
        "Aggressive": math.sin(progress * math.pi / 2),
        "Linear": progress,
        "Lazy": 1 - math.cos(progress * math.pi / 2),
    }[arguments.denoising_curve]
    return min(max(first + (arguments.final_denoising_strength - first) * share, 0.0), 1.0)


def _row(history: Sequence[RunImage], studio: Studio) -> Image.Image:
    """All pictures in one row, scaled down if the row would be too large."""
    images = [made.image for made in history]
    pixels = sum(image.width * image.height for image in images)
    if pixels > MOST_PIXELS:
        scale = math.sqrt(MOST_PIXELS / pixels)
        images = [image.resize((int(image.width * scale), int(image.height * scale))) for image in images]
        studio.warn("The grid of all loops was scaled down, because it would have been too large.")
    return grid(images, rows=1)
