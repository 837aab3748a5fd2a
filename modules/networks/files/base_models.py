"""Which line of models a file belongs to, by a name that someone gave it: a table whose first matching row counts."""

import re
from typing import Final

SD1, SD2, SDXL, SD3 = "SD 1", "SD 2", "SDXL", "SD 3"
UNKNOWN: Final = "Unknown"  # A1111's word in "sd version"
_LONGEST: Final = 200  # characters that are read
_GAP: Final = re.compile(r"[\s._\-/]+")

# Names from sharing sites ("SD 1.5 LCM", "Illustrious"), trainers' notes ("sdxl_base_v1-0"), modelspec
# ("stable-diffusion-v2-768-v/lora") and A1111's "sd version" ("SD1"); other characters are replaced by spaces.
_ROWS: Final = (
    ("AuraFlow", re.compile(r"aura ?flow|pony v7")),
    (SDXL, re.compile(r"\bsd ?xl|diffusion xl|\bssd 1b|\bpony|illustrious|noob ?ai|animagine|\bxl\b")),
    (SD3, re.compile(r"\bsd ?v?3|diffusion v?3")),
    (SD2, re.compile(r"\bsd ?v?2|diffusion v?2")),
    (SD1, re.compile(r"\bsd ?v?1|diffusion v?1|pix2pix")),
    ("Flux.2", re.compile(r"\bflux ?2")),
    ("Flux", re.compile(r"\bflux|\bchroma")),
    ("Qwen Image", re.compile(r"\bqwen")),
    ("Z-Image", re.compile(r"\bz ?image")),
    ("Krea", re.compile(r"\bkrea")),
    ("Lumina", re.compile(r"\blumina|neta")),
    ("HiDream", re.compile(r"\bhidream")),
    ("Hunyuan", re.compile(r"\bhunyuan")),
    ("Kolors", re.compile(r"\bkolors")),
    ("PixArt", re.compile(r"\bpixart")),
    ("Wan", re.compile(r"\bwan\b")),
)


def family_of(text: str) -> str:
    """The line of models that `text` names, "" if it is unknown.

    >>> family_of("sd_1.5"), family_of("Illustrious"), family_of("my own")
    ('SD 1', 'SDXL', '')
    """
    words = _GAP.sub(" ", text[:_LONGEST].lower())
    return next((family for family, pattern in _ROWS if pattern.search(words)), "")
