"""What the Stable Diffusion line shares: a UNet, an AutoencoderKL, CLIP text encoders, and the files they are in."""
