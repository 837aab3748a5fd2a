"""FLUX.2 Klein: a flow-matching transformer with Qwen3 as its text encoder."""
