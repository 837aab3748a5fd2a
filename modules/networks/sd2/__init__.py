"""Stable Diffusion 2: the line's UNet with OpenCLIP's text encoder."""
