"""The events of a script's runs become those of one job. The runs are lists of events; no engine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modules.base.errors import WebuiError
from modules.base.events import EngineState, Event, Failed, Finished, ImageDone, Staged, Started, Stepped, Stop, Warned
from modules.extension.hooks import Ahead, Arguments, Course, Keep, Run, Script, Studio
from modules.infotext.grammar import FormKind
from modules.processing.kinds.resolve import CatalogNames
from modules.processing.kinds.words import WordReader
from modules.processing.scripts import run_script
from modules.schema.catalog import Catalog, Checkpoint
from modules.schema.request import GenerationRequest, Txt2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from modules.schema.sizes import SD1_SIZES

HERE = Checkpoint("here", Path("here.safetensors"))
TWO_BATCHES = Txt2ImgRequest(n_iter=2, width=64, height=64)
Events = list[Event | EngineState]


class Listed(Script):
    """Wishes for what it is given, and remembers the answers."""

    name = "listed"

    def __init__(self, *wishes: Any, warning: str = "") -> None:
        self.wishes = wishes
        self.warning = warning
        self.answers: list[tuple[int, ...]] = []

    def run(self, kind: FormKind, request: GenerationRequest, arguments: Arguments, studio: Studio) -> Course:
        if self.warning:
            studio.warn(self.warning)
        for wish in self.wishes:
            if isinstance(wish, Exception):
                raise wish
            made = yield wish
            self.answers.append(tuple(each.seed for each in made))


def played(script: Script, *runs: Events) -> Events:
    """The events of a job whose script gets `runs`, one after another; a run more than these is an error."""
    coming = iter(runs)

    def run(
        request: GenerationRequest, settings: Settings, resources: Resources, should_stop: Any, *, noise: Any = None
    ) -> Iterator[Event | EngineState]:
        yield from next(coming)

    names = CatalogNames(Catalog((HERE,)), WordReader())
    return list(
        run_script(
            ("txt2img", script, Arguments()),
            run,
            names,
            TWO_BATCHES,
            Settings(),
            Resources(HERE),
            lambda: Stop.NONE,
            SD1_SIZES,
        )
    )


def done(index: int, seed: int, suffix: str = "") -> ImageDone:
    return ImageDone(index, seed, 1, 1, "a cat\nSteps: 1, Version: x", bytes([seed, 0, 0]), suffix=suffix)


def finished(seconds: float, interrupted: bool = False) -> Finished:
    return Finished(seconds, {"unet": seconds}, interrupted)


def test_steps_and_pictures_are_counted_over_all_runs() -> None:
    script = Listed(Ahead(4, 4), Run(TWO_BATCHES), Run(TWO_BATCHES))
    begun = Started(2, 2, 1, 64, 64, 1)
    events = played(
        script,
        [begun, Stepped(0, 1, 1), done(0, 1), Stepped(1, 1, 1), done(1, 2), finished(1.0)],
        [begun, Stepped(0, 1, 1), done(0, 3), Stepped(1, 1, 1), done(1, 4), finished(0.5)],
    )
    assert [event for event in events if isinstance(event, Started)] == [Started(4, 4, 1, 64, 64, 1)]
    assert [event.batch for event in events if isinstance(event, Stepped)] == [0, 1, 2, 3]
    pictures = [(event.index, event.seed) for event in events if isinstance(event, ImageDone)]
    assert pictures == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert events[-1] == Finished(1.5, {"unet": 1.5})
    assert script.answers == [(), (1, 2), (3, 4)]


def test_pictures_that_are_not_kept_leave_no_gap_in_the_numbers() -> None:
    own = Keep(Image.new("RGBA", (1, 1), "blue"), "own", 9, "sheet")
    script = Listed(Run(TWO_BATCHES, is_kept=False), Run(TWO_BATCHES, {"Axis": 2}, is_shown=False), own)
    events = played(script, [done(0, 1), finished(1.0)], [done(0, 2), finished(1.0)])
    pictures = [event for event in events if isinstance(event, ImageDone)]
    assert [(event.index, event.seed, event.shown) for event in pictures] == [(0, 2, False), (1, 9, True)]
    assert "Axis: 2" in pictures[0].infotext
    assert pictures[1] == ImageDone(1, 9, 1, 1, "own", b"\0\0\xff", "sheet")
    assert script.answers == [(1,), (2,), ()]


def test_masks_of_a_run_are_left_to_the_script() -> None:
    script = Listed(Run(TWO_BATCHES))
    events = played(script, [done(0, 1), done(1, 1, "-mask"), done(2, 1, "-mask-composite"), finished(1.0)])
    assert [event.suffix for event in events if isinstance(event, ImageDone)] == [""]
    assert script.answers == [(1,)]


def test_a_warning_is_given_once_and_other_events_pass() -> None:
    script = Listed(Run(TWO_BATCHES), Run(TWO_BATCHES), warning="The script warns.")
    same = [Staged("sampling"), Warned("The run warns."), finished(1.0)]
    events = played(script, [*same], [*same])
    assert [event for event in events if isinstance(event, Warned)] == [
        Warned("The script warns."),
        Warned("The run warns."),
    ]
    assert events.count(Staged("sampling")) == 2


def test_after_an_interrupt_nothing_more_runs_and_the_script_assembles_what_there_is() -> None:
    own = Keep(Image.new("RGB", (1, 1)), "own", 9)
    script = Listed(Run(TWO_BATCHES), Run(TWO_BATCHES), own)
    events = played(script, [done(0, 1), finished(1.0, interrupted=True)])  # no second run
    assert [event.seed for event in events if isinstance(event, ImageDone)] == [1, 9]
    assert events[-1] == Finished(1.0, {"unet": 1.0}, interrupted=True)
    assert script.answers == [(1,), (), ()]


def test_a_failed_run_is_the_end_of_the_job() -> None:
    script = Listed(Run(TWO_BATCHES), Run(TWO_BATCHES))
    events = played(script, [Stepped(0, 1, 1), Failed("It went wrong.")])  # no second run
    assert events == [Stepped(0, 1, 1), Failed("It went wrong.")]


@pytest.mark.parametrize(
    "wish", [WebuiError("no", "yes", "script_args"), Run(Txt2ImgRequest(refiner_checkpoint="nowhere"))]
)
def test_a_mistake_in_a_script_or_its_requests_fails_the_job(wish: Any) -> None:
    events = played(Listed(wish))
    assert len(events) == 1
    assert isinstance(events[0], Failed)
    assert events[0].field == ("script_args" if isinstance(wish, WebuiError) else "refiner_checkpoint")
