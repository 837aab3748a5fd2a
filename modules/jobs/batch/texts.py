"""The texts of a file of a batch: its own metadata, a .txt file next to it, a row of a CSV.

Later ones take precedence: metadata, then the .txt, then the CSV.
"""

import csv
import difflib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from modules.base.cells import unguarded
from modules.base.errors import WebuiError
from modules.base.fields import params
from modules.base.picture import Picture
from modules.infotext.parse import parse
from modules.infotext.read import to_fields
from modules.jobs.batch.files import BatchFile, FileSet, text_of
from modules.schema.catalog import Catalog
from modules.schema.request import Img2ImgRequest
from modules.schema.settings import Settings
from modules.store import metadata

TextSource = Literal["metadata", "text", "csv"]
TakenField = Literal["prompt", "negative_prompt", "seed", "cfg_scale", "sampler_name", "steps", "checkpoint"]
PROMPTS = ("prompt", "negative_prompt")
CHECKPOINT = "sd_model_checkpoint"
FILE = "file"

# Aliases for the columns of a CSV, including those of A1111's log.csv.
ALIASES = {
    "filename": FILE, "image": FILE, "name": FILE, "negative": "negative_prompt", "cfg": "cfg_scale",
    "cfgs": "cfg_scale", "sampler": "sampler_name", "schedule_type": "scheduler", "denoising": "denoising_strength",
    "strength": "denoising_strength", "sd_model_name": "checkpoint", "model": "checkpoint", CHECKPOINT: "checkpoint",
}  # fmt: skip
DELIMITERS = ",;\t"


@dataclass(frozen=True)
class FormChanges:
    """A file's changes to the form.

    `fields` are request fields, `checkpoint` is a name or "", `notes` are sentences.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: str = ""
    notes: tuple[str, ...] = ()

    def over(self, form: Mapping[str, Any], append: bool) -> dict[str, Any]:
        """The form's values with this file's. `append`: prompts are added after the form's, as in A1111."""
        values = {**form, **self.fields}
        for name in PROMPTS:
            if append and name in self.fields:
                values[name] = f"{form.get(name) or ''} {self.fields[name]}".strip()
        if self.checkpoint:
            values["override_settings"] = {**values.get("override_settings", {}), CHECKPOINT: self.checkpoint}
        return values


@dataclass(frozen=True)
class Row:
    """A line of a CSV about one file; `place` describes it in messages."""

    place: str
    values: Mapping[str, str]


class FileTexts:
    """The texts of all files of a batch, by name. Text files are read on demand, tables immediately.

    Raises WebuiError for an invalid table.
    """

    def __init__(self, files: FileSet, sources: Sequence[TextSource], own: Sequence[TakenField]) -> None:
        self._metadata = "metadata" in sources
        self._own = frozenset(own)
        self._texts = {file.key: file for file in files.texts} if "text" in sources else {}
        self._rows: dict[str, Row] = {}
        self.notes: list[str] = []
        for table in files.tables if "csv" in sources else ():
            rows, notes = read_table(table)
            self._rows |= rows
            self.notes += notes
        known = {name for file in files.pictures for name in names_of(file)}
        unknown = [row.place for name, row in self._rows.items() if name not in known]
        if unknown:
            self.notes.append(f"No picture has this name: {', '.join(unknown[:5])}{' …' * (len(unknown) > 5)}.")

    def changes(self, file: BatchFile, picture: Picture, settings: Settings, catalog: Catalog) -> FormChanges:
        """The changes for one picture. Raises WebuiError for a text that cannot be read."""
        fields: dict[str, Any] = {}
        checkpoint = ""
        notes: list[str] = []
        if self._metadata and self._own:
            read_metadata = metadata.read(picture)
            found = (
                self._from_infotext(read_metadata.infotext, self._own, settings, catalog)
                if read_metadata.infotext
                else FormChanges()
            )
            fields, checkpoint, notes = dict(found.fields), found.checkpoint, [*read_metadata.notes, *found.notes]
        text = self._texts.get(file.key)
        if text is not None:
            found = self._from_infotext(text_of(text), self._own | set(PROMPTS), settings, catalog)
            fields |= found.fields
            checkpoint = found.checkpoint or checkpoint
            notes += found.notes
        row = next((self._rows[name] for name in names_of(file) if name in self._rows), None)
        if row is not None:
            values = dict(row.values)
            checkpoint = values.pop("checkpoint", checkpoint)
            try:
                Img2ImgRequest.parse({**values, "init_images": (picture,)})
            except WebuiError as error:
                raise WebuiError(f"{row.place}: {error.message}", error.hint, error.field) from error
            fields |= values
        return FormChanges(fields, checkpoint, tuple(notes))

    def _from_infotext(
        self, text: str, own: frozenset[str] | set[str], settings: Settings, catalog: Catalog
    ) -> FormChanges:
        parsed = parse(text)
        read = to_fields(parsed, "img2img", settings, catalog)
        notes = (*parsed.notes, *(sentence for field, sentence in read.refused.items() if field in own))
        fields_taken = own | ({"scheduler"} if "sampler_name" in own else set())
        fields = {name: value for name, value in read.fields.items() if name in fields_taken}
        for name in PROMPTS:
            if not fields.get(name):
                fields.pop(name, None)
        name, digits = parsed.pairs.get("Model", ""), parsed.pairs.get("Model hash", "")
        if "checkpoint" not in own or not (name or digits):
            return FormChanges(fields, notes=notes)
        try:
            checkpoint, note = catalog.checkpoint_of_text(name, digits)
        except WebuiError:
            missing_note = f"It was made with the checkpoint {(name or digits)[:80]!r}, which is not installed."
            return FormChanges(fields, notes=(*notes, missing_note))
        return FormChanges(fields, checkpoint.name, (*notes, *filter(None, [note])))


def names_of(file: BatchFile) -> tuple[str, ...]:
    """The names by which a table may refer to a picture, the longest first."""
    name = file.name.casefold()
    return (name, file.key, name.rpartition("/")[2], file.stem)


def read_table(table: BatchFile) -> tuple[dict[str, Row], list[str]]:
    """Rows by file name, and notes about what was skipped.

    Columns: file, prompt, negative_prompt, seed and any other request field. An empty cell keeps the form's value.
    """
    text = text_of(table)
    first_line = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first_line.count)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise WebuiError(f"{table.name}: the CSV cannot be read ({error}).", field="files") from error
    lines = [(number, line) for number, line in enumerate(lines, 1) if any(cell.strip() for cell in line)]
    if not lines:
        raise WebuiError(f"{table.name}: the CSV is empty.", "The first line must name the columns.", "files")
    header = [_column(cell) for cell in lines[0][1]]
    if FILE not in header:
        near = difflib.get_close_matches(FILE, header, 1)
        raise WebuiError(
            f"{table.name}: there is no column 'file'"
            + (f" (is it {near[0]!r}?)." if near else f"; its columns are {', '.join(header)[:200]}."),
            "The first line must name the columns: file,prompt,negative_prompt,seed …",
            "files",
        )
    known = {*params(Img2ImgRequest), "checkpoint", FILE}
    unknown = [column for column in header if column and column not in known]
    notes = [f"{table.name}: unknown fields were skipped: {', '.join(unknown)}."] if unknown else []
    rows: dict[str, Row] = {}
    for number, cells in lines[1:]:
        read_metadata = {column: unguarded(cell.strip()) for column, cell in zip(header, cells, strict=False)}
        pairs = {column: cell for column, cell in read_metadata.items() if column in known}
        name = pairs.pop(FILE, "").replace("\\", "/").strip("/").casefold()
        if name:
            values = {column: cell for column, cell in pairs.items() if cell}
            rows[name] = Row(f"{table.name}, line {number}", values)
    return rows, notes


def _column(cell: str) -> str:
    name = "_".join(cell.strip().lower().replace("-", " ").split())
    return ALIASES.get(name, name)
