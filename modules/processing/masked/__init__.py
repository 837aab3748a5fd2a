"""Inpainting and outpainting: what is redrawn, what is kept, and how results are pasted back."""
