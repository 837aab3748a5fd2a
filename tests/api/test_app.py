"""The application as a whole: it offers what docs/api-v1.md and api-a1111.md say, and needs no engine's libraries."""

import re
import subprocess
import sys
from pathlib import Path

from starlette.testclient import TestClient

ROOT = Path(__file__).resolve().parents[2]


def test_the_documentation_lists_every_route_and_no_other(client: TestClient) -> None:
    text = (ROOT / "docs" / "api-v1.md").read_text(encoding="utf-8")
    of_a1111 = (ROOT / "docs" / "api-a1111.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^### (\w+) (/\S+)$", text, re.MULTILINE))
    documented |= set(re.findall(r"^\| (\w+) (/\S+) \|", of_a1111, re.MULTILINE))
    offered = {
        (method.upper(), path)
        for path, methods in client.get("/openapi.json").json()["paths"].items()
        for method in methods
    }

    assert offered == documented
    assert all("curl" in part for part in re.split(r"^### ", text, flags=re.MULTILINE)[1:])


def test_the_interface_loads_without_torch_and_without_the_page() -> None:
    listed = subprocess.run(
        [sys.executable, "-c", "import sys, modules.api.app, modules.api.tokens; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert not {"torch", "transformers", "diffusers", "accelerate", "gradio"} & set(listed)
