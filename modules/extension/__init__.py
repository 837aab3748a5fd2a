"""Extensions: the hooks they get, and how they are found and loaded."""
