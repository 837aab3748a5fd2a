"""Palimpsest's own HTTP API, under /v1."""
