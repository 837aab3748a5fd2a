"""A model family's requirements for the size of a picture."""

from dataclasses import dataclass
from typing import NamedTuple


class Resolution(NamedTuple):
    """A picture's size in pixels."""

    width: int
    height: int


@dataclass(frozen=True)
class SizeRule:
    """Sizes in pixels per side. `cell`: one latent cell. `multiple_of`: a side must be a whole multiple of this.

    `native`: the pictures that the family was trained on.
    """

    cell: int
    multiple_of: int
    native: int

    def floor(self, pixels: int) -> int:
        """The largest side that fits into `pixels`; may be 0.

        >>> SizeRule(cell=8, multiple_of=16, native=512).floor(100)
        96
        """
        return pixels // self.multiple_of * self.multiple_of

    def ceil(self, pixels: int) -> int:
        """The smallest side that covers `pixels`."""
        return -(-pixels // self.multiple_of) * self.multiple_of

    def cells(self, pixels: int) -> int:
        """The number of whole latent cells in `pixels`."""
        return pixels // self.cell


SD1_SIZES = SizeRule(cell=8, multiple_of=8, native=512)
"""Stable Diffusion 1's rule, also assumed while no checkpoint is known."""


@dataclass(frozen=True)
class ModelSizes:
    """A checkpoint's size rules. `trained_on` has at least one size it was trained on; the first is its default."""

    rule: SizeRule
    trained_on: tuple[Resolution, ...]

    @property
    def native(self) -> Resolution:
        return self.trained_on[0]
