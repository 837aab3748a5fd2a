"""Merges checkpoints into a new one, one slice of a tensor at a time."""
