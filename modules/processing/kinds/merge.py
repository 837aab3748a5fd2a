"""Checkpoints merged into a new one: A1111's Checkpoint Merger as a job. The fields have the names of its function."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import ConfigDict, Field, field_validator

from modules.base.errors import WebuiError
from modules.base.events import EngineState, Event, Stop
from modules.base.fields import Strict
from modules.base.paths import DEVICES, FORBIDDEN, LONGEST_PART, ROOM, could_be
from modules.networks.merging.blocks import parse_block_weights
from modules.networks.merging.recipe import COUNTS, Method, Precision
from modules.processing.kinds.kind import JobKind, Names, Results, Work
from modules.prompts.tags import NETWORK_KINDS, NetworkTag, network_tags, take_tags
from modules.schema.catalog import OWN_VAE, Checkpoint
from modules.schema.resources import Resources
from modules.schema.settings import Settings

ConfigSource = Literal["A, B or C", "B", "C", "Don't"]
NAME_FIELDS = ("primary_model_name", "secondary_model_name", "tertiary_model_name")
LONGEST = 1000  # letters of a name or a pattern


class MergeRequest(Strict):
    """What is merged, how, and what the new file is called."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    primary_model_name: str = Field(title="Checkpoint A", default="", max_length=LONGEST, description="Checkpoint A.")
    secondary_model_name: str = Field(title="Checkpoint B", default="", max_length=LONGEST, description="Checkpoint B.")
    tertiary_model_name: str = Field(title="Checkpoint C", default="", max_length=LONGEST, description="Checkpoint C.")
    interp_method: Method = Field(
        title="Method",
        default="Weighted sum",
        description="No interpolation: A. Weighted sum: A (1 - M) + B M. Add difference: A + (B - C) M. SLERP: "
        "spherical interpolation from A to B. Triple sum: A (1 - M - N) + B M + C N.",
    )
    multiplier: float = Field(title="Multiplier (M)", default=0.3, ge=-2, le=2, description="M.")
    multiplier_c: float = Field(
        title="Multiplier of C (N)", default=0.0, ge=-2, le=2, description="N, of C in a triple sum."
    )
    block_weights: str = Field(
        title="Block weights",
        default="",
        max_length=LONGEST,
        description="M for each block: 26 numbers for Stable Diffusion 1 and 2, 20 for XL, 21 for XL and its VAE.",
    )
    save_as: Precision = Field(
        title="Save as", default="same", description="Number type of the weights; same keeps the sources' type."
    )
    custom_name: str = Field(
        title="Name",
        default="",
        max_length=LONGEST,
        description="Name of the new file; if empty, it is made from the sources' names.",
    )
    bake_in_vae: str = Field(
        title="Bake in VAE", default=OWN_VAE, max_length=LONGEST, description="VAE that replaces A's."
    )
    loras: str = Field(
        title="LoRAs",
        default="",
        max_length=LONGEST,
        description="LoRAs to bake in, written as in a prompt: <lora:name:0.8>.",
    )
    discard_weights: str = Field(
        title="Discard tensors",
        default="",
        max_length=500,
        description="Regular expression; tensors with matching names are discarded.",
    )
    config_source: ConfigSource = Field(
        title="Copy configuration from",
        default="A, B or C",
        description="The checkpoint whose .yaml, if it has one, is copied beside the new file.",
    )
    save_metadata: bool = Field(title="Write notes", default=True, description="Write notes into the file.")
    add_merge_recipe: bool = Field(title="Add merge recipe", default=True, description="Note what was merged, and how.")
    copy_metadata_fields: bool = Field(
        title="Copy notes of the sources", default=True, description="Copy the sources' notes into the file."
    )
    metadata_json: str = Field(
        title="Further notes (JSON)",
        default="{}",
        max_length=100_000,
        description="Notes to add: a JSON object of strings.",
    )
    overwrite: bool = Field(
        title="Replace a file of this name", default=False, description="Whether a file of this name may be replaced."
    )

    @field_validator("custom_name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        name = value.strip().removesuffix(".safetensors")
        is_bad = (
            FORBIDDEN.search(name) or DEVICES.fullmatch(name) or name.startswith(".") or name != name.strip(" .")
            or not could_be(name) or len(name.encode("utf-8", "replace")) > LONGEST_PART - ROOM
        )  # fmt: skip
        if is_bad:
            raise ValueError("expected a plain file name without folders")
        return name

    @field_validator("discard_weights")
    @classmethod
    def _pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"expected a regular expression: {error}") from error
        return value

    @field_validator("loras")
    @classmethod
    def _tags(cls, value: str) -> str:
        try:
            tags_in(value)
        except WebuiError as error:
            raise ValueError(error.message.removeprefix("prompt: ")) from error
        return value

    @field_validator("metadata_json")
    @classmethod
    def _notes(cls, value: str) -> str:
        notes_in(value)
        return value

    @field_validator("block_weights")
    @classmethod
    def _weights(cls, value: str) -> str:
        try:
            parse_block_weights(value)
        except WebuiError as error:
            raise ValueError(error.message.partition(": ")[2]) from error
        return value

    @property
    def notes(self) -> dict[str, str]:
        return notes_in(self.metadata_json)

    @property
    def names(self) -> tuple[str, ...]:
        """The checkpoints that the method takes."""
        return tuple(getattr(self, field) for field in NAME_FIELDS[: COUNTS[self.interp_method]])


def tags_in(text: str) -> list[NetworkTag]:
    """The LoRAs in a text that holds only their tags. Raises ValueError, WebuiError."""
    rest, tags = take_tags(text)
    if rest.strip() or any(tag.kind not in NETWORK_KINDS for tag in tags):
        raise ValueError("expected nothing but tags such as <lora:name:0.8>")
    return network_tags(tags)


def notes_in(text: str) -> dict[str, str]:
    """The notes in a JSON object; values that are not strings become JSON text. Raises ValueError."""
    try:
        content = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected a JSON object: {str(error)[:100]}") from error
    if not isinstance(content, dict):
        raise ValueError("expected a JSON object")
    notes = cast(dict[str, Any], content)
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in notes.items()}


@dataclass(frozen=True)
class Merge(JobKind[MergeRequest]):
    """Runs in the engine process, which reads and writes the files in slices. Loaded models stay loaded."""

    def admitted(self, request: MergeRequest, settings: Settings, names: Names) -> tuple[MergeRequest, Resources]:
        found = dict(zip(NAME_FIELDS, self._checkpoints(request, names), strict=False))
        vae = names.vae(request.bake_in_vae, next(iter(found.values()))) if request.bake_in_vae else None
        for tag in tags_in(request.loras):
            names.lora(tag.name)
        update = {field: checkpoint.name for field, checkpoint in found.items()}
        update["bake_in_vae"] = vae.name if vae is not None else OWN_VAE
        resources = Resources(found[NAME_FIELDS[0]], vae=vae, catalog=names.catalog.without_notes)
        return request.model_copy(update=update), resources

    def _checkpoints(self, request: MergeRequest, names: Names) -> Iterator[Checkpoint]:
        for field, name in zip(NAME_FIELDS, required_names(request), strict=False):
            try:
                yield _found(name, names)
            except WebuiError as error:
                raise WebuiError(f"{field}: {error.message}", error.hint, field) from error

    def results(self, request: MergeRequest, settings: Settings) -> Results:
        return Results(is_whole=True)

    def run(self, engine: Any, work: Work, should_stop: Callable[[], Stop]) -> Iterator[Event | EngineState]:
        return engine.merge(work.request, work.resources, should_stop)


def required_names(request: MergeRequest) -> tuple[str, ...]:
    """The checkpoints that are merged. Raises WebuiError if the method takes more than are named."""
    for field, name in zip(NAME_FIELDS, request.names, strict=False):
        if not name.strip():
            raise WebuiError(
                f"{field}: {request.interp_method!r} takes {COUNTS[request.interp_method]} checkpoints.",
                "Choose a checkpoint.",
                field,
            )
    return request.names


def _found(name: str, names: Names) -> Checkpoint:
    """A checkpoint of any family, even one that cannot generate pictures."""
    try:
        return names.catalog.checkpoint(name)
    except WebuiError:
        return names.checkpoint(name)


MERGE = Merge("merge", "Checkpoint merge", MergeRequest, needs_checkpoint=False)
