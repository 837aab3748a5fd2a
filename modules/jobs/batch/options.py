"""The options of a batch, in addition to the form."""

from typing import Literal

from pydantic import ConfigDict, Field

from modules.base.fields import Strict
from modules.jobs.batch.texts import TakenField, TextSource

SHORTEST_SIDE, LONGEST_SIDE = 64, 4096  # pixels of a result; the same limits as in a request


class BatchOptions(Strict):
    """The options of a batch, in addition to the form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    words: tuple[TextSource, ...] = Field(default=("text", "csv"), description="Where a file's own prompt comes from.")
    words_mode: Literal["append", "replace"] = Field(
        default="append", description="Whether a file's own prompt is added after the form's or replaces it."
    )
    own: tuple[TakenField, ...] = Field(default=(), description="Fields to take from a file's metadata.")
    masks_for: Literal["auto", "all", "name"] = Field(
        default="auto",
        description="auto uses a single mask for all pictures, unless it is named like one of several.",
    )
    unmasked: Literal["leave out", "whole"] = Field(
        default="leave out", description="What to do with a picture without a mask, when masks are matched by name."
    )
    large_sources: Literal["as asked", "only masked"] = Field(
        default="as asked",
        description="only masked redraws just the masked area where the whole picture would be scaled down a lot.",
    )
    size: Literal["form", "source"] = Field(
        default="form",
        description="The form's size, or each source's own. The limits apply to both.",
    )
    max_side: int | None = Field(
        default=None,
        ge=SHORTEST_SIDE,
        le=LONGEST_SIDE,
        description="Limit for the result's longer side.",
    )
    max_megapixels: float | None = Field(default=None, gt=0, le=16, description="Limit for the result.")
    output: str = Field(default="batch", description="A folder inside outputs.")
    skip_finished: bool = Field(default=True, description="Skip files that the output folder's manifest lists as done.")
