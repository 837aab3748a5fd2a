"""One memory budget in bytes for all pictures being decoded and all request bodies being read.

A caller that does not fit waits in line; if the line is too long, or the wait too long, it gets 429. Bodies may use
half of the budget, so there is always memory to decode the pictures they contain. They reserve memory as they arrive;
so that two half-read bodies cannot wait for each other, one body may always continue, whatever its size.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modules.base.errors import Busy

LIMIT = 3 << 29  # bytes: 1.5 GB
LINE = 16  # that wait at a time: a thread each, of the forty that answer requests
PATIENCE = 60.0  # seconds
SECONDS_TO_RETRY = 5


class Ticket:
    """A reservation of `size` bytes, granted or waiting. `wake` is called once, when it is granted.

    `body` is the request body it is for; None for a picture.
    """

    def __init__(self, size: int, wake: Callable[[], object], body: object | None) -> None:
        self.size = size
        self.wake = wake
        self.body = body
        self.is_granted = False

    @property
    def is_body(self) -> bool:
        return self.body is not None


class Budget:
    """Thread-safe. Memory is granted in the order of the requests, bodies and pictures each in their own line."""

    def __init__(self, limit: int = LIMIT, line: int = LINE, patience: float = PATIENCE) -> None:
        self.patience = patience
        self._limit = limit
        self._line = line
        self._lock = threading.Lock()
        self._taken = {True: 0, False: 0}  # bytes, by whether a body has them
        self._waiting: dict[bool, deque[Ticket]] = {True: deque(), False: deque()}
        self._ahead: object | None = None  # the body that may exceed the bodies' half
        self._mine = threading.local()

    @property
    def taken(self) -> int:
        """Bytes."""
        with self._lock:
            return sum(self._taken.values())

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Reserve `size` bytes for decoding; nested reservations of the same thread are part of it. Raises Busy.

        More than half of the budget counts as half: a picture that large is decoded alone.
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

    def ask(self, size: int, wake: Callable[[], object], body: object | None = None) -> Ticket:
        """A ticket, granted at once if there is room; else `wake` is called later. Raises Busy if too many wait.

        Return every ticket, granted or not; after the last one of a `body`, call `done` with that body.
        """
        ticket = Ticket(min(size, self._limit // 2), wake, body)
        with self._lock:
            line = self._waiting[ticket.is_body]
            if (not line and self._fits(ticket)) or self._goes_ahead(ticket):
                self._grant(ticket)
            elif len(line) >= self._line:
                raise self.busy()
            else:
                line.append(ticket)
        return ticket

    def give_back(self, ticket: Ticket) -> None:
        """Free the memory of `ticket`, or take it out of the line."""
        with self._lock:
            if ticket.is_granted:
                self._taken[ticket.is_body] -= ticket.size
            else:
                self._waiting[ticket.is_body].remove(ticket)
            woken = self._advanced()
        for one in woken:
            one.wake()

    def done(self, body: object) -> None:
        """`body` needs no more memory: another body may exceed the bodies' half."""
        with self._lock:
            if self._ahead is body:
                self._ahead = None
            woken = self._advanced()
        for one in woken:
            one.wake()

    def busy(self) -> Busy:
        return Busy(
            "Not enough memory for this right now: too many large pictures are being read.",
            "Try again in a few seconds.",
            retry_after=SECONDS_TO_RETRY,
        )

    def _advanced(self) -> list[Ticket]:
        """Grant the tickets in line that now fit, and return them."""
        woken: list[Ticket] = []
        for line in self._waiting.values():
            while line and (self._fits(line[0]) or self._goes_ahead(line[0])):
                woken.append(line.popleft())
                self._grant(woken[-1])
        return woken

    def _fits(self, ticket: Ticket) -> bool:
        half = self._limit // 2
        if ticket.is_body:
            others = max(self._taken[False] - half, 0)  # pictures may use what bodies leave free
            return self._taken[True] + ticket.size <= half - others
        return self._taken[False] + ticket.size <= self._limit - min(self._taken[True], half)

    def _goes_ahead(self, ticket: Ticket) -> bool:
        """Whether `ticket` belongs to the one body that may exceed the half; if none may, it becomes that one."""
        if ticket.is_body and self._ahead is None and self._taken[True]:
            self._ahead = ticket.body
        return ticket.is_body and self._ahead is ticket.body

    def _grant(self, ticket: Ticket) -> None:
        ticket.is_granted = True
        self._taken[ticket.is_body] += ticket.size


# The machine has one memory, and pictures are decoded in places that share nothing else: this is the one object of the
# process that counts it.
MEMORY = Budget()
