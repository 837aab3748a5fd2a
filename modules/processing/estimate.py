"""What a form would do, before it is sent: the steps that run, the sizes, and what they mean for model and source.

The page asks for this instead of having rules of its own.
"""

from dataclasses import asdict, dataclass
from typing import Any

from modules.images.geometry import Size
from modules.processing.plan import make_plan, result_size, with_first_size
from modules.schema.request import GenerationRequest, Img2ImgRequest
from modules.schema.settings import Settings
from modules.schema.sizes import SD1_SIZES, ModelSizes, Resolution, SizeRule

TOO_LARGE = 1.5  # times the model's native side; beyond that it repeats the subject
TOO_SMALL = TOO_LARGE**2  # times fewer pixels than native; beyond that pictures are blurred or cropped
LARGE_SOURCE = 1.5  # times the result's side; beyond that only the masked area is redrawn


@dataclass(frozen=True)
class SecondPass:
    """Hires fix: the result's size in pixels, and the steps of the second pass."""

    width: int
    height: int
    effective_steps: int


@dataclass(frozen=True)
class Estimate:
    """`effective_steps` of the requested `steps` are taken for a picture of `width` x `height` pixels.

    `native` is the size the checkpoint was trained at, None without a checkpoint. `warning` is a sentence if the first
    pass is much larger than that, so that the subject repeats, or much smaller, so that pictures are poor; else "".
    `shrinks_source`: the whole source is scaled down, even where nothing is masked; `is_source_large`: by a lot.
    """

    steps: int
    effective_steps: int
    width: int
    height: int
    second: SecondPass | None
    native: Resolution | None
    warning: str
    shrinks_source: bool
    is_source_large: bool

    def described(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {**asdict(self), "native": self.native._asdict() if self.native else None}


def estimate(request: GenerationRequest, settings: Settings, model: ModelSizes | None) -> Estimate:
    """The estimate for `request` under the effective `settings`. `model` is None without a checkpoint.

    Reads only the source's size. Raises WebuiError for impossible sizes.
    """
    sizes = model.rule if model else SD1_SIZES
    plan = make_plan(with_first_size(request, settings), settings, sizes)
    second = None
    if plan.hires is not None:
        size = plan.hires.second.size
        second = SecondPass(size.width, size.height, plan.hires.second.steps.count)
    return Estimate(
        steps=request.steps,
        effective_steps=plan.first.steps.count,
        width=plan.size.width,
        height=plan.size.height,
        second=second,
        native=model.native if model else None,
        warning=_warning(plan.size, model) if model else "",
        shrinks_source=isinstance(request, Img2ImgRequest) and _shrunk(request, plan.size, sizes) > 1,
        is_source_large=isinstance(request, Img2ImgRequest) and is_source_large(request, sizes),
    )


def _warning(size: Size, model: ModelSizes) -> str:
    native = model.native
    if size in model.trained_on:
        return ""
    if size.width >= native.width * TOO_LARGE or size.height >= native.height * TOO_LARGE:
        how, what = "larger", "the subject may appear several times."
    elif size.width * size.height * TOO_SMALL <= native.width * native.height:
        how, what = "smaller", "pictures may come out blurred or cut off."
    else:
        return ""
    return f"{size.width} × {size.height} is much {how} than this checkpoint's {native.width} × {native.height}: {what}"


def is_source_large(request: Img2ImgRequest, sizes: SizeRule) -> bool:
    """Whether the whole source would shrink so much that Only masked is the better choice."""
    return _shrunk(request, result_size(request, sizes)[0], sizes) >= LARGE_SOURCE


def _shrunk(request: Img2ImgRequest, size: Size, sizes: SizeRule) -> float:
    """How many times larger a side of the source is than the result's; 1 when outpainting."""
    if request.is_outpainted and request.inpaint_full_res == 0 and not request.resize_by:
        return 1.0
    source = request.init_images[0]
    return max(sizes.floor(source.width) / size.width, sizes.floor(source.height) / size.height)
