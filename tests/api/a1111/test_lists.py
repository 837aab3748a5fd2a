"""A1111's lists match what a request accepts: each listed name works, and each working name is listed."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from httpx2 import Response  # the response type of starlette's test client
from starlette.testclient import TestClient

from modules.a1111.options import CHOICES
from modules.api.app import create_api
from modules.api.services import Services
from modules.sampling import registry
from modules.schema.upscalers import UPSCALERS, names_of, of_latents
from tests.api.a1111_client import png
from tests.api.conftest import BASE, VAES, services_in

Send = Callable[..., Response]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with services_in(tmp_path_factory.mktemp("data")) as services:
        yield services


@pytest.fixture(scope="module")
def client(services: Services) -> Iterator[TestClient]:
    with TestClient(create_api(services), base_url=BASE) as client:
        yield client


@pytest.fixture(scope="module")
def listed(client: TestClient) -> Callable[[str], Any]:
    return lambda name: client.get(f"/sdapi/v1/{name}").json()


@pytest.fixture(scope="module")
def send(client: TestClient) -> Send:
    def made(route: str, **body: Any) -> Response:
        return client.post(f"/sdapi/v1/{route}", json={"send_images": False, **body})

    return made


def names(rows: list[dict[str, Any]], *keys: str) -> set[str]:
    """All names of the rows, under `keys` and as aliases."""
    return {row[key] for row in rows for key in keys} | {alias for row in rows for alias in row.get("aliases") or ()}


def test_samplers(listed: Callable[[str], Any], send: Send) -> None:
    rows = listed("samplers")
    assert {row["name"] for row in rows} == set(registry.SAMPLER_FUNCTIONS)
    for name in names(rows, "name"):
        answer = send("txt2img", sampler_name=name)
        assert answer.status_code == 200, answer.text


def test_schedulers(listed: Callable[[str], Any], send: Send) -> None:
    rows = listed("schedulers")
    assert {row["label"] for row in rows} == set(registry.SCHEDULE_FUNCTIONS)
    for name in names(rows, "name", "label"):
        answer = send("txt2img", sampler_name="Euler", scheduler=name)
        assert answer.status_code == 200, answer.text


def test_upscalers(listed: Callable[[str], Any], send: Send) -> None:
    upscalers = {row["name"] for row in listed("upscalers")}
    latent = {row["name"] for row in listed("latent-upscale-modes")}
    assert upscalers == {"None", "Lanczos", "Nearest"}
    assert latent == set(names_of(of_latents(UPSCALERS)))
    assert upscalers | latent == set(names_of(UPSCALERS))
    for name in upscalers | latent:
        answer = send("txt2img", enable_hr=True, hr_upscaler=name)
        assert answer.status_code == 200, answer.text
    for name in upscalers:
        assert send("extra-single-image", image=png(8, 8), upscaler_1=name).status_code == 200
        image = base64.b64encode(b"no picture").decode()
        assert send("extra-single-image", image=image, upscaler_1=name).status_code == 422
    for name in ("R-ESRGAN 4x+", "SwinIR_4x", *latent):
        answer = send("extra-single-image", image=png(8, 8), upscaler_1=name)
        assert (answer.status_code, answer.json()["field"]) == (422, "upscaler_1")


@pytest.mark.parametrize(
    ("route", "key", "option", "none"),
    [
        ("hypernetworks", "name", "sd_hypernetwork", {"None"}),
    ],
)
def test_what_is_not_offered_is_neither_listed_nor_taken(
    listed: Callable[[str], Any], client: TestClient, route: str, key: str, option: str, none: set[str]
) -> None:
    assert {row[key] for row in listed(route)} | none == set(CHOICES[option])
    for name in none:
        assert client.post("/sdapi/v1/options", json={option: name}).status_code == 200
    refused = client.post("/sdapi/v1/options", json={option: "some.pt"})
    assert (refused.status_code, refused.json()["field"]) == (422, option)


def test_vaes(listed: Callable[[str], Any], send: Send, client: TestClient) -> None:
    rows = listed("sd-vae")
    assert names(rows, "model_name") == names(rows, "filename") == set(VAES)
    for name in (*VAES, "soft", "Automatic", "None"):
        answer = send("txt2img", override_settings={"sd_vae": name})
        assert answer.status_code == 200, answer.text
    assert client.get("/sdapi/v1/options").json()["sd_vae"] == "Automatic"  # restored after each
    assert client.post("/sdapi/v1/options", json={"sd_vae": "soft"}).status_code == 200
    assert client.get("/sdapi/v1/options").json()["sd_vae"] == "Soft.safetensors"
    for name in ("", "Automatic"):
        assert client.post("/sdapi/v1/options", json={"sd_vae": name}).status_code == 200
        assert client.get("/sdapi/v1/options").json()["sd_vae"] == "Automatic"
    refused = send("txt2img", override_settings={"sd_vae": "sharq.vae.pt"})
    assert (refused.status_code, refused.json()["field"]) == (422, "sd_vae")
    assert "did you mean 'sharp.vae.pt'?" in refused.json()["detail"]


def test_a_vae_that_was_chosen_may_be_gone(services: Services, client: TestClient) -> None:
    services.settings.change({"sd_vae": "gone.pt"})
    try:
        options = client.get("/sdapi/v1/options").json()
        assert client.post("/sdapi/v1/options", json=options).status_code == 200
        assert client.post("/sdapi/v1/txt2img", json={}).json()["field"] == "sd_vae"
    finally:
        services.settings.change({"sd_vae": "Automatic"})


def test_checkpoints(listed: Callable[[str], Any], send: Send) -> None:
    for row in listed("sd-models"):
        if row["model_name"] == "refused":  # its file is a LoRA
            continue
        for name in (row["title"], row["model_name"], row["filename"], row["hash"]):
            answer = send("txt2img", override_settings={"sd_model_checkpoint": name})
            assert answer.status_code == 200, answer.text
    assert send("txt2img", override_settings={"sd_model_checkpoint": "another"}).status_code == 422


def test_face_restorers_change_nothing_because_there_are_none(listed: Callable[[str], Any], send: Send) -> None:
    assert listed("face-restorers") == []
    answer = send("extra-single-image", image=png(8, 8), codeformer_visibility=1)
    assert (answer.status_code, answer.json()["field"]) == (422, "codeformer_visibility")


def test_scripts(listed: Callable[[str], Any], send: Send) -> None:
    kinds = listed("scripts")
    told = listed("script-info")
    for kind, source in (("txt2img", {}), ("img2img", {"init_images": [png(64, 64)]})):
        infos = [info for info in told if info["is_img2img"] == (kind == "img2img")]
        assert sorted(info["name"] for info in infos) == kinds[kind]
        for info in infos:
            if info["is_alwayson"]:
                arguments = [argument["value"] for argument in info["args"]]
                answer = send(kind, alwayson_scripts={info["name"]: {"args": arguments}}, **source)
                assert answer.status_code == 200, answer.text
    assert "unknown" in send("txt2img", script_name="unknown").json()["detail"]


def test_a_refiner_that_is_switched_on_is_accepted(send: Send) -> None:
    answer = send("txt2img", alwayson_scripts={"Refiner": {"args": [True, "good", 0.8]}})
    assert answer.status_code == 200, answer.text
    wrong = send("txt2img", alwayson_scripts={"refiner": {"args": [True, "good", 8]}})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "refiner_switch_at")
