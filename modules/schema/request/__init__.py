"""A request: one frozen object whose field names are those of A1111's HTTP API.

Each field is declared here once, with bounds, default, label, infotext key and description; the page, the API, its
documentation and the infotext are derived from it. Defaults are the page's (the API's own differ, see `modules/a1111`).
"""

from modules.schema.request.fields import MAX_SEED
from modules.schema.request.generation import MAX_PROMPT, SEED_RANGE, GenerationRequest, counted_up
from modules.schema.request.img2img import LATENT_CELL, Img2ImgRequest
from modules.schema.request.masked import INPAINT_AREAS, MASK_MODES, MASKED_CONTENTS
from modules.schema.request.outpaint import OUTPAINT_FILLS
from modules.schema.request.txt2img import Txt2ImgRequest

__all__ = [
    "INPAINT_AREAS",
    "LATENT_CELL",
    "MASKED_CONTENTS",
    "MASK_MODES",
    "MAX_PROMPT",
    "MAX_SEED",
    "OUTPAINT_FILLS",
    "SEED_RANGE",
    "GenerationRequest",
    "Img2ImgRequest",
    "Txt2ImgRequest",
    "counted_up",
]
