"""Jobs: their event logs, their queue, and the engine process that runs them. Does not import torch."""
