"""A batch: one form for many files."""
