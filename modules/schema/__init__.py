"""What is asked for, declared once: requests, settings, catalog, sampler names, intents."""
