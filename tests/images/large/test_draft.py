"""Large files: any decoder can read what is written in bands, and writing continues after a crash."""

import hashlib
import shutil
import zlib
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import tifffile
from PIL import Image

from modules.base.errors import WebuiError
from modules.base.picture import Picture
from modules.images.geometry import Size
from modules.images.large import draft as drafts
from modules.images.large import jpeg, png
from modules.images.large.draft import Draft, WrittenFile
from modules.images.large.formats import FORMATS, LargeFormat, LargeSpec
from modules.images.large.rows import Pixels
from modules.store.metadata import read

TEXT = "a painting of a fjord, 嵐\nSteps: 20, Seed: 7, Size: 64x64"
EVERY = get_args(LargeFormat)


def picture(width: int, height: int, channels: int = 3) -> Pixels:
    """A gradient with noise: neither flat nor incompressible."""
    down, across = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(7).integers(0, 30, (height, width, channels))
    return (((down * 2 + across)[..., None] // 3 + noise) % 256).astype(np.uint8)


def spec_of(format: LargeFormat, pixels: Pixels) -> LargeSpec:
    return LargeSpec(format, Size(pixels.shape[1], pixels.shape[0]), pixels.shape[2], TEXT, {"parameters": TEXT})


def written(draft: Draft, pixels: Pixels) -> WrittenFile:
    for top, bottom in draft.bands():
        draft.append(pixels[top:bottom])
    return draft.finished()


def decoded(path: Path, format: LargeFormat) -> Pixels:
    if format == "tiff":
        return tifffile.imread(path)
    with Image.open(path) as image:
        return np.array(image)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(("width", "height"), [(300, 700), (513, 270), (1, 1), (3000, 2), (2, 900)])
def test_a_png_and_a_tiff_hold_every_pixel(tmp_path: Path, width: int, height: int, channels: int) -> None:
    pixels = picture(width, height, channels)
    for format in ("png", "tiff"):
        file = written(Draft(tmp_path / format, spec_of(format, pixels), ""), pixels)
        np.testing.assert_array_equal(decoded(file.path, format), pixels)
        assert hashlib.sha256(file.path.read_bytes()).hexdigest() == file.sha256


def test_a_png_is_read_by_libpng_too(tmp_path: Path) -> None:
    import cv2

    pixels = picture(300, 700)
    file = written(Draft(tmp_path, spec_of("png", pixels), ""), pixels)
    read = cv2.imread(str(file.path))
    assert read is not None
    np.testing.assert_array_equal(read[..., ::-1], pixels)


@pytest.mark.parametrize(("width", "height"), [(300, 700), (40, 128), (1, 1), (33, 257), (2000, 3)])
def test_a_jpeg_is_that_of_the_whole_picture(tmp_path: Path, width: int, height: int) -> None:
    pixels = picture(width, height)
    file = written(Draft(tmp_path / "draft", spec_of("jpg", pixels), ""), pixels)
    Image.fromarray(pixels).save(tmp_path / "whole.jpg", quality=90)
    np.testing.assert_array_equal(decoded(file.path, "jpg"), decoded(tmp_path / "whole.jpg", "jpg"))


@pytest.mark.parametrize("format", EVERY)
def test_the_parameters_are_in_the_file(tmp_path: Path, format: LargeFormat) -> None:
    pixels = picture(300, 300)
    file = written(Draft(tmp_path, spec_of(format, pixels), ""), pixels)
    found = Picture.from_bytes(file.path.read_bytes())
    assert (found.width, found.height, found.notes) == (300, 300, ())
    assert read(found).infotext == TEXT


@pytest.mark.parametrize("format", EVERY)
@pytest.mark.parametrize("damage", ["none", "half a band", "half a state", "other work"])
def test_what_was_cut_off_is_continued_to_the_same_bytes(tmp_path: Path, format: LargeFormat, damage: str) -> None:
    pixels = picture(70, 1100)
    spec = spec_of(format, pixels)
    whole = written(Draft(tmp_path / "whole", spec, "a plan"), pixels)
    first = Draft(tmp_path / "cut", spec, "a plan")
    missing = list(first.bands())
    assert len(missing) >= 4
    for top, bottom in missing[:2]:
        first.append(pixels[top:bottom])
    if damage == "half a band":
        with (tmp_path / "cut" / drafts.BANDS).open("ab") as file:
            file.write(b"half of what comes next")
    if damage == "half a state":
        (tmp_path / "cut" / drafts.STATE).write_bytes(b'{"plan": "')
    second = Draft(tmp_path / "cut", spec, "another" if damage == "other work" else "a plan")
    assert second.rows_done == (missing[2][0] if damage in ("none", "half a band") else 0)
    again = written(second, pixels)
    assert again.path.read_bytes() == whole.path.read_bytes()
    assert (again.sha256, again.small) == (whole.sha256, whole.small)


def test_the_reduced_picture_is_that_of_the_whole(tmp_path: Path) -> None:
    pixels = picture(900, 1300)
    file = written(Draft(tmp_path, spec_of("png", pixels), ""), pixels)
    (tmp_path / "small.webp").write_bytes(file.small)
    small = decoded(tmp_path / "small.webp", "png").astype(float)
    assert small.shape == (325, 225, 3)
    assert np.abs(small - np.asarray(Image.fromarray(pixels).reduce(4))).mean() < 6


@pytest.mark.parametrize("format", EVERY)
def test_the_disk_is_asked_before_work_begins(
    tmp_path: Path, format: LargeFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2_000_000_000))
    Draft(tmp_path / "new", LargeSpec(format, Size(8192, 8192), 3, "", {}), "").require_room()
    with pytest.raises(WebuiError, match=r"32768x32768 as .* GB of disk space, and 2\.0 GB are free"):
        Draft(tmp_path / "new", LargeSpec(format, Size(32768, 32768), 3, "", {}), "").require_room()
    assert not (tmp_path / "new").exists()


def test_checksums_are_joined_as_if_the_texts_were() -> None:
    one, other = bytes(range(256)) * 500, b"\xff" * 70_001
    assert png.joined_adler(zlib.adler32(one), zlib.adler32(other), len(other)) == zlib.adler32(one + other)


def test_bands_of_a_jpeg_begin_with_the_first_marker() -> None:
    assert FORMATS["jpg"].unit == jpeg.UNIT == 128
