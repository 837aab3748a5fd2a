"""Model files from the Hugging Face Hub: the curated list, the hub's metadata for a file, and the download."""
