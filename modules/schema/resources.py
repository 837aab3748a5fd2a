"""Everything that a job's request names, as files: looked up once, when the job is admitted."""

from dataclasses import dataclass

from modules.schema.catalog import NO_CHECKPOINT, Checkpoint, Embedding, Lora, Vae


@dataclass(frozen=True)
class Resources:
    """The files of a job, with their hashes as far as these are known.

    `refiner` and `hires_checkpoint` are None where the job uses its first checkpoint throughout, `vae` where it uses
    the checkpoint's own. `loras` are those that the prompts name, `embeddings` those whose words stand in them.
    """

    checkpoint: Checkpoint = NO_CHECKPOINT
    refiner: Checkpoint | None = None
    hires_checkpoint: Checkpoint | None = None
    vae: Vae | None = None
    loras: tuple[Lora, ...] = ()
    embeddings: tuple[Embedding, ...] = ()


NO_RESOURCES = Resources()  # of a job that names nothing
