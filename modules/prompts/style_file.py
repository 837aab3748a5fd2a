"""styles.csv on disk: the styles in it, and edits that keep every other byte.

A1111 writes commas, a header `name,prompt,negative_prompt` and UTF-8. People's files also come from spreadsheets
(semicolons or tabs, UTF-16, a first line `sep=;`), have no header, or have additional columns.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from modules.base.errors import WebuiError

DELIMITERS = ",;\t|"
COLUMNS = ("name", "prompt", "negative_prompt")
ALIASES = {"text": "prompt"}  # the column's name before A1111 had negative prompts
COMMENT = "#"  # A1111 skips rows whose name begins with it
CURE = "Fix it in a text editor or move it away; until then it is not changed."


class Style(NamedTuple):
    """A row of styles.csv."""

    name: str
    prompt: str
    negative_prompt: str


class Row(NamedTuple):
    """A record: its text in the file, including the line ending, its row number, and its cells."""

    raw: str
    line: int
    cells: tuple[str, ...]


class Layout(NamedTuple):
    """The format of a table. `places` are the indexes of `COLUMNS`, None for a missing column."""

    delimiter: str
    header_rows: int
    width: int
    places: tuple[int | None, int | None, int | None]


NEW = Layout(",", 1, 3, (0, 1, 2))
HEADER = (Row(",".join(COLUMNS) + "\r\n", 1, COLUMNS),)


@dataclass(frozen=True)
class StyleFile:
    """A styles.csv. `trouble` is "" if all of it was understood; otherwise it says what was not."""

    layout: Layout
    rows: tuple[Row, ...]
    encoding: str = "utf-8"
    trouble: str = ""

    @property
    def styles(self) -> dict[str, Style]:
        """The styles by name; if a name occurs twice, the last one counts, as in A1111."""
        found = map(self._style, self.rows[self.layout.header_rows :])
        return {style.name: style for style in found if style.name and not style.name.startswith(COMMENT)}

    def with_style(self, style: Style) -> StyleFile:
        """The file with `style`, replacing one of that name or added at the end. Raises as `require_understood`."""
        self.require_understood()
        same = [index for index in self._indices() if self._style(self.rows[index]).name == style.name]
        old = self.rows[same[-1]].cells if same else ()
        cells = list(old) + [""] * (self.layout.width - len(old))
        for place, cell in zip(self.layout.places, style, strict=True):
            if place is not None:
                cells[place] = cell
            elif cell:
                raise WebuiError(
                    f"styles.csv has no column for a negative prompt, but {style.name!r} has one.",
                    f"Make its first line {self.layout.delimiter.join(COLUMNS)}.",
                )
        row = self._written(cells)
        if same:
            return replace(self, rows=(*self.rows[: same[-1]], row, *self.rows[same[-1] + 1 :]))
        rows = self.rows
        if rows and not rows[-1].raw.endswith(("\n", "\r")):
            rows = (*rows[:-1], rows[-1]._replace(raw=rows[-1].raw + self._line_end))
        return replace(self, rows=(*rows, row))

    def without(self, name: str) -> StyleFile:
        """The file without the style `name`. Raises as `require_understood`."""
        self.require_understood()
        removed = {index for index in self._indices() if self._style(self.rows[index]).name == name}
        return replace(self, rows=tuple(row for index, row in enumerate(self.rows) if index not in removed))

    def require_understood(self) -> None:
        """Raises WebuiError unless all of the file was understood, so an edit cannot lose anything."""
        if self.trouble:
            raise WebuiError(f"styles.csv cannot be changed: {self.trouble}.", CURE, status=409)

    def data(self) -> bytes:
        """The file's bytes; unchanged rows keep theirs."""
        return "".join(row.raw for row in self.rows).encode(self.encoding)

    def _indices(self) -> range:
        return range(self.layout.header_rows, len(self.rows))

    def _style(self, row: Row) -> Style:
        cells = row.cells
        return Style(
            *(cells[place] if place is not None and place < len(cells) else "" for place in self.layout.places)
        )

    def _written(self, cells: Sequence[str]) -> Row:
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=self.layout.delimiter, lineterminator=self._line_end).writerow(cells)
        return Row(text.getvalue(), 0, tuple(cells))

    @property
    def _line_end(self) -> str:
        first = self.rows[0].raw if self.rows else "\r\n"
        return next((end for end in ("\r\n", "\n", "\r") if first.endswith(end)), "\r\n")


def read_style_file(path: Path) -> StyleFile:
    """The file at `path`; an empty table if it does not exist.

    Raises WebuiError for a file that cannot be read or is not a table of styles.
    """
    if not path.exists():
        return StyleFile(NEW, HEADER)
    if not path.is_file():
        raise WebuiError(f"{path.name}: not a table of styles but a folder or a device.", "Move it away.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WebuiError(f"{path.name} cannot be read ({error.strerror}).", "Allow reading it.") from error
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
    if data.startswith(codecs.BOM_UTF8):
        encoding = "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise WebuiError(
            f"{path.name}: not a table of styles (line {line} is not {encoding.upper()} text).",
            "Save it as UTF-8 (in a spreadsheet: CSV UTF-8), or move it away; until then it is not changed.",
        ) from error
    return style_file(text, encoding, path.name)


def style_file(text: str, encoding: str = "utf-8", name: str = "styles.csv") -> StyleFile:
    """The file with this text. Raises WebuiError naming the file `name` if it is not a table of styles."""
    try:
        return _as_table(text, encoding, name, strict=True)
    except csv.Error as error:
        # A1111's reader accepts such quotes. The styles are usable that way, but their intended text is uncertain.
        trouble = f"its quotes do not match ({error})"
    try:
        return replace(_as_table(text, encoding, name, strict=False), trouble=trouble)
    except csv.Error as error:
        raise WebuiError(f"{name}: not a table of styles ({error}).", CURE) from error


def _as_table(text: str, encoding: str, name: str, strict: bool) -> StyleFile:
    if not text.strip():
        return StyleFile(NEW, HEADER, encoding)
    named_delimiter = text[4:5] if text.startswith("sep=") else ""  # Excel's way of naming the delimiter
    for delimiter in named_delimiter or DELIMITERS:
        rows = tuple(_rows(text, delimiter, strict))
        layout = _layout_by_header(rows, delimiter, 1 if named_delimiter else 0)
        if layout is not None:
            return StyleFile(layout, rows, encoding, _ragged(rows, layout))
    for width in ({3}, {2, 3}):
        for delimiter in named_delimiter or DELIMITERS:
            rows = tuple(_rows(text, delimiter, strict))
            data_rows = [
                row for row in rows[bool(named_delimiter) :] if any(row.cells) and not row.raw.startswith(COMMENT)
            ]
            lengths = {len(row.cells) for row in data_rows}
            if lengths and lengths <= width and not {*COLUMNS, *ALIASES} & {*map(str.lower, data_rows[0].cells)}:
                return StyleFile(Layout(delimiter, 1 if named_delimiter else 0, 3, (0, 1, 2)), rows, encoding)
    first = text.strip().splitlines()[0]
    raise WebuiError(f"{name}: not a table of styles (it begins {first[:60]!r}, and no column is called 'name').", CURE)


def _rows(text: str, delimiter: str, strict: bool) -> Iterator[Row]:
    lines = list(io.StringIO(text, newline=""))
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=strict)
    end = 0
    for cells in reader:
        yield Row("".join(lines[end : reader.line_num]), end + 1, tuple(cells))
        end = reader.line_num


def _layout_by_header(rows: Sequence[Row], delimiter: str, skipped: int) -> Layout | None:
    """The layout given by the first row with cells; None if that row does not name the columns of styles."""
    for index, row in enumerate(rows[skipped:], skipped):
        if not any(row.cells) or row.raw.startswith(COMMENT):
            continue
        names = [cell.strip().lower() for cell in row.cells]
        columns = [ALIASES.get(name, name) if ALIASES.get(name) not in names else "" for name in names]
        if "name" not in columns or not {"prompt", "negative_prompt"} & set(columns):
            return None
        name, prompt, negative = (columns.index(name) if name in columns else None for name in COLUMNS)
        return Layout(delimiter, index + 1, len(columns), (name, prompt, negative))
    return None


def _ragged(rows: Sequence[Row], layout: Layout) -> str:
    """A sentence about the first row with more cells than columns, "" if there is none."""
    for row in rows[layout.header_rows :]:
        if any(row.cells[layout.width :]):
            return (
                f"line {row.line} has {len(row.cells)} cells for {layout.width} columns; "
                f"a text with {layout.delimiter!r} in it needs double quotes around it"
            )
    return ""
