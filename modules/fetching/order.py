"""The file to download: a row of the catalog or any file of any repository. Checks the names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from pydantic import ConfigDict, Field

from modules.base.errors import WebuiError
from modules.base.fields import Strict
from modules.base.paths import DEVICES, FORBIDDEN, LONGEST_PART, ROOM, could_be
from modules.fetching.catalog import CatalogEntry, FolderKind

FIELD: Final = "file"
SUFFIXES: Final = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf")  # of model files
_URL: Final = re.compile(r"/?(?P<repo>[^/]+/[^/]+)/(?:resolve|blob)/(?P<revision>[^/]+)/(?P<file>.+)")
_REVISION: Final = re.compile(r"[\w.-]{1,100}")
_HUB: Final = ("huggingface.co", "hf.co")


class FetchRequest(Strict):
    """A file to download. `accept_terms` means that the user accepts its licence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = Field(
        max_length=1000, description="An id of the catalog, owner/repository/path/of/file, or the file's page."
    )
    kind: FolderKind = Field(
        default="checkpoint", description="Which folder it belongs in. Ignored for an id of the catalog."
    )
    name: str = Field(default="", max_length=400, description="What the file is called here; its own name without one.")
    accept_terms: bool = Field(default=False, description="Whether you accept the licence of the file.")


@dataclass(frozen=True)
class Order:
    """A file on the hub, and its kind and name on this machine. `size` is 0 and `sha256` "" while unknown."""

    repo: str
    file: str
    revision: str
    kind: FolderKind
    name: str
    size: int = 0
    sha256: str = ""
    licence: str = ""
    title: str = ""


def order_of(request: FetchRequest, catalog: Sequence[CatalogEntry]) -> Order:
    """The file that `request` names. Raises WebuiError if it names no file or a path outside its folder."""
    address = request.file.strip()
    entry = next((entry for entry in catalog if entry.id == address), None)
    if entry is not None:
        name = request.name or entry.name
        _require_name(name)
        return Order(
            entry.repo, entry.file, "main", entry.kind, name, entry.size or 0, entry.sha256, entry.licence, entry.title
        )
    if "/" not in address:
        near = get_close_matches(address, [entry.id for entry in catalog], 1, 0.4)
        hint = f"Did you mean {near[0]!r}?" if near else "Write owner/repository/file, or an id of the catalog."
        raise WebuiError(f"file = {address[:100]!r}: the catalog has no such id.", hint, FIELD)
    repo, revision, file = _parts(address)
    name = request.name or PurePosixPath(file).name
    _require_name(name)
    return Order(repo, file, revision, request.kind, name, title=PurePosixPath(file).name)


def _parts(address: str) -> tuple[str, str, str]:
    """(repository, revision, path of the file). Raises WebuiError."""
    if "://" in address:
        parts = urlsplit(address)
        match = _URL.fullmatch(unquote(parts.path))
        if parts.scheme != "https" or parts.hostname not in _HUB or match is None:
            raise WebuiError(
                f"file = {address[:100]!r}: expected the page of a file at https://huggingface.co.",
                "Write owner/repository/file instead.",
                FIELD,
            )
        repo, revision, file = match["repo"], match["revision"], match["file"]
    else:
        path, _, revision = address.partition("@")
        owner, _, rest = path.partition("/")
        project, _, file = rest.partition("/")
        repo, revision = f"{owner}/{project}", revision or "main"
    is_bad = (
        not file
        or not could_be(file)
        or "\\" in file
        or any(part in ("", ".", "..") for part in file.split("/"))
        or not _REVISION.fullmatch(revision)
    )
    try:
        validate_repo_id(repo)
    except HFValidationError:
        is_bad = True
    if is_bad:
        raise WebuiError(
            f"file = {address[:100]!r}: expected owner/repository/file, with @revision behind it if need be.", "", FIELD
        )
    return repo, revision, file


def _require_name(name: str) -> None:
    """Raises WebuiError for a name with a path in it, or one that is not a model file's."""
    is_bad = (
        FORBIDDEN.search(name)
        or DEVICES.fullmatch(name)
        or name.startswith(".")
        or name != name.strip(" .")
        or not could_be(name)
        or len(name.encode("utf-8", "replace")) > LONGEST_PART - ROOM
    )
    if is_bad:
        raise WebuiError(f"name = {name[:100]!r}: expected a plain file name without folders.", "", "name")
    if not name.lower().endswith(SUFFIXES):
        raise WebuiError(
            f"name = {name[:100]!r}: expected the name of a model file, ending with {' or '.join(SUFFIXES)}.",
            "",
            "name",
        )
