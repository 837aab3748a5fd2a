"""Checkpoints: finding, recognizing and loading them, and running their networks. `files` does not import torch."""
