"""OpenAPI descriptions of bodies that routes parse themselves, of fields of other models, and of non-JSON responses."""

from collections.abc import Iterable
from functools import cache
from typing import Any

from pydantic import BaseModel

JSON = "application/json"
FORM = "multipart/form-data"
BYTES = "application/octet-stream"


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """The body is a JSON object with the fields of `model`, or missing."""
    return _body({JSON: {"schema": _in_place(model)}})


def bytes_body(description: str) -> dict[str, Any]:
    """The body is the bytes of a file."""
    return _body({BYTES: {"schema": {"type": "string", "format": "binary", "description": description}}})


def json_or_form_body(model: type[BaseModel], files: Iterable[str], part: str) -> dict[str, Any]:
    """The body is a JSON object with the fields of `model`, or a form: `files`, and that object as text in `part`."""
    listed = {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "description": "The files.",
    }
    text = {"type": "string", "description": "The fields as a JSON string."}
    form = {"type": "object", "properties": {**dict.fromkeys(files, listed), part: text}}
    return _body({JSON: {"schema": _in_place(model)}, FORM: {"schema": form}})


def fields_of(*models: type[BaseModel], **more: dict[str, Any]) -> dict[str, Any]:
    """For `WithJsonSchema`: an object with the fields of one of `models`, and the properties `more`."""
    schemas = [_in_place(model) for model in models]
    alternatives = [{**schema, "properties": {**schema["properties"], **more}} for schema in schemas]
    return alternatives[0] if len(alternatives) == 1 else {"anyOf": alternatives}


def answers(media_types: Iterable[str]) -> dict[int | str, dict[str, Any]]:
    """For `responses`: the response has one of these media types."""
    return {200: {"content": {media_type: {} for media_type in media_types}}}


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": False, "content": content}}


@cache
def _in_place(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of `model` with other models inlined, because a route's own section cannot contain definitions.

    Callers share the result and must not change it.
    """
    schema = model.model_json_schema(mode="validation")
    definitions = schema.pop("$defs", {})

    def resolved(value: Any) -> Any:
        if isinstance(value, list):
            return [resolved(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            beside = {key: item for key, item in value.items() if key != "$ref"}
            return {**resolved(definitions[value["$ref"].rpartition("/")[2]]), **beside}
        return {key: resolved(item) for key, item in value.items()}

    return resolved(schema)
