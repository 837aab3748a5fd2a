"""Starts Palimpsest's server: `python webui.py --help` tells the flags. `launch.py` sets up what it needs first."""

import sys

if __name__ == "__main__":
    # Not at the top: the engine process is spawned and so imports this file again, and needs nothing of the server.
    from modules.app import main

    sys.exit(main(sys.argv[1:]))
