"""The listening socket, and the checks of `webui.py doctor`."""
