"""Model files from Hugging Face's hub: the curated list, what the hub says of a file, and the download."""
