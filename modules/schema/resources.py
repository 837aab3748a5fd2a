"""All files that a request names, looked up once, when its job is admitted."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from modules.schema.catalog import NO_CHECKPOINT, Catalog, Checkpoint, ControlModel, Embedding, Lora, Vae

NO_CATALOG: Final = Catalog()


class NamedFile(NamedTuple):
    """A file that a request names, as it was when the job was admitted.

    `size` is in bytes, `changed` the modification time in nanoseconds.
    """

    name: str
    path: Path
    size: int
    changed: int


@dataclass(frozen=True)
class Resources:
    """The files of a job, with the hashes that are known.

    `refiner` and `hires_checkpoint` are None if the job uses its first checkpoint throughout. `vae`, `refiner_vae` and
    `hires_vae` are None if the checkpoint's own VAE is used. `loras` are the LoRAs and `embeddings` the embeddings in
    the prompts, `control_models` the ControlNets of the units in order, `styles` the names of the styles applied to the
    prompts. `files` are all these files as they were found, except those that were already gone.

    `catalog` contains everything that could be named at that time. Prompts that appear only while the job runs (a
    script's) are looked up in it, so a name means the same in the whole job and no folder is read again.
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


NO_RESOURCES = Resources()  # for a job that names no files
