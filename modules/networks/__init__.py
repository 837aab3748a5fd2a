"""Checkpoints: finding, recognizing, loading, and the passes around the UNet. `files` and `detect` do without torch."""
