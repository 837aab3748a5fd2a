"""The page: Gradio builds the form; small ES modules of our own do everything dynamic."""
