"""Extensions: found, loaded, switched off, and reported if they are broken."""

from pathlib import Path

import pytest

from modules.base.errors import WebuiError
from modules.base.fields import params
from modules.extension.hooks import Arguments, FormKind, changed, with_pairs
from modules.extension.loading import Extensions, load
from modules.schema.catalog import Catalog
from modules.schema.request import Txt2ImgRequest
from modules.schema.upscalers import UPSCALERS

GOOD = """
from modules.extension.hooks import Extension, Script

class Hello(Script):
    name = "Hello"
    kinds = ("txt2img",)

class HelloExtension(Extension):
    def scripts(self):
        return (Hello(),)
"""


def extension(folder: Path, name: str, text: str) -> Path:
    (folder / name).mkdir()
    (folder / name / "extension.py").write_text(text)
    return folder / name


def own(extensions: Extensions) -> list[str]:
    """The names of scripts that do not belong to Palimpsest."""
    return sorted({script.name for script in extensions.all_scripts} - {script.name for script in load().all_scripts})


def test_what_comes_with_palimpsest_loads() -> None:
    assert load().problems == ()
    assert [script.name for script in load().scripts("txt2img")] == [
        "Detailer", "Prompt matrix", "Prompts from file or textbox", "X/Y/Z plot",
    ]  # fmt: skip


def test_a_users_extension_joins_in(tmp_path: Path) -> None:
    extension(tmp_path, "hello", GOOD)
    assert own(load(tmp_path)) == ["Hello"]


UPSCALER = """
from modules.extension.hooks import Extension
from modules.schema.upscalers import Upscaler

class Sharp(Extension):
    def upscalers(self):
        return [Upscaler(NAME, function=FUNCTION)]
"""


def test_an_extension_adds_an_upscaler_that_every_list_has(tmp_path: Path) -> None:
    extension(tmp_path, "sharp", UPSCALER.replace("NAME", '"Sharp"').replace("FUNCTION", "lambda image, size: image"))
    extensions = load(tmp_path)
    assert [row.name for row in extensions.upscalers] == [*(row.name for row in UPSCALERS), "Sharp"]
    assert Catalog(upscalers=extensions.upscalers).names("hr_upscalers")[-1] == "Sharp"


@pytest.mark.parametrize(
    ("name", "function", "words"),
    [
        ("'lanczos'", "lambda image, size: image", "there is an upscaler 'lanczos' already"),
        ("'Sharp'", "'lanczos'", "the upscaler 'Sharp' has no function"),
        ("'Sharp'", "''", "the upscaler 'Sharp' has no function"),
    ],
)
def test_an_upscaler_that_cannot_be_used_is_told(name: str, function: str, words: str, tmp_path: Path) -> None:
    extension(tmp_path, "sharp", UPSCALER.replace("NAME", name).replace("FUNCTION", function))
    extensions = load(tmp_path)
    assert words in extensions.problems[0]
    assert extensions.upscalers == UPSCALERS


def test_a_file_named_disabled_turns_it_off(tmp_path: Path) -> None:
    (extension(tmp_path, "hello", GOOD) / "disabled").touch()
    assert own(load(tmp_path)) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("def f(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("x = 1", "extension.py contains 0 subclasses of Extension, expected one"),
        (GOOD.replace("Hello\"", "x/y/z PLOT\""), "there is a script 'x/y/z PLOT' already"),
    ],
)  # fmt: skip
def test_a_broken_one_is_told_and_the_others_load(tmp_path: Path, text: str, words: str) -> None:
    extension(tmp_path, "broken", text)
    extension(tmp_path, "hello", GOOD)
    there = load(tmp_path)
    assert own(there) == ["Hello"]
    (problem,) = there.problems
    assert problem.startswith("The extension 'broken' could not be loaded (")
    assert words in problem


def test_names_in_any_letter_case_and_the_nearest_for_others() -> None:
    assert load().script("txt2img", " x/y/Z plot ").name == "X/Y/Z plot"
    with pytest.raises(WebuiError, match="Did you mean 'Prompt matrix'"):
        load().script("txt2img", "prompt matrx")
    with pytest.raises(WebuiError, match="it is only available for img2img"):
        load().script("txt2img", "SD upscale")


class Two(Arguments):
    one: int = 1
    other: bool = False


def test_arguments_by_position() -> None:
    assert Two.parse([5]) == Two(one=5, other=False)
    with pytest.raises(WebuiError, match="3 values were sent, at most 2 were expected: one, other"):
        Two.parse([1, True, 3])
    with pytest.raises(WebuiError) as caught:
        Two.parse(["x"])
    assert caught.value.field == "script_args.one"


def test_a_changed_request_has_no_script_and_is_checked() -> None:
    request = Txt2ImgRequest.parse({"script_name": "x", "script_args": [1]})
    assert changed(request, {"steps": 3}) == Txt2ImgRequest(steps=3)
    with pytest.raises(WebuiError, match="expected a whole number from 1 to 150"):
        changed(request, {"steps": 0})


def test_pairs_of_a_script_stand_before_the_version() -> None:
    assert with_pairs("a\nSteps: 1, Version: v1", {"Script": "X", "Y": "a, b"}) == (
        'a\nSteps: 1, Script: X, Y: "a, b", Version: v1'
    )


@pytest.mark.parametrize(
    ("kind", "unlisted"),
    [
        ("txt2img", {"Initial noise multiplier", "Styles", "Face restore"}),
        ("img2img", {"Styles", "Face restore", "Token merging ratio high-res"}),
    ],
)
def test_axes_without_effect_in_a_form_are_not_listed_there(kind: FormKind, unlisted: set[str]) -> None:
    [plot] = [script for script in load().scripts(kind) if script.name == "X/Y/Z plot"]
    declared = params(plot.arguments(kind))
    for name in ("x_type", "y_type", "z_type"):
        assert set(declared[name].control.unlisted) == unlisted
        assert unlisted < set(declared[name].control.choices)  # the others keep A1111's numbers
