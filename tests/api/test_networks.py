"""LoRAs over HTTP: listed, and refused at the door where they are not there."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from modules.api.app import create_api
from modules.api.services import CatalogHolder, Services
from modules.catalog import Lora
from tests.api.conftest import BASE

INK = Lora(
    "ink", Path("models/Lora/deep/ink.safetensors"), "India", metadata={"ss_output_name": "India", "n": {"a": 1}}
)
LATE = Lora("late", Path("late.safetensors"))


@pytest.fixture
def shelf() -> list[Lora]:
    """What lies in the folder of LoRAs."""
    return [INK]


@pytest.fixture
def client(services: Services, shelf: list[Lora]) -> Iterator[TestClient]:
    names = services.catalog.current
    holder = CatalogHolder(lambda: replace(names, loras=tuple(shelf)), services.catalog.known_hash)
    with TestClient(create_api(replace(services, catalog=holder)), base_url=BASE) as client:
        yield client


def test_they_are_listed_as_a1111_does(client: TestClient, shelf: list[Lora]) -> None:
    assert client.get("/sdapi/v1/loras").json() == [
        {"name": "ink", "alias": "India", "path": "ink.safetensors", "metadata": dict(INK.metadata)}
    ]
    shelf.append(LATE)
    assert client.post("/sdapi/v1/refresh-loras").json() is None
    assert [(each["name"], each["alias"]) for each in client.get("/sdapi/v1/loras").json()] == [
        ("ink", "India"), ("late", "late")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "prompt", "detail"),
    [
        ("prompt", "a <lora:inc:1>", "there is no LoRA 'inc'; did you mean 'ink'?"),
        ("hr_prompt", "a <lyco:Indian:1>", "there is no LoRA 'Indian'; did you mean 'India'?"),
        ("prompt", "a <lora:ink:strong>", "weight 'strong' of <lora:ink> must be a number such as 0.8."),
    ],
)
def test_an_unknown_one_is_refused_with_the_nearest_name(
    field: str, prompt: str, detail: str, client: TestClient
) -> None:
    request = {field: prompt, "enable_hr": True, "width": 64, "height": 64}
    for answer in (
        client.post("/sdapi/v1/txt2img", json=request),
        client.post("/v1/jobs", json={"kind": "txt2img", "request": request}),
    ):
        assert (answer.status_code, answer.json()["field"]) == (422, field)
        assert answer.json()["detail"] == f"{field}: {detail}"


@pytest.mark.parametrize(
    "prompt", ["a <lora:ink:1>", "a <lora:India:0.5:1>", "a <lora:late>", "a\n# <lora:gone:1>\nb", "<hypernet:gone:1>"]
)
def test_others_are_taken_and_a_new_file_needs_no_refresh(prompt: str, client: TestClient, shelf: list[Lora]) -> None:
    client.get("/sdapi/v1/loras")
    shelf.append(LATE)
    answer = client.post("/sdapi/v1/txt2img", json={"prompt": prompt, "width": 64, "height": 64})
    assert answer.status_code == 200, answer.text
