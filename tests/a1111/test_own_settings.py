"""Settings in a data folder that is also an A1111 installation."""

import json
from pathlib import Path
from typing import Any

import pytest

from modules.a1111.options import BESIDE_A1111, WITH_A1111, A1111Options, KeptOptions, own_settings
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


def test_the_settings_of_an_a1111_elsewhere_are_the_first_ones(tmp_path: Path) -> None:
    (tmp_path / "a1111").mkdir()
    theirs, file = tmp_path / "a1111" / "config.json", tmp_path / "config.json"
    theirs.write_text(json.dumps(A1111))
    Settings(samples_format="jpg").save(file)  # of a start without that A1111
    settings, kept = own_settings(file, theirs)
    assert (settings.samples_format, kept) == ("webp", tmp_path / WITH_A1111)
    settings.overridden({"samples_format": "png", "jpeg_quality": 70}).save(kept)
    assert own_settings(file, theirs) == (Settings(jpeg_quality=70), kept)
    assert json.loads(theirs.read_text()) == A1111
    assert own_settings(file)[0].samples_format == "jpg"


ODD: tuple[Any, ...] = (None, [], {}, "\x1b[31m", -1, 10**30, 1e300, float("inf"), float("nan"), [[["a"]]], {"a": 1})


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_a_value_of_a_wrong_kind_in_any_field_is_told_by_its_name_and_costs_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, odd: Any
) -> None:
    """Each field of our settings, wherever they are stored, and of A1111's options."""
    for name in ("config.json", "config-palimpsest.json"):
        for field in Settings.model_fields:
            right = "eta_ancestral" if field != "eta_ancestral" else "jpeg_quality"
            (tmp_path / name).write_text(json.dumps({field: odd, right: 1 if right == "jpeg_quality" else 0.25}))
            caplog.clear()
            settings, _ = own_settings(tmp_path / "config.json")
            assert getattr(settings, right) in (0.25, 1)
            if getattr(settings, field) == getattr(Settings(), field) != odd:
                assert field in caplog.text
                assert "\x1b" not in caplog.text
    for field in A1111Options.model_fields:
        (tmp_path / "options.json").write_text(json.dumps({field: odd}))
        caplog.clear()
        kept = KeptOptions(tmp_path / "options.json").values[field]
        if kept == getattr(A1111Options(), field) != odd:
            assert field in caplog.text
            assert "\x1b" not in caplog.text
