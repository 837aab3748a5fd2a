"""Model files: finding, listing and recognizing them, and reading them without trusting them."""
