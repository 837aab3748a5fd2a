"""Requests, settings, catalog, sampler names and intents, each declared once."""
