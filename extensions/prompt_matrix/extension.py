"""Prompt matrix: `a|b|c` makes a picture of each combination, with and without b and c, and a sheet of all pictures."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from modules.base.errors import WebuiError
from modules.base.fields import Control
from modules.extension.hooks import Ahead, Arguments, Course, Extension, Keep, Run, Script, Studio, changed
from modules.images.geometry import Size
from modules.images.sheet import Sheet, SheetLabel
from modules.infotext.grammar import FormKind
from modules.schema.request import GenerationRequest

MOST_PARTS = 10  # 1024 pictures


class MatrixArguments(Arguments):
    put_at_start: Annotated[
        bool,
        Field(description="Put the variable parts before the fixed part instead of after it."),
        Control("Put variable parts at start of prompt", kind="checkbox"),
    ] = False
    different_seeds: Annotated[
        bool,
        Field(description="Picture i uses seed + i; otherwise all use the same seed and differ only in the prompt."),
        Control("Use different seed for each picture", kind="checkbox"),
    ] = False
    prompt_type: Annotated[
        Literal["positive", "negative"],
        Field(description="Which prompt contains the parts."),
        Control("Select prompt", kind="radio", choices=("positive", "negative")),
    ] = "positive"
    variations_delimiter: Annotated[
        Literal["comma", "space"],
        Field(description="What to put between the combined parts."),
        Control("Select joining char", kind="radio", choices=("comma", "space")),
    ] = "comma"
    margin_size: Annotated[
        int,
        Field(ge=0, le=500, description="Pixels between the pictures of the grid."),
        Control("Grid margins (px)", kind="slider", step=2),
    ] = 0


class PromptMatrix(Script):
    name = "Prompt matrix"
    description = "Write a prompt such as a castle|at night|in winter: each combination of the parts becomes a picture."

    def arguments(self, kind: FormKind) -> type[Arguments]:
        return MatrixArguments

    def check(self, kind: FormKind, request: GenerationRequest, arguments: MatrixArguments, catalog: object) -> None:
        parts(request, arguments)

    def run(self, kind: FormKind, request: GenerationRequest, arguments: MatrixArguments, studio: Studio) -> Course:
        fixed, *variable = parts(request, arguments)
        request = studio.seeded(request)
        children: list[GenerationRequest] = []
        for number, prompt in enumerate(combinations(fixed, variable, arguments)):
            field = "prompt" if arguments.prompt_type == "positive" else "negative_prompt"
            children.append(
                changed(
                    request,
                    {
                        field: prompt,
                        "seed": request.seed + (number if arguments.different_seeds else 0),
                        "subseed": request.subseed + number,  # A1111 increments it too
                        "n_iter": 1,
                        "batch_size": 1,
                    },
                )
            )
        yield Ahead(len(children), len(children))
        across, down = variable[: -(-len(variable) // 2)], variable[-(-len(variable) // 2) :]
        columns = 1 << len(across)
        sheet = Sheet(
            1 << len(down), columns, Size(*studio.size(children[0])), _legend(across), _legend(down),
            arguments.margin_size,
        )  # fmt: skip
        first = None
        for number, child in enumerate(children):
            made = yield Run(child)
            if made:
                first = first or made[0]
                sheet.put(number // columns, number % columns, made[0].image)
        if first is not None:
            yield Keep(sheet.image, first.infotext, first.seed, "prompt_matrix")


class PromptMatrixExtension(Extension):
    def scripts(self) -> Sequence[Script]:
        return (PromptMatrix(),)


def parts(request: GenerationRequest, arguments: MatrixArguments) -> list[str]:
    """The fixed part, then the variable ones. Raises WebuiError if there are too many."""
    is_positive = arguments.prompt_type == "positive"
    found = (request.prompt if is_positive else request.negative_prompt).split("|")
    if len(found) > MOST_PARTS + 1:
        raise WebuiError(
            f"The prompt has {len(found) - 1} variable parts, which make {2 ** (len(found) - 1)} pictures; at most "
            f"{MOST_PARTS} parts are allowed.",
            "Remove some.",
            "prompt" if is_positive else "negative_prompt",
        )
    return found


def combinations(fixed: str, variable: Sequence[str], arguments: MatrixArguments) -> list[str]:
    """The prompts of all combinations; bit k of a combination's index says whether it contains variable part k."""
    joiner = ", " if arguments.variations_delimiter == "comma" else " "
    prompts: list[str] = []
    for number in range(1 << len(variable)):
        chosen = [text.strip().strip(",") for k, text in enumerate(variable) if number >> k & 1]
        prompts.append(joiner.join([*chosen, fixed] if arguments.put_at_start else [fixed, *chosen]))
    return prompts


def _legend(variable: Sequence[str]) -> list[list[SheetLabel]]:
    """The words of each row or column; absent words are struck through."""
    return [
        [SheetLabel(text, bool(number >> k & 1)) for k, text in enumerate(variable)]
        for number in range(1 << len(variable))
    ]
