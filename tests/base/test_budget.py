"""One memory budget for everything that is decoded and read: a request that does not fit waits for its turn."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from modules.base.budget import Budget
from modules.base.errors import Busy
from modules.base.picture import PIXEL, Picture
from tests.base.test_picture import NOISE, file_of


def waiting(budget: Budget, size: int, body: object | None = None) -> threading.Event:
    """Requests room; the event is set when it is granted."""
    granted = threading.Event()
    if budget.ask(size, granted.set, body).is_granted:
        granted.set()
    return granted


def test_who_finds_no_room_waits_in_line_until_there_is() -> None:
    budget = Budget(100)
    first = budget.ask(50, lambda: None)
    second = budget.ask(40, lambda: None)
    third = waiting(budget, 50)
    fourth = waiting(budget, 10)  # would fit, but does not overtake
    assert (budget.taken, third.is_set(), fourth.is_set()) == (90, False, False)
    budget.give_back(first)
    assert (budget.taken, third.is_set(), fourth.is_set()) == (100, True, True)
    budget.give_back(second)
    assert budget.taken == 60


def test_a_line_too_long_and_a_wait_too_long_are_told_to_come_again() -> None:
    budget = Budget(100, line=1, patience=0.01)
    held = [budget.ask(50, lambda: None) for _ in range(2)]
    with pytest.raises(Busy) as caught, budget.room(10):
        pytest.fail("there is no room")
    assert (caught.value.status, caught.value.retry_after) == (429, 5)
    waiting(budget, 10)
    with pytest.raises(Busy):
        budget.ask(10, lambda: None)
    for ticket in held:
        budget.give_back(ticket)
    assert budget.taken == 10  # the next in line has it


def test_bodies_leave_room_for_what_came_in_them() -> None:
    budget = Budget(100)
    one, other, third = object(), object(), object()
    assert waiting(budget, 30, one).is_set()
    assert waiting(budget, 30, other).is_set()  # beyond their half: one may
    assert not waiting(budget, 30, third).is_set()
    assert waiting(budget, 50).is_set()


def test_of_bodies_that_wait_for_each_other_one_goes_on() -> None:
    """Each holds half of what it needs, and together they hold everything there is."""
    budget = Budget(100)
    bodies = [object() for _ in range(5)]
    held = {body: [budget.ask(10, lambda: None, body)] for body in bodies}
    assert all(ticket.is_granted for tickets in held.values() for ticket in tickets)
    for body in bodies:
        held[body].append(budget.ask(10, lambda: None, body))
    for number, body in enumerate(bodies):
        assert [tickets[1].is_granted for tickets in held.values()][: number + 1] == [True] * (number + 1)
        for ticket in held[body]:
            budget.give_back(ticket)
        budget.done(body)
    assert budget.taken == 0


def test_what_is_larger_than_the_budget_has_it_alone() -> None:
    budget = Budget(100)
    with budget.room(1_000_000):
        assert budget.taken == 50
        with budget.room(1_000_000):  # in the same thread: part of it
            assert budget.taken == 50
    assert budget.taken == 0


def test_room_is_free_again_after_an_error() -> None:
    budget = Budget(100)
    with pytest.raises(ValueError, match="damaged"), budget.room(10):
        raise ValueError("damaged")
    assert budget.taken == 0


def test_every_decoding_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class Watched(Budget):
        @contextmanager
        def room(self, size: int) -> Iterator[None]:
            seen.append(size)
            with super().room(size):
                yield

    monkeypatch.setattr("modules.base.picture.MEMORY", Watched())
    picture = Picture.from_bytes(file_of(NOISE, "PNG"))
    picture.open()
    assert seen == [NOISE.width * NOISE.height * PIXEL, NOISE.width * NOISE.height * PIXEL * 3]
    Picture.unread(picture.data)
    picture.text()
    Picture.checked_before(picture.data, picture.sha256)
    assert len(seen) == 2  # no pixels if none are needed


def test_many_clients_with_large_pictures_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each decoding is held until the next one waits, so that all of them overlap."""
    size = NOISE.width * NOISE.height * PIXEL
    budget = Budget(size * 4)
    monkeypatch.setattr("modules.base.picture.MEMORY", budget)
    data = file_of(NOISE, "PNG")
    most: list[int] = []
    load = Picture.from_bytes

    def one() -> None:
        load(data)
        most.append(budget.taken)

    threads = [threading.Thread(target=one) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 12
    assert max(most) <= size * 4
    assert budget.taken == 0
