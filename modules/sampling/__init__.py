"""Sampling: schedules, samplers as generators, noise, and the one function type that shapes an image."""
