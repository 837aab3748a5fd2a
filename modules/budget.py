"""Memory at the door: one number of bytes for all pictures that are being decoded and all bodies that are being read.

Who finds no room waits in line; who finds the line too long, or waits too long, is asked to come again (429). Bodies
may take half of it at most, so that there is always room to decode what came in one, and nobody waits for himself.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modules.errors import Busy

LIMIT = 2 << 30  # bytes
LINE = 16  # that wait at a time: a thread each, of the forty that answer requests
PATIENCE = 60.0  # seconds
SECONDS_TO_RETRY = 5


class Ticket:
    """Room for `size` bytes, granted or waited for. `wake` is called once, by whoever makes room."""

    def __init__(self, size: int, wake: Callable[[], object], is_body: bool) -> None:
        self.size = size
        self.wake = wake
        self.is_body = is_body
        self.is_granted = False


class Budget:
    """Safe from any thread. Room is granted in the order in which it was asked for, bodies and pictures each."""

    def __init__(self, limit: int = LIMIT, line: int = LINE, patience: float = PATIENCE) -> None:
        self.patience = patience
        self._limit = limit
        self._line = line
        self._lock = threading.Lock()
        self._taken = {True: 0, False: 0}  # bytes, by whether a body has them
        self._waiting: dict[bool, deque[Ticket]] = {True: deque(), False: deque()}
        self._mine = threading.local()

    @property
    def taken(self) -> int:
        """Bytes."""
        with self._lock:
            return sum(self._taken.values())

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Room to decode `size` bytes; what one thread decodes within that is part of it. Raises Busy.

        More than half of the budget is counted as half: a picture that large is decoded with nothing beside it.
        """
        if getattr(self._mine, "has_room", False):
            yield
            return
        granted = threading.Event()
        ticket = self.ask(size, granted.set)
        try:
            if not ticket.is_granted and not granted.wait(self.patience):
                raise self.busy()
            self._mine.has_room = True
            yield
        finally:
            self._mine.has_room = False
            self.give_back(ticket)

    def ask(self, size: int, wake: Callable[[], object], is_body: bool = False) -> Ticket:
        """A ticket, granted already if there is room; else `wake` is called when it is. Raises Busy if too many wait.

        Give it back, granted or not.
        """
        ticket = Ticket(min(size, self._limit // 2), wake, is_body)
        with self._lock:
            line = self._waiting[is_body]
            if not line and self._fits(ticket):
                self._grant(ticket)
            elif len(line) >= self._line:
                raise self.busy()
            else:
                line.append(ticket)
        return ticket

    def give_back(self, ticket: Ticket) -> None:
        """The room of `ticket` is free again, or it is no longer waited for."""
        woken: list[Ticket] = []
        with self._lock:
            if ticket.is_granted:
                self._taken[ticket.is_body] -= ticket.size
            else:
                self._waiting[ticket.is_body].remove(ticket)
            for line in self._waiting.values():
                while line and self._fits(line[0]):
                    woken.append(line.popleft())
                    self._grant(woken[-1])
        for one in woken:
            one.wake()

    def busy(self) -> Busy:
        return Busy(
            "The server has no memory to spare for this right now: too many large pictures are being read.",
            "Send it again in a few seconds.",
            retry_after=SECONDS_TO_RETRY,
        )

    def _fits(self, ticket: Ticket) -> bool:
        if ticket.is_body and self._taken[True] + ticket.size > self._limit // 2:
            return False
        return sum(self._taken.values()) + ticket.size <= self._limit

    def _grant(self, ticket: Ticket) -> None:
        ticket.is_granted = True
        self._taken[ticket.is_body] += ticket.size


# The machine has one memory, and pictures are decoded in places that share nothing else: this is the one object of the
# process that counts it.
MEMORY = Budget()
