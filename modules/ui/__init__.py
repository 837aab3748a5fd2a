"""The page: Gradio for the form, small ES modules of our own for everything that moves."""
