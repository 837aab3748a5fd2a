"""Settings: what stays the same from job to job. Declared like requests; option names are A1111's.

A frozen snapshot travels with each job. `overridden()` gives another object, so that there is nothing to restore.
"""

from modules.schema.settings.settings import COMPOSITE, MASK, Settings
from modules.schema.settings.stable_diffusion import EXACT, OURS

__all__ = ["COMPOSITE", "EXACT", "MASK", "OURS", "Settings"]
