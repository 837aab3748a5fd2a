"""How a batch is made, beside the form."""

from typing import Literal

from pydantic import ConfigDict, Field

from modules.base.fields import Strict
from modules.jobs.batch.texts import TakenField, TextSource

SHORTEST_SIDE, LONGEST_SIDE = 64, 4096  # pixels of a result, as a request takes them


class BatchOptions(Strict):
    """How a batch is made, beside the form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    words: tuple[TextSource, ...] = Field(default=("text", "csv"), description="Where a file's own prompt comes from.")
    words_mode: Literal["append", "replace"] = Field(
        default="append", description="Whether a file's own prompt stands behind the form's or in its place."
    )
    own: tuple[TakenField, ...] = Field(default=(), description="Fields that are taken from a file's metadata.")
    masks_for: Literal["auto", "all", "name"] = Field(
        default="auto",
        description="auto takes a single mask for all, unless it has the name of one of several pictures.",
    )
    unmasked: Literal["leave out", "whole"] = Field(
        default="leave out", description="What becomes of a picture without a mask, where there are masks by name."
    )
    large_sources: Literal["as asked", "only masked"] = Field(
        default="as asked",
        description="only masked works on the mask alone where the whole picture would become much smaller.",
    )
    size: Literal["form", "source"] = Field(
        default="form", description="The form's, or each source's own. The caps hold for both; proportions stay."
    )
    max_side: int | None = Field(
        default=None, ge=SHORTEST_SIDE, le=LONGEST_SIDE, description="Pixels of the result's longer side."
    )
    max_megapixels: float | None = Field(default=None, gt=0, le=16, description="Of the result.")
    output: str = Field(default="batch", description="A folder inside outputs.")
    skip_finished: bool = Field(default=True, description="Pass over what the output folder's manifest calls done.")
