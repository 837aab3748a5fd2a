"""Code shared by the Stable Diffusion families: a UNet, an AutoencoderKL, CLIP text encoders, and their files."""
