"""The styles of a data folder, and the styles of other programs' installations, which are read-only."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from modules.base.disk import refusal, write_over
from modules.base.errors import WebuiError
from modules.prompts.style_file import Style, StyleFile, read_style_file
from modules.prompts.styles import read_styles

log = logging.getLogger(__name__)

FILE = "styles.csv"  # in the data folder, as in A1111


class StyleBook:
    """Reads the files on every call, so another program's changes take effect at once. Thread-safe."""

    def __init__(self, folder: Path, others: tuple[Path, ...] = ()) -> None:
        self._path = folder / FILE
        self._others = others
        self._lock = threading.Lock()
        self._written = b""  # the last text this server wrote
        self._complaints: dict[Path, str] = {}

    def styles(self) -> dict[str, Style]:
        """All styles by name; the data folder's take precedence over others of the same name.

        Raises WebuiError if the data folder's file is not a table; another program's invalid file is left out.
        """
        return {**self._borrowed(), **read_styles(self._path)}

    def save(self, style: Style) -> dict[str, Style]:
        """Save a style in the data folder, replacing one of that name there. Returns all styles. Raises WebuiError."""
        return self._change(lambda file: file.with_style(style))

    def delete(self, name: str) -> dict[str, Style]:
        """Delete a style. Returns the others. Raises WebuiError if it does not exist or belongs to another program."""

        def without(file: StyleFile) -> StyleFile:
            if name in file.styles:
                return file.without(name)
            if name in self._borrowed():
                raise WebuiError(
                    f"The style {name[:100]!r} is in another program's styles.csv, which is not changed.",
                    "Delete it there.",
                    "name",
                    status=409,
                )
            raise WebuiError(f"There is no style {name[:100]!r}.", field="name", status=404)

        return self._change(without)

    def _change(self, change: Callable[[StyleFile], StyleFile]) -> dict[str, Style]:
        with self._lock:
            data = change(read_style_file(self._path)).data()
            try:
                if self._path.exists() and (before := self._path.read_bytes()) != self._written:
                    write_over(self._path.with_name(f"{FILE}.bak"), before)  # as A1111 names it
                write_over(self._path, data)
            except OSError as error:
                raise refusal("The style", self._path.parent, error) from error
            self._written = data
        return self.styles()

    def _borrowed(self) -> dict[str, Style]:
        """The other programs' styles; if several files have a name, the first file's style counts."""
        found: dict[str, Style] = {}
        for path in self._others:
            try:
                found = {**read_styles(path), **found}
                self._complaints.pop(path, None)
            except WebuiError as error:
                if self._complaints.get(path) != str(error):
                    log.warning("%s: %s", path, error)
                self._complaints[path] = str(error)
        return found
