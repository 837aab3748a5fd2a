"""What an autoencoder's encoder says of pictures."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Posterior:
    """What the encoder says of pictures: `mean`, `std` (n, channels, h, w) of their latents, in the UNet's scale, fp32.

    It depends on the picture alone, so it can be kept; each sample differs by its noise.
    """

    mean: Tensor
    std: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Latents for standard normal `noise` of the same shape; drawn from the image's seed, it repeats exactly."""
        return self.mean + self.std * noise.to(self.mean)

    @property
    def size(self) -> int:
        """Bytes, for a cache."""
        return 2 * self.mean.numel() * self.mean.element_size()
