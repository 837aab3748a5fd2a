"""Lists the licences of the packages installed beside Palimpsest, one per line: name, version, licence.

python .ci/licences.py           what pyproject.toml names and what that needs in turn
python .ci/licences.py --texts   the same, each followed by the licence texts that the package brings
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNKNOWN = "not stated"
TEXT_NAMES = re.compile(r"(^|/)(licen[cs]e|notice|copying)[^/]*$", re.IGNORECASE)


def main(arguments: list[str]) -> int:
    """Prints the table; exit status 1 if a package states no licence at all."""
    packages = {name: found for name in sorted(needed(declared())) if (found := installed(name))}
    width = max(map(len, packages), default=0)
    for name, package in packages.items():
        print(f"{name:<{width}}  {package.version:<14}  {licence(package)}")
        if "--texts" in arguments:
            print(*texts(package), sep="\n\n")
    return int(any(licence(package) == UNKNOWN for package in packages.values()))


def declared() -> set[str]:
    """The names in pyproject.toml's dependencies and groups."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lists = [project["project"]["dependencies"], *project["dependency-groups"].values()]
    return {normal(each) for group in lists for each in group if isinstance(each, str)}


def needed(names: set[str]) -> set[str]:
    """`names` and their installed requirements, recursively, regardless of extras and markers."""
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        package = installed(name)
        required = {normal(each) for each in package.requires or () if "extra ==" not in each} if package else set()
        waiting |= required - found
    return found


def installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def normal(requirement: str) -> str:
    """The package's name in a requirement, as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement, maxsplit=1)[0]).lower()


def licence(package: Distribution) -> str:
    """The licence in the package's metadata: the expression, else the classifiers, else the first line of the field."""
    data = package.metadata
    expression = data.get("License-Expression")
    if expression:
        return expression
    classifiers = [each.rpartition(" :: ")[2] for each in data.get_all("Classifier") or () if "License ::" in each]
    field = (data.get("License") or "").strip().partition("\n")[0]
    return "; ".join(classifiers) or field or from_texts(package) or UNKNOWN


def from_texts(package: Distribution) -> str:
    """The first line of the licence file, for a package whose metadata has no licence."""
    first = next(texts(package), "").strip()
    return first.partition("\n")[0]


def texts(package: Distribution) -> Iterator[str]:
    """The licence texts among the package's files."""
    for file in package.files or ():
        if TEXT_NAMES.search(file.as_posix()) and ".dist-info" in file.as_posix():
            yield Path(str(file.locate())).read_text(encoding="utf-8", errors="replace")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
