"""Names of samplers and schedules, as users and other programs write them."""

import subprocess
import sys

import pytest

from modules.base.errors import WebuiError
from modules.schema.sampler_names import SAMPLERS, nearest_sampler, resolve_names


@pytest.mark.parametrize(
    ("sampler", "schedule", "expected"),
    [
        ("DPM++ 2M", "", ("DPM++ 2M", "Automatic")),
        ("dpm++ 2m", "KARRAS", ("DPM++ 2M", "Karras")),
        ("DPM++ 2M Karras", "Automatic", ("DPM++ 2M", "Automatic")),  # already its default
        ("Euler a Karras", "Automatic", ("Euler a", "Karras")),
        ("Euler a Karras", "Beta", ("Euler a", "Karras")),
        ("DPM++ 2M SDE Heun Exponential", "", ("DPM++ 2M SDE Heun", "Automatic")),
        ("DPM++ 2M SDE Karras", "", ("DPM++ 2M SDE", "Karras")),
        ("Euler SGMUniform", "", ("Euler", "SGM Uniform")),
        ("Euler Polyexponential", "", ("Euler", "Polyexponential")),
        ("k_euler_a", "sgm_uniform", ("Euler a", "SGM Uniform")),
        ("K_DPMPP_2M_SDE_KA", "", ("DPM++ 2M SDE", "Karras")),
        (" Euler  A ", "align_your_steps", ("Euler a", "Align Your Steps")),
        ("ddim", "ddim", ("DDIM", "DDIM")),
        ("ddim_cfgpp", "", ("DDIM CFG++", "Automatic")),
    ],
)
def test_labels_aliases_and_suffixes_in_any_letter_case(sampler: str, schedule: str, expected: tuple[str, str]) -> None:
    sampler_row, schedule_row = resolve_names(sampler, schedule)
    assert (sampler_row.name, schedule_row.name) == expected


@pytest.mark.parametrize(
    ("sampler", "schedule", "field", "nearest"),
    [
        ("Euler b", "", "sampler_name", "'Euler"),
        ("DPM 2M", "", "sampler_name", "'DPM++ 2M'"),
        ("", "", "sampler_name", "'"),
        ("Karras", "", "sampler_name", "'"),
        ("Euler", "Karas", "scheduler", "'Karras'"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(sampler: str, schedule: str, field: str, nearest: str) -> None:
    with pytest.raises(WebuiError, match="did you mean") as refused:
        resolve_names(sampler, schedule)
    assert refused.value.field == field
    assert nearest in str(refused.value)


def test_the_nearest_sampler_to_a_misspelling() -> None:
    assert nearest_sampler("DPM++2M") == "DPM++ 2M"


def test_no_label_or_alias_names_two_samplers() -> None:
    names = [name.casefold() for row in SAMPLERS for name in {row.name.casefold(), *row.aliases}]
    assert len(names) == len(set(names))


def test_names_come_without_torch() -> None:
    code = "import sys, modules.schema.sampler_names; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
