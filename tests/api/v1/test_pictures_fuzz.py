"""Bytes that are almost pictures, and texts that are almost base64: a picture or a sentence, and nothing is lost.

PALIMPSEST_FUZZ=500 tries that many cases for each route, different ones each time.
"""

import base64
import io
import os
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from modules.api.app import create_api
from tests.api.conftest import BASE, services_in

SEARCHED = int(os.environ.get("PALIMPSEST_FUZZ", "0"))
CASES = SEARCHED or 40
FIELDS = {
    "/sdapi/v1/img2img": lambda text: {"init_images": [text]},
    "/sdapi/v1/extra-single-image": lambda text: {"image": text},
    "/sdapi/v1/png-info": lambda text: {"image": text},
}
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8))
SIZES = (0, 1, 7, 8, 255, 9999, 10_000, 16_383, 16_384, 32_768, 65_535, 2**31 - 1, 2**31, 2**32 - 1)
MOST_MEMORY = 300 << 20  # bytes that a refused bomb may add to the process: far less than its unpacked size


def file_of(format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    (NOISE.convert("CMYK") if options.pop("cmyk", False) else NOISE).save(file, format, **options)
    return file.getvalue()


FILES = {
    "PNG": file_of("PNG"),
    "APNG": file_of("PNG", save_all=True, append_images=[NOISE.rotate(180)]),
    "JPEG": file_of("JPEG", progressive=True),
    "CMYK": file_of("JPEG", cmyk=True),
    "WebP": file_of("WEBP"),
    "lossless WebP": file_of("WEBP", lossless=True),
    "animated WebP": file_of("WEBP", save_all=True, append_images=[NOISE.rotate(180)]),
    "GIF": file_of("GIF", save_all=True, append_images=[NOISE.rotate(180)]),
    "BMP": file_of("BMP"),
    "TIFF": file_of("TIFF", compression="tiff_lzw"),
    "AVIF": file_of("AVIF"),
}


def checked_anew(data: bytes) -> bytes:
    """A PNG with valid checksums, so that the changed part is checked."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    made, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        made += data[at:end] + struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(made) + data[at:]


@st.composite
def nearly_pictures(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(list(FILES.values()))))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, min(len(data) - 1, draw(st.sampled_from((16, 64, 4096))))))
        how = draw(st.sampled_from(("bytes", "size", "cut", "repeat", "remove", "graft")))
        until = draw(st.integers(at, len(data)))
        if how == "bytes":
            data[at : at + 4] = draw(st.binary(min_size=1, max_size=4))
        elif how == "size":
            form = draw(st.sampled_from(("<H", ">H", "<I", ">I")))
            size = draw(st.sampled_from(SIZES)) & (0xFFFF if form[1] == "H" else 0xFFFF_FFFF)
            data[at : at + struct.calcsize(form)] = struct.pack(form, size)
        elif how == "cut":
            del data[at:]
        elif how == "repeat":
            data[at:at] = data[at:until] * draw(st.integers(1, 20))
        elif how == "remove":
            del data[at:until]
        else:
            data[at:] = draw(st.sampled_from(list(FILES.values())))[at:]
        if not data:
            break
    return checked_anew(bytes(data)) if draw(st.booleans()) else bytes(data)


nearly_base64 = st.one_of(
    st.text(),
    st.text(alphabet="ABCabc019+/=-_ \n", max_size=200),
    st.builds("{}{}".format, st.sampled_from(("data:", "data:,", "data:image/png;base64", "base64,")), st.text()),
    st.builds(
        lambda text, at, what: text[:at] + what + text[at:],
        st.sampled_from([base64.b64encode(data).decode() for data in FILES.values()]),
        st.integers(0, 200),
        st.sampled_from(("=", "==", "\n", " ", "é", "\x00", "%2B", ",", "data:")),
    ),
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with (
        services_in(tmp_path_factory.mktemp("data")) as services,
        TestClient(create_api(services), base_url=BASE) as it,
    ):
        yield it


@pytest.mark.parametrize("route", FIELDS)
@pytest.mark.parametrize("texts", [nearly_pictures().map(lambda data: base64.b64encode(data).decode()), nearly_base64],
                         ids=["pictures", "base64"])  # fmt: skip
def test_nearly_a_picture_is_taken_or_refused(client: TestClient, route: str, texts: st.SearchStrategy[str]) -> None:
    @settings(max_examples=CASES, derandomize=not SEARCHED)
    @given(texts)
    def ask(text: str) -> None:
        answer = client.post(route, json=FIELDS[route](text))
        assert answer.status_code in (200, 404, 422), answer.text
        if answer.status_code != 200:
            assert answer.json()["detail"].isprintable()

    ask()
    whole = base64.b64encode(FILES["PNG"]).decode()
    assert client.post(route, json=FIELDS[route](whole)).status_code == 200


def put(data: bytes, at: int, form: str, *values: int) -> bytes:
    return data[:at] + struct.pack(form, *values) + data[at + struct.calcsize(form) :]


def said_to_be(format: str, width: int, height: int) -> bytes:
    """A file of this format whose header states another size than its 32x24."""
    data = FILES[format]
    if format == "PNG":
        return checked_anew(put(data, 16, ">II", width, height))
    if format == "JPEG":
        return put(data, data.index(b"\xff\xc2") + 5, ">HH", height, width)
    if format == "WebP":  # VP8: after the frame's signature
        return put(data, data.index(b"\x9d\x01\x2a") + 3, "<HH", width & 0x3FFF, height & 0x3FFF)
    if format == "lossless WebP":  # VP8L: fourteen bits each
        return put(data, data.index(b"VP8L") + 9, "<I", (width - 1 & 0x3FFF) | (height - 1 & 0x3FFF) << 14)
    if format == "animated WebP":  # VP8X: 24 bits each
        at = data.index(b"VP8X") + 12
        return data[:at] + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little") + data[at + 6 :]
    if format == "GIF":
        return put(data, 6, "<HH", width, height)
    if format == "BMP":
        return put(data, 18, "<ii", width, height)
    if format == "TIFF":
        for tag, value in ((256, width), (257, height)):
            at = data.index(struct.pack("<H", tag), struct.unpack_from("<I", data, 4)[0])
            data = put(data, at + 2, "<HII", 4, 1, value)
        return data
    return put(data, data.index(b"ispe") + 8, ">II", width, height)


@pytest.mark.parametrize("side", [10_001, 16_383, 65_535])
@pytest.mark.parametrize("format", [name for name in FILES if name not in ("APNG", "CMYK")])
def test_a_file_that_says_it_is_huge_takes_no_memory(client: TestClient, format: str, side: int) -> None:
    resource = pytest.importorskip("resource")
    body = {"init_images": [base64.b64encode(said_to_be(format, side, side)).decode()]}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = client.post("/sdapi/v1/img2img", json=body)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert answer.status_code == 422, answer.text
    assert "megapixels" in answer.json()["detail"] or side == 65_535, answer.text  # more than some formats can express
    assert (after - before) * 1024 < MOST_MEMORY
