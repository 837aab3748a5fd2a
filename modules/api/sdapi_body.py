"""Bodies as A1111's clients send them: JSON under any content type, or none; nothing at all means no fields."""

import json
import math
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from modules.errors import WebuiError
from modules.fields import explained

MAX_DEPTH = 32  # of arrays and objects in each other; a script's arguments have about five

Model = TypeVar("Model", bound=BaseModel)


async def body_bytes(request: Request) -> bytes:
    """The body, which nobody keeps: `request.body()` would hold it as long as the request is answered."""
    return b"".join([piece async for piece in request.stream()])


async def loose_object(request: Request) -> dict[str, Any]:
    """The body as an object. Raises WebuiError for what is no JSON object, or holds numbers that JSON does not have."""
    return await run_in_threadpool(parsed, await body_bytes(request))


def parsed(data: bytes) -> dict[str, Any]:
    """The object that `data` holds; {} for blank data.

    >>> parsed(b'{"steps": 20.0}')
    {'steps': 20.0}
    """
    if not data.strip():
        return {}
    try:
        value = json.loads(data, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise WebuiError(f"The body is not JSON ({str(error)[:200]}).", "Send a JSON object.") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise WebuiError(f"The body is a JSON {kind}, and an object was expected.", "Send fields by name.")
    return value if _is_clean(value) else _cleaned(value)


def filled(model: type[Model], values: dict[str, Any]) -> Model:
    """`model` with those of `values` it has, without nulls and empty texts. Raises WebuiError about a fault."""
    known = {name: value for name, value in values.items() if name in model.model_fields and value not in (None, "")}
    try:
        return model.model_validate(known)
    except ValidationError as error:
        raise explained(model, error) from error


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is not finite")
    return number


def _is_clean(value: Any) -> bool:
    """Whether all texts can be written again: JSON may hold halves of surrogate pairs. Raises WebuiError for depth."""
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
    """`value` with a question mark for each half of a pair."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def _too_deep() -> WebuiError:
    return WebuiError(f"The body is nested more than {MAX_DEPTH} levels deep.", "Send it flatter.")
