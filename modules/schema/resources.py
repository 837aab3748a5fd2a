"""All files that a job's request names, looked up once, when the job is admitted."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from modules.schema.catalog import NO_CHECKPOINT, Catalog, Checkpoint, ControlModel, Embedding, Lora, Vae

NO_CATALOG: Final = Catalog()


class NamedFile(NamedTuple):
    """A file that a request names, as it was when the job was admitted.

    `size` is in bytes, `changed` its time of change in nanoseconds.
    """

    name: str
    path: Path
    size: int
    changed: int


@dataclass(frozen=True)
class Resources:
    """The files of a job, with their hashes as far as these are known.

    `refiner` and `hires_checkpoint` are None where the job uses its first checkpoint throughout. `vae`, `refiner_vae`
    and `hires_vae` are None where the checkpoint's own is used. `loras` are those that the prompts name, `embeddings`
    those whose words stand in them, `control_models` the ControlNets of its units in their order, `styles` the names of
    those that were put around the prompts. `files` are all files as they were found, but for those that were gone
    already.

    `catalog` is all that could be named at that time. Prompts that only a running job knows (a script's) are looked up
    in it, so that a name means the same in the whole job and no folder is read again.
    """

    checkpoint: Checkpoint = NO_CHECKPOINT
    refiner: Checkpoint | None = None
    hires_checkpoint: Checkpoint | None = None
    vae: Vae | None = None
    loras: tuple[Lora, ...] = ()
    embeddings: tuple[Embedding, ...] = ()
    refiner_vae: Vae | None = None
    hires_vae: Vae | None = None
    styles: tuple[str, ...] = ()
    files: tuple[NamedFile, ...] = ()
    control_models: tuple[ControlModel, ...] = ()
    catalog: Catalog = field(default=NO_CATALOG, compare=False, repr=False)


NO_RESOURCES = Resources()  # of a job that names nothing
