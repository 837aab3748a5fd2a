"""Checkpoints merged into a new one, a slice of a tensor at a time."""
