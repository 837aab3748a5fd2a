"""A job's warnings reach A1111's clients too, in the answer's `info`."""

import json

from starlette.testclient import TestClient


def test_a_warning_stands_in_the_info_once(client: TestClient) -> None:
    told = client.post("/sdapi/v1/txt2img", json={"prompt": "warns images 2", "n_iter": 2}).json()
    assert json.loads(told["info"])["ignored"] == ["This is only a test."]
