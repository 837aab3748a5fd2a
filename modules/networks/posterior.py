"""The output of an autoencoder's encoder."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Posterior:
    """The distribution of the pictures' latents: `mean` and `std` (n, channels, h, w), in the UNet's scale, fp32.

    It depends only on the pictures, so it can be cached; samples differ by their noise.
    """

    mean: Tensor
    std: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Latents (n, channels, h, w) for standard normal `noise` of that shape; equal noise gives equal latents."""
        return self.mean + self.std * noise.to(self.mean)

    @property
    def size(self) -> int:
        """The size in bytes, for a cache."""
        return 2 * self.mean.numel() * self.mean.element_size()
