"""The fields of outpainting, which adds pixels around the source."""

from typing import Annotated, Any

from pydantic import Field

from modules.base.fields import Control

OUTPAINT_FILLS = ("stretched edges", "blur", "noise shaped like the picture")


def _outpaint(side: str) -> tuple[Any, Control]:
    """Bounds and control of the pixels added on one side."""
    return (
        Field(ge=0, le=4096, description=f"Pixels to add on the {side}, measured at the source's size."),
        Control(
            f"Outpaint {side}", kind="slider", step=8, maximum=512, elem=f"outpaint_{side}",
            infotext=f"Outpaint {side}", absent=0,
        ),
    )  # fmt: skip


OutpaintLeft = Annotated[int, *_outpaint("left")]
OutpaintRight = Annotated[int, *_outpaint("right")]
OutpaintTop = Annotated[int, *_outpaint("top")]
OutpaintBottom = Annotated[int, *_outpaint("bottom")]
OutpaintFill = Annotated[
    int,
    Field(ge=0, le=2, description="What the new area contains at the start: " + ", ".join(OUTPAINT_FILLS) + "."),
    Control(
        "Outpaint fill", kind="radio", choices=OUTPAINT_FILLS, elem="outpaint_fill", infotext="Outpaint fill",
    ),
]  # fmt: skip
OutpaintFeather = Annotated[
    int,
    Field(ge=0, le=512, description="Width in pixels of the blend from the old edge into the new area; 0 for none."),
    Control("Outpaint feather", kind="slider", step=1, maximum=128, elem="outpaint_feather",
            infotext="Outpaint feather"),
]  # fmt: skip
