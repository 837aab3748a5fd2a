"""Extensions: the hooks they are given, and how they are found and loaded."""
