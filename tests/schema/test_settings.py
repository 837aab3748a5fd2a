"""Settings: overriding, loading, saving."""

import json
from pathlib import Path
from typing import Any

import pytest

from modules.base.errors import WebuiError
from modules.schema.settings import Settings


def test_overriding_gives_another_object() -> None:
    settings = Settings()
    assert settings.overridden({}) is settings
    other = settings.overridden({"eta_ancestral": 0.5})
    assert (settings.eta_ancestral, other.eta_ancestral) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"jpeg_quality": 0},
         "Quality for saved jpeg and webp images (jpeg_quality) = 0: expected a whole number from 1 to 100."),
        ({"CLIP_stop_at_last_layers": True},
         "Clip skip (CLIP_stop_at_last_layers) = True: expected a whole number from 1 to 12."),
        ({"eta_ancestral": float("nan")},
         "Eta for k-diffusion samplers (eta_ancestral) = nan: expected a number from 0 to 1."),
        ({"samples_format": "bmp"}, "File format for images (samples_format) = 'bmp': expected png or jpg or webp."),
        ({"img2img_background_color": "red"},
         "Background color for transparent pictures (img2img_background_color) = 'red': "
         "expected a color such as #ffffff."),
        ({"img2img_background_color": "#ffffff\n"},
         "Background color for transparent pictures (img2img_background_color) = '#ffffff\\n': "
         "expected a color such as #ffffff."),
        ({"foo": 1}, "foo = 1: there is no such field."),
    ],
)  # fmt: skip
def test_a_wrong_value_gets_one_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(WebuiError) as caught:
        Settings().overridden(values)
    assert (str(caught.value), caught.value.field) == (sentence, next(iter(values)))


def test_what_is_saved_comes_back_and_defaults_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    settings = Settings(sd_model_checkpoint="größe", randn_source="NV")
    settings.save(path)
    assert json.loads(path.read_text(encoding="utf-8")) == {"sd_model_checkpoint": "größe", "randn_source": "NV"}
    assert Settings.load(path) == settings
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


def test_a_missing_file_is_all_defaults(tmp_path: Path) -> None:
    assert Settings.load(tmp_path / "config.json") == Settings()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "it is not valid JSON"),
        ("[]", "it is not a JSON object."),
        ("[" * 100_000, "it is nested too deeply"),
        ('{"samples_format": "\\ud800"}', "it is not UTF-8"),
        (b'{"samples_format": "\xff"}', "it is not UTF-8"),
        ('{"jpeg_quality": 1e999}', "(jpeg_quality) = inf: expected a whole number from 1 to 100"),
        ('{"jpeg_quality": 0}', "Quality for saved jpeg and webp images"),
        ('{"foo": 0}', "foo = 0: there is no such field."),
    ],
)
def test_what_cannot_be_read_in_a_file_is_told_and_kept_aside_before_the_file_is_written_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str | bytes, sentence: str
) -> None:
    path = tmp_path / "config.json"
    content = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(content)
    assert Settings.load(path) == Settings()
    assert sentence in caplog.text
    assert path.read_bytes() == content  # reading changes nothing

    Settings(randn_source="NV").save(path)
    assert Settings.load(path) == Settings(randn_source="NV")
    [copy] = [file for file in tmp_path.iterdir() if file != path]
    assert copy.name.startswith("config.json.kept-")
    assert copy.read_bytes() == content
    Settings().save(path)  # now it is fully understood
    assert len(list(tmp_path.iterdir())) == 2


def test_one_wrong_entry_costs_none_of_the_others(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"jpeg_quality": 50, "foo": [[[]]], "samples_format": 7, "randn_source": "NV"}')
    assert Settings.load(path) == Settings(jpeg_quality=50, randn_source="NV")


def test_a_folder_in_the_files_place_is_moved_aside_when_settings_are_saved(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    (path / "inside").mkdir(parents=True)
    assert Settings.load(path) == Settings()
    Settings(jpeg_quality=50).save(path)
    assert Settings.load(path) == Settings(jpeg_quality=50)
    [aside] = [file for file in tmp_path.iterdir() if file != path]
    assert (aside / "inside").is_dir()
