"""What listens on the port, and the checks of `webui.py doctor`."""
