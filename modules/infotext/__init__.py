"""The text in a picture: its grammar, what other programs write, and how to reproduce a picture from it."""
