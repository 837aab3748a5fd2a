"""Five presets for common tasks on part of a picture, as values of existing fields.

An intent only sets fields of an img2img request, so its effect is visible in the form and can be changed there. All
intents set the same fields, so none leaves another's values behind.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from modules.base.errors import WebuiError
from modules.base.fields import params
from modules.schema.request import Img2ImgRequest

Values = Mapping[str, Any]

# The values that an intent does not override.
PLAIN: Values = MappingProxyType(
    {
        "inpainting_mask_invert": 0,
        "inpainting_fill": 1,
        "inpaint_full_res": 0,
        "mask_blur": 4,
        "mask_strength_by_grey": False,
        "soft_inpainting": False,
        "inpaint_color_match": 0.0,
        "denoising_strength": 0.75,
    }
)


@dataclass(frozen=True)
class Intent:
    """A preset. `needs` is "mask", "subject" (a mask over what stays) or "frame" (margins); `ask` requests it.

    `values` are all fields it sets. `words` says what to write into the prompt.
    """

    name: str
    label: str
    description: str
    needs: str
    ask: str
    words: str
    values: Values

    def described(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {
            "name": self.name, "label": self.label, "description": self.description, "needs": self.needs,
            "ask": self.ask, "words": self.words, "sentence": self.sentence, "values": dict(self.values),
        }  # fmt: skip

    @property
    def sentence(self) -> str:
        """The values it changes, with the form's labels: "Masked content: fill, …"."""
        declared = params(Img2ImgRequest)
        shown: list[str] = []
        for name, value in self.values.items():
            if value != PLAIN.get(name):
                choices = declared[name].control.choices
                text = choices[value] if isinstance(choices, tuple) and choices else f"{value}"
                shown.append(f"{declared[name].control.label}: {text}")
        return ", ".join(shown)


def _intent(name: str, label: str, description: str, needs: str, words: str, **values: Any) -> Intent:
    ask = {
        "mask": "Paint over the area first (Inpaint, brush).",
        "frame": "First drag the frame beyond the picture's edges (Frame).",
        "subject": "Paint over what to keep first (Inpaint, brush).",
    }[needs]
    return Intent(name, label, description, needs, ask, words, MappingProxyType({**PLAIN, **values}))


# Chosen by comparing the sheets of `tests.bench.bench_intents`; docs/canvas.md says why.
INTENTS: tuple[Intent, ...] = (
    _intent(
        "fill", "Fill", "Redraw the painted area to match its surroundings.", "mask",
        "the whole picture",
        inpainting_fill=0, denoising_strength=0.65,
    ),
    _intent(
        "expand", "Expand", "Extend the picture beyond its edges; the original stays unchanged.", "frame",
        "what is beyond the edges, without the subject",
        denoising_strength=0.6, outpaint_fill=0, outpaint_feather=64,
    ),
    _intent(
        "add", "Add", "Put something new in the painted area.", "mask",
        "the new thing first, then the picture",
        inpainting_fill=0, mask_blur=8, denoising_strength=0.8,
    ),
    _intent(
        "remove", "Remove", "Remove what is painted over and fill the hole from its surroundings.", "mask",
        "what is behind it, without what you remove",
        inpainting_fill=0, denoising_strength=0.65,
    ),
    _intent(
        "replace_background", "Replace background", "Keep what is painted over and redraw everything else.",
        "subject", "the new background, and the subject",
        inpainting_mask_invert=1, denoising_strength=1.0,
    ),
)  # fmt: skip


def intent(name: str) -> Intent:
    """The intent with that name. Raises WebuiError, which lists the known names."""
    for found in INTENTS:
        if found.name == name:
            return found
    raise WebuiError(
        f"intent = {name!r}: there is no such intent.",
        "Choose " + ", ".join(found.name for found in INTENTS) + ".",
        "intent",
    )
