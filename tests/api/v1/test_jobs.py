"""Jobs over HTTP: submitting, following, resuming, stopping."""

import base64
import io
import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from modules.api.services import Services

Finished = Callable[..., dict[str, Any]]


def png(width: int = 16, height: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, "PNG")
    return buffer.getvalue()


def events(text: str) -> list[tuple[int, str, dict[str, Any]]]:
    found = re.findall(r"id: (\d+)\nevent: (\w+)\ndata: (.*)\n\n", text)
    return [(int(number), name, json.loads(data)) for number, name, data in found]


def until(happened: Callable[[], object]) -> None:
    limit = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_a_job_from_the_post_to_the_picture(client: TestClient, services: Services) -> None:
    answer = client.post("/v1/jobs", json={"kind": "txt2img", "request": {"prompt": "steps 2", "seed": 5}})
    assert answer.status_code == 201
    job = answer.json()
    assert job == {"id": job["id"], "ahead": 0, "url": f"/v1/jobs/{job['id']}"}

    stream = client.get(f"{job['url']}/events")
    assert stream.headers["content-type"].startswith("text/event-stream")
    seen = events(stream.text)
    names = [name for _, name, _ in seen if name not in ("previewed", "staged")]
    assert names == ["queued", "started", "stepped", "stepped", "image_saved", "finished"]
    assert [number for number, _, _ in seen] == sorted(number for number, _, _ in seen)
    by_name = {name: data for _, name, data in seen}
    assert by_name["stepped"]["progress"] == {
        "fraction": 2 / 3, "step": 2, "steps": 2, "image": 1, "images": 1, "stage": "sampling",
        "eta_seconds": pytest.approx(0, abs=5), "seconds": pytest.approx(0, abs=20),
    }  # fmt: skip
    assert by_name["previewed"]["data"] == "data:image/jpeg;base64," + base64.b64encode(b"jpeg of step 2").decode()
    assert by_name["finished"]["progress"]["fraction"] == 1
    saved = by_name["image_saved"]
    assert client.get(saved["url"]).content == (services.outputs.root / saved["path"]).read_bytes()

    described = client.get(job["url"]).json()
    assert (described["status"], described["ahead"], described["progress"]["image"]) == ("finished", 0, 1)
    assert described["images"] == [{key: value for key, value in saved.items() if key != "progress"}]
    assert client.get("/v1/jobs").json() == [described]


def test_a_stream_resumes_after_the_last_event_id(client: TestClient, finished: Finished) -> None:
    url = f"/v1/jobs/{finished(prompt='steps 2')['id']}/events"
    whole = events(client.get(url).text)
    resumed = events(client.get(url, headers={"Last-Event-ID": str(whole[3][0])}).text)

    assert resumed == whole[4:]  # with the same progress, which includes earlier events
    assert client.get(url, headers={"Last-Event-ID": str(whole[-1][0])}).status_code == 204
    assert events(client.get(url, headers={"Last-Event-ID": "nonsense"}).text) == whole
    after = f"{url}?after={whole[3][0]}"  # sent by a page that opens another stream
    assert events(client.get(after).text) == resumed
    assert events(client.get(after, headers={"Last-Event-ID": str(whole[4][0])}).text) == whole[5:]  # it continued
    assert client.get(f"{url}?after={whole[-1][0]}").status_code == 204


def test_interrupt_and_skip_and_removal(client: TestClient, services: Services) -> None:
    def submit(prompt: str) -> str:
        return client.post("/v1/jobs", json={"kind": "txt2img", "request": {"prompt": prompt}}).json()["url"]

    def status(url: str) -> str:
        return client.get(url).json()["status"]

    running, waiting, last = submit("images 3 steps 1 wait"), submit("a"), submit("b")
    assert client.get(last).json()["ahead"] == 2
    assert client.delete(waiting).json() == {}
    assert status(waiting) == "interrupted"
    until(lambda: client.get(running).json()["progress"]["stage"] == "sampling")
    assert client.post("/v1/skip").json() == {}
    assert client.post(f"{running}/skip").json() == {}
    assert client.post("/v1/interrupt").json() == {}
    until(lambda: status(running) == "interrupted")
    until(lambda: status(last) == "finished")
    assert client.post(f"{running}/interrupt").json() == {}


def test_a_failed_job_is_retried_and_no_other(client: TestClient, finished: Finished) -> None:
    failed = finished(prompt="images 2 webui-error", n_iter=2, seed=5)
    answer = client.post(f"/v1/jobs/{failed['id']}/retry")
    assert answer.status_code == 201
    [again] = answer.json()["jobs"]
    until(lambda: client.get(again["url"]).json()["status"] == "failed")  # repeats the same job

    well = finished(prompt="steps 2")
    refused = client.post(f"/v1/jobs/{well['id']}/retry")
    assert (refused.status_code, refused.json()["field"]) == (409, "id")
    assert refused.json()["detail"].endswith("is finished; only a failed job can be retried.")
    assert client.post("/v1/jobs/0000/retry").status_code == 404


def test_a_source_picture_is_an_id_or_base64(client: TestClient, finished: Finished) -> None:
    picture = client.post("/v1/pictures", content=png()).json()
    assert finished("img2img", init_images=[picture["id"]])["status"] == "finished"
    assert finished("img2img", init_images=[base64.b64encode(png()).decode()])["status"] == "finished"
    masked = {"init_images": [picture["id"]], "mask": picture["id"], "latent_mask": base64.b64encode(png()).decode()}
    assert finished("img2img", **masked)["status"] == "finished"


@pytest.mark.parametrize(
    ("body", "status", "field", "sentence"),
    [
        ({"kind": "txt2img", "request": {"width": 0}}, 422, "width", "Width (width) = 0: expected"),
        ({"kind": "txt2img", "request": {"nonsense": 1}}, 422, "nonsense", "nonsense = 1: there is no such field."),
        ({"kind": "txt2img", "request": {"sampler_name": "Warp"}}, 422, "sampler_name", "Warp"),
        ({"kind": "txt2img", "request": {"prompt": "a" * 100_000}}, 422, "prompt", "has 100000 characters"),
        ({"kind": "img2img", "request": {}}, 422, "init_images", "There is no source picture."),
        ({"kind": "img2img", "request": {"init_images": ["AAAA"]}}, 422, "init_images", "not a readable picture"),
        ({"kind": "img2img", "request": {"init_images": ["0" * 64]}}, 404, "init_images", "no longer exists"),
        ({"kind": "img2img", "request": {"mask": "0" * 64}}, 404, "mask", "no longer exists"),
        ({"kind": "img2img", "request": {"mask": "AAAA"}}, 422, "mask", "not a readable picture"),
        ({"kind": "img2img", "request": {"init_images": 7}}, 422, "init_images", "init_images = 7"),
        ({"kind": "sketch", "request": {}}, 422, "kind", "kind = 'sketch': unknown job kind"),
        ({"kind": "txt2img"}, 422, "request", "request: field required."),
        ({"kind": "txt2img", "request": {"override_settings": {"x": 1}}}, 422, "x", "x = 1: there is no such"),
        (
            {"kind": "txt2img", "request": {"override_settings": {"sd_model_checkpoint": "goood"}}},
            422,
            "sd_model_checkpoint",
            "did you mean 'good'?",
        ),
    ],
)
def test_a_wrong_job_is_refused_with_a_sentence(
    client: TestClient, body: dict[str, Any], status: int, field: str, sentence: str
) -> None:
    answer = client.post("/v1/jobs", json=body)

    assert answer.status_code == status
    error = answer.json()
    assert set(error) == {"error", "detail", "field", "hint"}
    assert (error["error"], error["field"]) == ("WebuiError", field)
    assert sentence in error["detail"]
    assert "\n" not in error["detail"]
    assert client.get("/v1/jobs").json() == []


def test_an_unknown_job_is_404(client: TestClient) -> None:
    for method, url in (
        ("GET", "/v1/jobs/x"),
        ("GET", "/v1/jobs/x/events"),
        ("POST", "/v1/jobs/x/skip"),
        ("DELETE", "/v1/jobs/x"),
    ):
        answer = client.request(method, url)
        assert (answer.status_code, answer.json()["detail"]) == (404, "There is no job 'x'.")


def test_a_dead_engine_is_told_and_the_server_goes_on(finished: Finished) -> None:
    assert finished(prompt="killed")["status"] == "failed"
    assert finished(prompt="a")["status"] == "finished"


def test_a_picture_that_cannot_be_saved_fails_the_job(
    client: TestClient, services: Services, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.outputs.root.parent.mkdir(exist_ok=True)
    services.outputs.root.write_text("a file where the folder should be", encoding="utf-8")
    job = finished(prompt="images 3")

    assert (job["status"], job["images"]) == ("failed", [])
    failed = events(client.get(f"/v1/jobs/{job['id']}/events").text)[-1]
    assert failed[1] == "failed"
    assert "cannot be saved" in failed[2]["message"]
