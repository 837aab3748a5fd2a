"""Palimpsest's own HTTP interface, below /v1."""
