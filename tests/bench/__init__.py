"""Benchmarks: run by hand, never by the test suite. Each prints one JSON line a case."""
