"""Styles over HTTP: kept in A1111's file, applied to jobs."""

from pathlib import Path

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
