"""What a form results in, requested over HTTP."""

from typing import Any

import pytest
from starlette.testclient import TestClient


def ask(client: TestClient, kind: str, source: dict[str, int] | None = None, **request: Any) -> Any:
    return client.post("/v1/estimate", json={"kind": kind, "request": request, "source": source})


def test_the_page_learns_steps_sizes_and_the_models_own(client: TestClient) -> None:
    answer = ask(client, "txt2img", width=1024, height=1024, enable_hr=True, hr_scale=1.5, denoising_strength=0.4)
    assert answer.json() == {
        "steps": 20, "effective_steps": 20, "width": 1024, "height": 1024,
        "second": {"width": 1536, "height": 1536, "effective_steps": 20}, "native": {"width": 512, "height": 512},
        "warning": "1024 × 1024 is much larger than this checkpoint's 512 × 512: the subject may appear several "
        "times.",
        "shrinks_source": False, "is_source_large": False,
    }  # fmt: skip


def test_a_source_is_its_size_and_may_be_missing(client: TestClient) -> None:
    photo = {"width": 2200, "height": 3000}
    assert ask(client, "img2img", photo, width=256, height=256).json()["shrinks_source"] is True
    assert ask(client, "img2img", photo, resize_by=0.1).json()["width"] == 216
    alone = ask(client, "img2img", width=256, height=256, resize_by=0.1, denoising_strength=0.5).json()
    assert (alone["width"], alone["effective_steps"], alone["shrinks_source"]) == (256, 11, False)


def test_settings_count_and_those_of_the_request_before_them(client: TestClient) -> None:
    client.post("/v1/settings", json={"img2img_fix_steps": True})
    assert ask(client, "img2img", denoising_strength=0).json()["effective_steps"] == 0
    own = {"img2img_fix_steps": False}
    assert ask(client, "img2img", denoising_strength=0, override_settings=own).json()["effective_steps"] == 1


@pytest.mark.parametrize(
    ("request_", "field"), [({"steps": 0}, "steps"), ({"enable_hr": True, "hr_scale": 4, "width": 4096}, "hr_scale")]
)
def test_what_cannot_be_made_names_its_field(client: TestClient, request_: dict[str, Any], field: str) -> None:
    answer = ask(client, "txt2img", **request_)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
