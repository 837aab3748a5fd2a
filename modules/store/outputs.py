"""The outputs folder: finished pictures, numbered by day, complete or absent.

outputs/img2img-images/2026-01-31/00007-1234.png
outputs/saved/00007-1234.png, outputs/saved/log.csv
"""

import csv
import io
import re
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from pathlib import Path, PurePosixPath

from modules.base.cells import guarded
from modules.base.disk import append_line, publish, refusal, sweep, write_new
from modules.base.errors import WebuiError
from modules.base.names import shown
from modules.base.paths import FORBIDDEN, below
from modules.base.picture import Picture
from modules.infotext.parse import parse
from modules.schema.settings import Settings
from modules.store.metadata import Encoded, as_file, read

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tiff")
UNFINISHED = ".unfinished"  # the folder in which large pictures are written
NUMBER = re.compile(r"(\d+)-")
SAVED = "saved"
SOURCES = "init-images"
LOG = "log.csv"
LOG_COLUMNS = (
    "prompt", "seed", "width", "height", "sampler", "cfgs", "steps", "filename", "negative_prompt", "sd_model_name",
    "sd_model_hash",
)  # fmt: skip
ZIP_BLOCK = 1 << 20  # bytes
EARLIEST_IN_ZIP, LATEST_IN_ZIP = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)  # the range of dates in a zip


class Outputs:
    """The pictures under `root`. Safe to use from several threads, and with other programs adding files."""

    def __init__(self, root: Path, today: Callable[[], date] = date.today) -> None:
        self.root = root
        self._today = today
        self._lock = threading.Lock()
        self._next: dict[tuple[Path, str], int] = {}  # (folder, sheet) -> the next number to try

    def numbered(self, kind: str, seed: int, sheet: str = "", suffix: str = "") -> Iterator[str]:
        """Names for a picture made today, in the folder of its job kind: the next free number, then the following ones.

        `sheet` is the start of a grid's name; grids have their own folder, as in A1111. `suffix` is the end of the name
        of a file that belongs to a picture but has its own number, as in A1111.
        """
        name = f"{kind}-{'grids' if sheet else 'images'}/{self._today().isoformat()}"
        folder = self.root / name
        known = self._next.get((folder, sheet))
        number = _next_number(folder, sheet) if known is None else known
        while True:
            self._next[folder, sheet] = number + 1
            yield f"{name}/{sheet}-{number:04}" if sheet else f"{name}/{number:05}-{seed}{suffix}"
            number = max(number + 1, _next_number(folder, sheet))

    def write(
        self, names: Iterable[str], file: Encoded, announce: Callable[[str, bytes], None] = lambda path, data: None
    ) -> str:
        """Writes an encoded picture under the first free name of `names`; returns its path for `locate`.

        Names are relative to the root and have no file extension. No file is ever overwritten. `announce` gets path and
        content before each attempt to write; only the last call counts.

        Raises FileExistsError if all names are in use, WebuiError if the disk refuses or a link leads outside the root;
        then nothing is left behind.
        """
        return self._placed(
            names, file.format, lambda path: announce(path, file.data), lambda path: write_new(path, file.data)
        )

    def publish(
        self, names: Iterable[str], draft: Path, format: str, announce: Callable[[str], None] = lambda path: None
    ) -> str:
        """Moves the complete file `draft`, on the same disk, to the first free name of `names`; returns its path.
        Otherwise like `write`; if it raises, the draft still exists."""

        def place(path: Path) -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            publish(draft, path)

        return self._placed(names, format, announce, place)

    def _placed(
        self, names: Iterable[str], format: str, announce: Callable[[str], None], place: Callable[[Path], None]
    ) -> str:
        """The path, below the root, of the first free name of `names`, at which `place` has put a picture."""
        with self._lock:
            for name in names:
                relative = f"{name}.{format}"
                path = self.root / relative
                if below(self.root, relative) is None:
                    raise WebuiError(
                        f"{relative[:200]}: it contains a link that leads outside the outputs folder.",
                        "Replace the link with a folder.",
                    )
                announce(self.relative(path))
                try:
                    place(path)
                except FileExistsError:
                    continue
                except OSError as error:
                    self._next.clear()  # read the folder again next time
                    raise refusal("The picture", path.parent, error) from error
                return self.relative(path)
        raise FileExistsError("all file names for the picture are taken")

    def save_source(self, picture: Picture, settings: Settings) -> None:
        """Saves a job's source in `init-images/`, once, named by the MD5 of its pixels. Raises WebuiError."""
        with picture.room():
            file = as_file(picture.open(), read(picture).infotext, settings)
        path = self.root / SOURCES / f"{picture.pixels_md5}.{file.format}"
        try:
            write_new(path, file.data)
        except FileExistsError:
            return
        except OSError as error:
            raise refusal("The source picture", path.parent, error) from error

    def relative(self, path: Path) -> str:
        """`path` as the page and the API write it: relative to the root, with forward slashes, and `%FF` for bytes that
        are not UTF-8."""
        return shown(path.relative_to(self.root).as_posix())

    def locate(self, relative: str) -> Path:
        """The saved picture with this name.

        Raises WebuiError (404) for anything else: other files, folders, paths outside the root.
        """
        parts = PurePosixPath(relative).parts
        plain = bool(parts) and not any(part.startswith(".") or FORBIDDEN.search(part) for part in parts)
        if plain and PurePosixPath(relative).suffix.lower() in SUFFIXES:
            path = below(self.root, relative, strict=True)
            if path is not None and path.is_file():
                return path
        raise WebuiError(
            f"path: there is no saved picture {relative[:200]!r}.",
            "It may have been moved or deleted.",
            field="path",
            status=404,
        )

    def keep(self, relative: str) -> Path:
        """Copies a saved picture to `saved/` and adds a line to its log.csv; returns the copy's path.

        A picture that is already there is not copied again. Raises WebuiError; then neither copy nor line remains.
        """
        source = self.locate(relative)
        folder = self.root / SAVED
        with self._lock:
            try:
                data = source.read_bytes()
                copy, is_new = _copied(data, folder, source)
                if is_new:
                    try:
                        row = _log_row(data, shown(copy.name))
                        append_line(folder / LOG, _csv(row[name] for name in LOG_COLUMNS), first=_csv(LOG_COLUMNS))
                    except BaseException:
                        copy.unlink(missing_ok=True)
                        raise
                return copy
            except OSError as error:
                raise refusal("The copy", folder, error) from error

    def zipped(self, relatives: Iterable[str]) -> Iterator[bytes]:
        """A zip of these pictures, a block at a time, stored without compression (they are already compressed).

        All names are looked up before the first byte; raises WebuiError if one is missing.
        """
        located = {relative: self.locate(relative) for relative in relatives}
        names = [shown(path.name) for path in located.values()]
        unique = len(set(names)) == len(names)
        entries = [(shown(path.name) if unique else relative, path) for relative, path in located.items()]
        return _zip_blocks(entries)


def _next_number(folder: Path, sheet: str = "") -> int:
    """One more than the largest number at the start of a file name in `folder`; 0 for an empty or missing folder.

    The number of a grid follows its name: xyz_grid-0007.png.
    """
    if not folder.is_dir():
        return 0
    sweep(folder)
    pattern = re.compile(rf"{re.escape(sheet)}-(\d+)\.") if sheet else NUMBER
    matches = (pattern.match(name.name) for name in folder.iterdir())
    return max((int(match[1]) for match in matches if match and len(match[1]) < 10), default=-1) + 1


def _copied(data: bytes, folder: Path, source: Path) -> tuple[Path, bool]:
    """A file in `folder` with the content `data`, and whether it is new; `name-1` and so on if the name is in use."""
    for number in range(10_000):
        copy = folder / (source.name if number == 0 else f"{source.stem}-{number}{source.suffix}")
        try:
            write_new(copy, data)
        except FileExistsError:
            if copy.is_file() and copy.read_bytes() == data:
                return copy, False
            continue
        return copy, True
    raise FileExistsError(f"{source.name} and 10000 names like it are taken")


def _log_row(data: bytes, name: str) -> dict[str, str]:
    """A line of A1111's log for a picture, from its metadata."""
    picture = Picture.unread(data)
    text = parse(read(picture).infotext)
    pairs = text.pairs
    return {
        "prompt": text.prompt,
        "seed": pairs.get("Seed", ""),
        "width": str(picture.width),
        "height": str(picture.height),
        "sampler": pairs.get("Sampler", ""),
        "cfgs": pairs.get("CFG scale", ""),
        "steps": pairs.get("Steps", ""),
        "filename": name,
        "negative_prompt": text.negative_prompt,
        "sd_model_name": pairs.get("Model", ""),
        "sd_model_hash": pairs.get("Model hash", ""),
    }


def _csv(cells: Iterable[str]) -> bytes:
    """A row without the last byte of its line end, which is CR LF."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r").writerow(map(guarded, cells))
    return text.getvalue().encode("utf-8", "replace")


class _Blocks(io.RawIOBase):
    """A file for zipfile to write to; `taken` returns and removes the bytes written so far."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        piece = bytes(memoryview(data))  # pyright: ignore[reportArgumentType]  # io allows any buffer
        self._pieces.append(piece)
        return len(piece)

    def taken(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


def _zip_time(seconds: float) -> tuple[int, int, int, int, int, int]:
    """A file's modification time, rounded to what a zip can store."""
    try:
        year, month, day, hour, minute, second = datetime.fromtimestamp(seconds).timetuple()[:6]
    except (OverflowError, ValueError, OSError):  # a year that the calendar or the system does not know
        return EARLIEST_IN_ZIP if seconds < 0 else LATEST_IN_ZIP
    return min(max((year, month, day, hour, minute, second), EARLIEST_IN_ZIP), LATEST_IN_ZIP)


def _zip_blocks(entries: list[tuple[str, Path]]) -> Iterator[bytes]:
    blocks = _Blocks()
    with zipfile.ZipFile(blocks, "w", zipfile.ZIP_STORED) as archive:
        for name, path in entries:
            entry = zipfile.ZipInfo(name, _zip_time(path.stat().st_mtime))
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                while block := source.read(ZIP_BLOCK):
                    target.write(block)
                    yield blocks.taken()
    yield blocks.taken()
