"""The interface for extensions: an extension is a subclass of `Extension`, a script a subclass of `Script`.

An extension is a file `extensions/<name>/extension.py`; the bundled scripts use the same interface, see
`docs/extensions.md`. Both processes import it, so it must not import torch at the top; it may compute with the tensors
it gets.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self, TypeVar

from PIL import Image
from pydantic import ConfigDict, ValidationError, ValidationInfo, field_validator

from modules.base.errors import WebuiError
from modules.base.fields import Strict, explained, number_not_bool
from modules.infotext.grammar import FormKind, compose
from modules.schema.catalog import Catalog
from modules.schema.request import GenerationRequest
from modules.schema.settings import Settings
from modules.schema.upscalers import Upscaler

Request = TypeVar("Request", bound=GenerationRequest)


Denoise = Callable[[Any, Any], Any]
"""(x, sigma) -> x0: tensors x (B, C, h, w) fp32, the latent with noise, and sigma (B,), its level; x0 as x."""


@dataclass(frozen=True)
class PassView:
    """What an extension sees of a sampler pass. `arguments` are the extension's own, from the request.

    `is_second`: the second pass of hires. fix. `steps`: number of steps that run. `width` and `height`: in pixels.
    `cell`: pixels per side of a latent cell. `family`: the model's family, such as "sd1".
    """

    request: GenerationRequest
    arguments: Any
    is_second: bool
    steps: int
    width: int
    height: int
    cell: int
    family: str


class Extension:
    """What an extension adds. A method that is not overridden adds nothing.

    `wrap_denoise` and `before_predict` are called for jobs whose request has the extension's folder name in
    `extensions`.
    """

    def scripts(self) -> Sequence["Script"]:
        """Scripts to add to the "Script" dropdown."""
        return ()

    def upscalers(self) -> Sequence[Upscaler]:
        """Additional upscalers for hires. fix, Extras and scripts. Their `function` is a callable, not a name."""
        return ()

    def arguments(self) -> type["Arguments"]:
        """The class that declares the extension's part of a request."""
        return Arguments

    def wrap_denoise(self, denoise: Denoise, view: PassView) -> Denoise:
        """Returns a denoiser around the guided one; called once for each pass of each batch.

        Masks are applied to its result.
        """
        return denoise

    def before_predict(self, x: Any, sigma: Any, extra: Any, view: PassView) -> Any:
        """Additional inputs of the network for one evaluation: returns `extra`, or what one of its methods returns.

        `extra.with_tokens(tokens (1, n, width))` appends tokens to the prompt's; `extra.with_residuals(down, middle)`
        adds to the skip connections and the middle block of a UNet, as ControlNets do.
        """
        return extra


class Arguments(Strict):
    """A script's arguments: fields declared like those of a request, in the order of A1111's `script_args`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _number_not_bool(cls, value: Any, info: ValidationInfo) -> Any:
        return number_not_bool(cls, info.field_name or "", value)

    @classmethod
    def parse(cls, values: Sequence[Any]) -> Self:
        """From a list by position; values missing at the end take their defaults. Raises WebuiError for the first
        invalid value, with the field `script_args.<name>`."""
        names = list(cls.model_fields)
        if len(values) > len(names):
            raise WebuiError(
                f"script_args: {len(values)} values were sent, at most {len(names)} were expected: {', '.join(names)}.",
                field="script_args",
            )
        try:
            return cls(**dict(zip(names, values, strict=False)))
        except ValidationError as error:
            explanation = explained(cls, error)
            raise WebuiError(explanation.message, explanation.hint, f"script_args.{explanation.field}") from error


class Script:
    """Makes several pictures, or one in a special way, from one request.

    `name` is shown in the dropdown and used as `script_name`, ignoring case. `kinds` are the forms that offer
    it. `description` is one sentence for the user.
    """

    name: ClassVar[str]
    description: ClassVar[str] = ""
    kinds: ClassVar[tuple[FormKind, ...]] = ("txt2img", "img2img")

    def arguments(self, kind: FormKind) -> type[Arguments]:
        """The class that declares its arguments for this form."""
        return Arguments

    def offers(self, kind: FormKind, catalog: Catalog) -> Mapping[str, Mapping[str, str]]:
        """The texts that the button next to a text argument fills in: {argument: {value of the preceding argument:
        text}}."""
        return {}

    def check(self, kind: FormKind, request: Any, arguments: Any, catalog: Catalog) -> None:
        """Raises WebuiError for errors to report before the job is queued."""

    def run(self, kind: FormKind, request: Any, arguments: Any, studio: "Studio") -> "Course":
        """The job, as a generator. `request` is unchanged, with seeds of −1 still undrawn.

        A `Run` returns its pictures: fewer, or none, if the user skipped or interrupted. After an interrupt, no `Run`
        makes pictures, but the finished ones can still be assembled.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Ahead:
    """Yield this first: how much work there is."""

    pictures: int
    batches: int


class Scene(Protocol):
    """The inputs of a sampler pass that is about to start. Tensors are fp32 on the engine's device."""

    @property
    def latent(self) -> Any:
        """The encoded source, (B, C, h, w)."""
        ...

    @property
    def noise(self) -> Any:
        """The noise drawn for it, standard normal, same shape."""
        ...

    @property
    def highest(self) -> float:
        """The highest noise level (sigma) of the whole schedule; img2img runs only the end of the schedule."""
        ...

    def levels(self, steps: int) -> Any:
        """The checkpoint's own noise levels (sigmas) for `steps` steps, descending, then 0: shape (steps + 1,)."""
        ...

    def denoiser(self, prompt: str, negative_prompt: str, cfg_scale: float) -> Callable[[Any, Any], Any]:
        """A guided denoiser with other prompts: (x (B, C, h, w), sigma (B,)) -> the denoised latent, shaped like x."""
        ...


@dataclass(frozen=True)
class Run:
    """Yield this to make the pictures of `request`.

    `pairs` are added to their infotext. If `kept` is False, the pictures are only returned to the script; if `shown` is
    False, they are saved but not shown in the gallery. `noise` returns other noise to add to the source.
    """

    request: GenerationRequest
    pairs: Mapping[str, object] = field(default_factory=dict[str, object])
    is_kept: bool = True
    is_shown: bool = True
    noise: Callable[[Scene], Any] | None = None


@dataclass(frozen=True)
class Keep:
    """Yield this to save a picture (RGB) that the script has assembled. `sheet` is the file name of a grid."""

    image: Image.Image
    infotext: str
    seed: int
    sheet: str = ""


@dataclass(frozen=True)
class RunImage:
    """A finished picture, RGB."""

    image: Image.Image
    seed: int
    infotext: str


Wish = Ahead | Run | Keep
Course = Generator[Wish, tuple[RunImage, ...], None]


class Studio(Protocol):
    """What the engine offers to a running script."""

    @property
    def settings(self) -> Settings:
        """The settings of the job."""
        ...

    @property
    def native(self) -> int:
        """The native size of the job's checkpoint: the side, in pixels, of a square with the area of its training
        pictures."""
        ...

    def seeded(self, request: Request) -> Request:
        """`request` with −1 replaced by random seeds."""
        ...

    def size(self, request: GenerationRequest) -> tuple[int, int]:
        """Width and height of the pictures that `request` makes."""
        ...

    def upscaler(self, name: str, field: str) -> Upscaler:
        """An upscaler of pictures. Raises WebuiError about `field`, with the closest name."""
        ...

    def enlarged(self, image: Image.Image, scale: float, upscaler: str) -> Image.Image:
        """The upscaled `image`; raises WebuiError if there is no such upscaler."""
        ...

    def warn(self, message: str) -> None:
        """Shows a warning; the job continues."""
        ...


def changed(request: Request, values: Mapping[str, Any]) -> Request:
    """`request` with other values and without a script, validated. Raises WebuiError for the first invalid one."""
    fields = {name: getattr(request, name) for name in type(request).model_fields}
    return type(request).parse({**fields, "script_name": "", "script_args": (), **values})


def overriding(request: Request, settings: Mapping[str, Any]) -> Request:
    """`request` with these settings overridden for its job only."""
    return changed(request, {"override_settings": {**request.override_settings, **settings}})


def with_pairs(infotext: str, pairs: Mapping[str, object]) -> str:
    """`infotext` with additional pairs, inserted before the version as A1111 does for scripts."""
    if not pairs:
        return infotext
    added = compose("", "", pairs)
    at = infotext.rfind(", Version: ")
    return f"{infotext}, {added}" if at < 0 else f"{infotext[:at]}, {added}{infotext[at:]}"
