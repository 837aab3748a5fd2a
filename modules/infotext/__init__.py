"""The text in a picture: its grammar, the formats of other programs, and reproducing a picture from it."""
