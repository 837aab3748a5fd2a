"""Runs a recipe on an engine and reports the differences."""

import random

import numpy as np

from modules.base.errors import WebuiError
from modules.base.events import EngineState, Failed, ImageDone, Stop
from modules.base.picture import Picture
from modules.infotext.recipe import Recipe, Report, compared, ran_with
from modules.processing.engine import Engine
from modules.schema.resources import Resources


def rerun(engine: Engine, recipe: Recipe, resources: Resources, original: Picture) -> Report:
    """Make the picture again from `resources` and compare it with `original`. Raises WebuiError if the job fails."""
    device = checkpoint_hash = ""
    done: ImageDone | None = None
    request = recipe.request.resolved(random.Random(0))
    for event in engine.run(request, recipe.settings, resources, lambda: Stop.NONE):
        if isinstance(event, Failed):
            raise WebuiError(event.message, event.hint, event.field)
        if isinstance(event, EngineState):
            device, checkpoint_hash = event.device, event.checkpoint_hash
        if isinstance(event, ImageDone) and not event.suffix:
            done = event
    assert done is not None, "a job that has not failed produces a picture"
    again = np.frombuffer(done.pixels, np.uint8).reshape(done.height, done.width, 3)
    first = np.array(original.rgb("#ffffff"))
    return compared(first, again, (*recipe.causes, *ran_with(recipe.text, checkpoint_hash, device, done.infotext)))
