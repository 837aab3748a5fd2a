"""How many steps a denoising strength results in."""

from modules.processing.plan.records import StepRange

MAX_STRENGTH = 0.999  # A1111's clamp: even at strength 1 there is a level before the first step
# Steps of a stretched schedule. At such a low strength all remaining levels are the lowest one but for rounding.
MOST_STRETCHED = 1_000_000


def img2img_steps(steps: int, strength: float, exact: bool) -> StepRange:
    """A1111's step rule for img2img.

    Normally the schedule keeps its length and int(strength * steps) + 1 of its steps are taken: 16 of 20 at 0.75
    (diffusers' pipelines take 15). `exact` (A1111's `img2img_fix_steps`) stretches the schedule instead so that
    exactly `steps` are taken; at strength 0 none are. It has at most `MOST_STRETCHED` steps.
    """
    clamped = min(strength, MAX_STRENGTH)
    if not exact:
        return StepRange(steps, steps - int(clamped * steps) - 1)
    if clamped <= 0:
        return StepRange(0, 0)
    stretched = int(min(steps / clamped, MOST_STRETCHED))
    return StepRange(stretched, stretched - steps)
