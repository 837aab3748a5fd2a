"""The fields that keep what a whole-picture redraw was not meant to change."""

from typing import Annotated

from pydantic import Field

from modules.base.fields import Control

KeepUnchanged = Annotated[
    bool,
    Field(
        description="Find what the model meant to change, and keep every other byte of the source. For redrawing "
        "without a mask."
    ),
    Control(
        "Change only what was asked", kind="checkbox", elem="keep_unchanged", infotext="Keep unchanged", absent=False,
        ours=True,
    ),
]  # fmt: skip
ChangeSensitivity = Annotated[
    float,
    Field(ge=0, le=1, description="How faint a difference counts as a change: 0 only clear ones, 1 faint ones too."),
    Control(
        "Change sensitivity", kind="slider", step=0.05, elem="change_sensitivity", infotext="Change sensitivity",
        ours=True,
    ),
]  # fmt: skip
ChangeGrow = Annotated[
    int,
    Field(ge=-64, le=256, description="Pixels by which the changed area is grown; negative values shrink it."),
    Control(
        "Grow the change", kind="slider", step=1, minimum=-16, maximum=64, elem="change_grow", infotext="Change grow",
        ours=True,
    ),
]  # fmt: skip
ChangeFeather = Annotated[
    int,
    Field(ge=0, le=256, description="Pixels over which the edge of the changed area fades into the source."),
    Control(
        "Feather the change", kind="slider", step=1, maximum=64, elem="change_feather", infotext="Change feather",
        ours=True,
    ),
]  # fmt: skip
