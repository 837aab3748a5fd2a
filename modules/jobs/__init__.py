"""Jobs: their event logs, the queue they wait in, and the engine process that runs them; without torch."""
