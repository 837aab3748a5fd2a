"""A card for each model: its folder, date, notes, and where its picture is. Does not import torch."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from modules.base.errors import WebuiError
from modules.base.names import shown
from modules.networks.files.base_models import SD1, SD2, SDXL, family_of
from modules.networks.files.beside import OWN, Base, Beside, Folder, Stamp, base_of
from modules.networks.files.headers import HeaderCache, stamp_of
from modules.networks.files.loras import notes_of
from modules.networks.files.notes import NOTHING, Notes, merged, notes_of_file, problem_of, read_notes
from modules.schema.catalog import Catalog, Checkpoint, Embedding, Hypernetwork, Lora, Vae

CardKind = Literal["checkpoints", "loras", "embeddings", "hypernetworks", "vaes"]
ModelFile = Checkpoint | Lora | Embedding | Hypernetwork | Vae
KINDS: Final[tuple[CardKind, ...]] = ("checkpoints", "loras", "embeddings", "hypernetworks", "vaes")
_WIDTHS: Final[Mapping[int, str]] = {768: SD1, 1024: SD2}  # of the vectors of embeddings


class Model(NamedTuple):
    """A model of a catalog."""

    kind: CardKind
    entry: ModelFile

    @property
    def metadata(self) -> Mapping[str, Any] | None:
        """The metadata in its file, if that has been read already."""
        return self.entry.metadata if isinstance(self.entry, Lora) and self.entry.is_read else None

    @property
    def has_picture(self) -> bool:
        """Whether its file is known to contain a picture."""
        return isinstance(self.entry, Lora) and self.entry.has_picture

    @property
    def family(self) -> str:
        """The line of models, as identified by its tensors; "" if they were not read or do not identify it."""
        if isinstance(self.entry, Checkpoint):
            return family_of(self.entry.what)
        if isinstance(self.entry, Embedding):
            return SDXL if self.entry.widths else _WIDTHS.get(self.entry.width, "")
        return ""


@dataclass(frozen=True)
class Card:
    """A model with the files next to it.

    `folder` is relative to the folder of its kind, "" for that folder. `changed` is in nanoseconds, `size` in bytes.
    `family` is the line of models it belongs to. `picture` is a file next to it; `has_own` is True if the model's file
    contains a picture. `problems` are sentences about notes that cannot be read. `is_read` is False until the notes
    have been read. `own` is the JSON that A1111's editor writes, if there is one.
    """

    kind: CardKind
    entry: ModelFile
    base: Base
    folder: str
    changed: int = 0
    size: int = 0
    notes: Notes = NOTHING
    family: str = ""
    picture: Stamp | None = None
    has_own: bool = False
    problems: tuple[str, ...] = ()
    is_read: bool = False
    own: Path | None = None

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def path(self) -> Path:
        return self.entry.path

    @property
    def own_path(self) -> Path:
        """The file that has, or will have, the user's own notes."""
        return self.own or self.base.folder / f"{self.base.stem}{OWN}"


class Found(NamedTuple):
    """A model, its location, and the files next to it."""

    model: Model
    base: Base
    folder: str
    beside: Beside


def models_of(catalog: Catalog) -> Iterator[Model]:
    """All models of a catalog, kind by kind, in the catalog's order."""
    lists: Mapping[CardKind, Sequence[ModelFile]] = {
        "checkpoints": catalog.checkpoints,
        "loras": catalog.loras,
        "embeddings": catalog.embeddings,
        "hypernetworks": catalog.hypernetworks,
        "vaes": catalog.vaes,
    }
    for kind, entries in lists.items():
        yield from (Model(kind, entry) for entry in entries)


class Read(NamedTuple):
    """What the files next to a model say, and what its own file says."""

    notes: Notes = NOTHING
    problems: tuple[str, ...] = ()
    has_own: bool = False


class CardFiles:
    """The cards of models in some folders. A file of notes is read again only when it has changed.

    `roots` are the folders of each kind; the folders in `read_only` belong to another program. `headers` caches the
    contents of models' own headers. Use it from one thread at a time.
    """

    def __init__(
        self,
        roots: Mapping[CardKind, Sequence[Path]] | None = None,
        read_only: Sequence[Path] = (),
        headers: HeaderCache | None = None,
    ) -> None:
        self._headers = headers or HeaderCache()
        self._roots = {kind: tuple((roots or {}).get(kind, ())) for kind in KINDS}
        self._read_only = tuple(read_only)
        self._read: dict[Beside, Read] = {}

    def found(self, models: Iterable[Model]) -> list[Found]:
        """The files next to each of `models`. Each folder is listed once; no file is read."""
        folders: dict[tuple[CardKind, Path], Folder] = {}
        found: list[Found] = []
        for model in models:
            base = base_of(model.entry.path)
            key = model.kind, base.folder
            folder = folders.get(key)
            if folder is None:
                folder = folders[key] = Folder(base.folder, self._roots[model.kind])
            if beside := folder.beside(model.entry.path, base.stem):
                found.append(Found(model, base, folder.label, beside))
        return found

    def cards(self, found: Sequence[Found], is_over: Callable[[], bool] = lambda: False) -> list[Card]:
        """A card for each model. Once `is_over` returns True, unread notes are left out; at least one is read."""
        kept: dict[Beside, Read] = {}
        cards: list[Card] = []
        has_read = False
        for each in found:
            known = self._read.get(each.beside)
            if known is None and not (has_read and is_over()):
                known, has_read = _read(each, self._headers), True
            if known is not None:
                kept[each.beside] = known
            cards.append(_card(each, known))
        self._read = kept
        return cards

    def bare(self, model: Model) -> Card:
        """A card without any notes."""
        return Card(model.kind, model.entry, base_of(model.entry.path), "")

    def require_ours(self, card: Card) -> None:
        """Raises WebuiError for a model in the folder of another program, which is never written."""
        if any(card.path.is_relative_to(folder) for folder in self._read_only):
            raise WebuiError(
                f"{shown(card.path.name)} belongs to another installation, where nothing is written.",
                "Change it there, or copy the model into a folder of Palimpsest's.",
                "name",
                409,
            )


def _card(found: Found, read: Read | None) -> Card:
    model, base, folder, beside = found
    content = read or Read()
    return Card(
        model.kind,
        model.entry,
        base,
        folder,
        beside.model.changed,
        beside.model.size,
        content.notes,
        model.family or family_of(content.notes.base_model),
        beside.picture,
        model.has_picture or content.has_own,
        content.problems,
        read is not None,
        next((Path(stamp.path) for ending, stamp in beside.notes if ending == OWN), None),
    )


def _read(found: Found, headers: HeaderCache) -> Read:
    """All notes about a model; a file that cannot be read is left out and reported."""
    notes: list[Notes] = []
    problems: list[str] = []
    for ending, stamp in found.beside.notes:
        try:
            notes.append(read_notes(Path(stamp.path), ending))
        except FileNotFoundError:
            continue  # it has just been deleted
        except (OSError, ValueError, WebuiError) as error:
            problems.append(problem_of(Path(stamp.path), error))
    metadata = found.model.metadata
    has_own = False
    if metadata is None:
        metadata, has_own = _of_file(found.model.entry.path, headers)
    return Read(merged([*notes, notes_of_file(metadata)]), tuple(problems), has_own)


def _of_file(path: Path, headers: HeaderCache) -> tuple[Mapping[str, Any], bool]:
    """(the metadata in a model's file, whether it contains a picture); nothing if it cannot be read: the list of models
    says why."""
    if path.is_dir():
        return {}, False
    try:
        notes = notes_of(stamp_of(path), headers)
    except OSError:
        return {}, False
    return notes.metadata, notes.has_picture
