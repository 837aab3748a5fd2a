"""Stable Diffusion 1: reading its files, its networks, its text encoder."""
