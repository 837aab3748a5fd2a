"""Pictures in A1111's API: base64 in JSON; finished ones are kept in memory until they are sent."""

import base64
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from starlette.requests import ClientDisconnect

from modules.base.errors import WebuiError
from modules.base.events import ImageDone, ImageSaved, PictureDone
from modules.base.picture import MAX_BYTES, MAX_PIXELS, Picture, bytes_of_text
from modules.jobs.job import Job
from modules.jobs.saving import Saver
from modules.processing.kinds.kind import JobKind
from modules.schema.settings import Settings

Fetch = Callable[[str, str], bytes]  # (url, field) -> the bytes there

MOST_TOGETHER = 4 * MAX_PIXELS  # pixels of all pictures in one request
URLS = ("http://", "https://")


class CollectedImage(NamedTuple):
    """A finished picture, encoded; `data` is empty if nobody needs it."""

    image: ImageSaved
    data: bytes


class Collector:
    """Saves the pictures of one job for a waiting client: in memory, and in the outputs folder if requested."""

    def __init__(self, saver: Saver, to_disk: bool, to_client: bool) -> None:
        self._saver = saver
        self._to_disk = to_disk
        self._to_client = to_client
        self._lock = threading.Lock()
        self._made: list[CollectedImage] = []

    def __call__(self, job: Job, done: PictureDone) -> ImageSaved:
        """Implements `SavePicture`; runs on the queue's saving thread."""
        assert isinstance(done, ImageDone), "a job without a folder makes pictures in memory"
        is_written = self._to_disk and job.settings.is_saved(done.suffix)
        file = self._saver.encoded(job, done) if is_written or self._to_client else None
        if is_written and file is not None:
            saved = self._saver.written(job, done, file)
        else:
            self._saver.keep_source(job)
            saved = done.saved("")
        data = file.data if file is not None and self._to_client else b""
        with self._lock:
            self._made.append(CollectedImage(saved, data))
        return saved

    def keeps(self, kind: JobKind[Any], settings: Settings) -> bool:
        """Whether a job saves anything to disk."""
        return self._to_disk or (settings.save_init_img and bool(kind.source_field))

    def forsake(self) -> None:
        """Discard the pictures, because the client has disconnected."""
        with self._lock:
            self._to_client = False
            self._made.clear()

    def made(self) -> list[CollectedImage]:
        """All pictures to show so far, in the order they were made."""
        with self._lock:
            return [made for made in self._made if made.image.shown]


def picture_from(
    text: Any,
    field: str,
    fetch: Fetch | None = None,
    read: Callable[[bytes, str], Picture] = Picture.from_bytes,
) -> Picture:
    """The picture in base64, a data URI, or at a URL if `fetch` is given; `read` converts the bytes to a picture.

    Raises WebuiError about `field`.
    """
    if isinstance(text, Picture):
        return text
    if not isinstance(text, str) or not text.strip():
        raise WebuiError(f"{field}: expected a picture as base64 text.", field=field)
    text = text.strip()
    if text[:8].lower().startswith(URLS):
        if fetch is None:
            raise WebuiError(
                f"{field}: URLs are not allowed here.",
                "Send the picture as base64, or start Palimpsest with --allow-url-fetch.",
                field,
            )
        return read(fetch(text, field), field)
    return read(bytes_of_text(text, field), field)


def require_count(pictures: Any, field: str, most: int) -> None:
    """Raises WebuiError for more than `most` pictures, before examining any of them."""
    if isinstance(pictures, list) and len(pictures) > most:
        raise WebuiError(
            f"{field}: got {len(pictures)} pictures, at most {most} are allowed.",
            "Send them in several requests.",
            field,
        )


def require_together(pictures: Sequence[Picture], field: str) -> None:
    """Raises WebuiError if decoding all of `pictures` would take too long, or storing their files too much memory."""
    pixels = sum(picture.width * picture.height for picture in pictures)
    if pixels > MOST_TOGETHER:
        raise WebuiError(
            f"{field}: the first {len(pictures)} pictures have {pixels / 1e6:.0f} megapixels together; "
            f"at most {MOST_TOGETHER // 10**6} are allowed at once.",
            "Send them in several requests.",
            field,
        )
    size = sum(len(picture.content) for picture in pictures if isinstance(picture.content, bytes))
    if size > MAX_BYTES:
        raise WebuiError(
            f"{field}: the first {len(pictures)} pictures have {size >> 20} MB together; "
            f"at most {MAX_BYTES >> 20} MB are allowed at once.",
            "Send them in several requests.",
            field,
        )


def with_pictures(
    values: Mapping[str, Any], fetch: Fetch | None = None, is_disconnected: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """`values` with the pictures in init_images, control_images, mask and latent_mask checked and wrapped.

    Checks all headers before decoding any pixel. Raises WebuiError, and ClientDisconnect once `is_disconnected()`.
    """
    found = dict(values)
    for field in ("init_images", "control_images"):
        sources = values.get(field)
        if sources is not None:
            listed = list(sources) if isinstance(sources, list | tuple) else [sources]
            found[field] = _checked(listed, field, fetch, is_disconnected)
    for name in ("mask", "latent_mask"):
        if name in values:
            found[name] = picture_from(values[name], name, fetch)
    return found


def _checked(
    sources: Sequence[Any], field: str, fetch: Fetch | None, is_disconnected: Callable[[], bool]
) -> list[Picture]:
    headers: list[Picture] = []
    for source in sources:
        headers.append(picture_from(source, field, fetch, Picture.unread))
        require_together(headers, field)
    pictures: list[Picture] = []
    for header in headers:
        if is_disconnected():
            raise ClientDisconnect
        pictures.append(Picture.from_bytes(header.data, field))
    return pictures


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
