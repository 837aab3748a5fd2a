"""Settings in a data folder that is an installation of A1111's."""

import json
from pathlib import Path

import pytest

from modules.a1111.options import BESIDE_A1111, own_settings
from modules.schema.settings import Settings

A1111 = {"samples_save": True, "samples_format": "webp", "jpeg_quality": "high", "outdir_samples": "", "ad_max": 2}


def test_a1111s_file_is_read_and_never_written(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(A1111))
    settings, kept = own_settings(file)
    assert (settings.samples_format, settings.jpeg_quality) == ("webp", Settings().jpeg_quality)
    assert kept == tmp_path / BESIDE_A1111
    settings.overridden({"jpeg_quality": 70}).save(kept)
    assert json.loads(file.read_text()) == A1111
    assert own_settings(file) == (Settings(samples_format="webp", jpeg_quality=70), kept)
    assert sorted(path.name for path in tmp_path.iterdir()) == [BESIDE_A1111, "config.json"]


@pytest.mark.parametrize(
    "content", [None, "{}", '{"samples_format": "webp"}', '{"samples_format": "webp", "new": 1}', "[]"]
)
def test_a_file_of_ours_stays_the_one_that_is_kept(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    if content is not None:
        file.write_text(content)
    assert own_settings(file)[1] == file
