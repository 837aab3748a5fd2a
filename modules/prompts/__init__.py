"""Prompt grammar: parses text into data, without tensors. Attention, edits, composition, extra networks, styles."""
