"""Palimpsest: an img2img studio. The floors and who may import whom: docs/architecture.md."""

__version__ = "0.1.0"
