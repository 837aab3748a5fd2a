"""Checks of this machine that some flags need: whether a port is free, and whether there is a screen."""

import errno
import socket
import sys
from collections.abc import Mapping

from modules.base.errors import WebuiError
from modules.flags.flags import PORT, Flags


def has_screen(environ: Mapping[str, str]) -> bool:
    """Whether a browser can open: always on Windows and macOS, elsewhere if a display is set."""
    return sys.platform in ("win32", "darwin") or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen on `host`:`port` now (another program may still take it first).

    A port that the system does not let us use (below 1024, without permission) is not free either. Raises `WebuiError`
    if `host` is not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if sys.platform != "win32":  # on Windows the option would let two servers share the port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that just ended leaves connections
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise WebuiError(f"--server-name {host}: cannot listen on that address ({error.strerror}).") from error
    return True


def require_free_port(flags: Flags) -> None:
    """Raises `WebuiError`, which suggests the next free port, if the page's port is taken."""
    if port_is_free(flags.server_name, flags.port):
        return
    others = range(flags.port + 1, min(flags.port + 50, 65536))
    other = next((port for port in others if port_is_free(flags.server_name, port)), PORT)
    raise WebuiError(
        f"port {flags.port} is in use: another Palimpsest may be running at {flags.url};",
        f"open that page, or start with --port {other}.",
        field="--port",
    )
