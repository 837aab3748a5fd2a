"""Qwen3 language models as text encoders of image models."""
