"""What `/sdapi/v1/txt2img` and `/img2img` take: A1111's fields and defaults, described as our request declares them.

The models document the routes and fill in the `parameters` of an answer. What a value may be, `a1111.translated` and
the request decide: clients send more kinds of the same thing than a schema tells.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from modules.a1111.request import DEFAULT_SAMPLER, DEFAULTS, Kind
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest

REQUESTS: Mapping[Kind, type[GenerationRequest]] = {"txt2img": Txt2ImgRequest, "img2img": Img2ImgRequest}

# Where A1111's API has another default than the declaration, beyond those that change the request (a1111.DEFAULTS).
OTHER_DEFAULTS: Mapping[str, Any] = {
    "sampler_name": None, "scheduler": None, "seed_resize_from_w": -1, "seed_resize_from_h": -1, "script_name": None,
    "hr_upscaler": None, "hr_sampler_name": None, "hr_scheduler": None, "mask_blur": None, "init_images": None,
    "script_args": [], "override_settings": None, "mask_blur_x": 4, "mask_blur_y": 4, "hr_scale": 2,
    "inpaint_full_res": True,
}  # fmt: skip


class Answering(BaseModel):
    """Fields that say how a request is answered; they change no picture."""

    model_config = ConfigDict(extra="ignore")

    send_images: bool = Field(default=True, description="Whether the answer holds the pictures, as base64.")
    save_images: bool = Field(
        default=False, description="Whether the pictures are saved in the outputs folder as well."
    )
    do_not_save_samples: bool = Field(
        default=False, description="With save_images: do not save the pictures themselves."
    )
    do_not_save_grid: bool = Field(default=False, description="With save_images: make no grid of several pictures.")
    include_init_images: bool = Field(default=False, description="Whether `parameters` repeats the source pictures.")
    override_settings_restore_afterwards: bool = Field(
        default=True,
        description="Whether override_settings hold for this job alone; false keeps them for all that come.",
    )
    force_task_id: str | None = Field(
        default=None,
        max_length=200,
        description="A name of your own for the job, for /internal/progress and pending-tasks.",
    )


class Generated(BaseModel):
    """An answer of /txt2img and /img2img."""

    images: list[str] = Field(description="The pictures, as base64; none where send_images is false.")
    parameters: dict[str, Any] = Field(description="The fields as they were sent, the others by their defaults.")
    info: str = Field(description="What was made of them, as JSON in a text.")


class Common(Answering):
    """Fields of A1111 that our requests do not declare."""

    styles: list[str] | None = Field(
        default=None, description="Names of styles, from /prompt-styles, put around the prompt."
    )
    sampler_index: str = Field(default=DEFAULT_SAMPLER, description="Older name of sampler_name, which goes before it.")
    infotext: str | None = Field(
        default=None, description="A picture's parameters as text; they stand for fields that are left out."
    )
    alwayson_scripts: dict[str, Any] = Field(
        default_factory=dict, description='Scripts by name, {"args": [values by position]}: Soft Inpainting.'
    )
    restore_faces: bool | None = Field(
        default=None, description="Accepted and passed over: no face restorer is offered."
    )
    disable_extra_networks: bool = Field(default=False, description="Leave out the LoRA that the prompt names.")
    firstpass_image: str | None = Field(default=None, description="Accepted and passed over.")
    comments: dict[str, Any] | None = Field(default=None, description="Accepted and passed over.")


class OfTxt2Img(Common):
    firstphase_width: int = Field(default=0, description="Older name for the width of the first pass of hires fix.")
    firstphase_height: int = Field(default=0, description="Older name for the height of the first pass of hires fix.")


class OfImg2Img(Common):
    image_cfg_scale: float | None = Field(
        default=None, description="Accepted and passed over: for checkpoints of another kind."
    )


def _model(kind: Kind, base: type[BaseModel]) -> type[BaseModel]:
    """`base` with the fields that the request of `kind` declares, none of them required."""
    fields: dict[str, Any] = {}
    for name, declared in REQUESTS[kind].model_fields.items():
        info = copy(declared)
        default = {**OTHER_DEFAULTS, **DEFAULTS[kind]}.get(name, declared.get_default(call_default_factory=True))
        if name in OTHER_DEFAULTS:
            default = OTHER_DEFAULTS[name]
        info.default, info.default_factory = default, None
        annotation: Any = declared.annotation
        fields[name] = (annotation | None, info)
    return create_model(f"{kind.capitalize()}Payload", __base__=base, **fields)


PAYLOADS: Mapping[Kind, type[BaseModel]] = {
    "txt2img": _model("txt2img", OfTxt2Img),
    "img2img": _model("img2img", OfImg2Img),
}
PICTURES = ("init_images", "mask", "latent_mask", "firstpass_image")


def echoed(kind: Kind, values: Mapping[str, Any], with_pictures: bool) -> dict[str, Any]:
    """The `parameters` of an answer: all fields as they were sent, the others by their defaults."""
    parameters: dict[str, Any] = {}
    for name, info in PAYLOADS[kind].model_fields.items():
        value = values.get(name)
        parameters[name] = info.get_default(call_default_factory=True) if value is None else value
    if not with_pictures:
        parameters |= {name: None for name in PICTURES if name in parameters}
    return parameters
