"""Runs a merge, from recipe to finished file. It needs memory for a few slices, whatever the checkpoints' sizes."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from modules.base.errors import WebuiError
from modules.networks.files.detect import with_text_model
from modules.networks.merging.arithmetic import slices
from modules.networks.merging.baking import bake
from modules.networks.merging.partial import PartialFile, lay_out, left_over
from modules.networks.merging.planning import plan_merge
from modules.networks.merging.recipe import Recipe
from modules.networks.merging.source import TensorFile


class Stopped(Exception):
    """The user stopped the merge. The partial file stays, so that the next run can continue it."""


@dataclass(frozen=True)
class Progress:
    """`done` of `total` tensors are in the file; `resumed` of them are from an earlier run."""

    done: int
    total: int
    resumed: int = 0


@dataclass(frozen=True)
class Note:
    """A sentence about what has no effect."""

    sentence: str


@dataclass(frozen=True)
class Merged:
    """The file is complete."""

    path: Path
    size: int


def target_of(recipe: Recipe, kind: str) -> Path:
    """The path of the new file: like A1111, adds the word for A's extra input channels to the name."""
    return recipe.target.with_name(f"{recipe.target.stem}.{kind}{recipe.target.suffix}") if kind else recipe.target


@torch.no_grad()
def merge(recipe: Recipe, should_stop: Callable[[], bool]) -> Iterator[Progress | Note | Merged]:
    """Makes the file of `recipe` and yields its progress; the last item is Merged.

    Raises WebuiError for incompatible files or if the disk refuses, Stopped, OSError.
    """
    sources = [_opened(path) for path in recipe.sources]
    vae = _opened(recipe.vae) if recipe.vae is not None else None
    plan = plan_merge(recipe, sources, vae)
    baking = bake(recipe.sources[0], recipe.loras)
    for note in baking.notes:
        yield Note(note)
    tensors = {key: piece.info for key, piece in plan.pieces.items()}
    layout = lay_out(tensors, recipe.metadata)
    target = target_of(recipe, plan.kind)

    def breathe() -> None:
        if should_stop():
            raise Stopped(left_over(target))

    total = len(layout.order)
    with ExitStack() as opened:
        file = opened.enter_context(PartialFile(target, layout, _stamp(recipe), recipe.overwrite))
        resumed = file.done
        yield Progress(resumed, total, resumed)
        for key in layout.order[resumed:] if not file.is_published else ():
            for tensor in slices(key, plan.pieces[key], recipe.method, recipe.multiplier_c, baking, breathe):
                file.write(tensor.contiguous().view(torch.uint8).numpy().data)
            file.end_tensor()
            yield Progress(file.done, total, resumed)
        if not file.is_published:
            file.publish()
    yield Merged(target, layout.size)


def _opened(path: Path) -> TensorFile:
    try:
        return TensorFile(path, with_text_model)
    except FileNotFoundError as error:
        raise WebuiError(f"{path.name} is no longer there.", "Refresh the list and choose another.") from error
    except OSError as error:
        raise WebuiError(f"{path.name} cannot be read: {error.strerror or error}.", "Refresh the list.") from error


def _stamp(recipe: Recipe) -> bytes:
    """Identifies everything that determines the numbers: the recipe, and the current state of the files."""
    files: list[tuple[str, int, int]] = []
    for path in recipe.files:
        status = path.stat()
        files.append((str(path), status.st_size, status.st_mtime_ns))
    header = asdict(recipe) | {
        "sources": [],
        "vae": None,
        "target": "",
        "overwrite": False,
        "loras": [repr(one) for one in recipe.loras],
    }
    return json.dumps([header, files], sort_keys=True).encode()
