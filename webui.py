"""Starts Palimpsest's server: `python webui.py --help` tells the flags. `launch.py` sets up what it needs first."""

import signal
import sys

INTERRUPTED = 130  # a shell's exit code for what Ctrl+C has ended

if __name__ == "__main__":
    try:
        # Not at the top: the engine process is spawned and so imports this file again, and needs nothing of the server.
        from modules.app import main

        code = main(sys.argv[1:])
    except KeyboardInterrupt:  # at any moment: while modules are imported, while it starts, after uvicorn has ended
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # pressed again while the interpreter ends
        code = INTERRUPTED
    sys.exit(code)
