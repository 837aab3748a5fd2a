"""Checkpoints: finding, recognising, loading, and the passes around the UNet. `files` and `detect` do without torch."""
