"""Prompts from file or textbox: one job per line, which is a prompt or options such as `--prompt … --steps 30`."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field

from modules.base.errors import WebuiError
from modules.base.fields import Control
from modules.extension.hooks import Ahead, Arguments, Course, Extension, Run, Script, Studio, changed, overriding
from modules.infotext.grammar import FormKind
from modules.schema.request import GenerationRequest

MOST_LINES = 10_000


class LinesArguments(Arguments):
    checkbox_iterate: Annotated[
        bool,
        Field(description="Add 1 to the seed for each line."),
        Control("Iterate seed every line", kind="checkbox"),
    ] = False
    checkbox_iterate_batch: Annotated[
        bool,
        Field(description="If the seed is −1, pick one random seed for all lines instead of one for each."),
        Control("Use same random seed for all lines", kind="checkbox"),
    ] = False
    prompt_position: Annotated[
        Literal["start", "end"],
        Field(description="Where to insert a line into the form's prompt."),
        Control("Insert prompts at the", kind="radio", choices=("start", "end")),
    ] = "start"
    prompt_txt: Annotated[
        str,
        Field(max_length=1_000_000, description="One prompt per line, or options such as --prompt a fox --steps 30."),
        Control(
            "List of prompt inputs", kind="textbox", lines=5,
            placeholder="a fox in the snow\n--prompt a fox --steps 30 --seed 7",
        ),
    ] = ""  # fmt: skip


class PromptsFromFile(Script):
    name = "Prompts from file or textbox"
    description = "One job per line. A line is a prompt, or options such as --prompt a fox --steps 30 --cfg_scale 5."

    def arguments(self, kind: FormKind) -> type[Arguments]:
        return LinesArguments

    def check(self, kind: FormKind, request: GenerationRequest, arguments: LinesArguments, catalog: Any) -> None:
        for child in children(request, arguments):
            named = child.override_settings.get("sd_model_checkpoint")
            if named:
                catalog.checkpoint(named)

    def run(self, kind: FormKind, request: GenerationRequest, arguments: LinesArguments, studio: Studio) -> Course:
        if arguments.checkbox_iterate or arguments.checkbox_iterate_batch:
            request = studio.seeded(request)
        made_of_lines = children(request, arguments)
        yield Ahead(sum(one.images for one in made_of_lines), sum(one.n_iter for one in made_of_lines))
        for child in made_of_lines:
            yield Run(child)


class PromptsFromFileExtension(Extension):
    def scripts(self) -> Sequence[Script]:
        return (PromptsFromFile(),)


def children(request: GenerationRequest, arguments: LinesArguments) -> list[GenerationRequest]:
    """The request of each line. Raises WebuiError that names the invalid line."""
    lines = [(number, line.strip()) for number, line in enumerate(arguments.prompt_txt.splitlines(), 1) if line.strip()]
    if not lines:
        raise WebuiError("List of prompt inputs: it is empty.", "Write a prompt.", "script_args.prompt_txt")
    if len(lines) > MOST_LINES:
        raise WebuiError(
            f"List of prompt inputs: got {len(lines)} lines, at most {MOST_LINES}.",
            "",
            "script_args.prompt_txt",
        )
    found: list[GenerationRequest] = []
    for number, line in lines:
        try:
            found.append(_child(request, line, arguments, len(found)))
        except WebuiError as error:
            message = f"Line {number} ({line[:40]}): {error.message}"
            raise WebuiError(message, error.hint, "script_args.prompt_txt") from error
    return found


def _child(request: GenerationRequest, line: str, arguments: LinesArguments, lines_before: int) -> GenerationRequest:
    values: dict[str, Any] = options(line) if "--" in line else {"prompt": line}
    settings = {"sd_model_checkpoint": values.pop("sd_model")} if "sd_model" in values else {}
    for name in ("prompt", "negative_prompt"):
        of_form = getattr(request, name)
        if values.get(name) and of_form:
            ordered = (values[name], of_form) if arguments.prompt_position == "start" else (of_form, values[name])
            values[name] = " ".join(ordered)
    if arguments.checkbox_iterate and "seed" not in values:
        values["seed"] = request.seed if request.seed == -1 else request.seed + request.images * lines_before
    child = changed(request, values)
    return overriding(child, settings) if settings else child


def _truth(text: str) -> bool:
    folded = text.strip().casefold()
    if folded not in ("true", "false", "1", "0"):
        raise ValueError(text)
    return folded in ("true", "1")


OPTIONS: Mapping[str, Callable[[str], Any]] = MappingProxyType(
    {
        "sd_model": str, "prompt": str, "negative_prompt": str, "seed": int, "subseed": int, "subseed_strength": float,
        "seed_resize_from_w": int, "seed_resize_from_h": int, "sampler_name": str, "scheduler": str, "batch_size": int,
        "n_iter": int, "steps": int, "cfg_scale": float, "width": int, "height": int, "tiling": _truth,
        "denoising_strength": float,
    }
)  # fmt: skip
# A1111's options for files and for what the server does not support per line: accepted, without effect.
PASSED_OVER = ("outpath_samples", "outpath_grids", "prompt_for_display", "styles", "restore_faces",
               "do_not_save_samples", "do_not_save_grid")  # fmt: skip
WORDS = ("prompt", "negative_prompt")


def options(line: str) -> dict[str, Any]:
    """`--name value …` as request fields; a prompt extends to the next option, quoted or not.

    Raises WebuiError for unknown names and values that cannot be read.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise WebuiError(f"a quote is not closed ({error}).", "Close every double quote, or remove it.") from error
    found: dict[str, Any] = {}
    place = 0
    while place < len(words):
        if not words[place].startswith("--"):
            raise WebuiError(f"expected an option such as --prompt instead of {words[place][:40]!r}.")
        name = words[place].removeprefix("--")
        if name not in OPTIONS and name not in PASSED_OVER:
            raise WebuiError(f"there is no option --{name[:40]}.", "There are: " + ", ".join(OPTIONS) + ".")
        end = next((i for i in range(place + 1, len(words)) if words[i].startswith("--")), len(words))
        given = words[place + 1 : end] if name in WORDS else words[place + 1 : place + 2]
        if not given and name not in WORDS:
            raise WebuiError(f"--{name} has no value.")
        if name in OPTIONS:
            try:
                found[name] = OPTIONS[name](" ".join(given))
            except ValueError as error:
                raise WebuiError(f"--{name} = {' '.join(given)[:40]!r} cannot be read.") from error
        place += 1 + len(given)
    return found
