"""Whatever a client sends to A1111's routes, it gets an answer or a sentence, never an internal error; the next request
works.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from modules.api.a1111.extras import BatchPayload, PngInfoPayload, SinglePayload
from modules.api.a1111.payloads import PAYLOADS
from modules.api.a1111.progress import ProgressBody
from modules.api.app import create_api
from tests.api.a1111_client import png
from tests.api.conftest import BASE, services_in

SOURCE = png(8, 8)
WORDS = (
    "", "Euler", "k_euler_a", "Karras", "png", SOURCE, f"data:image/png;base64,{SOURCE}", "http://127.0.0.1/", "true",
    "NaN", "1e9", "\x00", "🐈" * 50, "(" * 5000, "None",
)  # fmt: skip
atoms = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.sampled_from(WORDS)
    | st.text(max_size=20)
)
values = st.recursive(
    atoms,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
ROUTES = {
    "/sdapi/v1/txt2img": tuple(PAYLOADS["txt2img"].model_fields),
    "/sdapi/v1/img2img": tuple(PAYLOADS["img2img"].model_fields),
    "/sdapi/v1/extra-single-image": tuple(SinglePayload.model_fields),
    "/sdapi/v1/extra-batch-images": tuple(BatchPayload.model_fields),
    "/sdapi/v1/png-info": tuple(PngInfoPayload.model_fields),
    "/sdapi/v1/interrogate": ("image", "model"),
    "/internal/progress": tuple(ProgressBody.model_fields),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with (
        services_in(tmp_path_factory.mktemp("data")) as services,
        TestClient(create_api(services), base_url=BASE) as it,
    ):
        yield it


@pytest.mark.parametrize("route", ROUTES)
def test_no_body_is_too_much(client: TestClient, route: str) -> None:
    fields = st.dictionaries(st.sampled_from(ROUTES[route]) | st.text(max_size=8), values, max_size=6)

    @settings(max_examples=60)
    @given(fields)
    def ask(body: dict[str, Any]) -> None:
        body.pop("n_iter", None)  # many pictures take long and test nothing more
        answer = client.post(route, content=json.dumps(body))
        assert answer.status_code in (200, 404, 413, 422), (body, answer.text)
        if answer.status_code != 200:
            assert answer.json()["detail"]

    ask()
    assert client.post("/sdapi/v1/txt2img", json={}).status_code == 200


@pytest.mark.slow
def test_no_option_breaks_the_next_picture(client: TestClient) -> None:
    names = sorted(client.get("/sdapi/v1/options").json())

    @settings(max_examples=120)
    @given(st.dictionaries(st.sampled_from(names), values, min_size=1, max_size=3))
    def turn(body: dict[str, Any]) -> None:
        before = client.get("/sdapi/v1/options").json()
        answer = client.post("/sdapi/v1/options", content=json.dumps(body))
        assert answer.status_code in (200, 422), (body, answer.text)
        after = client.get("/sdapi/v1/options").json()
        assert answer.status_code == 200 or after == before

    turn()
    assert client.post("/sdapi/v1/options", json={"sd_model_checkpoint": "good"}).status_code == 200
    assert client.post("/sdapi/v1/txt2img", json={}).status_code == 200
