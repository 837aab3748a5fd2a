"""The routes of A1111's ControlNet extension, which plug-ins of painting programs call before they send units."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query
from PIL import Image
from pydantic import AliasChoices, BaseModel, Field

from modules.api.a1111.pictures import Fetch, as_base64, picture_from, require_count, require_together
from modules.api.services import Services
from modules.base.errors import WebuiError
from modules.base.picture import Picture
from modules.images.fit_map import pixel_perfect
from modules.images.geometry import Size
from modules.images.preprocessors import PREPROCESSORS, USUAL_RESOLUTION, Preprocessor, Slider, preprocessor
from modules.schema.catalog import ControlModel
from modules.schema.control import CROP, MOST_UNITS, NOTHING, FitMode

API_VERSION = 2
MOST_PICTURES = 16  # in one call
ALL = "All"
NUMBERS = ("threshold_a", "threshold_b")  # fields of a unit for a preprocessor's sliders, in order
PICTURE_ID = re.compile(r"[0-9a-f]{64}")
# A1111's control types, each with the words that occur in the names of its models.
TYPES: Mapping[str, tuple[str, ...]] = {
    ALL: (),
    "Canny": ("canny",),
    "Depth": ("depth",),
    "NormalMap": ("normal",),
    "OpenPose": ("openpose", "pose"),
    "MLSD": ("mlsd",),
    "Lineart": ("lineart",),
    "SoftEdge": ("softedge", "hed", "pidi"),
    "Scribble": ("scribble", "sketch"),
    "Segmentation": ("seg",),
    "Shuffle": ("shuffle",),
    "Tile": ("tile", "blur"),
    "Inpaint": ("inpaint",),
    "InstructP2P": ("ip2p", "p2p"),
    "Recolor": ("recolor", "color"),
}


class DetectBody(BaseModel):
    """The body of `/controlnet/detect`; -1 uses a preprocessor's default."""

    controlnet_module: str = Field(default="none", description="Name of the preprocessor.")
    controlnet_input_images: list[str] = Field(
        default=[],
        max_length=1000,
        validation_alias=AliasChoices("controlnet_input_images", "controlnet_images"),  # the second is webuiapi's
        description="Pictures as base64, or ids from POST /v1/pictures.",
    )
    controlnet_processor_res: int = Field(default=-1, description="Short side in the preprocessor, in pixels.")
    controlnet_threshold_a: float = Field(default=-1, description="First number of the preprocessor.")
    controlnet_threshold_b: float = Field(default=-1, description="Second number of the preprocessor.")
    controlnet_masks: list[str] = Field(default=[], max_length=1000, description="Ignored: no preprocessor uses masks.")
    low_vram: bool = Field(default=False, description="Ignored.")
    pixel_perfect: bool = Field(default=False, description="Draw at the resolution of a result of width x height.")
    resize_mode: FitMode = Field(default=CROP, description="With pixel_perfect: how the map will be fitted.")
    width: int = Field(default=USUAL_RESOLUTION, ge=64, le=8192, description="Of the result, in pixels.")
    height: int = Field(default=USUAL_RESOLUTION, ge=64, le=8192, description="Of the result, in pixels.")


def routes(services: Services, fetch: Fetch | None) -> APIRouter:
    router = APIRouter(prefix="/controlnet", tags=["A1111: ControlNet"])

    @router.get("/version")
    def version() -> dict[str, int]:
        """The supported version of the extension's API."""
        return {"version": API_VERSION}

    @router.get("/model_list")
    def model_list(
        update: Annotated[bool, Query(description="Look for new files first.")] = True,
    ) -> dict[str, list[str]]:
        """The ControlNets, as `name [hash]`."""
        catalog = services.catalog.refresh() if update else services.catalog.current
        return {"model_list": [model.label for model in catalog.control_models]}

    @router.get("/module_list")
    def module_list(
        alias_names: Annotated[bool, Query(description="Return labels instead of names.")] = False,
    ) -> dict[str, Any]:
        """The preprocessors and their parameters."""
        names = {row.label if alias_names else row.name: row for row in PREPROCESSORS}
        return {
            "module_list": list(names),
            "module_detail": {name: _detail(row) for name, row in names.items()},
        }

    @router.get("/control_types")
    def control_types() -> dict[str, Any]:
        """The control types, each with its preprocessors and models."""
        models = services.catalog.current.control_models
        return {"control_types": {name: _type(name, words, models) for name, words in TYPES.items()}}

    @router.get("/settings")
    def settings() -> dict[str, int]:
        """The maximum number of units in a request."""
        return {"control_net_unit_count": MOST_UNITS}

    @router.post("/detect")
    def detect(body: Annotated[DetectBody, ...]) -> dict[str, Any]:
        """Run a preprocessor on pictures; returns its results as base64."""
        row = preprocessor(body.controlnet_module)
        if not body.controlnet_input_images:
            raise WebuiError("No image selected", "Send controlnet_input_images.", "controlnet_input_images", 422)
        require_count(body.controlnet_input_images, "controlnet_input_images", MOST_PICTURES)
        pictures: list[Picture] = []
        for text in body.controlnet_input_images:
            stored = services.pictures.get(text) if PICTURE_ID.fullmatch(text) else text
            pictures.append(picture_from(stored, "controlnet_input_images", fetch, Picture.unread))
            require_together(pictures, "controlnet_input_images")
        images: list[str] = []
        for header in pictures:
            picture = Picture.from_bytes(header.data, "controlnet_input_images")
            pixels = np.array(picture.rgb("#ffffff"))
            resolution = _resolution(body, Size(picture.width, picture.height))
            drawn = row.drawn(pixels, resolution, body.controlnet_threshold_a, body.controlnet_threshold_b)
            images.append(as_base64(Picture.from_image(Image.fromarray(drawn)).data))
        return {"info": "Success", "images": images}

    return router


def _resolution(body: DetectBody, picture: Size) -> int:
    """The short side, in pixels, at which a preprocessor draws."""
    if body.pixel_perfect:
        return pixel_perfect(picture, Size(body.width, body.height), body.resize_mode)
    return body.controlnet_processor_res if 64 <= body.controlnet_processor_res <= 2048 else USUAL_RESOLUTION


def _detail(row: Preprocessor) -> dict[str, Any]:
    """A preprocessor's sliders, and the fields of a unit that they set; one without a resolution has none for it."""
    sliders = dict(zip(NUMBERS, row.sliders, strict=False))
    if row.has_resolution:
        sliders = {"processor_res": Slider("Resolution", USUAL_RESOLUTION, 64, 2048, 8), **sliders}
    return {"model_free": False, "sliders": [_slider(each) for each in sliders.values()], "fields": list(sliders)}


def _slider(slider: Slider) -> dict[str, Any]:
    return {
        "name": slider.name,
        "value": slider.value,
        "min": slider.minimum,
        "max": slider.maximum,
        "step": slider.step,
    }


def _type(name: str, words: tuple[str, ...], models: tuple[ControlModel, ...]) -> dict[str, Any]:
    rows = [row.name for row in PREPROCESSORS if name == ALL or name in row.types]
    fitting = [model.label for model in models if name == ALL or any(word in model.name.lower() for word in words)]
    own = next((row.name for row in PREPROCESSORS if row.types and row.types[0] == name and name != ALL), "none")
    return {
        "module_list": ["none", *(each for each in rows if each != "none")],
        "model_list": [NOTHING, *fitting],
        "default_option": own,
        "default_model": fitting[0] if fitting and name != ALL else NOTHING,
    }
