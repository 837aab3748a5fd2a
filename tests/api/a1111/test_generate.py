"""A1111's HTTP API over an engine process without a model: shapes, defaults, sloppy clients, errors."""

import base64
import hashlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from httpx2 import Response  # the response type of starlette's test client
from PIL import Image
from starlette.testclient import TestClient

from modules.a1111.request import FormKind
from modules.api.a1111.payloads import PAYLOADS
from modules.api.app import create_api
from modules.api.services import Services
from modules.base.picture import Picture
from modules.schema.settings import EXACT
from modules.store.metadata import encoded, read
from tests.api.a1111_client import ERROR_KEYS, INFO_KEYS, opened, png, until
from tests.api.conftest import BASE, services_in


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with services_in(tmp_path_factory.mktemp("data")) as services:
        yield services


@pytest.fixture(scope="module")
def client(services: Services) -> Iterator[TestClient]:
    with TestClient(create_api(services), base_url=BASE) as client:
        yield client


@pytest.fixture(scope="module")
def post(client: TestClient) -> Callable[..., Response]:
    def send(route: str, **body: Any) -> Response:
        return client.post(f"/sdapi/v1/{route}", json=body)

    return send


class TestGenerating:
    def test_masks_follow_their_pictures_and_are_saved_as_the_options_say(
        self, post: Callable[..., Response], services: Services
    ) -> None:
        before = set(services.outputs.root.rglob("*.png"))
        wanted = {
            "return_mask": True,
            "return_mask_composite": True,
            "save_mask_composite": True,
            "save_init_img": True,
        }
        body: dict[str, Any] = {"init_images": [png()], "mask": png(), "prompt": "images 2", "n_iter": 2, "seed": 31}
        told = post("img2img", **body, override_settings=wanted, save_images=True, do_not_save_grid=True).json()
        info = json.loads(told["info"])
        colors = [opened(image).getpixel((0, 0)) for image in told["images"]]
        beside = [(101, 101, 101), (102, 102, 102, 102)]
        assert colors == [(0, 0, 0), *beside, (1, 1, 1), *beside]
        assert (info["infotexts"], info["all_seeds"]) == (["text 0", "text 1"], [31, 32])
        new = sorted(
            path.relative_to(services.outputs.root) for path in set(services.outputs.root.rglob("*.png")) - before
        )
        source = hashlib.md5(Picture.from_text(png()).open().tobytes()).hexdigest()
        assert new[-1] == Path(f"init-images/{source}.png")
        first = int(new[0].name[:5])
        names = ("31", "31-mask-composite", "32", "32-mask-composite")
        assert [path.name for path in new[:-1]] == [f"{first + i:05}-{name}.png" for i, name in enumerate(names)]

        unsaved = post("img2img", **body, override_settings={"return_mask": True, "save_mask": True}).json()
        assert [opened(image).getpixel((0, 0)) for image in unsaved["images"]] == [
            (0, 0, 0), beside[0], (1, 1, 1), beside[0],
        ]  # fmt: skip
        assert set(services.outputs.root.rglob("*.png")) - before == {services.outputs.root / path for path in new}

    def test_the_options_about_masks_act(self, client: TestClient, post: Callable[..., Response]) -> None:
        names = ("return_mask", "return_mask_composite", "save_mask", "save_mask_composite", "save_init_img")
        assert [client.get("/sdapi/v1/options").json()[name] for name in names] == [False] * 5
        assert post("options", return_mask=True).status_code == 200
        assert client.get("/sdapi/v1/options").json()["return_mask"] is True
        told = post("img2img", init_images=[png()], mask=png()).json()
        assert len(told["images"]) == 2
        assert post("options", return_mask=False).status_code == 200

    def test_an_answer_has_the_pictures_the_request_and_all_keys_of_the_info(
        self, post: Callable[..., Response], services: Services
    ) -> None:
        before = sorted(services.outputs.root.rglob("*"))
        answer = post("txt2img", prompt="images 2 steps 3", seed=5, width=96, unknown_field=[1])

        assert answer.status_code == 200
        told = answer.json()
        info = json.loads(told["info"])
        assert set(told) == {"images", "parameters", "info"}
        assert [opened(image).size for image in told["images"]] == [(8, 8), (8, 8)]
        assert set(info) == INFO_KEYS
        assert (info["seed"], info["all_seeds"], info["infotexts"]) == (5, [5, 6], ["text 0", "text 1"])
        assert info["all_prompts"] == ["images 2 steps 3"] * 2
        assert (info["sampler_name"], info["steps"], info["cfg_scale"]) == ("Euler", 50, 7.0)
        parameters = told["parameters"]
        assert (parameters["width"], parameters["height"], parameters["steps"]) == (96, 512, 50)
        assert "unknown_field" not in parameters
        assert sorted(services.outputs.root.rglob("*")) == before  # the request did not ask for saving
        assert Picture.from_text(told["images"][0]).text()["parameters"] == "text 0"

    @pytest.mark.parametrize(("include", "expected"), [(False, None), (True, "source")])
    def test_sources_are_repeated_only_where_that_is_wanted(
        self, post: Callable[..., Response], include: bool, expected: str | None
    ) -> None:
        source = png()
        told = post("img2img", init_images=[source], mask=png(), include_init_images=include).json()
        assert told["parameters"]["init_images"] == (None if expected is None else [source])
        assert (told["parameters"]["mask"] is None) == (expected is None)
        assert json.loads(told["info"])["denoising_strength"] == 0.75

    def test_several_sources_make_a_picture_each_with_the_seeds_of_one_batch(
        self, post: Callable[..., Response]
    ) -> None:
        told = post("img2img", init_images=[png(), f"data:image/png;base64,{png()}"], seed=7, n_iter=2).json()
        assert json.loads(told["info"])["all_seeds"] == [7, 8, 9, 10]
        assert len(told["images"]) == 4

    def test_the_file_format_is_that_of_the_options(self, post: Callable[..., Response]) -> None:
        told = post("txt2img", override_settings={"samples_format": "webp"}).json()
        assert opened(told["images"][0]).format == "WEBP"
        assert opened(post("txt2img").json()["images"][0]).format == "PNG"

    def test_an_interrupted_job_answers_what_there_is(self, client: TestClient, services: Services) -> None:
        answers: list[Response] = []
        thread = threading.Thread(
            target=lambda: answers.append(client.post("/sdapi/v1/txt2img", json={"prompt": "images 1 wait"}))
        )
        thread.start()
        until(lambda: client.get("/sdapi/v1/progress").json()["state"]["job_count"] > 0)
        assert client.post("/sdapi/v1/interrupt").json() == {}
        thread.join(240)
        told = answers[0].json()
        assert (answers[0].status_code, told["images"]) == (200, [])
        assert set(json.loads(told["info"])) == INFO_KEYS

    @pytest.mark.parametrize(
        ("prompt", "status", "field"), [("webui-error", 422, "steps"), ("raises", 500, ""), ("killed", 422, "")]
    )
    def test_a_job_that_fails_is_an_error_with_a_sentence(
        self, post: Callable[..., Response], prompt: str, status: int, field: str
    ) -> None:
        answer = post("txt2img", prompt=prompt)
        assert (answer.status_code, answer.json()["field"]) == (status, field)
        assert set(answer.json()) == ERROR_KEYS
        assert (status == 500) == ("in the log" in answer.json()["detail"])
        assert post("txt2img").status_code == 200

    def test_extra_networks_can_be_left_out(self, post: Callable[..., Response]) -> None:
        info = json.loads(post("txt2img", prompt="a cat<lora:x:1>", disable_extra_networks=True).json()["info"])
        assert info["prompt"] == "a cat"


class TestOverrides:
    def test_they_hold_for_their_job_alone(
        self, client: TestClient, post: Callable[..., Response], services: Services
    ) -> None:
        before = client.get("/sdapi/v1/options").json()
        told = post("txt2img", override_settings={"CLIP_stop_at_last_layers": "2", "img2img_fix_steps": True}).json()
        assert json.loads(told["info"])["clip_skip"] == 2
        assert client.get("/sdapi/v1/options").json() == before
        assert json.loads(post("txt2img").json()["info"])["clip_skip"] == 1
        assert services.queue.jobs()[0].settings.compatibility == EXACT

    def test_those_that_change_nothing_are_named(self, post: Callable[..., Response]) -> None:
        told = post("txt2img", override_settings={"samples_save": False, "sd_unet": "Automatic"}, restore_faces=True)
        assert json.loads(told.json()["info"])["ignored"] == [
            "restore_faces has no effect here: there is no face restoration.",
            "The option samples_save has no effect here.",
            "The option sd_unet has no effect here.",
        ]

    @pytest.mark.parametrize(
        ("overrides", "detail"),
        [
            ({"CLIP_stop_at_last_layer": 2}, "did you mean 'CLIP_stop_at_last_layers'?"),
            ({"CLIP_stop_at_last_layers": 99}, "expected a whole number from 1 to 12."),
            ({"samples_save": 12}, "samples_save = 12: "),
            ({"sd_model_checkpoint": "goof"}, "did you mean 'good'?"),
            ([], ""),
            ([1], "expected an object of options by name."),
        ],
    )
    def test_wrong_ones_are_refused(self, post: Callable[..., Response], overrides: Any, detail: str) -> None:
        answer = post("txt2img", override_settings=overrides)
        if detail:
            assert answer.status_code == 422
            assert detail in answer.json()["detail"]
        else:
            assert answer.status_code == 422


class TestSloppyClients:
    @pytest.mark.parametrize(
        "body",
        [
            {"steps": "20", "cfg_scale": "7.5", "width": "512.0", "seed": "-1"},
            {"steps": 20.0, "width": 512.0, "height": 512.0, "seed": -1.0, "batch_size": 1.0, "n_iter": "1"},
            {"steps": None, "prompt": None, "sampler_name": None, "scheduler": None, "styles": None, "eta": None},
            {"seed": "", "sampler_name": "", "scheduler": "", "script_name": "", "styles": "", "hr_upscaler": ""},
            {"sampler_name": "k_euler_a", "scheduler": "karras"},
            {"sampler_name": "DPM++ 2M Karras", "scheduler": "Automatic"},
            {"sampler_index": "euler A", "scheduler": "Align Your Steps"},
            {"enable_hr": False, "hr_upscaler": "R-ESRGAN 4x+", "hr_scale": 0, "hr_checkpoint_name": "x"},
            {"enable_hr": True, "hr_sampler_name": "Use same sampler", "hr_checkpoint_name": "Use same checkpoint"},
            {"refiner_checkpoint": "None", "refiner_switch_at": 0.8},
            {"override_settings": None, "alwayson_scripts": None, "script_args": None},
            {"alwayson_scripts": {"ControlNet": {"args": [{"enabled": False, "image": ""}]}}},
            {"alwayson_scripts": {"API payload": {"args": []}, "Hypertile": {"args": [False]}}},
            {"alwayson_scripts": {"Seed": {"args": [-1, False, -1, 0, 0, 0]}, "Refiner": {"args": [False, "", 0.8]}}},
            {"alwayson_scripts": []},
            {"seed_resize_from_w": -1, "s_tmax": 0, "s_churn": 0, "tiling": False, "restore_faces": False},
            {"override_settings": {"sd_model_checkpoint": "good.safetensors"}},
            {"override_settings": {"sd_model_checkpoint": "good [goodgoodgo]", "CLIP_stop_at_last_layers": 1.0}},
            {"styles": "one"},
            {"prompt": 42},
        ],
    )
    def test_what_is_unambiguous_is_accepted(self, post: Callable[..., Response], body: dict[str, Any]) -> None:
        answer = post("txt2img", **body)
        assert answer.status_code == 200, answer.text

    @pytest.mark.parametrize(
        "fields",
        [
            {"inpainting_mask_invert": False, "inpaint_full_res": True, "mask_blur": "4"},
            {"inpaint_full_res": "true", "inpainting_fill": "1", "mask": None, "latent_mask": ""},
            {"init_images": f"data:image/png;base64,{png()}"},
            {"image_cfg_scale": 1.5, "initial_noise_multiplier": 1, "resize_mode": 0.0},
        ],
    )
    def test_also_with_a_source(self, post: Callable[..., Response], fields: dict[str, Any]) -> None:
        answer = post("img2img", **{"init_images": [png()], **fields})
        assert answer.status_code == 200, answer.text

    @pytest.mark.parametrize(
        ("content", "headers"),
        [
            (b"", {}),
            (b"  \n", {"content-type": "application/json"}),
            (b"null", {}),
            (b'{"steps": 4}', {}),
            (b'{"steps": 4}', {"content-type": "text/plain"}),
            (b'{"steps": 4}', {"content-type": "application/x-www-form-urlencoded"}),
            ('\ufeff{"steps": 4}'.encode(), {}),
            ('{"steps": 4}'.encode("utf-16"), {}),
            (b'{"prompt": "\\ud800 half", "comments": {"\\udfff": 1}}', {}),
        ],
    )
    def test_the_body_is_json_whatever_it_is_called(
        self, client: TestClient, content: bytes, headers: dict[str, str]
    ) -> None:
        answer = client.post("/sdapi/v1/txt2img/", content=content, headers=headers)
        assert answer.status_code == 200, answer.text

    @pytest.mark.parametrize("kind", ["txt2img", "img2img"])
    @pytest.mark.parametrize(
        "spelled",
        [
            pytest.param(lambda value: None, id="null"),
            pytest.param(lambda value: "", id="empty"),
            pytest.param(lambda value: str(value) if isinstance(value, int | float) else value, id="text"),
            pytest.param(
                lambda value: float(value) if isinstance(value, int) and not isinstance(value, bool) else value,
                id="float",
            ),
            pytest.param(lambda value: int(value) if isinstance(value, bool) else value, id="0 or 1"),
        ],
    )
    def test_all_fields_at_once(
        self, post: Callable[..., Response], kind: FormKind, spelled: Callable[[Any], Any]
    ) -> None:
        fields = PAYLOADS[kind].model_fields
        body = {name: spelled(field.get_default(call_default_factory=True)) for name, field in fields.items()}
        answer = post(kind, **{**body, **({"init_images": [png()]} if kind == "img2img" else {})})
        assert answer.status_code == 200, answer.text
        plain = post(kind, **({"init_images": [png()]} if kind == "img2img" else {})).json()
        ours, theirs = (json.loads(told["info"]) for told in (answer.json(), plain))
        assert {name for name in ours if ours[name] != theirs[name]} <= {
            "seed", "subseed", "all_seeds", "all_subseeds", "job_timestamp",
        }  # fmt: skip

    @pytest.mark.parametrize(("route", "field"), [("samplers", "sampler_name"), ("schedulers", "scheduler")])
    def test_every_name_of_a_list_may_be_sent(
        self, client: TestClient, post: Callable[..., Response], route: str, field: str
    ) -> None:
        rows = client.get(f"/sdapi/v1/{route}").json()
        names = {name for row in rows for name in (row["name"], row.get("label", ""), *(row["aliases"] or ()))}
        refused = {name for name in names if post("txt2img", prompt="steps 1", **{field: name}).status_code != 200}
        assert not refused

    @pytest.mark.parametrize("path", ["//sdapi/v1/options", "///sdapi/v1/options/", "//internal/pending-tasks"])
    def test_an_address_may_end_with_a_slash(self, client: TestClient, path: str) -> None:
        assert client.get(f"{BASE}{path}").status_code == 200
        assert client.get(f"{BASE}{path}", headers={"sec-fetch-site": "cross-site"}).status_code == 403

    def test_empty_basic_credentials_let_in_where_none_are_asked_for(self, client: TestClient) -> None:
        for value in ("Basic", "Basic ", "Basic Og=="):
            assert client.get("/sdapi/v1/samplers", headers={"Authorization": value}).status_code == 200


class TestErrors:
    @pytest.mark.parametrize(
        ("body", "field", "detail"),
        [
            ({"sampler_name": "eulr"}, "sampler_name", "did you mean 'Euler'?"),
            ({"scheduler": "karas"}, "scheduler", "did you mean 'Karras'?"),
            ({"script_name": "promt matrix"}, "script_name", "Did you mean 'Prompt matrix'?"),
            ({"steps": "20.5"}, "steps", "expected a whole number from 1 to 150."),
            ({"steps": 0.5}, "steps", "expected a whole number from 1 to 150."),
            ({"cfg_scale": "NaN"}, "cfg_scale", "expected a number from 0 to 30."),
            ({"denoising_strength": "nan"}, "denoising_strength", "expected a number from 0 to 1."),
            ({"steps": True}, "steps", "expected a"),
            ({"steps": -1}, "steps", "expected a whole number from 1 to 150."),
            ({"width": 10**9}, "width", "expected a whole number from 64 to 4096."),
            ({"cfg_scale": "many"}, "cfg_scale", "expected a number from 0 to 30."),
            ({"prompt": ["a"]}, "prompt", "valid string"),
            ({"send_images": "perhaps"}, "send_images", "valid boolean"),
            ({"styles": 4}, "styles", "expected a list of names."),
            (
                {"alwayson_scripts": {"ControlNet": {"args": [{"image": "x"}]}}},
                "control_images",
                "control_images: ",
            ),
            (
                {"alwayson_scripts": {"controlnet": {"args": [{"enabled": True}]}}},
                "controlnet",
                "controlnet: a unit has no model.",
            ),
            (
                {"alwayson_scripts": {"controlnet": {"args": [{"model": "lines", "image": png()}]}}},
                "controlnet",
                "there is no ControlNet 'lines'; none is installed.",
            ),
            (
                {"alwayson_scripts": {"controlnet": {"args": [{"weight": "a lot"}]}}},
                "controlnet",
                "weight = 'a lot': expected a number.",
            ),
            (
                {"alwayson_scripts": {"ADetailer": {"args": [True, {}]}}},
                "alwayson_scripts",
                "'ADetailer' is not available.",
            ),
            (
                {"alwayson_scripts": {"ADetailer": {"args": [False]}}},
                "alwayson_scripts",
                "'ADetailer' is not available.",
            ),
            (
                {"alwayson_scripts": {"animatediff": {"args": []}}},
                "alwayson_scripts",
                "'animatediff' is not available.",
            ),
            ({"alwayson_scripts": {"Soft inpaintin": {"args": [True]}}}, "alwayson_scripts", "'soft inpainting'?"),
            ({"enable_hr": True, "hr_upscaler": "Latnt"}, "hr_upscaler", "did you mean 'Latent'"),
            ({"force_task_id": "x" * 300}, "force_task_id", "at most 200"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(
        self, post: Callable[..., Response], body: dict[str, Any], field: str, detail: str
    ) -> None:
        answer = post("txt2img", **body)
        assert answer.status_code == 422, answer.text
        assert set(answer.json()) == ERROR_KEYS
        assert answer.json()["field"] == field
        assert detail in answer.json()["detail"]

    @pytest.mark.parametrize(
        ("body", "status", "detail"),
        [
            ({}, 404, "Init image not found"),
            ({"init_images": []}, 404, "Init image not found"),
            ({"init_images": [""]}, 422, "expected a picture as base64 text."),
            ({"init_images": [5]}, 422, "expected a picture as base64 text."),
            ({"init_images": ["AAAA"]}, 422, "not a readable picture"),
            ({"init_images": [png()], "mask": "AAAA"}, 422, "mask: the file is not a readable picture"),
            ({"init_images": ["http://127.0.0.1/x.png"]}, 422, "URLs are not allowed here."),
            ({"init_images": ["file:///etc/passwd"]}, 422, "init_images: "),
            ({"init_images": [png()] * 65}, 422, "at most 64"),
        ],
    )
    def test_sources_that_are_none_are_refused(
        self, post: Callable[..., Response], body: dict[str, Any], status: int, detail: str
    ) -> None:
        answer = post("img2img", **body)
        assert answer.status_code == status, answer.text
        assert detail in answer.json()["detail"]

    @pytest.mark.parametrize(
        ("content", "field", "detail"),
        [
            (b'{"cfg_scale": NaN}', "cfg_scale", "cfg_scale = NaN: expected a finite number."),
            (b'{"prompt": "a", "steps": 1e999}', "steps", "steps = 1e999: expected a finite number."),
            (
                b'{"override_settings": {"eta_ddim": -Infinity}}',
                "override_settings.eta_ddim",
                "override_settings.eta_ddim = -Infinity: expected a finite number.",
            ),
            (b'{"script_args": [1, [2, NaN]]}', "script_args.1.1", "script_args.1.1 = NaN: expected a finite number."),
        ],
    )
    def test_a_number_that_is_not_finite_is_told_with_its_field(
        self, client: TestClient, content: bytes, field: str, detail: str
    ) -> None:
        for route in ("txt2img", "img2img", "options", "extra-single-image"):
            answer = client.post(f"/sdapi/v1/{route}", content=content)
            assert (answer.status_code, answer.json()["field"], answer.json()["detail"]) == (422, field, detail)

    @pytest.mark.parametrize("route", ["/sdapi/v1/nothing", "/controlnet/nothing", "/v1/nothing"])
    def test_a_route_that_is_not_here_is_told_in_the_words_of_http(self, client: TestClient, route: str) -> None:
        told = client.get(route).json()
        assert (told["detail"], told["hint"]) == ("Not Found", f"There is nothing at {route}.")

    def test_a_method_that_is_not_here_is_told_in_the_words_of_http(self, client: TestClient) -> None:
        assert client.get("/sdapi/v1/txt2img").json()["detail"] == "Method Not Allowed"

    @pytest.mark.parametrize(
        "content",
        [
            b"{", b"[]", b'"text"', b"7", b"\xff\xfe\x00", b"[" * 100_000, b'{"a":' * 100_000, b'{"cfg_scale": NaN}',
            b'{"cfg_scale": 1e999}', b'{"seed": ' + b"9" * 5000 + b"}", b'{"seed": ' + b"9" * 100 + b"}",
            b'{"script_args": ' + b"[" * 50 + b"]" * 50 + b"}", b"a=b&c=d",
        ],
    )  # fmt: skip
    def test_bodies_that_are_none_are_refused(self, client: TestClient, content: bytes) -> None:
        for route in ("txt2img", "img2img", "options", "png-info", "extra-single-image", "extra-batch-images"):
            answer = client.post(f"/sdapi/v1/{route}", content=content)
            assert 400 <= answer.status_code < 500 or (b"9" * 100 in content and route == "png-info"), answer.text

    @pytest.mark.parametrize(
        "route",
        [
            "interrogate", "create/embedding", "create/hypernetwork", "train/embedding", "train/hypernetwork",
            "server-kill", "server-restart", "server-stop", "nothing",
        ],
    )  # fmt: skip
    def test_what_is_not_offered_says_so(self, post: Callable[..., Response], route: str) -> None:
        answer = post(route, image=png(), model="clip", name="x")
        assert answer.status_code == 404
        assert set(answer.json()) == ERROR_KEYS


class TestProgress:
    def test_nothing_runs(self, client: TestClient) -> None:
        assert client.get("/sdapi/v1/progress?skip_current_image=true").json() == {
            "progress": 0.0,
            "eta_relative": 0.0,
            "state": {
                "skipped": False, "interrupted": False, "stopping_generation": False, "job": "", "job_count": 0,
                "job_timestamp": "0", "job_no": 0, "sampling_step": 0, "sampling_steps": 0,
            },
            "current_image": None,
            "textinfo": None,
        }  # fmt: skip
        assert client.get("/internal/pending-tasks").json() == {"size": 0, "tasks": []}

    def test_a_task_is_followed_by_its_name(self, client: TestClient) -> None:
        def task(name: str, **body: Any) -> dict[str, Any]:
            return client.post("/internal/progress", json={"id_task": name, **body}).json()

        answers: list[Response] = []

        def submit(name: str) -> threading.Thread:
            body = {"prompt": "images 2 steps 4 wait", "force_task_id": name}
            thread = threading.Thread(target=lambda: answers.append(client.post("/sdapi/v1/txt2img", json=body)))
            thread.start()
            until(lambda: name in client.get("/internal/pending-tasks").json()["tasks"])
            return thread

        assert (task("one")["active"], task("one")["textinfo"]) == (False, "Waiting...")
        first = submit("one")
        second = submit("two")
        until(lambda: task("one")["active"])
        assert client.get("/internal/pending-tasks").json() == {"size": 2, "tasks": ["one", "two"]}
        waiting = task("two")
        assert (waiting["active"], waiting["queued"], waiting["completed"]) == (False, True, False)
        assert waiting["textinfo"] == "In queue: 1/2"
        client.post("/sdapi/v1/interrupt")
        first.join(240)
        assert task("one")["completed"]
        until(lambda: task("two")["active"])
        client.post("/sdapi/v1/interrupt")
        second.join(240)
        assert task("two")["completed"]
        assert [answer.status_code for answer in answers] == [200, 200]

    def test_the_picture_so_far_comes_along(self, client: TestClient) -> None:
        body = {"prompt": "images 1 steps 400 slow", "force_task_id": "slow"}
        thread = threading.Thread(target=lambda: client.post("/sdapi/v1/txt2img", json=body))
        thread.start()
        until(lambda: client.get("/sdapi/v1/progress").json()["current_image"] is not None)
        told = client.get("/sdapi/v1/progress").json()
        task = client.post("/internal/progress", json={"id_task": "slow"}).json()
        bare = client.get("/sdapi/v1/progress?skip_current_image=1").json()
        client.post("/sdapi/v1/skip")
        thread.join(240)

        assert base64.b64decode(told["current_image"]).startswith(b"jpeg of step")
        assert 0 < told["progress"] < 1
        assert (told["state"]["job_count"], told["state"]["sampling_steps"]) == (1, 400)
        assert told["eta_relative"] > 0
        assert task["live_preview"].startswith("data:image/jpeg;base64,")
        assert task["id_live_preview"] > 0
        assert bare["current_image"] is None


class TestOptions:
    def test_all_that_are_read_can_be_written_back(self, client: TestClient) -> None:
        options = client.get("/sdapi/v1/options").json()
        assert len(options) > 250
        assert options["sd_model_checkpoint"] == "good [goodgoodgo]"
        answer = client.post("/sdapi/v1/options", json=options)
        assert (answer.status_code, answer.json()) == (200, None)
        assert client.get("/sdapi/v1/options").json() == options

    @pytest.mark.parametrize(
        ("values", "detail"),
        [
            ({"samples_fromat": "png"}, "there is no option 'samples_fromat'; did you mean 'samples_format'?"),
            ({"samples_format": "tga"}, "expected png or jpg or webp"),
            ({"jpeg_quality": 101}, "expected a whole number from 1 to 100."),
            ({"jpeg_quality": True}, "expected a"),
            ({"CLIP_stop_at_last_layers": "two"}, "expected a whole number from 1 to 12."),
            ({"sd_model_checkpoint": "goo"}, "no checkpoint named 'goo'; did you mean 'good'?"),
            ({"sd_model_checkpoint": 7}, "expected a name."),
            ({"sd_vae": "shark.vae.pt"}, "no VAE named 'shark.vae.pt'; did you mean 'sharp.vae.pt'?"),
            ({"sd_vae": 7}, "SD VAE (sd_vae) = 7: "),
            ({"ESRGAN_tile": 9999}, "ESRGAN_tile"),
            ({"outdir_samples": "x" * 20_000}, "outdir_samples"),
            ({"hide_samplers": "Euler"}, "hide_samplers"),
            ({"x" * 5000: 1}, "there is no option"),
        ],
    )
    def test_a_wrong_one_is_refused_and_the_others_with_it(
        self, client: TestClient, post: Callable[..., Response], values: dict[str, Any], detail: str
    ) -> None:
        before = client.get("/sdapi/v1/options").json()
        answer = client.post("/sdapi/v1/options", json={"send_seed": False, "eta_ddim": 0.5, **values})
        assert answer.status_code == 422
        assert detail in answer.json()["detail"]
        assert len(answer.json()["detail"]) < 400
        assert client.get("/sdapi/v1/options").json() == before
        assert post("txt2img").status_code == 200


class TestPicturesWithoutAJob:
    @pytest.mark.parametrize(
        ("fields", "size"),
        [
            ({}, (64, 48)),  # "None" leaves a picture unchanged
            ({"upscaler_1": "Lanczos"}, (128, 96)),
            ({"upscaler_1": "nearest", "upscaling_resize": "1.6"}, (96, 72)),
            (
                {"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 100, "upscaling_resize_h": 90},
                (100, 90),
            ),
            (
                {
                    "upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 128, "upscaling_resize_h": 90,
                    "upscaling_crop": False,
                },
                (128, 96),
            ),
            ({"upscaler_1": "Lanczos", "upscaler_2": "Nearest", "extras_upscaler_2_visibility": 0.5}, (128, 96)),
            ({"gfpgan_visibility": 0, "codeformer_visibility": 0.0, "upscale_first": False}, (64, 48)),
        ],
    )  # fmt: skip
    def test_enlarging(self, post: Callable[..., Response], fields: dict[str, Any], size: tuple[int, int]) -> None:
        answer = post("extra-single-image", image=f"data:image/png;base64,{png(64, 48)}", **fields)
        assert answer.status_code == 200, answer.text
        assert set(answer.json()) == {"html_info", "image"}
        assert opened(answer.json()["image"]).size == size

    def test_the_second_upscaler_shows_as_far_as_it_is_said(self, post: Callable[..., Response]) -> None:
        rows = Image.linear_gradient("L").resize((16, 16)).convert("RGB")
        file = io.BytesIO()
        rows.save(file, "PNG")
        source = base64.b64encode(file.getvalue()).decode()

        def made(**fields: Any) -> Image.Image:
            return opened(post("extra-single-image", image=source, **fields).json()["image"])

        first, second = made(upscaler_1="Lanczos"), made(upscaler_1="Nearest")
        blend = made(upscaler_1="Lanczos", upscaler_2="Nearest", extras_upscaler_2_visibility=0.25)
        assert blend.tobytes() == Image.blend(first, second, 0.25).tobytes()

    @pytest.mark.parametrize("format", ["png", "jpg", "webp"])
    def test_the_texts_of_a_picture_stay_and_what_was_done_stands_beside_them(
        self, post: Callable[..., Response], format: Literal["png", "jpg", "webp"]
    ) -> None:
        text = "a cat\nSteps: 5, Sampler: Euler, Seed: 1, Version: v1"
        others = {"workflow": '{"nodes": ["é"]}'} if format == "png" else {}
        image = Image.new("RGB", (16, 16))
        source = base64.b64encode(encoded(image, format, text, items=others).data).decode()
        done = "Postprocess upscale by: 2.0, Postprocess upscaler: Lanczos"
        one = post("extra-single-image", image=source, upscaler_1="Lanczos", upscaling_resize=2).json()
        several = post("extra-batch-images", imageList=[{"data": source}], upscaler_1="Lanczos").json()
        assert one["html_info"] == f"<p>{done}</p>"
        for result in (one["image"], several["images"][0]):
            told = read(Picture.from_text(result))
            assert (told.infotext, told.items) == (text, {**others, "postprocessing": done})
            assert post("png-info", image=result).json()["items"]["parameters"] == text

    def test_several_pictures(self, post: Callable[..., Response]) -> None:
        files = [{"data": png(16, 16), "name": "a.png"}, {"data": png(24, 16)}]
        answer = post("extra-batch-images", imageList=files, upscaler_1="Lanczos")
        assert [opened(image).size for image in answer.json()["images"]] == [(32, 32), (48, 32)]

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"image": ""}, "image"),
            ({"image": "AAAA"}, "image"),
            ({"upscaler_1": "Lancsoz"}, "upscaler_1"),
            ({"upscaler_1": "Lanczos", "upscaler_2": "R-ESRGAN 4x+"}, "upscaler_2"),
            ({"gfpgan_visibility": 0.5}, "gfpgan_visibility"),
            ({"upscaling_resize": 0}, "upscaling_resize"),
            ({"upscaling_resize": -2}, "upscaling_resize"),
            ({"resize_mode": 2}, "resize_mode"),
            ({"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 30_000}, "upscaling_resize_w"),
        ],
    )
    def test_what_cannot_be_done_is_refused(
        self, post: Callable[..., Response], fields: dict[str, Any], field: str
    ) -> None:
        answer = post("extra-single-image", **{"image": png(), **fields})
        assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text

    def test_what_is_written_in_a_picture(self, post: Callable[..., Response]) -> None:
        text = "a cat\nNegative prompt: dog\nSteps: 5, Sampler: Euler, Seed: 1, Size: 64x32"
        source = base64.b64encode(encoded(Image.new("RGB", (16, 16)), "jpg", text).data).decode()
        assert post("png-info", image=source).json() == {
            "info": text,
            "items": {"parameters": text},
            "parameters": {
                "Prompt": "a cat", "Negative prompt": "dog", "Steps": "5", "Sampler": "Euler", "Seed": "1",
                "Size-1": "64", "Size-2": "32",
            },
        }  # fmt: skip
        assert post("png-info").json() == {"info": "", "items": {}, "parameters": {}}


LISTS = [
    "samplers",
    "schedulers",
    "upscalers",
    "latent-upscale-modes",
    "sd-models",
    "sd-vae",
    "hypernetworks",
    "face-restorers",
    "realesrgan-models",
    "prompt-styles",
    "loras",
    "script-info",
    "extensions",
]


class TestLists:
    @pytest.mark.parametrize("name", LISTS)
    def test_a_list_is_one_with_and_without_a_slash(self, client: TestClient, name: str) -> None:
        answer = client.get(f"/sdapi/v1/{name}")
        assert (answer.status_code, type(answer.json())) == (200, list)
        assert client.get(f"/sdapi/v1/{name}/").json() == answer.json()

    def test_rows_have_the_fields_of_a1111(self, client: TestClient) -> None:
        def row(name: str, number: int = 0) -> Any:
            return client.get(f"/sdapi/v1/{name}").json()[number]

        assert row("samplers", 6) == {
            "name": "Euler a", "aliases": ["k_euler_a", "k_euler_ancestral"], "options": {"uses_ensd": "True"}
        }  # fmt: skip
        assert row("schedulers", 2) == {
            "name": "karras", "label": "Karras", "aliases": None, "default_rho": 7.0, "need_inner_model": False
        }  # fmt: skip
        assert row("sd-models") == {
            "title": "good [goodgoodgo]", "model_name": "good", "hash": "goodgoodgo", "sha256": "good" * 10,
            "filename": "good", "config": None,
        }  # fmt: skip
        assert row("upscalers", 1) == {
            "name": "Lanczos", "model_name": None, "model_path": None, "model_url": None, "scale": 4
        }  # fmt: skip

    def test_the_others_too(self, client: TestClient) -> None:
        assert client.get("/sdapi/v1/embeddings").json() == {"loaded": {}, "skipped": {}}
        memory = client.get("/sdapi/v1/memory").json()
        assert set(memory["ram"]) == {"free", "used", "total"}
        scripts = client.get("/sdapi/v1/scripts").json()
        assert "soft inpainting" in scripts["img2img"]
        assert "prompt matrix" in scripts["txt2img"]
        for route in ("refresh-checkpoints", "refresh-vae", "refresh-embeddings", "refresh-loras"):
            assert client.post(f"/sdapi/v1/{route}").json() is None
        assert client.post("/sdapi/v1/reload-checkpoint").json() == {}

    def test_nothing_that_lets_in_or_leads_to_a_folder_is_told(
        self, client: TestClient, services: Services, tmp_path: Path
    ) -> None:
        for route in ("/sdapi/v1/cmd-flags", "/internal/sysinfo", "/sdapi/v1/sd-models", "/sdapi/v1/options"):
            assert str(tmp_path) not in client.get(route).text
        flags = client.get("/sdapi/v1/cmd-flags").json()
        assert flags["auth"] is None
        assert flags["port"] == 7860
