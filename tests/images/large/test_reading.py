"""Large files, reduced while reading."""

import io
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from modules.base.errors import WebuiError
from modules.images.large import reading
from modules.images.large.draft import Draft
from modules.images.large.formats import LargeFormat
from tests.images.large.test_draft import picture, spec_of, written


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("format", get_args(LargeFormat))
@pytest.mark.parametrize(("width", "height"), [(700, 1300), (1100, 32), (200, 100)])
def test_a_file_is_reduced_without_being_whole_in_memory(
    tmp_path: Path, format: LargeFormat, width: int, height: int, channels: int
) -> None:
    pixels = picture(width, height, channels)
    pixels[..., 3:] = 255
    path = written(Draft(tmp_path / "draft", spec_of(format, pixels), ""), pixels).path.rename(tmp_path / f"a.{format}")
    with Image.open(io.BytesIO(reading.reduced(path))) as image:
        small = np.array(image.convert("RGB")).astype(float)
    assert max(small.shape) <= reading.SIDE
    expected = Image.fromarray(pixels[..., :3]).resize(small.shape[1::-1], Image.Resampling.BOX)
    assert np.abs(small - np.asarray(expected)).mean() < 8


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.png", b"no picture"), ("a.jpg", b""), ("a.tiff", b"II+\0"), ("a.png", reading.SIGNATURE + b"\0" * 30)],
)
def test_a_damaged_file_is_a_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WebuiError, match=r"a\..* (is damaged|is too large to be shown)"):
        reading.reduced(tmp_path / name)


def test_a_png_of_another_program_is_refused_if_it_needs_slow_filters(tmp_path: Path) -> None:
    Image.fromarray(picture(300, 200)).save(tmp_path / "other.png")
    with pytest.raises(WebuiError, match="only Palimpsest's own"):
        reading.reduced(tmp_path / "other.png")
