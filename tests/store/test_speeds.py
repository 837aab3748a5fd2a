"""Forecasts for enlarging, learned from finished runs."""

from pathlib import Path

import pytest

from modules.store.speeds import REMEMBERED, Run, Speeds, bytes_for, seconds_for

# An invented machine whose seconds follow the pixels with some noise: (pixels of the source, seconds).
SERIES = ((16_384, 13.1), (65_536, 45.9), (36_864, 29.4), (65_536, 51.2), (147_456, 107.0), (36_864, 25.0))


def run(work: float, seconds: float) -> Run:
    return Run(work, seconds, 16 * work, 20 * work)


def test_within_a_third_after_three_runs() -> None:
    speeds = Speeds()
    for number, (work, seconds) in enumerate(SERIES):
        forecast = seconds_for(speeds.runs("net"), work)
        if number >= 3:
            assert forecast == pytest.approx(seconds, rel=0.3)
        speeds.note("net", run(work, seconds))


def test_a_run_of_a_similar_amount_counts_most() -> None:
    runs = [run(1_000, 2.0), run(1_000, 2.0), run(100_000, 50.0)]
    assert seconds_for(runs, 90_000) == pytest.approx(45.0)
    assert seconds_for(runs, 1_100) == pytest.approx(2.2)


def test_one_slow_run_is_outvoted() -> None:
    assert seconds_for([run(100, 1.0), run(100, 9.0), run(100, 1.1)], 200) == pytest.approx(2.2)


def test_nothing_is_foretold_before_a_measurement() -> None:
    assert seconds_for((), 5) is None
    assert bytes_for((), 5) is None
    assert bytes_for([run(10, 1)], 32) == 40


def test_the_last_runs_are_kept_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "cache" / "speeds.json"
    speeds = Speeds(file)
    for number in range(REMEMBERED + 2):
        speeds.note("net", run(number + 1, 1.0))
    assert [each.work for each in Speeds(file).runs("net")] == [float(number) for number in range(3, REMEMBERED + 3)]


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"net": [[0, 1, 1, 1]]}', b'{"net": [["x", 1, 1, 1]]}', b"\xff"])
def test_a_damaged_file_is_measured_anew(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "speeds.json"
    file.write_bytes(content)
    speeds = Speeds(file)
    assert speeds.runs("net") == ()
    speeds.note("net", run(5, 1.0))
    assert len(Speeds(file).runs("net")) == 1
