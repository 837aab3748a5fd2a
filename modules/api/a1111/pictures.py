"""Pictures into and out of A1111's API: base64 in JSON, finished ones kept in memory until they are sent."""

import base64
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from modules.base.errors import WebuiError
from modules.base.events import ImageDone, ImageSaved
from modules.base.picture import Picture, bytes_of_text
from modules.infotext.grammar import Kind
from modules.jobs.job import Job
from modules.jobs.saving import Saver
from modules.schema.settings import Settings

Fetch = Callable[[str, str], bytes]  # (url, field) -> the bytes there

URLS = ("http://", "https://")


class Made(NamedTuple):
    """A finished picture, encoded; `data` is empty where nobody wants it."""

    image: ImageSaved
    data: bytes


class Collector:
    """Saves the pictures of one job for a waiting client: in memory, and in the outputs folder too if it says so."""

    def __init__(self, saver: Saver, to_disk: bool, to_client: bool) -> None:
        self._saver = saver
        self._to_disk = to_disk
        self._to_client = to_client
        self._lock = threading.Lock()
        self._made: list[Made] = []

    def __call__(self, job: Job, done: ImageDone) -> ImageSaved:
        """As a `SavePicture`, on the queue's thread for saving."""
        is_written = self._to_disk and job.settings.is_saved(done.suffix)
        file = self._saver.encoded(job, done) if is_written or self._to_client else None
        if is_written and file is not None:
            saved = self._saver.written(job, done, file)
        else:
            self._saver.keep_source(job)
            saved = done.saved("")
        data = file.data if file is not None and self._to_client else b""
        with self._lock:
            self._made.append(Made(saved, data))
        return saved

    def keeps(self, kind: Kind, settings: Settings) -> bool:
        """Whether something of a job is to be kept on the disk."""
        return self._to_disk or (settings.save_init_img and kind == "img2img")

    def forsake(self) -> None:
        """The client has hung up: what is made is not kept for it."""
        with self._lock:
            self._to_client = False
            self._made.clear()

    def made(self) -> list[Made]:
        """All that are to be shown so far, in the order they were made."""
        with self._lock:
            return [made for made in self._made if made.image.shown]


def picture_from(
    text: Any,
    field: str,
    fetch: Fetch | None = None,
    read: Callable[[bytes, str], Picture] = Picture.from_bytes,
) -> Picture:
    """From base64, a data URI, or a URL where `fetch` is there to fetch it; `read` makes a picture of the bytes."""
    if isinstance(text, Picture):
        return text
    if not isinstance(text, str) or not text.strip():
        raise WebuiError(f"{field}: expected a picture as base64 text.", field=field)
    text = text.strip()
    if text[:8].lower().startswith(URLS):
        if fetch is None:
            raise WebuiError(
                f"{field}: URLs are not fetched here.",
                "Send the picture as base64, or start Palimpsest with --allow-url-fetch.",
                field,
            )
        return read(fetch(text, field), field)
    return read(bytes_of_text(text, field), field)


def with_pictures(values: Mapping[str, Any], fetch: Fetch | None = None) -> dict[str, Any]:
    """`values` with the pictures in init_images, mask and latent_mask checked and wrapped."""
    found = dict(values)
    sources = values.get("init_images")
    if sources is not None:
        listed = list(sources) if isinstance(sources, list | tuple) else [sources]
        found["init_images"] = [picture_from(source, "init_images", fetch) for source in listed]
    for name in ("mask", "latent_mask"):
        if name in values:
            found[name] = picture_from(values[name], name, fetch)
    return found


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
