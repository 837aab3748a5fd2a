"""The whole application: it provides what docs/api-v1.md and api-a1111.md say, and does not need the engine's
libraries.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def test_every_route_field_and_parameter_is_described(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    models = described["components"]["schemas"]
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert operation.get("description"), (method, path)
            parameters = operation.get("parameters", [])
            assert all(each.get("description") for each in parameters), (method, path)
            for content in operation.get("requestBody", {}).get("content", {}).values():
                without = [name for name, field in fields(content["schema"], models) if not field.get("description")]
                assert not without, (method, path)


def fields(schema: Any, models: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """All fields of a body, including those of nested objects."""
    if "$ref" in schema:
        yield from fields(models[schema["$ref"].rpartition("/")[2]], models)
    for name, field in schema.get("properties", {}).items():
        yield name, field
        yield from fields(field, models)
    for part in (*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else [])):
        yield from fields(part, models)


def test_the_interface_loads_without_torch_and_without_the_page() -> None:
    listed = subprocess.run(
        [sys.executable, "-c", "import sys, modules.api.app, modules.api.v1.tokens; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert not {"torch", "transformers", "diffusers", "accelerate", "gradio"} & set(listed)
