"""The available job kinds."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from modules.base.errors import WebuiError
from modules.base.fields import Strict
from modules.processing.kinds.extras import EXTRAS
from modules.processing.kinds.generate import IMG2IMG, TXT2IMG
from modules.processing.kinds.kind import JobKind, unknown
from modules.processing.kinds.merge import MERGE


@dataclass(frozen=True)
class JobKinds:
    """Kinds by name."""

    kinds: tuple[JobKind[Any], ...]

    @cached_property
    def by_name(self) -> Mapping[str, JobKind[Any]]:
        return {kind.name: kind for kind in self.kinds}

    @cached_property
    def requests(self) -> Mapping[str, type[Strict]]:
        """The request class of each kind, by the kind's name."""
        return {kind.name: kind.request for kind in self.kinds}

    def named(self, name: str) -> JobKind[Any]:
        """The kind called `name`. Raises WebuiError with the closest match."""
        if name in self.by_name:
            return self.by_name[name]
        near = difflib.get_close_matches(name[:100], list(self.by_name), 1, 0.0)
        raise WebuiError(f"kind = {name[:100]!r}: unknown job kind. Did you mean {near[0]!r}?", field="kind")

    def kept(self, name: str) -> JobKind[Any]:
        """The kind of a stored job; an unknown kind can be listed but not run."""
        return self.by_name.get(name) or unknown(name)

    def with_kind(self, kind: JobKind[Any]) -> "JobKinds":
        """These kinds and another one, which replaces one of the same name."""
        return JobKinds((*(each for each in self.kinds if each.name != kind.name), kind))


BUILT_IN = JobKinds((TXT2IMG, IMG2IMG, EXTRAS, MERGE))
