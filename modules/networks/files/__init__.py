"""The files of models: found, listed, recognised and looked at without trust."""
