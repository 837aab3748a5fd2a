"""The files of models: found, listed, recognized and looked at without trust."""
