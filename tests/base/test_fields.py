"""What is read from declarations."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from modules.base.fields import Control, explained, params
from modules.schema.request import Img2ImgRequest, Txt2ImgRequest
from modules.schema.settings import Settings


class Declared(BaseModel, extra="forbid"):
    """One field of each kind."""

    steps: Annotated[
        int, Field(ge=1, le=150, description="How many."), Control("Steps", step=1, minimum=5, infotext="Steps")
    ] = 20
    strength: Annotated[float | None, Field(ge=0, le=1), Control("Strength", maximum=0.5)] = None
    way: Annotated[Literal["a", "b"], Control("Way")] = "a"
    on: Annotated[bool, Control("On")] = False
    undeclared: int = 3


def test_declarations_are_resolved_in_order() -> None:
    found = params(Declared)
    assert list(found) == ["steps", "strength", "way", "on"]
    steps = found["steps"]
    assert (steps.type, steps.default, steps.minimum, steps.maximum, steps.description) == (
        int,
        20,
        1,
        150,
        "How many.",
    )
    assert (steps.widget_minimum, steps.widget_maximum) == (5, 150)
    assert (found["strength"].widget_minimum, found["strength"].widget_maximum) == (0, 0.5)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"steps": 0}, "Steps (steps) = 0: expected a whole number from 1 to 150."),
        ({"strength": "much"}, "Strength (strength) = 'much': expected a number from 0 to 1."),
        ({"way": "c"}, "Way (way) = 'c': expected a or b."),
        ({"on": "perhaps"}, "On (on) = 'perhaps': expected true or false."),
        ({"undeclared": "x"},
         "undeclared = 'x': input should be a valid integer, unable to parse string as an integer."),
        ({"missing": 1}, "missing = 1: there is no such field."),
        ({"steps": "x" * 500}, "Steps (steps): expected a whole number from 1 to 150."),
        ({"steps": [1] * 500}, f"Steps (steps) = {str([1] * 500)[:80]}…: expected a whole number from 1 to 150."),
        ({"m" * 500: 1}, f"{'m' * 80}… = 1: there is no such field."),
    ],
)  # fmt: skip
def test_a_refused_value_is_explained_in_one_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Declared(**values)
    error = explained(Declared, caught.value)
    assert (error.message, error.field) == (sentence, next(iter(values)))


@pytest.mark.parametrize("model", [Txt2ImgRequest, Img2ImgRequest, Settings])
def test_every_field_of_a_form_is_declared_whole(model: type[BaseModel]) -> None:
    for name, param in params(model).items():
        assert param.control.label, name
        assert param.description.endswith("."), f"{name}: the description is a sentence"
        assert not isinstance(param.default, int | float) or isinstance(param.default, bool) or (
            param.minimum is not None and param.maximum is not None
        ), f"{name}: a number has bounds"  # fmt: skip


@pytest.mark.parametrize("model", [Txt2ImgRequest, Img2ImgRequest, Settings])
@pytest.mark.parametrize("what", ["infotext", "elem"])
def test_no_two_fields_share_a_key(model: type[BaseModel], what: str) -> None:
    keys = [key for param in params(model).values() if (key := getattr(param.control, what))]
    assert len(keys) == len(set(keys))


def test_requests_and_settings_share_no_key() -> None:
    def keys(model: type[BaseModel]) -> set[str]:
        return {param.control.infotext for param in params(model).values()} - {""}

    assert not keys(Img2ImgRequest) & keys(Settings)
