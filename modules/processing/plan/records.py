"""The parts of a plan. Frozen; nothing that a job needs is optional."""

from dataclasses import dataclass

from modules.base.picture import Picture
from modules.images.geometry import Margins, Size
from modules.prompts.schedule import Timing
from modules.prompts.tags import HypernetworkTag, NetworkTag
from modules.schema.sampler_names import SamplerName, ScheduleName
from modules.schema.sizes import SizeRule
from modules.schema.upscalers import Upscaler


@dataclass(frozen=True)
class StepRange:
    """The steps of a schedule that are taken: `count` of `steps`, from position `first` (0-based) on."""

    steps: int
    first: int

    @property
    def count(self) -> int:
        return max(0, self.steps - self.first)


@dataclass(frozen=True)
class Pass:
    """One run of a sampler over a whole picture. `is_partial`: it starts from a picture instead of plain noise.

    `loras` and `hypernetworks` are the tags removed from its prompt; `token_merging` is the fraction of tokens that
    self-attention merges.
    """

    sampler: SamplerName
    schedule: ScheduleName
    steps: StepRange
    size: Size
    prompt: str
    negative_prompt: str
    timing: Timing
    is_partial: bool
    loras: tuple[NetworkTag, ...] = ()
    hypernetworks: tuple[HypernetworkTag, ...] = ()
    token_merging: float = 0.0


@dataclass(frozen=True)
class Enlargement:
    """The step between the passes of hires fix: the first picture is enlarged to `size` pixels by `upscaler`.

    What exceeds the second pass's size is cropped, half on each side.
    """

    upscaler: str
    size: Size


@dataclass(frozen=True)
class Hires:
    """Hires fix: a second pass over the enlarged result of the first."""

    enlargement: Enlargement
    second: Pass


@dataclass(frozen=True)
class ImagePlan:
    """One picture of the job. `subseed` matters when the variation strength is not 0."""

    index: int
    seed: int
    subseed: int


@dataclass(frozen=True)
class Source:
    """The picture an img2img job starts from, how it is fitted, and its depth map if given.

    `upscaler` enlarges it where it is smaller than the result; None for Lanczos alone.
    """

    picture: Picture
    resize_mode: int
    depth: Picture | None = None
    upscaler: Upscaler | None = None


@dataclass(frozen=True)
class Softness:
    """The values of soft inpainting; `modules/processing/masked/soft_inpainting.py` has the formulas.

    Latents are blended by mask ** (sigma ** bias * strength), their magnitudes with the exponent `contrast_boost`;
    the pixels' blend comes from how far latents moved: `threshold` (half), `contrast`, and `mask_influence` in 0 … 1.
    """

    bias: float
    strength: float
    contrast_boost: float
    mask_influence: float
    threshold: float
    contrast: float


@dataclass(frozen=True)
class Frame:
    """Outpainting: `margins` around the source in its pixels, filled by `fill`, an index of OUTPAINT_FILLS.

    The new part fades from the old edge's tone over `feather` pixels.
    """

    margins: Margins
    fill: int
    feather: int


@dataclass(frozen=True)
class Canvas:
    """Which part of the source is redrawn, and how it is pasted back. `blur` is (across, down), sigmas in pixels.

    `mask` is for pixels, and for the latent too unless there is a `latent_mask`; None redraws nothing of the source,
    only the margins of a `frame`. `content` is an index of MASKED_CONTENTS; `padding` applies to Only masked.
    `by_gray` takes grays of the mask as fractions of the denoising strength, `strength`. `color_match` in 0 … 1: how
    much the tone is matched to the surroundings. `is_exact`: where A1111 moves or changes unmasked pixels, so do we.
    """

    mask: Picture | None
    latent_mask: Picture | None
    is_inverted: bool
    is_rounded: bool
    blur: tuple[int, int]
    only_masked: bool
    padding: int
    content: int
    softness: Softness | None
    by_gray: bool = False
    strength: float = 1.0
    color_match: float = 0.0
    frame: Frame | None = None
    is_exact: bool = False


@dataclass(frozen=True)
class Keeping:
    """How what changed is told from what did not, in a redraw without a mask.

    sensitivity: 0 … 1, see `images.changes`.  grow, feather: pixels around the changed area.
    """

    sensitivity: float
    grow: int
    feather: int


@dataclass(frozen=True)
class Plan:
    """A resolved job.

    size: of the result, or of the tile if only the masked region is redrawn.
    requested: the size in the request, for the infotext and for fitting pictures: A1111 fits to whole pixels, not to
        whole cells.
    sizes: the size rule of the model's family, which both follow.
    image_cfg_scale: for checkpoints that see the source.
    keeping: None if the whole result is taken.
    """

    first: Pass
    hires: Hires | None
    cfg_scale: float
    requested: Size
    batches: tuple[tuple[ImagePlan, ...], ...]
    subseed_strength: float
    seed_resize: Size | None
    source: Source | None
    canvas: Canvas | None
    sizes: SizeRule
    image_cfg_scale: float = 1.0
    keeping: Keeping | None = None

    @property
    def size(self) -> Size:
        """The size of the first pass in pixels."""
        return self.first.size

    @property
    def passes(self) -> tuple[Pass, ...]:
        """One pass, or two with hires fix."""
        return (self.first, self.hires.second) if self.hires else (self.first,)

    @property
    def last(self) -> Pass:
        """The pass whose result is the picture."""
        return self.hires.second if self.hires else self.first

    @property
    def steps(self) -> int:
        """Steps taken for a batch, in all passes."""
        return self.first.steps.count + (self.hires.second.steps.count if self.hires else 0)
