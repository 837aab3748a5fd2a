"""The keys of an infotext: those that fields and settings declare, and informational ones."""

from typing import Any

from pydantic import BaseModel

from modules.base.fields import Param, params
from modules.infotext.control import KEYS as CONTROL_KEYS
from modules.infotext.control import PICTURES as CONTROL_PICTURES
from modules.infotext.grammar import FIXED_ORDER, LAST
from modules.schema.request import Img2ImgRequest, Txt2ImgRequest
from modules.schema.settings import Settings

# These describe the picture and set nothing, so they are ignored without a note.
EXTENSIONS = "Extensions"  # arguments as JSON, by the extension's name
INFORMATION = frozenset(
    {
        "Version",
        "User",
        "Model",
        "Model hash",
        "VAE",
        "VAE hash",
        "Init image hash",
        "Source hash",
        "Mask hash",
        "Latent mask hash",
        "Depth map hash",
        CONTROL_PICTURES,
        "Lora hashes",
        "TI hashes",
        "Template",  # the extension Dynamic Prompts writes this and the next: the prompts before random choices
        "Negative Template",
    }
)

# Our own keys for a schedule chosen by name, because A1111's key names the same schedule for Automatic.
NAMED_SCHEDULE, NAMED_HIRES_SCHEDULE = "Schedule type chosen", "Hires schedule type chosen"

SYNONYMS = {"guidance scale": "CFG scale"}  # Draw Things; folded


def with_keys(model: type[BaseModel]) -> dict[str, Param]:
    """The declared fields of `model` that have an infotext key."""
    return {name: param for name, param in params(model).items() if param.control.infotext}


def absent_setting(param: Param) -> Any:
    """The value that a text without the setting's key implies."""
    return param.default if param.control.absent is ... else param.control.absent


# Every key that an infotext may contain, and those keys in lower case.
KNOWN = frozenset(
    {*FIXED_ORDER, *LAST, *INFORMATION, *CONTROL_KEYS, "Script", EXTENSIONS, NAMED_SCHEDULE, NAMED_HIRES_SCHEDULE}
    | {
        param.control.infotext
        for model in (Txt2ImgRequest, Img2ImgRequest, Settings)
        for param in with_keys(model).values()
    }
)
FOLDED = {**{key.casefold(): key for key in KNOWN}, **SYNONYMS}
