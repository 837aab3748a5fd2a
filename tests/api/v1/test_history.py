"""The history over HTTP: listed, shown by hash, reopened with source and mask."""

import hashlib
import io

import pytest
from PIL import Image
from starlette.testclient import TestClient

from modules.api.services import Services
from modules.base.picture import Picture
from modules.schema.settings import Settings
from modules.store.metadata import as_file

TEXT = "a fox in fog\nSteps: 4, Sampler: Euler, Seed: {}, Size: 64x64"


def saved(services: Services, seed: int, source: str = "", mask: str = "") -> str:
    text = TEXT.format(seed) + (f", Denoising strength: 0.5, Source hash: {source}" if source else "")
    text += f", Mask blur: 4, Mask hash: {mask}" if mask else ""
    image = Image.new("RGB", (640, 320), (seed, 0, 0))
    names = services.outputs.numbered("img2img" if source else "txt2img", seed)
    path = services.outputs.write(names, as_file(image, text, Settings()))
    return hashlib.sha256((services.outputs.root / path).read_bytes()).hexdigest()


def brought(client: TestClient, color: str) -> str:
    return client.post("/v1/pictures", content=Picture.from_image(Image.new("RGB", (64, 64), color)).data).json()["id"]


def test_pictures_are_listed_and_shown_by_their_hash(client: TestClient, services: Services) -> None:
    first = saved(services, 1)
    second = saved(services, 2, source=first)
    answer = client.get("/v1/history").json()
    assert (answer["unread"], answer["next"]) == (0, "")
    assert {row["sha256"]: (row["children"], row["source"]) for row in answer["pictures"]} == {
        first: (1, ""),
        second: (0, first),
    }
    row = next(row for row in answer["pictures"] if row["sha256"] == first)
    shown = client.get(row["url"])
    assert hashlib.sha256(shown.content).hexdigest() == first
    assert "immutable" in shown.headers["cache-control"]
    small = client.get(row["thumbnail"])
    assert (small.headers["content-type"], Image.open(io.BytesIO(small.content)).size) == ("image/webp", (288, 144))


def test_pages_follow_each_other(client: TestClient, services: Services) -> None:
    hashes = {saved(services, seed) for seed in range(5)}
    found: list[str] = []
    before = ""
    while True:
        answer = client.get("/v1/history", params={"count": 2, "before": before}).json()
        found += [row["sha256"] for row in answer["pictures"]]
        before = answer["next"]
        if not before:
            break
    assert (len(found), set(found)) == (5, hashes)


def test_the_way_back_to_what_was_brought(client: TestClient, services: Services) -> None:
    photo = brought(client, "teal")
    first = saved(services, 1, source=photo)
    second = saved(services, 2, source=first)
    client.get("/v1/history")
    told = client.get(f"/v1/history/{second}/lineage").json()
    assert [source["sha256"] for source in told["sources"]] == [first, photo]
    assert told["sources"][1]["url"] == f"/v1/pictures/{photo}"
    assert [child["sha256"] for child in client.get(f"/v1/history/{first}/lineage").json()["children"]] == [second]


def test_a_picture_is_opened_again_with_source_and_mask(client: TestClient, services: Services) -> None:
    mask = brought(client, "white")
    first = saved(services, 1)
    second = saved(services, 2, source=first, mask=mask)
    client.get("/v1/history")
    client.put("/v1/styles/fog", json={"prompt": "{prompt} in fog", "negative_prompt": ""})
    told = client.post(f"/v1/history/{second}/open").json()
    assert (told["kind"], told["fields"]["seed"], told["missing"]) == ("img2img", 2, [])
    assert (told["fields"]["prompt"], told["styles"]) == ("a fox in fog", [])
    assert (told["source"]["id"], told["source"]["width"]) == (first, 640)
    assert told["mask"]["id"] == mask
    # From now on a job may name the source, which was only a file in the outputs.
    assert client.head(f"/v1/pictures/{first}").status_code == 200
    request = {"init_images": [first], "mask": mask, **{key: told["fields"][key] for key in ("prompt", "seed")}}
    assert client.post("/v1/jobs", json={"kind": "img2img", "request": request}).status_code == 201


def test_what_is_no_longer_here_is_told(client: TestClient, services: Services) -> None:
    second = saved(services, 2, source="ab" * 32)
    client.get("/v1/history")
    told = client.post(f"/v1/history/{second}/open").json()
    assert told["source"] is None
    assert told["missing"] == ["The source (sha256 ababababab…) is no longer stored."]
    assert client.get(f"/v1/history/{second}/lineage").json()["sources"] == [{"sha256": "ab" * 32, "url": ""}]


@pytest.mark.parametrize("rest", ["", "/thumbnail", "/lineage"])
@pytest.mark.parametrize(("name", "status"), [("ab" * 32, 404), ("..%2f..%2fetc%2fpasswd", 404), ("AB" * 32, 422)])
def test_no_other_name_leads_to_a_file(client: TestClient, name: str, rest: str, status: int) -> None:
    assert client.get(f"/v1/history/{name}{rest}").status_code == status


@pytest.mark.parametrize("before", ["1", "x-" + "ab" * 32, "9" * 20 + "-" + "ab" * 32])
def test_a_place_that_is_none_is_refused_or_the_beginning(client: TestClient, before: str) -> None:
    assert client.get("/v1/history", params={"before": before}).status_code in (200, 422)
