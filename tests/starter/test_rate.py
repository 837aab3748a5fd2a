"""The learning rate over a stage."""

import pytest

from modules.starter.rate import rate_at


def test_the_rate_warms_up_stays_and_falls_at_the_end() -> None:
    when = ((0, 4), (0.4, 99), (0.5, 99), (0.75, 99), (1.0, 99))
    told = [rate_at(2.0, share, steps, warm_up=10, cooldown=0.5, floor=0.0) for share, steps in when]
    assert told == pytest.approx([1.0, 2.0, 2.0, 1.0, 0.0])


def test_it_may_fall_from_the_beginning_to_a_floor_or_not_at_all() -> None:
    assert rate_at(1.0, 0.5, 999, 100, cooldown=1.0, floor=0.1) == pytest.approx(0.55)
    assert rate_at(1.0, 1.0, 999, 100, cooldown=1.0, floor=0.1) == pytest.approx(0.1)
    assert rate_at(1.0, 1.0, 999, 100, cooldown=0.0, floor=0.1) == 1.0
