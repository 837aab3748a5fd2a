"""Stable Diffusion 2: a UNet with OpenCLIP's text encoder."""
