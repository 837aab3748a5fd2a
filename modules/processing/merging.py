"""A merge as a job: resolves names to files, writes the recipe as notes and reports progress as events."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

from modules.base.disk import write_new, write_over
from modules.base.errors import WebuiError
from modules.base.events import Event, FileSaved, Finished, Staged, Started, Stepped, Stop, Warned
from modules.base.paths import plain_part
from modules.networks.files.foreign import open_file
from modules.networks.files.headers import stamp_of
from modules.networks.files.listing import HashCache
from modules.networks.files.loras import LoraRequest
from modules.networks.merging.blocks import parse_block_weights
from modules.networks.merging.merge import Merged, Note, Progress, Stopped, merge
from modules.networks.merging.partial import taken
from modules.networks.merging.recipe import Recipe, Source, copied_notes, merge_notes
from modules.networks.merging.source import TensorFile
from modules.processing.kinds.merge import MergeRequest, required_names, tags_in
from modules.schema.catalog import Checkpoint, Lora, Vae

STEPS: Final = 100  # in which a merge's progress is reported
LARGEST_CONFIG: Final = 2**16  # bytes of a .yaml to be copied
SUFFIX: Final = ".safetensors"


class FindsFiles(Protocol):
    """Looks up names. Raises WebuiError with the closest match."""

    def checkpoint(self, name: str) -> Checkpoint: ...
    def vae(self, name: str) -> Vae | None: ...
    def lora(self, name: str) -> Lora: ...


class Merger:
    """Merges checkpoints into files of `folder`."""

    def __init__(self, find: FindsFiles, hashes: HashCache, folder: Path) -> None:
        self._find = find
        self._hashes = hashes
        self._folder = folder

    def run(self, request: MergeRequest, should_stop: Callable[[], Stop]) -> Iterator[Event]:
        """Run the merge and yield its events. A stopped merge is resumed by the next one with the same recipe.

        Raises WebuiError for models that cannot be merged or a file that cannot be saved.
        """
        begun = time.monotonic()
        yield Started(1, 1, STEPS, 0, 0, seed=0)
        checkpoints = [self._find.checkpoint(name) for name in required_names(request)]
        target = self._folder / f"{name_of(request, checkpoints)}{SUFFIX}"
        if target.exists() and not request.overwrite and not request.custom_name:
            raise taken(target)
        sources: list[Source] = []
        for checkpoint in checkpoints if request.save_metadata else ():
            if request.add_merge_recipe:
                yield Staged(f"hashing {checkpoint.name}")
                if should_stop():
                    yield Finished(time.monotonic() - begun, {}, interrupted=True)
                    return
            sources.append(self._source(checkpoint, request.add_merge_recipe))
        recipe = self._recipe(request, checkpoints, sources, target)
        yield Staged("merging")
        try:
            yield from self._merged(recipe, request, should_stop)
        except Stopped as stopped:
            if str(stopped):
                yield Warned(str(stopped))
            yield Finished(time.monotonic() - begun, {}, interrupted=True)
            return
        except OSError as error:
            raise WebuiError(
                f"A file to be merged cannot be read: {error.strerror or error}.", "Check the drive."
            ) from error
        seconds = time.monotonic() - begun
        yield Finished(seconds, {"merging": seconds})

    def _merged(self, recipe: Recipe, request: MergeRequest, should_stop: Callable[[], Stop]) -> Iterator[Event]:
        shown = 0
        for update in merge(recipe, lambda: should_stop() is Stop.INTERRUPT):
            if isinstance(update, Merged):
                _copy_config(recipe, request, update.path)
                yield FileSaved(update.path.name, update.size)
                continue
            if isinstance(update, Note):
                yield Warned(update.sentence)
                continue
            if update.resumed and update.done == update.resumed:
                yield Warned(f"The merge resumes: {update.done} of {update.total} tensors are already done.")
            step = _step(update)
            if step > shown:
                shown = step
                yield Stepped(0, step, STEPS)

    def _loras(self, request: MergeRequest) -> Iterator[LoraRequest]:
        for tag in tags_in(request.loras):
            stamp = stamp_of(self._find.lora(tag.name).path)
            yield LoraRequest(tag.name, stamp, tag.te, tag.unet, tag.dyn_dim, tag.blocks)

    def _source(self, checkpoint: Checkpoint, is_hashed: bool) -> Source:
        path = checkpoint.path
        digest = self._hashes.sha256(path) if is_hashed else ""
        return Source(checkpoint.name, path, digest, TensorFile(path).metadata)

    def _recipe(
        self, request: MergeRequest, checkpoints: list[Checkpoint], sources: list[Source], target: Path
    ) -> Recipe:
        notes: dict[str, str] = {}
        if request.save_metadata:
            notes = copied_notes(sources) if request.copy_metadata_fields else {}
            notes |= request.notes
            if request.add_merge_recipe:
                notes |= merge_notes(sources, _recipe_settings(request))
        vae = self._find.vae(request.bake_in_vae) if request.bake_in_vae else None
        return Recipe(
            tuple(checkpoint.path for checkpoint in checkpoints),
            target,
            request.interp_method,
            request.multiplier,
            request.multiplier_c,
            parse_block_weights(request.block_weights),
            request.save_as,
            vae.path if vae is not None else None,
            request.discard_weights,
            tuple(self._loras(request)),
            notes,
            request.overwrite,
        )


def name_of(request: MergeRequest, checkpoints: list[Checkpoint]) -> str:
    """The new file's name without suffix: the given one, else A1111's name for the method."""
    if request.custom_name:
        return request.custom_name
    stems = [checkpoint.stem for checkpoint in checkpoints]
    m, n = round(request.multiplier, 2), round(request.multiplier_c, 2)
    rest, rest_of_three = round(1 - request.multiplier, 2), round(1 - request.multiplier - request.multiplier_c, 2)
    match request.interp_method:
        case "No interpolation":
            name = stems[0]
        case "Weighted sum":
            name = f"{rest}({stems[0]}) + {m}({stems[1]})"
        case "SLERP":
            name = f"{rest}({stems[0]}) slerp {m}({stems[1]})"
        case "Add difference":
            name = f"{stems[0]} + {m}({stems[1]} - {stems[2]})"
        case "Triple sum":
            name = f"{rest_of_three}({stems[0]}) + {m}({stems[1]}) + {n}({stems[2]})"
    return plain_part(f"{name} blocks" if request.block_weights.strip() else name)


def _recipe_settings(request: MergeRequest) -> dict[str, object]:
    """A1111's recipe, plus entries for the options that only we have."""
    recipe: dict[str, object] = {
        "interp_method": request.interp_method,
        "multiplier": request.multiplier,
        "save_as_half": request.save_as == "fp16",
        "custom_name": request.custom_name,
        "config_source": request.config_source,
        "bake_in_vae": request.bake_in_vae,
        "discard_weights": request.discard_weights,
        "save_as": request.save_as,
    }
    if request.block_weights.strip():
        recipe["block_weights"] = request.block_weights
    if request.loras.strip():
        recipe["loras"] = request.loras
    if request.interp_method == "Triple sum":
        recipe["multiplier_c"] = request.multiplier_c
    return recipe


def _copy_config(recipe: Recipe, request: MergeRequest, target: Path) -> None:
    """Copy the .yaml of the chosen source beside the new file, if there is one."""
    chosen = {"A, B or C": recipe.sources, "B": recipe.sources[1:2], "C": recipe.sources[2:3], "Don't": ()}
    beside = target.with_suffix(".yaml")
    for source in chosen[request.config_source]:
        try:
            with open_file(source.with_suffix(".yaml")) as file:
                data = file.read(LARGEST_CONFIG + 1)
        except (OSError, WebuiError):  # most have none
            continue
        if len(data) <= LARGEST_CONFIG:
            with contextlib.suppress(FileExistsError):  # an existing one was put there by hand
                (write_over if request.overwrite else write_new)(beside, data)
            return


def _step(progress: Progress) -> int:
    return STEPS * progress.done // max(progress.total, 1)
