"""The text in a picture: its grammar, what other programs write, and how a picture is made again from it."""
