"""The plan of a job: the request resolved to concrete steps, sizes and seeds."""

from modules.processing.plan.make import make_plan, read_prompt, with_upscaler
from modules.processing.plan.records import (
    Canvas,
    Enlargement,
    Frame,
    Hires,
    ImagePlan,
    Keeping,
    Pass,
    Plan,
    Softness,
    Source,
    StepRange,
)
from modules.processing.plan.sizes import hires_sizes, ignored_size, margins, result_size, size_advice, with_first_size
from modules.processing.plan.steps import MAX_STRENGTH, MOST_STRETCHED, img2img_steps

__all__ = [
    "MAX_STRENGTH",
    "MOST_STRETCHED",
    "Canvas",
    "Enlargement",
    "Frame",
    "Hires",
    "ImagePlan",
    "Keeping",
    "Pass",
    "Plan",
    "Softness",
    "Source",
    "StepRange",
    "hires_sizes",
    "ignored_size",
    "img2img_steps",
    "make_plan",
    "margins",
    "read_prompt",
    "result_size",
    "size_advice",
    "with_first_size",
    "with_upscaler",
]
