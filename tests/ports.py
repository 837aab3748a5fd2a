"""Ports for servers that a test starts: each process has a range of its own, below the ports the system gives away."""

import itertools
import os
import socket
from collections.abc import Iterator
from typing import Final

FIRST: Final = 12_000
RANGES: Final = 180
PER_PROCESS: Final = 100  # FIRST + RANGES * PER_PROCESS is 30 000; Linux gives away 32 768 and above


def _own_range(process: int) -> Iterator[int]:
    start = FIRST + process % RANGES * PER_PROCESS
    return itertools.cycle(range(start, start + PER_PROCESS))


_ports: Final = _own_range(os.getpid())


def free_port() -> int:
    """A port that nothing listens on, and that neither another test of this process nor a connection gets."""
    for port in itertools.islice(_ports, PER_PROCESS):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"none of the {PER_PROCESS} ports of this process is free")
