"""The drawn world the bundled checkpoint was trained on, and its training; imported by nothing else."""
