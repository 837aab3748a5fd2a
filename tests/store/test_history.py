"""The index over the outputs folder: order, lineage, and that it follows the files."""

import hashlib
import os
from pathlib import Path

import pytest
from PIL import Image

from modules.base.errors import WebuiError
from modules.schema.settings import Settings
from modules.store.history import Cursor, History, HistoryEntry
from modules.store.metadata import Format, as_file
from modules.store.outputs import Outputs

TEXT = "{}\nSteps: 4, Sampler: Euler, Seed: {}, Size: 16x8"


class HistoryFolder:
    """Pictures that are saved one second apart."""

    def __init__(self, root: Path) -> None:
        self.outputs = Outputs(root / "outputs")
        self.index = root / "cache" / "history.sqlite"
        self.history = History(self.outputs, self.index)
        self.count = 0

    def save(self, prompt: str, source: str = "", mask: str = "") -> str:
        """Saves a new picture; returns its sha256."""
        self.count += 1
        image = Image.new("RGB", (16, 8), (self.count, 0, 0))
        text = TEXT.format(prompt, self.count)
        text += f", Denoising strength: 0.5, Source hash: {source}" if source else ""
        text += f", Mask hash: {mask}" if mask else ""
        names = self.outputs.numbered("img2img" if source else "txt2img", self.count)
        path = self.outputs.root / self.outputs.write(names, as_file(image, text, Settings()))
        os.utime(path, (1000 + self.count, 1000 + self.count))
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def seeds(self, entries: list[HistoryEntry]) -> list[str]:
        return [entry.seed for entry in entries]

    def page(self, count: int = 10, before: Cursor | None = None) -> list[str]:
        self.history.look(60)
        return self.seeds(self.history.page(count, before))


@pytest.fixture
def made(tmp_path: Path) -> HistoryFolder:
    return HistoryFolder(tmp_path)


def test_an_empty_or_missing_folder_has_no_history(made: HistoryFolder) -> None:
    assert made.page() == []


def test_pictures_are_listed_newest_first_by_pages(made: HistoryFolder) -> None:
    for number in range(5):
        made.save(f"picture {number}")
    assert made.page(3) == ["5", "4", "3"]
    last = made.history.page(3)[-1]
    assert made.page(3, Cursor(last.changed, last.sha256)) == ["2", "1"]
    made.save("another")  # a new picture does not shift the following pages
    assert made.page(3, Cursor(last.changed, last.sha256)) == ["2", "1"]
    entry = made.history.page(1)[0]
    assert (entry.kind, entry.width, entry.height) == ("txt2img", 16, 8)
    assert entry.infotext.startswith("another\n")


def test_a_picture_knows_what_it_was_made_from_and_what_came_of_it(made: HistoryFolder) -> None:
    photo = "ab" * 32  # added from elsewhere
    first = made.save("first", photo)
    second = made.save("second", first, mask="cd" * 32)
    other = made.save("other", first)
    third = made.save("third", second)
    made.history.look(60)
    entry = made.history.find(third)
    assert entry is not None
    sources = made.history.sources(entry)
    assert [source if isinstance(source, str) else source.sha256 for source in sources] == [second, first, photo]
    assert [child.sha256 for child in made.history.made_from(first)] == [other, second]
    assert made.history.counts([first, second, third]) == {first: 2, second: 1}
    found = made.history.find(second)
    assert found is not None
    assert (found.source, found.mask, found.kind) == (first, "cd" * 32, "img2img")


def test_pictures_that_name_each_other_end(made: HistoryFolder) -> None:
    first = made.save("first", "ab" * 32)
    made.history.look(60)
    entry = made.history.find(first)
    assert entry is not None
    assert made.history.sources(entry._replace(source=first)) == []


def test_the_index_follows_the_files(made: HistoryFolder) -> None:
    first, second = made.save("first"), made.save("second")
    assert made.page() == ["2", "1"]
    file = made.history.file(first)
    changed = Image.open(file)
    changed.load()
    changed.resize((32, 8)).save(file)  # by another program, whose name for it is the same
    with pytest.raises(WebuiError, match="There is no picture"):
        made.history.file(first)
    made.history.file(second).unlink()
    assert made.page() == [""]  # the changed one, now without a text
    assert made.history.page(1)[0].width == 32
    assert made.history.find(second) is None
    with pytest.raises(WebuiError, match="There is no picture"):
        made.history.file(second)


def test_copies_are_one_picture_and_the_saved_ones_are_passed_over(made: HistoryFolder) -> None:
    made.save("first")
    [path] = made.outputs.root.rglob("*.png")
    made.outputs.keep(made.outputs.relative(path))
    twin = path.with_name("00009-1.png")
    twin.write_bytes(path.read_bytes())
    (path.parent / ".hidden.png").write_bytes(path.read_bytes())
    (path.parent / "broken.png").write_bytes(b"no picture")
    (path.parent / "link.png").symlink_to(path)
    assert made.page() == ["1"]
    twin.unlink()
    assert made.page() == ["1"]


def test_what_there_is_no_time_for_is_read_next_time_newest_first(made: HistoryFolder) -> None:
    for number in range(3):
        made.save(f"picture {number}")
    assert made.history.look(0) in (2, 3)  # the cost of checking the time
    unread = made.history.look(60)
    assert unread == 0
    assert made.page() == ["3", "2", "1"]


@pytest.mark.parametrize("content", [b"", b"no database, but long enough to be looked at by SQLite" * 20])
def test_a_damaged_index_is_made_anew(made: HistoryFolder, content: bytes) -> None:
    made.save("first")
    assert made.page() == ["1"]
    made.index.write_bytes(content)
    assert made.page() == ["1"]


@pytest.mark.parametrize("format", ["png", "jpg"])
def test_a_picture_from_extras_comes_from_the_one_that_was_enlarged(made: HistoryFolder, format: Format) -> None:
    source = made.save("a fox", source="f" * 64)
    done = f"Postprocess upscale by: 2.0, Postprocess upscaler: Lanczos, Source hash: {source}"
    parameters = f"{TEXT.format('a fox', 7)}, Source hash: {'f' * 64}, Mask hash: {'e' * 64}"
    settings = Settings(samples_format=format)
    texts = (parameters, {"extras": done}) if format == "png" else (f"{parameters}, {done}", {})
    file = as_file(Image.new("RGB", (32, 16)), texts[0], settings, texts[1])
    made.outputs.write(made.outputs.numbered("extras", 0), file)
    made.history.look(60)
    [entry] = made.history.made_from(source)
    assert (entry.kind, entry.seed, entry.mask, entry.infotext) == ("extras", "7", "", f"{parameters}, {done}")
