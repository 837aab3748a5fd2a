"""What a request names is looked up before it is accepted, so that no job fails over a name in the middle."""

from collections.abc import Callable, Mapping
from typing import Any

from modules.base.errors import WebuiError
from modules.processing.plan import read_prompt
from modules.prompts.tags import network_tags, take_tags
from modules.schema.catalog import Checkpoint, Lora
from modules.schema.settings import EXACT, Settings

NOBODY = ("", "none")  # instead of a checkpoint's name


class MissingNetworks(WebuiError):
    """Prompts name LoRAs that are not here. The picture can be made without them, which a person has to want."""

    def __init__(self, first: WebuiError, names: frozenset[str]) -> None:
        super().__init__(first.message, first.hint, first.field)
        self.names = names


def with_checkpoints(values: Mapping[str, Any], find: Callable[[str], Checkpoint]) -> dict[str, str]:
    """Those fields of a request that name further checkpoints, and are used, with the names that the list has.

    Raises WebuiError about the field, with the nearest name.
    """
    used = ("refiner_checkpoint", *(("hr_checkpoint_name",) if values.get("enable_hr") else ()))
    found: dict[str, str] = {}
    for field in used:
        name = str(values.get(field) or "")
        if name.strip().lower() in NOBODY:
            continue
        try:
            found[field] = find(name).name
        except WebuiError as error:
            raise WebuiError(f"{field}: {error.message}", error.hint, field) from error
    return found


def require_networks(values: Mapping[str, Any], settings: Settings, find: Callable[[str], Lora]) -> None:
    """Raises MissingNetworks, with the nearest name, if prompts that are used name LoRAs that are not here.

    A1111 draws without them, and so does the engine under its setting, with a warning. Raises WebuiError for a weight
    that is no number.
    """
    missing: dict[str, WebuiError] = {}
    for field in ("prompt", *(("hr_prompt",) if values.get("enable_hr") else ())):
        try:
            tags = network_tags(take_tags(read_prompt(str(values.get(field) or ""), settings))[1])
        except WebuiError as error:
            raise _about(field, error) from error
        for tag in tags if settings.compatibility != EXACT else ():
            try:
                find(tag.name)
            except WebuiError as error:
                missing.setdefault(tag.name, _about(field, error))
    if missing:
        raise MissingNetworks(next(iter(missing.values())), frozenset(missing))


def _about(field: str, error: WebuiError) -> WebuiError:
    return WebuiError(error.message.replace("prompt:", f"{field}:", 1), error.hint, field)
