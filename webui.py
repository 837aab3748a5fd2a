"""Starts Palimpsest's server; `python webui.py --help` lists the flags. `launch.py` installs what it needs first."""

import os
import signal
import sys

INTERRUPTED = 130  # the shell convention for Ctrl+C

if __name__ == "__main__":
    # A library that is being imported may swallow a KeyboardInterrupt. There is nothing to close yet, so just exit.
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(INTERRUPTED))

    # Not at the top: the engine process is spawned, so it imports this file again, and needs nothing from the server.
    from modules.app import main

    try:
        signal.signal(signal.SIGINT, before)
        code = main(sys.argv[1:])
    except KeyboardInterrupt:  # during startup, or after uvicorn has stopped
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # pressed again while the interpreter exits
        code = INTERRUPTED
    sys.exit(code)
