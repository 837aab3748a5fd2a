"""Progress computed from a job's events: fraction, picture, stage and remaining time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.base.events import Event, Failed, Finished, ImageSaved, Previewed, Queued, Staged, Started, Stepped
from modules.jobs.progress import Progress, ProgressFold

STARTED = Started(images=4, batches=2, steps=4, width=8, height=8, seed=5)


def folded(*events: tuple[float, Event]) -> ProgressFold:
    fold = ProgressFold()
    for at, event in events:
        fold.add(event, at)
    return fold


def saved(index: int) -> ImageSaved:
    return ImageSaved(index, 5, 8, 8, "", "a.png")


# Two batches of two pictures, four steps of one second each, two seconds to decode a batch.
TIMELINE: list[tuple[float, Event]] = [
    (0.0, Queued(0)),
    (10.0, Staged("starting")),
    (11.0, STARTED),
    (12.0, Staged("sampling")),
    (14.0, Stepped(0, 1, 4)),
    (15.0, Stepped(0, 2, 4)),
    (16.0, Stepped(0, 3, 4)),
    (17.0, Stepped(0, 4, 4)),
    (17.0, Staged("decoding")),
    (19.0, Staged("sampling")),
    (19.5, saved(0)),
    (20.0, Stepped(1, 1, 4)),
    (23.0, Stepped(1, 4, 4)),
    (25.0, Finished(15.0, {})),
]


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (5.0, Progress()),
        (12.0, Progress(0.0, 0, 4, 1, 4, "sampling", None, 2.0)),
        # Only the first step is known (2 s): 7 more steps and 2 decodes, which count like steps.
        (14.0, Progress(0.1, 1, 4, 1, 4, "sampling", 18.0, 4.0)),
        # From the second one on, a step takes a second.
        (15.0, Progress(0.2, 2, 4, 1, 4, "sampling", 8.0, 5.0)),
        (15.5, Progress(0.2, 2, 4, 1, 4, "sampling", 7.5, 5.5)),
        (17.0, Progress(0.4, 4, 4, 1, 4, "decoding", 6.0, 7.0)),
        # Decoding is known to take two seconds: 3 steps, 1 decode.
        (20.0, Progress(0.6, 1, 4, 3, 4, "sampling", 5.0, 10.0)),
        (99.0, Progress(1.0, 4, 4, 1, 4, "finished", None, 15.0)),
    ],
)
def test_progress_at_each_point_of_a_job(now: float, expected: Progress) -> None:
    progress = folded(*(entry for entry in TIMELINE if entry[0] <= now)).progress(now)

    assert progress.fraction == pytest.approx(expected.fraction)
    assert progress == Progress(progress.fraction, *list(vars(expected).values())[1:])


def test_an_interrupted_or_failed_job_stays_where_it_was() -> None:
    for ending, stage in ((Finished(1.0, {}, interrupted=True), "interrupted"), (Failed("no"), "failed")):
        progress = folded(*TIMELINE[:6], (16.0, ending)).progress(20.0)
        assert (progress.fraction, progress.stage, progress.seconds) == (0.2, stage, 6.0)


def test_a_slow_machine_never_promises_less_than_nothing() -> None:
    assert folded(*TIMELINE[:6]).progress(1000.0).eta_seconds == 0.0


def test_no_steps_at_all_is_no_division_by_zero() -> None:
    fold = folded((0.0, Started(1, 1, 0, 8, 8, 5)), (1.0, saved(0)), (2.0, Finished(2.0, {})))
    assert fold.progress(3.0) == Progress(1.0, 0, 0, 1, 1, "finished", None, 2.0)


events = st.one_of(
    st.builds(Queued, st.integers(0, 9)),
    st.builds(Started, st.just(4), st.integers(0, 3), st.integers(0, 9), st.just(8), st.just(8), st.just(1)),
    st.builds(Staged, st.sampled_from(["encoding", "sampling", "decoding"])),
    st.builds(Stepped, st.integers(0, 4), st.integers(1, 9), st.just(9)),
    st.builds(Previewed, st.just(0), st.just(1), st.just(1), st.just(b"")),
    st.just(saved(0)),
)


@given(st.lists(st.tuples(st.floats(0, 5), events)))
def test_whatever_comes_the_fraction_only_grows_and_times_are_not_negative(steps: list[tuple[float, Event]]) -> None:
    fold, now, before = ProgressFold(), 0.0, 0.0
    for pause, event in steps:
        now += pause
        fold.add(event, now)
        progress = fold.progress(now)
        assert before <= progress.fraction <= 1
        assert progress.eta_seconds is None or progress.eta_seconds >= 0
        assert progress.seconds >= 0
        before = progress.fraction
