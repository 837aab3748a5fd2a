"""The names in a generation request become files, so that no job fails over a name in the middle."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from modules.base.errors import WebuiError
from modules.processing.kinds.kind import Names
from modules.processing.plan import read_prompt
from modules.prompts.tags import network_tags, take_tags, without_networks
from modules.schema.catalog import Checkpoint, Embedding, Lora
from modules.schema.request import GenerationRequest, Txt2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import EXACT, Settings

Generation = TypeVar("Generation", bound=GenerationRequest)

NOBODY = ("", "none")  # instead of a checkpoint's name


class MissingNetworks(WebuiError):
    """Prompts name LoRAs that are not here. The picture can be made without them, which a person has to want."""

    def __init__(self, first: WebuiError, names: frozenset[str]) -> None:
        super().__init__(first.message, first.hint, first.field)
        self.names = names

    def left_out(self, request: Generation) -> Generation:
        """`request` without the tags of these LoRAs."""
        prompts = [name for name in ("prompt", "hr_prompt") if name in type(request).model_fields]
        return request.model_copy(
            update={name: without_networks(getattr(request, name), self.names) for name in prompts}
        )


def resolved(request: Generation, settings: Settings, names: Names) -> tuple[Generation, Resources]:
    """`request` with further checkpoints by the names that the list has, and the files of all that it names.

    Raises WebuiError about the field at fault, with the nearest name; MissingNetworks for LoRAs.
    """
    checkpoint = names.checkpoint(settings.sd_model_checkpoint)
    vae = names.vae(settings.sd_vae, checkpoint)
    loras = tuple(_loras(request, settings, names))
    further = {field: found for field in _further(request) if (found := _checkpoint(request, field, names))}
    request = request.model_copy(update={field: found.name for field, found in further.items()})
    resources = Resources(
        checkpoint,
        further.get("refiner_checkpoint"),
        further.get("hr_checkpoint_name"),
        vae,
        loras,
        tuple(_embeddings(request, names.catalog.embeddings)),
    )
    return request, resources


def _further(request: GenerationRequest) -> tuple[str, ...]:
    """The fields that name further checkpoints, and are used."""
    is_hires = isinstance(request, Txt2ImgRequest) and request.enable_hr
    return ("refiner_checkpoint", *(("hr_checkpoint_name",) if is_hires else ()))


def _checkpoint(request: GenerationRequest, field: str, names: Names) -> Checkpoint | None:
    name = str(getattr(request, field))
    if name.strip().lower() in NOBODY:
        return None
    try:
        return names.checkpoint(name)
    except WebuiError as error:
        raise WebuiError(f"{field}: {error.message}", error.hint, field) from error


def _prompts(request: GenerationRequest) -> dict[str, str]:
    """The prompts that are used, by their fields."""
    is_hires = isinstance(request, Txt2ImgRequest) and request.enable_hr
    return {field: str(getattr(request, field)) for field in ("prompt", *(("hr_prompt",) if is_hires else ()))}


def _loras(request: GenerationRequest, settings: Settings, names: Names) -> Iterator[Lora]:
    """Each LoRA once. Raises MissingNetworks, and WebuiError for a weight that is not a number.

    A1111 draws without those that are not here, and so does the engine under its setting, with a warning.
    """
    found: dict[str, Lora] = {}
    missing: dict[str, WebuiError] = {}
    for field, prompt in _prompts(request).items():
        try:
            tags = network_tags(take_tags(read_prompt(prompt, settings))[1])
        except WebuiError as error:
            raise _about(field, error) from error
        for tag in tags:
            try:
                found[tag.name] = names.lora(tag.name)
            except WebuiError as error:
                missing.setdefault(tag.name, _about(field, error))
    if missing and settings.compatibility != EXACT:
        raise MissingNetworks(next(iter(missing.values())), frozenset(missing))
    yield from dict.fromkeys(found.values())


def _embeddings(request: GenerationRequest, embeddings: Iterable[Embedding]) -> Iterator[Embedding]:
    is_hires = isinstance(request, Txt2ImgRequest) and request.enable_hr
    texts = [*_prompts(request).values(), request.negative_prompt]
    texts += [request.hr_negative_prompt] if is_hires and isinstance(request, Txt2ImgRequest) else []
    words = "\n".join(texts).casefold()
    yield from (embedding for embedding in embeddings if embedding.name.casefold() in words)


def _about(field: str, error: WebuiError) -> WebuiError:
    return WebuiError(error.message.replace("prompt:", f"{field}:", 1), error.hint, field)
