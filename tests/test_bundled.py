"""The bundled checkpoint: it is small enough, and all its page defaults are read."""

import json
from pathlib import Path

from modules.networks.files.listing import read_defaults

BUNDLED = Path(__file__).resolve().parent.parent / "models" / "Stable-diffusion" / "palimpsest-starter.safetensors"
LARGEST = 60_000_000  # bytes


def test_it_is_there_and_at_most_60_megabytes() -> None:
    assert 0 < BUNDLED.stat().st_size <= LARGEST


def test_all_its_defaults_are_known_to_the_page() -> None:
    assert read_defaults(BUNDLED) == json.loads(BUNDLED.with_suffix(".json").read_text())
