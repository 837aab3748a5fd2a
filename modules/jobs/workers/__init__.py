"""The engine in its own process."""
