"""Stable Diffusion 1: its files, its networks and its text encoder."""
