"""Stable Diffusion XL and its refiner: two text encoders, and a UNet with size conditioning."""
