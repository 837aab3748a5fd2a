"""A1111's names: its requests, its loosely typed values, its options."""
