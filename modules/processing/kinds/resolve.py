"""Resolves the names in a generation request to files, so that no job fails halfway because of a name."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from modules.base.errors import WebuiError
from modules.images.preprocessors import preprocessor
from modules.networks.files.listing import weights_of
from modules.processing.kinds.kind import Names
from modules.processing.kinds.words import WordReader
from modules.processing.plan import read_prompt
from modules.prompts.schedule import Timing, timing
from modules.prompts.tags import network_tags, take_tags, without_networks
from modules.schema.catalog import Catalog, Checkpoint, ControlModel, Embedding, Lora, Vae
from modules.schema.families import Shown
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.schema.resources import NamedFile, Resources
from modules.schema.settings import EXACT, Settings
from modules.schema.upscalers import named

Generation = TypeVar("Generation", bound=GenerationRequest)

NOBODY = ("", "none")  # instead of a checkpoint's name
CHECKPOINT, REFINER, HIRES = "sd_model_checkpoint", "refiner_checkpoint", "hr_checkpoint_name"  # fields


class MissingNetworks(WebuiError):
    """Prompts name LoRAs that are not installed. The user may choose to continue without them."""

    def __init__(self, first: WebuiError, names: frozenset[str]) -> None:
        super().__init__(first.message, first.hint, first.field)
        self.names = names

    def left_out(self, request: Generation) -> Generation:
        """`request` without the tags of these LoRAs."""
        prompts = [name for name in ("prompt", "hr_prompt") if name in type(request).model_fields]
        return request.model_copy(
            update={name: without_networks(getattr(request, name), self.names) for name in prompts}
        )


@dataclass(frozen=True)
class CatalogNames:
    """`Names` in a fixed catalog: that of a running job."""

    catalog: Catalog
    reader: WordReader

    def checkpoint(self, name: str) -> Checkpoint:
        return loadable(self.catalog.checkpoint(name))

    def vae(self, choice: str, checkpoint: Checkpoint) -> Vae | None:
        return self.catalog.vae_for(choice, checkpoint)

    def lora(self, name: str) -> Lora:
        return self.catalog.lora(name)

    def control_model(self, name: str) -> ControlModel:
        return self.catalog.control_model(name)

    def embeddings(self, prompts: Iterable[tuple[str, Timing]], settings: Settings) -> tuple[Embedding, ...]:
        return self.reader.named(prompts, settings, self.catalog.embeddings)

    def scripted(self, request: Generation) -> Generation:
        return request


def loadable(checkpoint: Checkpoint) -> Checkpoint:
    """Raises WebuiError if the checkpoint's header shows that it cannot be loaded."""
    if checkpoint.reason:
        raise WebuiError(checkpoint.reason, field=CHECKPOINT)
    return checkpoint


def require_pictures(request: GenerationRequest, shown: Shown, name: str) -> None:
    """Raises WebuiError if the checkpoint `name` needs a source or depth map that the request lacks."""
    if shown == "source" and not isinstance(request, Img2ImgRequest):
        raise WebuiError(
            f"{name} is an InstructPix2Pix checkpoint: it edits a picture and cannot work from a prompt alone.",
            "Use it in img2img, or choose another checkpoint.",
            CHECKPOINT,
        )
    if shown == "depth" and not isinstance(request, Img2ImgRequest):
        raise WebuiError(
            f"{name} is a depth checkpoint: it needs a picture and its depth map.",
            "Use it in img2img, or choose another checkpoint.",
            CHECKPOINT,
        )
    if shown != "depth" or not isinstance(request, Img2ImgRequest):
        return
    if request.depth_map is None:
        raise WebuiError(
            f"depth_map: {name} is a depth checkpoint and needs the depth map of the picture, lighter where things "
            "are nearer.",
            "Choose one under Depth map, or choose another checkpoint.",
            "depth_map",
        )
    if request.is_outpainted:
        raise WebuiError(
            f"depth_map: {name} is a depth checkpoint, and outpainted margins have no depth.",
            "Leave out the margins, or choose another checkpoint.",
            "depth_map",
        )


def resolved(
    request: Generation, settings: Settings, names: Names, checkpoint: Checkpoint | None = None
) -> tuple[Generation, Resources]:
    """`request` with further checkpoints under their names in the list, and the files of everything it names.

    `checkpoint` is the first one; it overrides the settings. Raises WebuiError about the field, with the closest
    match; MissingNetworks for LoRAs.
    """
    checkpoint = checkpoint or names.checkpoint(settings.sd_model_checkpoint)
    require_pictures(request, checkpoint.shown, checkpoint.name)
    loras = tuple(_loras(request, settings, names))
    further = {field: found for field in _further(request) if (found := _checkpoint(request, field, names))}
    names_written = {field: found.name for field, found in further.items()}
    if isinstance(request, Txt2ImgRequest) and request.enable_hr:
        names_written["hr_upscaler"] = named(request.hr_upscaler, names.catalog.upscalers, "hr_upscaler").name
    request = request.model_copy(update=names_written)
    request, control_models = _control_models(request, names)
    refiner, hires = further.get(REFINER), further.get(HIRES)
    vae, refiner_vae, hires_vae = (
        names.vae(settings.sd_vae, each) if each else None for each in (checkpoint, refiner, hires)
    )
    resources = Resources(
        checkpoint,
        refiner,
        hires,
        vae,
        loras,
        names.embeddings(_texts(request, settings), settings),
        refiner_vae,
        hires_vae,
        control_models=control_models,
        catalog=names.catalog.without_notes,
    )
    return request, replace(resources, files=tuple(_files(resources)))


def _files(resources: Resources) -> Iterator[NamedFile]:
    """Size and time of each file of `resources`, once; a missing file is reported when it is loaded."""
    further = (resources.refiner, resources.hires_checkpoint, resources.vae, resources.refiner_vae, resources.hires_vae)
    named = (
        resources.checkpoint,
        *filter(None, further),
        *resources.loras,
        *resources.embeddings,
        *resources.control_models,
    )
    checkpoints = filter(None, (resources.checkpoint, resources.refiner, resources.hires_checkpoint))
    texts = {path: path.name for each in checkpoints for path in each.text_encoders}
    for path, name in ({each.path: each.name for each in named} | texts).items():
        with suppress(OSError):
            status = weights_of(path).stat()
            yield NamedFile(name, path, status.st_size, status.st_mtime_ns)


def _control_models(request: Generation, names: Names) -> tuple[Generation, tuple[ControlModel, ...]]:
    """`request` with the units that can change the picture, by the names that the lists have, and their ControlNets."""
    units = [unit for unit in request.controlnet if unit.is_used]
    if not units:
        return request.model_copy(update={"controlnet": ()}) if request.controlnet else request, ()
    for unit in units:
        preprocessor(unit.module)
        if not unit.has_model:
            raise WebuiError(
                "controlnet: a unit has no model.", "Choose a ControlNet, or remove the unit.", "controlnet"
            )
        if unit.image is None and not isinstance(request, Img2ImgRequest):
            raise WebuiError("controlnet: a unit has no picture.", "Give it one, or use img2img.", "controlnet")
    models = tuple(names.control_model(unit.model) for unit in units)
    named_units = tuple(
        unit.model_copy(update={"model": model.label, "module": preprocessor(unit.module).name})
        for unit, model in zip(units, models, strict=True)
    )
    return request.model_copy(update={"controlnet": named_units}), models


def _further(request: GenerationRequest) -> tuple[str, ...]:
    """The fields in use that name further checkpoints."""
    is_hires = isinstance(request, Txt2ImgRequest) and request.enable_hr
    return (REFINER, *((HIRES,) if is_hires else ()))


def _checkpoint(request: GenerationRequest, field: str, names: Names) -> Checkpoint | None:
    name = str(getattr(request, field))
    if name.strip().lower() in NOBODY:
        return None
    try:
        return names.checkpoint(name)
    except WebuiError as error:
        raise WebuiError(f"{field}: {error.message}", error.hint, field) from error


def _prompts(request: GenerationRequest) -> dict[str, str]:
    """The prompts in use, by field."""
    is_hires = isinstance(request, Txt2ImgRequest) and request.enable_hr
    return {field: str(getattr(request, field)) for field in ("prompt", *(("hr_prompt",) if is_hires else ()))}


def _loras(request: GenerationRequest, settings: Settings, names: Names) -> Iterator[Lora]:
    """Each LoRA once. Raises MissingNetworks, and WebuiError for a weight that is not a number.

    A1111 leaves missing ones out, and so does the engine under a setting, with a warning.
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


def _texts(request: GenerationRequest, settings: Settings) -> Iterator[tuple[str, Timing]]:
    """The prompts in use, each with the timing of its pass."""
    is_hires = isinstance(request, Txt2ImgRequest) and request.enable_hr
    first = timing(request.steps, use_old_scheduling=settings.use_old_scheduling, has_hires_pass=is_hires)
    yield from ((text, first) for text in (request.prompt, request.negative_prompt))
    if isinstance(request, Txt2ImgRequest) and is_hires:
        steps = request.hr_second_pass_steps or request.steps
        second = timing(request.steps, steps, use_old_scheduling=settings.use_old_scheduling)
        yield (request.hr_prompt or request.prompt, second)
        yield (request.hr_negative_prompt or request.negative_prompt, second)


def _about(field: str, error: WebuiError) -> WebuiError:
    return WebuiError(error.message.replace("prompt:", f"{field}:", 1), error.hint, field)
