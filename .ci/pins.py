"""Writes requirements*.txt and constraints.txt from the lists in pyproject.toml, the only place with versions.

python .ci/pins.py           write them
python .ci/pins.py --check   say which are not current; exit status 1 if any
"""

import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Made from pyproject.toml by `python .ci/pins.py`: change it there."
LIMITS = "-c constraints.txt"  # for manual installation; launch.py names the file itself


def main(arguments: list[str]) -> int:
    """Writes, or with --check compares; returns the exit status."""
    expected = generated(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    old = [name for name, text in expected.items() if current(ROOT / name) != text]
    if "--check" in arguments:
        for name in old:
            print(f"{name} is not what pyproject.toml says: run python .ci/pins.py")
        return int(bool(old))
    for name in old:
        (ROOT / name).write_text(expected[name], encoding="utf-8", newline="\n")
        print(f"{name} is written")
    return 0


def current(path: Path) -> str:
    """The text of the file; "" if it does not exist."""
    return path.read_text(encoding="utf-8") if path.exists() else ""


def generated(project: dict[str, Any]) -> dict[str, str]:
    """The text of each file by name, from pyproject.toml's content."""
    dependencies = project["project"]["dependencies"]
    groups = project["dependency-groups"]
    return {
        "requirements.txt": text(LIMITS, *dependencies),
        "requirements-test.txt": text(LIMITS, *members(groups, "test")),
        "requirements-nodeps.txt": text(*members(groups, "no-deps")),
        "requirements-test-nodeps.txt": text(*members(groups, "test-no-deps")),
        "constraints.txt": text(*members(groups, "transitive")),
    }


def members(groups: dict[str, list[Any]], name: str) -> list[str]:
    """The requirements of a dependency group, including those of the groups it includes (PEP 735)."""
    found: list[str] = []
    for each in groups[name]:
        found += [each] if isinstance(each, str) else members(groups, each["include-group"])
    return found


def text(*lines: str) -> str:
    return "\n".join([HEADER, *lines, ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
