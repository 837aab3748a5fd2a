"""One client's share of the queue, and pictures too large for any memory."""

from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from modules.api.app import create_api
from modules.api.services import Services
from modules.base.errors import WebuiError
from modules.jobs.limits import JobLimits
from modules.processing.memory import require_memory
from modules.schema.request import Txt2ImgRequest
from modules.schema.sizes import SD1_SIZES
from tests.api.conftest import BASE

WAITS = {"kind": "txt2img", "request": {"prompt": "wait"}}


def test_the_job_above_the_limit_is_refused_until_one_has_ended(services: Services) -> None:
    with TestClient(create_api(replace(services, limits=JobLimits(2))), base_url=BASE) as client:
        first, second = (client.post("/v1/jobs", json=WAITS).json() for _ in range(2))
        refused = client.post("/v1/jobs", json=WAITS)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
        assert refused.json()["detail"].startswith("You have 2 jobs queued or running; the limit is 2.")
        for job in (second, first):
            client.delete(job["url"])
            client.get(f"{job['url']}/events")  # ends with the job
        assert client.post("/v1/jobs", json={"kind": "txt2img", "request": {"prompt": "a"}}).status_code == 201


@pytest.mark.parametrize(
    ("request_", "free", "fitting"),
    [
        (Txt2ImgRequest(width=1024, height=1024), 262_144_000, "512x512."),
        (Txt2ImgRequest(width=512, height=512, batch_size=4), 262_144_000, "256x256; or a smaller batch_size than 4."),
        (
            Txt2ImgRequest(width=512, height=512, enable_hr=True, hr_scale=4, denoising_strength=0.5),
            1_048_576_000,
            "1024x1024.",
        ),
    ],
)
def test_a_picture_too_large_for_the_memory_is_told_with_the_size_that_fits(
    request_: Txt2ImgRequest, free: int, fitting: str
) -> None:
    with pytest.raises(WebuiError) as refused:
        require_memory(request_, SD1_SIZES, lambda: free)
    assert refused.value.hint == f"The largest size of this shape that fits is {fitting}"


def test_what_just_fits_is_let_through_and_a_byte_less_is_not() -> None:
    request = Txt2ImgRequest(width=512, height=512)
    require_memory(request, SD1_SIZES, lambda: 262_144_000)
    with pytest.raises(WebuiError):
        require_memory(request, SD1_SIZES, lambda: 262_143_999)
