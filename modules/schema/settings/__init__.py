"""Settings: values that stay the same from job to job. Declared like requests, with A1111's option names.

Each job gets a frozen copy. `overridden()` returns a new object, so nothing needs to be restored.
"""

from modules.schema.settings.settings import COMPOSITE, MASK, Settings
from modules.schema.settings.stable_diffusion import EXACT, OURS

__all__ = ["COMPOSITE", "EXACT", "MASK", "OURS", "Settings"]
