"""Masked work: what is redrawn of a source, how it is kept, and how it comes back."""
