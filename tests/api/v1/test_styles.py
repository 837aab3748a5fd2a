"""Styles over HTTP: stored in A1111's file, applied to jobs."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from modules.api.services import Services

OIL = {"name": "oil, thick", "prompt": 'oil "painting" of {prompt}', "negative_prompt": "photo"}


def put(client: TestClient) -> None:
    answer = client.put("/v1/styles/oil, thick", json={key: OIL[key] for key in ("prompt", "negative_prompt")})
    assert answer.status_code == 200, answer.text


def test_a_style_is_saved_listed_in_both_interfaces_and_deleted(client: TestClient, services: Services) -> None:
    put(client)
    assert client.get("/v1/styles").json() == client.get("/sdapi/v1/prompt-styles").json() == [OIL]
    file: Path = services.flags.data_dir / "styles.csv"
    assert file.read_bytes() == (
        b'name,prompt,negative_prompt\r\n"oil, thick","oil ""painting"" of {prompt}",photo\r\n'
    )
    assert client.delete("/v1/styles/oil, thick").json() == []
    assert client.delete("/v1/styles/oil, thick").status_code == 404


def test_a_job_has_its_styles_in_its_prompts(client: TestClient, services: Services) -> None:
    put(client)
    request = {"prompt": "a fox", "hr_negative_prompt": "blur", "styles": ["oil, thick"]}
    job = services.queue.job(client.post("/v1/jobs", json={"kind": "txt2img", "request": request}).json()["id"])
    assert (job.request.prompt, job.request.negative_prompt) == ('oil "painting" of a fox', "photo")
    assert job.request.model_dump()["hr_prompt"] == ""
    assert job.request.model_dump()["hr_negative_prompt"] == "blur, photo"


def test_an_unknown_style_is_refused_with_the_nearest(client: TestClient) -> None:
    put(client)
    answer = client.post("/v1/jobs", json={"kind": "txt2img", "request": {"styles": ["oil thick"]}})
    assert (answer.status_code, answer.json()["field"]) == (422, "styles")
    assert answer.json()["detail"].startswith("styles: there is no style 'oil thick'; did you mean 'oil, thick'?")


def test_styles_are_put_around_prompts(client: TestClient) -> None:
    put(client)
    body = {"prompt": "a fox", "negative_prompt": "", "styles": ["oil, thick"]}
    expected = {"prompt": 'oil "painting" of a fox', "negative_prompt": "photo"}
    assert client.post("/v1/styles/apply", json=body).json() == expected
    assert client.post("/v1/styles/apply", json={"styles": ["oil thin"]}).json()["field"] == "styles"


STYLED = 'oil "painting" of a fox\nNegative prompt: photo\nSteps: 4, Sampler: Euler, Seed: 1'
PLAIN = "a fox\nSteps: 4, Sampler: Euler, Seed: 1"
KEEP = object()


@pytest.mark.parametrize(
    ("setting", "text", "prompt", "styles"),
    [
        ("Apply if any", STYLED, "a fox", ["oil, thick"]),
        ("Apply if any", PLAIN, "a fox", KEEP),
        ("Apply", PLAIN, "a fox", []),
        ("Discard", STYLED, "a fox", KEEP),
        ("Ignore", STYLED, 'oil "painting" of a fox', KEEP),
    ],
)
def test_styles_that_pasted_parameters_bear_are_chosen_as_the_setting_says(
    client: TestClient, setting: str, text: str, prompt: str, styles: object
) -> None:
    put(client)
    client.post("/v1/settings", json={"infotext_styles": setting})
    read = client.post("/v1/infotext", json={"text": text}).json()
    assert (read["fields"]["prompt"], read.get("styles", KEEP)) == (prompt, styles)
    read = client.post("/v1/infotext", json={"text": text, "spelled_out": True}).json()
    assert (read["fields"]["prompt"], read["styles"]) == (text.split("\n")[0], [])


def test_a_file_from_a_spreadsheet_keeps_its_rows_and_a_copy_of_the_first_is_made(
    client: TestClient, services: Services
) -> None:
    file: Path = services.flags.data_dir / "styles.csv"
    before = "name;prompt;notes\r\nink;ink drawing, fine;mine\r\n".encode("utf-8-sig")
    file.write_bytes(before)
    ink = {"name": "ink", "prompt": "ink drawing, fine", "negative_prompt": ""}
    assert client.get("/v1/styles").json() == [ink]
    for prompt in ("wash", "dry"):
        assert client.put("/v1/styles/brush", json={"prompt": prompt}).status_code == 200
    assert file.read_bytes() == before + b"brush;dry;\r\n"
    assert (services.flags.data_dir / "styles.csv.bak").read_bytes() == before


def test_a_file_that_was_not_understood_stays_as_it_is(client: TestClient, services: Services) -> None:
    file: Path = services.flags.data_dir / "styles.csv"
    file.write_bytes(b"name,prompt,negative_prompt\noil,thick, oily,photo\n")
    answer = client.put("/v1/styles/brush", json={"prompt": "wash"})
    assert (answer.status_code, "line 2 has 4 cells" in answer.json()["detail"]) == (409, True)
    assert client.delete("/v1/styles/oil").status_code == 409
    assert file.read_bytes() == b"name,prompt,negative_prompt\noil,thick, oily,photo\n"
