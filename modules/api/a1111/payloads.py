"""The fields of `/sdapi/v1/txt2img` and `/img2img`: A1111's names and defaults, with our request's descriptions.

These models document the routes and fill in the `parameters` of a response. `a1111.translated` and the request class
validate the values, because clients send more types than a schema can express.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from modules.a1111.request import DEFAULT_SAMPLER, DEFAULTS
from modules.infotext.grammar import FormKind
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest

REQUESTS: Mapping[FormKind, type[GenerationRequest]] = {"txt2img": Txt2ImgRequest, "img2img": Img2ImgRequest}

# Defaults of A1111's API that differ from the declarations, besides those that change the request (a1111.DEFAULTS).
OTHER_DEFAULTS: Mapping[str, Any] = {
    "sampler_name": None, "scheduler": None, "seed_resize_from_w": -1, "seed_resize_from_h": -1, "script_name": None,
    "hr_upscaler": None, "hr_sampler_name": None, "hr_scheduler": None, "mask_blur": None, "init_images": None,
    "script_args": [], "override_settings": None, "mask_blur_x": 4, "mask_blur_y": 4, "hr_scale": 2,
    "inpaint_full_res": True,
}  # fmt: skip


class Answering(BaseModel):
    """Fields that control the response and do not affect pictures."""

    model_config = ConfigDict(extra="ignore")

    send_images: bool = Field(default=True, description="Whether the response contains the pictures, as base64.")
    save_images: bool = Field(default=False, description="Whether to save the pictures in the outputs folder too.")
    do_not_save_samples: bool = Field(default=False, description="With save_images: do not save individual pictures.")
    do_not_save_grid: bool = Field(default=False, description="With save_images: do not save a grid.")
    include_init_images: bool = Field(default=False, description="Whether `parameters` repeats the source pictures.")
    override_settings_restore_afterwards: bool = Field(
        default=True,
        description="Whether override_settings apply to this job only; false keeps them for later jobs.",
    )
    force_task_id: str | None = Field(
        default=None,
        max_length=200,
        description="Your own id for the job, for /internal/progress and pending-tasks.",
    )


class Generated(BaseModel):
    """The response of /txt2img and /img2img."""

    images: list[str] = Field(description="The pictures as base64; none if send_images is false.")
    parameters: dict[str, Any] = Field(description="The fields that were sent, and the defaults of the others.")
    info: str = Field(description="The values that were used, as a JSON string.")


class Common(Answering):
    """Fields of A1111 that our requests do not declare."""

    styles: list[str] | None = Field(
        default=None, description="Names of styles from /prompt-styles to apply to the prompt."
    )
    sampler_index: str = Field(
        default=DEFAULT_SAMPLER, description="Old name of sampler_name; ignored if sampler_name is set."
    )
    infotext: str | None = Field(
        default=None, description="A picture's parameters as text, used for fields that are not sent."
    )
    alwayson_scripts: dict[str, Any] = Field(
        default_factory=dict, description='Scripts by name, {"args": [values by position]}: Soft Inpainting.'
    )
    restore_faces: bool | None = Field(default=None, description="Ignored: there is no face restoration.")
    disable_extra_networks: bool = Field(default=False, description="Ignore the LoRAs in the prompt.")
    firstpass_image: str | None = Field(default=None, description="Ignored.")
    comments: dict[str, Any] | None = Field(default=None, description="Ignored.")


class OfTxt2Img(Common):
    firstphase_width: int = Field(default=0, description="Old name of the first pass's width in hires. fix.")
    firstphase_height: int = Field(default=0, description="Old name of the first pass's height in hires. fix.")


def _model(kind: FormKind, base: type[BaseModel]) -> type[BaseModel]:
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


PAYLOADS: Mapping[FormKind, type[BaseModel]] = {
    "txt2img": _model("txt2img", OfTxt2Img),
    "img2img": _model("img2img", Common),
}
PICTURES = ("init_images", "mask", "latent_mask", "firstpass_image")


def echoed(kind: FormKind, values: Mapping[str, Any], with_pictures: bool) -> dict[str, Any]:
    """The `parameters` of a response: all fields as sent, and the defaults of the others."""
    parameters: dict[str, Any] = {}
    for name, info in PAYLOADS[kind].model_fields.items():
        value = values.get(name)
        parameters[name] = info.get_default(call_default_factory=True) if value is None else value
    if not with_pictures:
        parameters |= {name: None for name in PICTURES if name in parameters}
    return parameters
