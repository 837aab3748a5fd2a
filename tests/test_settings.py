"""Settings: overriding, loading, saving."""

import json
from pathlib import Path
from typing import Any

import pytest

from modules.errors import WebuiError
from modules.settings import Settings


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
         "expected a colour as #rrggbb, such as #ffffff."),
        ({"img2img_background_color": "#ffffff\n"},
         "Background color for transparent pictures (img2img_background_color) = '#ffffff\\n': "
         "expected a colour as #rrggbb, such as #ffffff."),
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
        ("{", "the settings file config.json cannot be read"),
        ("[]", "the settings file config.json holds no JSON object"),
        ('{"jpeg_quality": 0}', "the settings file config.json: Quality for saved jpeg and webp images"),
        ('{"foo": 0}', "the settings file config.json: foo = 0: there is no such field."),
    ],
)
def test_a_broken_file_is_named_with_the_cure(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(WebuiError) as caught:
        Settings.load(path)
    assert caught.value.message.startswith(sentence)
    assert caught.value.hint.endswith("to start afresh.")
