"""The inputs of a batch, checked before it starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from modules.base.errors import WebuiError
from modules.base.fields import params
from modules.base.picture import Picture
from modules.jobs.admission import Admission
from modules.jobs.batch.files import FileSet
from modules.jobs.batch.options import BatchOptions
from modules.processing.kinds.generate import IMG2IMG
from modules.prompts.style_file import Style
from modules.prompts.styles import style_names
from modules.schema.catalog import Catalog
from modules.schema.request import Img2ImgRequest
from modules.schema.settings import Settings

NAMING = ("prompt", "refiner_checkpoint", "script_name")  # form fields that contain names
BLANK = Picture.from_image(Image.new("RGB", (8, 8)))  # a placeholder source for checking a form


@dataclass(frozen=True)
class Materials:
    """The inputs of a batch. `form` are the values of a request of the job kind `kind` without pictures.

    `catalog` and `styles` are as they were when the batch began, so that a name means the same for every file.

    `uploads` are the fields of `BatchStart` that record the origin of files and masks, for finding them again after a
    restart.
    """

    form: Mapping[str, Any]
    files: FileSet
    masks: FileSet
    options: BatchOptions
    settings: Settings
    catalog: Catalog
    uploads: Mapping[str, Any] = field(default_factory=dict)
    styles: Mapping[str, Style] = field(default_factory=dict[str, Style])
    kind: str = IMG2IMG.name


def require_pictures(files: FileSet) -> None:
    """Raises WebuiError if `files` contains no pictures."""
    if not files.pictures:
        raise WebuiError("The given files contain no pictures.", "Choose PNG, JPEG or WebP files.", "files")


def checked_form(
    form: Mapping[str, Any], settings: Settings, admission: Admission, leave_out_missing: bool = False
) -> dict[str, Any]:
    """The values of a form with its names resolved. `leave_out_missing` is as in `Admission.admitted`."""
    unknown = [name for name in ("init_images", "mask", "latent_mask") if form.get(name)]
    if unknown:
        raise WebuiError(
            f"request: {unknown[0]} is set by each file of a batch.",
            "Leave it out.",
            unknown[0],
        )
    used = {name: value for name, value in form.items() if name in params(Img2ImgRequest) or value}
    styles = style_names(used)
    request = Img2ImgRequest.parse({**without_styles(used), "init_images": (BLANK,)})
    spec = admission.admitted(IMG2IMG, request, settings, leave_out_missing, styles)
    if styles:  # they are applied to each file's own prompt
        spec = admission.admitted(IMG2IMG, request, settings, leave_out_missing)
    return {**used, **{name: getattr(spec.request, name) for name in NAMING if used.get(name)}}


def without_styles(form: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a form that are fields of a request."""
    return {name: value for name, value in form.items() if name != "styles"}


def passed_over(materials: Materials) -> tuple[str, ...]:
    others = materials.files.others
    if not others:
        return ()
    shown = others[:5]
    return (f"Skipped, because they are not pictures: {', '.join(shown)}{' …' * (len(others) > len(shown))}.",)
