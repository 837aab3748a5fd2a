"""Request bodies as A1111's clients send them: JSON under any content type, or empty for no fields."""

import json
import math
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from modules.api.middleware.turns import parsed_body
from modules.base.errors import WebuiError
from modules.base.fields import cut, explained, shortened

MAX_DEPTH = 32  # of nested arrays and objects; a script's arguments have about five

Model = TypeVar("Model", bound=BaseModel)


async def loose_object(request: Request) -> dict[str, Any]:
    """The body as an object. Raises WebuiError if it is not a JSON object, or contains NaN or infinity."""
    return await parsed_body(request, parsed)


def parsed(data: bytes) -> dict[str, Any]:
    """The JSON object in `data`; {} for blank data. Raises WebuiError as above.

    >>> parsed(b'{"steps": 20.0}')
    {'steps': 20.0}
    """
    if not data.strip():
        return {}
    endless: list[str] = []  # non-finite numbers, as written

    def number(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            endless.append(text)
        return value

    try:
        value = json.loads(data, parse_float=number, parse_constant=number)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise WebuiError(f"The body is not JSON ({str(error)[:200]}).", "Send a JSON object.") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise WebuiError(f"The body is a JSON {kind}, but an object was expected.", "Send the fields by name.")
    clean = _is_clean(value)
    if endless and (path := _path_to_endless(value)):
        field = ".".join(path)
        raise WebuiError(f"{shortened(field)} = {shortened(endless[0])}: expected a finite number.", field=field)
    return value if clean else _cleaned(value)


def filled(model: type[Model], values: dict[str, Any]) -> Model:
    """`model` with the `values` it declares, without nulls and empty texts. Raises WebuiError for an invalid value."""
    known = {name: value for name, value in values.items() if name in model.model_fields and value not in (None, "")}
    try:
        return model.model_validate(cut(model, known))
    except ValidationError as error:
        raise explained(model, error) from error


def _path_to_endless(value: Any) -> list[str]:
    """The path to the first non-finite number. `_is_clean` must have checked the depth."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in entries:
        if isinstance(item, float) and not math.isfinite(item):
            return [str(name)]
        if rest := _path_to_endless(item):
            return [str(name), *rest]
    return []


def _is_clean(value: Any) -> bool:
    """Whether all texts can be encoded as UTF-8: JSON may contain lone surrogates.

    Raises WebuiError if it is nested too deeply.
    """
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                deeper += item.keys()
                deeper += item.values()
            elif isinstance(item, list):
                deeper += item
            elif isinstance(item, str) and not item.isascii() and any("\ud800" <= sign <= "\udfff" for sign in item):
                return False
        if not deeper:
            return True
        level = deeper
    raise _too_deep()


def _cleaned(value: dict[str, Any]) -> dict[str, Any]:
    """`value` with each lone surrogate replaced by a question mark."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def _too_deep() -> WebuiError:
    return WebuiError(f"The body is nested more than {MAX_DEPTH} levels deep.", "Send it flatter.")
