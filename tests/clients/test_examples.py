"""Runs the examples of docs/api-a1111.md exactly as written."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.clients.conftest import ROOT, picture

RUN = {
    "python": ([sys.executable], "example.py"),
    "sh": (["sh"], "example.sh"),
    "javascript": (["node"], "example.mjs"),
}
MADE = {"python": "python.png", "sh": "curl.png", "javascript": "javascript.png"}


def examples() -> dict[str, str]:
    text = (ROOT / "docs" / "api-a1111.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("language", RUN)
def test_an_example_makes_a_picture(server: str, tmp_path: Path, language: str) -> None:
    command, name = RUN[language]
    for program in (*command, *(("curl",) if language == "sh" else ())):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    (tmp_path / name).write_text(examples()[language], encoding="utf-8")
    picture(96, 96).save(tmp_path / "source.png")
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    ran = subprocess.run(
        [*command, name], cwd=tmp_path, env=environment | {"URL": server}, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    with Image.open(tmp_path / MADE[language]) as made:
        assert made.size == (64, 64)
