"""What is known about each model family without loading a model: its name, its sizes, and default values for the form.

Does not import torch, so the page can read it. `networks/families.py` says how a family is loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from modules.schema.sizes import SD1_SIZES, Resolution, SizeRule

Default = int | float | str
Shown = Literal["", "mask", "source", "depth"]
"""The extra input channels of a network, beside the latent: none; the mask and the picture without the masked part
(inpainting models); the source picture (instruct-pix2pix); its depth map (Stable Diffusion 2 depth)."""


@dataclass(frozen=True)
class FamilyTraits:
    """One row of the table.

    resolutions: (width, height) in pixels of the pictures it was trained on; the first is the form's default; empty
    means a square of `sizes.native`.  presets: further values for the form, by the names of a request's fields.
    """

    name: str
    label: str
    sizes: SizeRule
    resolutions: tuple[Resolution, ...] = ()
    presets: Mapping[str, Default] = field(default_factory=dict[str, Default])

    @property
    def trained_on(self) -> tuple[Resolution, ...]:
        """The sizes to offer; at least one."""
        return self.resolutions or (Resolution(self.sizes.native, self.sizes.native),)


SD1_TRAITS: Final = FamilyTraits("sd1", "Stable Diffusion 1", SD1_SIZES)
SD2_TRAITS: Final = FamilyTraits("sd2", "Stable Diffusion 2", SizeRule(cell=8, multiple_of=8, native=768))
SDXL_TRAITS: Final = FamilyTraits(
    "sdxl",
    "Stable Diffusion XL",
    SizeRule(cell=8, multiple_of=8, native=1024),
    # The buckets of Podell et al. 2023 (arXiv 2307.01952, appendix I) that people use.
    resolutions=tuple(
        Resolution(width, height)
        for width, height in (
            (1024, 1024), (1152, 896), (896, 1152), (1216, 832), (832, 1216), (1344, 768), (768, 1344), (1536, 640),
            (640, 1536),
        )
    ),
)  # fmt: skip
SD3_TRAITS: Final = FamilyTraits("sd3", "Stable Diffusion 3", SizeRule(cell=8, multiple_of=16, native=1024))
FLUX_TRAITS: Final = FamilyTraits("flux", "Flux", SizeRule(cell=8, multiple_of=16, native=1024))

ZIMAGE_TRAITS: Final = FamilyTraits(
    "z-image",
    "Z-Image",
    SizeRule(cell=8, multiple_of=16, native=1024),
    resolutions=tuple(
        Resolution(width, height)
        for width, height in (
            (1024, 1024), (1152, 896), (896, 1152), (1280, 720), (720, 1280), (1248, 832), (832, 1248),
        )
    ),
    # Of Turbo, the distilled model that most people have; the tensors do not tell it from the base model.
    presets={"steps": 9, "cfg_scale": 1.0, "sampler_name": "Euler", "scheduler": "Simple"},
)  # fmt: skip

FLUX2_TRAITS: Final = FamilyTraits(
    "flux2-klein",
    "FLUX.2 Klein",
    SizeRule(cell=16, multiple_of=16, native=1024),
    resolutions=ZIMAGE_TRAITS.resolutions,
    # Of the distilled models; the tensors do not tell them from the base models.
    presets={"steps": 4, "cfg_scale": 1.0, "sampler_name": "Euler", "scheduler": "Simple"},
)
FLUX2_DEV_TRAITS: Final = FamilyTraits("flux2", "FLUX.2", SizeRule(cell=16, multiple_of=16, native=1024))
LUMINA2_TRAITS: Final = FamilyTraits("lumina2", "Lumina 2", SizeRule(cell=8, multiple_of=16, native=1024))

FAMILY_TRAITS: Final = (
    SD1_TRAITS, SD2_TRAITS, SDXL_TRAITS, SD3_TRAITS, FLUX_TRAITS, FLUX2_DEV_TRAITS, FLUX2_TRAITS, LUMINA2_TRAITS,
    ZIMAGE_TRAITS,
)  # fmt: skip
ASSUMED: Final = SD1_TRAITS  # for a file of unknown family: damaged, or a pickle that is not read yet


def traits_of(name: str) -> FamilyTraits:
    """The row named `name`; `ASSUMED` if there is none."""
    return next((row for row in FAMILY_TRAITS if row.name == name), ASSUMED)
