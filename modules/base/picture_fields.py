"""The pictures in a request, found by type: code that stores or releases them need not know its fields."""

from collections.abc import Callable
from typing import Any, TypeVar, cast, get_args

from pydantic import BaseModel

from modules.base.picture import Picture

Model = TypeVar("Model", bound=BaseModel)


def picture_fields(model: type[BaseModel]) -> tuple[str, ...]:
    """The names of the fields that hold one or more pictures."""
    return tuple(name for name, info in model.model_fields.items() if _holds_pictures(info.annotation))


def mapped(request: Model, change: Callable[[Picture], Picture]) -> Model:
    """`request` with `change` applied to each picture."""
    update: dict[str, Any] = {}
    for name in picture_fields(type(request)):
        value = getattr(request, name)
        if isinstance(value, Picture):
            update[name] = change(value)
        elif isinstance(value, tuple):
            update[name] = tuple(map(change, cast(tuple[Picture, ...], value)))
    return request.model_copy(update=update) if update else request


def without_pictures(request: Model) -> Model:
    """`request` without its pictures, to be kept after the job is done."""
    update = {name: () if isinstance(getattr(request, name), tuple) else None for name in picture_fields(type(request))}
    return request.model_copy(update=update) if update else request


def _holds_pictures(annotation: Any) -> bool:
    return annotation is Picture or any(map(_holds_pictures, get_args(annotation)))
