"""The controls of the page's Checkpoint Merger, described by the request's own declaration; a script builds them."""

from typing import Any, Final

from modules.processing.kinds.merge import MergeRequest

_NAMES: Final = ("primary_model_name", "secondary_model_name", "tertiary_model_name")
_KINDS: Final = {"boolean": "checkbox", "number": "slider", "string": "text"}
_PLACEHOLDERS: Final = {"custom_name": "made from the sources' names", "loras": "<lora:name:0.8>"}
_MORE: Final = (
    "block_weights", "discard_weights", "config_source", "metadata_json", "save_metadata", "add_merge_recipe",
    "copy_metadata_fields", "overwrite",
)  # below, collapsed  # fmt: skip


def merge_controls() -> list[dict[str, Any]]:
    """A description of each field, from which the scripts build its control; the page fills in the models' names."""
    properties = MergeRequest.model_json_schema()["properties"]
    return [_control(name, schema) for name, schema in properties.items()]


def _control(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    is_list = "enum" in schema or name in _NAMES or name == "bake_in_vae"
    return {
        "name": name,
        "label": schema["title"],
        "description": schema["description"],
        "default": schema["default"],
        "kind": "dropdown" if is_list else _KINDS[schema["type"]],
        "choices": schema.get("enum", []),
        "unlisted": [],
        "counts": False,
        "minimum": 0 if schema["type"] == "number" else None,  # as in A1111; the API takes more
        "maximum": 1 if schema["type"] == "number" else None,
        "step": 0.05 if schema["type"] == "number" else None,
        "lines": 2 if name in ("block_weights", "metadata_json") else 1,
        "placeholder": _PLACEHOLDERS.get(name, ""),
        "models": "checkpoints" if name in _NAMES else "vaes" if name == "bake_in_vae" else "",
        "isMore": name in _MORE,
    }
