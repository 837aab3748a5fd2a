"""Pictures that clients receive, read by other people's programs: prompts of all kinds come back as written."""

import base64
import io
from collections.abc import Callable
from typing import Any

import httpx
import piexif
import pytest
from piexif.helper import UserComment
from sd_parsers import ParserManager
from sd_prompt_reader.image_data_reader import ImageDataReader

from tests.clients.conftest import opened

Post = Callable[..., dict[str, Any]]
WORDS = ", ".join(f"word{number}" for number in range(150))  # about 450 tokens
NASTY = {
    "plain": ("a cat", "dog"),
    "lines": ("first line\nsecond line\n\nfourth line", "ugly\nblurry"),
    "quotes": ('she said "no", and \'yes\' \\ "', 'a "quoted" word'),
    "colons": ("a: b, c: d, (e:1.2), [f:g:0.5], http://x", "Steps are: many"),
    "unicode": ("猫が屋根の上で Ünïcödé ﷽ Здравствуй", "犬"),
    "beyond 16 bit": ("a cat 🐈 on a roof", "犬 🐕"),
    "long": (WORDS, WORDS[::-1]),
    "negative inside": ("a sign that says Negative prompt: none", "a word, Negative prompt: twice"),
    "pairs inside": ("Seed: 5, Size: 1x1, Model: none", "Sampler: none"),
    "brackets": ("((((a)))) [[[b]]] {c|d} <e>", ")))(("),
    "commas": (",,, ,,,", ","),
}
FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}


@pytest.fixture(scope="module")
def made(post: Post) -> Callable[[str, str], bytes]:
    """The file of a picture with one of the prompts, in one format."""

    def make(name: str, format: str) -> bytes:
        prompt, negative = NASTY[name]
        body = {
            "prompt": prompt, "negative_prompt": negative, "seed": 12, "steps": 1, "width": 64, "height": 64,
            "sampler_name": "Euler a", "override_settings": {"samples_format": format},
        }  # fmt: skip
        return base64.b64decode(post("txt2img", body)["images"][0])

    return make


# It mistakes these letters, which A1111 writes too, for another program's byte order, and gives up.
MISREAD = [("unicode", "jpg"), ("unicode", "webp")]


@pytest.mark.parametrize(
    ("name", "format"), [(name, format) for name in NASTY for format in FORMATS if (name, format) not in MISREAD]
)
def test_sd_prompt_reader_finds_prompts_and_parameters(
    made: Callable[[str, str], bytes], name: str, format: str
) -> None:
    told = ImageDataReader(io.BytesIO(made(name, format)))
    assert (told.positive, told.negative) == NASTY[name]
    assert told.parameter["seed"] == "12"
    assert told.parameter["sampler"] == "Euler a"
    assert told.parameter["size"] == "64x64"


@pytest.mark.parametrize(("name", "format"), MISREAD)
def test_what_it_misreads_is_what_a1111_writes_byte_for_byte(
    client: httpx.Client, made: Callable[[str, str], bytes], name: str, format: str
) -> None:
    file = made(name, format)
    text = client.post("/sdapi/v1/png-info", json={"image": base64.b64encode(file).decode()}).json()["info"]
    assert text.startswith(NASTY[name][0])
    comment = piexif.load(file)["Exif"][piexif.ExifIFD.UserComment]
    assert comment == UserComment.dump(text, encoding="unicode")


# This one takes every "Negative prompt:" for the start of one.
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", [name for name in NASTY if name != "negative inside"])
def test_sd_parsers_finds_prompts_and_parameters(made: Callable[[str, str], bytes], name: str, format: str) -> None:
    told = ParserManager().parse(io.BytesIO(made(name, format)))
    assert told is not None
    [sampler] = told.samplers
    assert (
        [prompt.value for prompt in sampler.prompts],
        [prompt.value for prompt in sampler.negative_prompts],
    ) == tuple([text] for text in NASTY[name])
    assert (sampler.name, sampler.parameters["seed"], sampler.parameters["steps"]) == ("Euler a", "12", "1")
    assert sampler.model is not None
    assert sampler.model.name == "tiny"


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", NASTY)
def test_we_read_it_ourselves(client: httpx.Client, made: Callable[[str, str], bytes], name: str, format: str) -> None:
    file = made(name, format)
    assert opened(base64.b64encode(file).decode()).format == FORMATS[format]
    told = client.post("/sdapi/v1/png-info", json={"image": base64.b64encode(file).decode()}).json()["parameters"]
    assert (told["Prompt"], told["Negative prompt"]) == NASTY[name]
