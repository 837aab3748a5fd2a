"""Prompt grammar: text to data, no tensors. Attention, scheduled edits, composition, extra networks, styles."""
