"""Checkpoints: finding, recognising, loading, and the forward passes around the UNet. `files` and `detect` do without torch."""
