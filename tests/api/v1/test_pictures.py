"""Source pictures over HTTP: checked and limited on upload, the same bytes on download."""

import hashlib
import io
import zlib
from pathlib import Path
from typing import Any

import pytest
import skimage.data
from PIL import Image
from starlette.testclient import TestClient

from modules.api.services import Services
from modules.api.v1 import pictures as pictures_module
from modules.base import icc
from modules.base.picture import Picture
from tests.api.conftest import saved_picture
from tests.api.v1.test_jobs import png

TEXT = (
    "a cat\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 6.5, Seed: 5, "
    "Size: 512x768, Denoising strength: 0.4, Version: v1.10.0"
)


def gif() -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue")]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def test_a_picture_comes_back_as_it_went_in(client: TestClient) -> None:
    data = png()
    answer = client.post("/v1/pictures", content=data)
    sha256 = hashlib.sha256(data).hexdigest()

    assert answer.status_code == 201
    assert answer.json() == {
        "id": sha256, "width": 16, "height": 8, "format": "PNG", "notes": [], "url": f"/v1/pictures/{sha256}",
    }  # fmt: skip
    back = client.get(f"/v1/pictures/{sha256}")
    assert (back.content, back.headers["content-type"]) == (data, "image/png")
    assert back.headers["x-content-type-options"] == "nosniff"
    assert "immutable" in back.headers["cache-control"]
    assert client.head(f"/v1/pictures/{sha256}").status_code == 200


def test_what_will_be_converted_is_noted(client: TestClient) -> None:
    assert client.post("/v1/pictures", content=gif()).json()["notes"] == [
        "The picture is animated; its first frame is used."
    ]


def quarters(format: str, **options: Any) -> bytes:
    """A picture whose quarters are red and lime above, blue and white below."""
    image = Image.new("RGB", (64, 32), "white")
    for corner, color in (((0, 0), "red"), ((32, 0), "lime"), ((0, 16), "blue")):
        image.paste(color, (*corner, corner[0] + 32, corner[1] + 16))
    buffer = io.BytesIO()
    image.convert(options.pop("mode", "RGB")).save(buffer, format, **options)
    return buffer.getvalue()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize(
    ("data", "size", "corner"),
    [
        (quarters("WEBP", lossless=True, exif=turned()), (32, 64), (0, 0, 255)),
        (quarters("JPEG", quality=100, exif=turned()), (32, 64), (0, 0, 255)),
        (quarters("PNG", exif=turned()), (32, 64), (0, 0, 255)),
        (quarters("TIFF"), (64, 32), (255, 0, 0)),
        (quarters("JPEG", quality=100, mode="CMYK"), (64, 32), (255, 0, 0)),
        (quarters("PNG", mode="P"), (64, 32), (255, 0, 0)),
        (quarters("PNG", icc_profile=icc.profile("P3", icc.DISPLAY_P3)), (64, 32), (255, 0, 0)),
    ],
    ids=["WebP turned", "JPEG turned", "PNG turned", "TIFF", "CMYK", "palette", "Display P3"],
)
def test_what_is_shown_is_what_was_decoded(
    client: TestClient, data: bytes, size: tuple[int, int], corner: tuple[int, int, int]
) -> None:
    told = client.post("/v1/pictures", content=data).json()
    answer = client.get(f"{told['url']}/pixels")
    shown = Image.open(io.BytesIO(answer.content))
    assert (answer.headers["content-type"], shown.format, shown.size) == ("image/png", "PNG", size)
    assert not {"exif", "icc_profile"} & shown.info.keys()  # nothing that would make a browser rotate or color it again
    assert shown.tobytes() == Picture.from_bytes(data).open().tobytes()
    pixel = shown.getpixel((3, 3))
    assert isinstance(pixel, tuple)
    assert max(abs(seen - meant) for seen, meant in zip(pixel, corner, strict=True)) < 5
    assert (told["width"], told["height"]) == size


def test_a_plain_png_is_shown_as_it_came(client: TestClient) -> None:
    told = client.post("/v1/pictures", content=png()).json()
    assert client.get(f"{told['url']}/pixels").content == png()
    assert client.get(f"/v1/pictures/{'0' * 64}/pixels").status_code == 404


def test_faces_of_a_picture_are_found(client: TestClient) -> None:
    buffer = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).save(buffer, "PNG")
    picture = client.post("/v1/pictures", content=buffer.getvalue()).json()["id"]
    answer = client.get(f"/v1/pictures/{picture}/detect").json()
    (face,) = answer["boxes"]
    assert (answer["find"], answer["width"], answer["height"]) == ("Faces", 512, 512)
    assert face["left"] < 200 < 250 < face["right"]
    assert face["top"] < 90 < 140 < face["bottom"]
    refused = client.get(f"/v1/pictures/{picture}/detect", params={"find": "hands"})
    assert (refused.status_code, refused.json()["field"]) == (422, "find")
    assert refused.json()["detail"] == "find = 'hands': expected one of Faces, Eyes, People, Cat faces."


def test_info_is_told_without_decoding(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = png()
    text = b"tEXtparameters\0a cat"
    chunk = (len(text) - 4).to_bytes(4, "big") + text + zlib.crc32(text).to_bytes(4, "big")
    told = client.post("/v1/pictures", content=whole[:-12] + chunk + whole[-12:]).json()

    def load(self: object) -> None:
        pytest.fail("the pixels were decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    assert client.get(f"{told['url']}/info").json()["infotext"] == "a cat"


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/v1/jobs", {"kind": "img2img", "request": {"init_images": ["aGVsbG8="] * 300}}, "got 300 pictures"),
        ("/sdapi/v1/img2img", {"init_images": ["aGVsbG8="] * 300}, "got 300 pictures"),
        ("/sdapi/v1/extra-batch-images", {"imageList": [{"data": "aGVsbG8="}] * 1001}, "imageList"),
    ],
)
def test_pictures_are_counted_before_any_is_looked_at(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr("modules.base.picture._open", lambda *_: pytest.fail("a picture was looked at"))
    answer = client.post(path, json=body)
    assert (answer.status_code, words in answer.json()["detail"]) == (422, True)


def test_a_tiny_picture_is_taken_and_refused_only_where_resizing_cannot_help(client: TestClient) -> None:
    told = client.post("/v1/pictures", content=png(1, 1)).json()
    assert (told["width"], told["height"]) == (1, 1)

    request = {"init_images": [told["id"]], "width": 64, "height": 64, "prompt": "a cat"}
    answers = [
        client.post("/v1/jobs", json={"kind": "img2img", "request": {**request, "resize_mode": mode}})
        for mode in range(4)
    ]
    assert [answer.status_code for answer in answers] == [201, 201, 201, 422]
    assert answers[3].json()["detail"] == (
        "init_images: the picture is 1x1 pixels; the resize mode 'Just resize (latent upscale)' needs at least 8x8."
    )


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "the file is empty"),
        (b"hello", "not a readable picture"),
        (png(64, 64)[:60], "damaged or cut off"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a readable picture"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_sentence(client: TestClient, data: bytes, sentence: str) -> None:
    answer = client.post("/v1/pictures", content=data)

    assert answer.status_code == 422
    assert sentence in answer.json()["detail"]
    assert answer.json()["field"] == "init_images"


def test_an_upload_is_cut_off_where_it_gets_too_large(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures_module, "MAX_BYTES", 2 << 20)
    taken: list[int] = []

    def pieces():
        for _ in range(100):
            taken.append(1)
            yield bytes(1 << 20)

    for content in (bytes(3 << 20), pieces()):  # with a Content-Length and without
        answer = client.post("/v1/pictures", content=content)
        assert answer.status_code == 413
        assert "larger than the limit of 2 MB" in answer.json()["detail"]


@pytest.mark.parametrize("wrong", ["0" * 64, "x", "..%2f..%2fetc%2fpasswd", "*", "%00"])
def test_what_is_not_here_is_404(client: TestClient, wrong: str) -> None:
    assert client.get(f"/v1/pictures/{wrong}").status_code == 404
    assert client.head(f"/v1/pictures/{wrong}").status_code == 404


def test_info_reads_the_parameters_as_request_fields(client: TestClient, services: Services) -> None:
    path: Path = saved_picture(services.outputs, Image.new("RGB", (64, 64)), "img2img", 5, TEXT)
    picture = client.post("/v1/pictures", content=path.read_bytes()).json()
    info = client.get(f"/v1/pictures/{picture['id']}/info").json()

    assert (info["infotext"], info["kind"], info["items"]) == (TEXT, "img2img", {})
    assert {"prompt", "negative_prompt", "steps", "sampler_name", "seed", "denoising_strength"} <= set(info["fields"])
    assert (info["fields"]["prompt"], info["fields"]["cfg_scale"]) == ("a cat", 6.5)


def test_info_of_a_picture_that_tells_nothing_is_empty(client: TestClient) -> None:
    picture = client.post("/v1/pictures", content=png()).json()
    info = client.get(f"/v1/pictures/{picture['id']}/info").json()

    assert (info["infotext"], info["fields"], info["notes"]) == ("", {}, [])
