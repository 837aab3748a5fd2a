"""The hub's metadata for a file before the download: size, hash, licence, and whether it is gated."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final, cast

import httpx2
from huggingface_hub import constants, hf_hub_url

from modules.base.errors import WebuiError
from modules.fetching.order import FIELD, Order

LARGEST_ANSWER: Final = 4 * 2**20  # bytes of the hub's description of a repository
MOVED: Final = (301, 302, 303, 307, 308)
_SHA256: Final = re.compile("[0-9a-f]{64}")
_GIT: Final = re.compile("[0-9a-f]{40}")  # sha1 of a file stored in git itself: small ones


@dataclass(frozen=True)
class Offer:
    """A file as the hub has it now. `etag` is its sha256, or git's hash of a small file, "" if the server sends none.

    `licence` is the identifier in the model card, `page` the URL of the page with its terms.
    """

    order: Order
    url: str
    size: int
    etag: str
    licence: str
    page: str
    is_gated: bool

    @property
    def sha256(self) -> str:
        return self.order.sha256 or (self.etag if _SHA256.fullmatch(self.etag) else "")

    @property
    def git_hash(self) -> str:
        return self.etag if _GIT.fullmatch(self.etag) else ""


def look_up(client: httpx2.Client, order: Order, endpoint: str) -> Offer:
    """Ask the hub about a file.

    Raises WebuiError if the file does not exist, access is denied, or it differs from the catalog's entry.
    """
    url = hf_hub_url(order.repo, order.file, revision=order.revision, endpoint=endpoint)
    answer = _head(client, url, order)
    headers = answer.headers
    size = headers.get(constants.HUGGINGFACE_HEADER_X_LINKED_SIZE) or (
        "" if answer.status_code in MOVED else headers.get("Content-Length", "")
    )
    if not size.isdigit() or int(size) == 0:
        raise WebuiError(f"The hub does not tell how large {order.file} is.", "Try again later.", FIELD, 502)
    etag = headers.get(constants.HUGGINGFACE_HEADER_X_LINKED_ETAG) or headers.get("ETag", "")
    etag = etag.removeprefix("W/").strip('"').lower()
    card = _card(client, order, endpoint)
    offer = Offer(
        order,
        url,
        int(size),
        etag,
        _licence(card) or order.licence,
        f"{endpoint}/{order.repo}",
        bool(card.get("gated")),
    )
    is_other = (order.size and order.size != offer.size) or (
        order.sha256 and _SHA256.fullmatch(etag) and order.sha256 != etag
    )
    if is_other:
        raise WebuiError(
            f"{order.file} of {order.repo} is another file now than the catalog knows: {offer.size} bytes, hash "
            f"{etag[:12] or '?'}.",
            f"If you trust it, fetch it as {order.repo}/{order.file}.",
            FIELD,
            502,
        )
    return offer


def _head(client: httpx2.Client, url: str, order: Order) -> httpx2.Response:
    """The hub's own response about the file. Follows redirects on the hub, but not the one to the file's storage."""
    answer = client.request("HEAD", url, follow_redirects=False)
    for _ in range(3):
        there = answer.headers.get("Location", "")
        if answer.status_code not in MOVED or constants.HUGGINGFACE_HEADER_X_LINKED_SIZE in answer.headers or not there:
            break
        answer = client.request("HEAD", answer.url.join(there), follow_redirects=False)
    require_success(answer.status_code, order)
    return answer


def require_success(status: int, order: Order) -> None:
    """Raises WebuiError for a status of 400 or above."""
    what = f"{order.repo}/{order.file}"
    if status in (401, 403):
        raise WebuiError(
            f"{what} may not be fetched without an account (status {status}).",
            "Accept its terms on its page at huggingface.co, and start with HF_TOKEN set to a token of yours.",
            FIELD,
            403,
        )
    if status == 404:
        raise WebuiError(f"There is no file {what}.", "Check the names; capital letters count.", FIELD, 404)
    if status >= 400:
        raise WebuiError(f"The hub answered with status {status} for {what}.", "Try again later.", FIELD, 502)


def _card(client: httpx2.Client, order: Order, endpoint: str) -> dict[str, Any]:
    """The hub's description of the repository; empty if it cannot be read, as on a mirror that has only files."""
    try:
        with client.stream("GET", f"{endpoint}/api/models/{order.repo}") as answer:
            if answer.status_code != 200:
                return {}
            data = bytearray()
            for block in answer.iter_raw():
                data += block
                if len(data) > LARGEST_ANSWER:
                    return {}
        fields = json.loads(data)
    except (httpx2.HTTPError, ValueError, RecursionError):
        return {}
    return cast(dict[str, Any], fields) if isinstance(fields, dict) else {}


def _licence(card: dict[str, Any]) -> str:
    data = card.get("cardData")
    fields = cast(dict[str, Any], data) if isinstance(data, dict) else {}
    licence = fields.get("license_name") or fields.get("license")
    return str(licence)[:200] if isinstance(licence, str) else ""
