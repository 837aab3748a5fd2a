"""A download as a job: the requests to the hub, and the progress events."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import httpx2
from huggingface_hub import get_token

from modules.base.errors import WebuiError
from modules.base.events import Event, FileSaved, Finished, Staged, Started, Stepped, Stop, Warned
from modules.fetching.catalog import FOLDERS, CatalogEntry, read_catalog
from modules.fetching.download import Stopped, download, taken
from modules.fetching.hub import Offer, look_up
from modules.fetching.order import FetchRequest, Order, order_of
from modules.fetching.wire import HUB, GuardedTransport, client

STEPS: Final = 100  # of the progress that is reported
ENDPOINT_VARIABLE: Final = "HF_ENDPOINT"  # as in huggingface_hub: a mirror to use instead of the hub


class Fetcher:
    """Downloads model files into the folders below `models`; sends no request if it `is_offline`."""

    def __init__(
        self,
        models: Path,
        is_offline: bool = False,
        endpoint: str = "",
        transport: httpx2.BaseTransport | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.catalog: tuple[CatalogEntry, ...] = read_catalog()
        self.is_offline = is_offline
        self._models = models
        self._endpoint = (endpoint or os.environ.get(ENDPOINT_VARIABLE) or HUB).rstrip("/")
        self._transport = transport
        self._wait = wait

    def order(self, request: FetchRequest) -> Order:
        """The file that `request` names. Raises WebuiError if it names none."""
        return order_of(request, self.catalog)

    def target(self, order: Order) -> Path:
        return self._models / FOLDERS[order.kind] / order.name

    def missing(self, entries: Sequence[CatalogEntry]) -> list[CatalogEntry]:
        """The entries whose files are not installed under their names."""
        return [entry for entry in entries if not (self._models / FOLDERS[entry.kind] / entry.name).exists()]

    def offer(self, request: FetchRequest) -> Offer:
        """The hub's metadata for the file. Raises WebuiError, also when offline."""
        self._require_online()
        order = self.order(request)
        try:
            with self._client() as asking:
                return look_up(asking, order, self._endpoint)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error

    def require(self, request: FetchRequest) -> None:
        """Raises WebuiError if the file would not be downloaded. Sends no request."""
        self._require_online()
        order = self.order(request)
        if not request.accept_terms:
            raise WebuiError(
                f"accept_terms: {order.name} has a licence that is to be accepted first"
                f"{f': {order.licence}' if order.licence else ''}.",
                "Read it on the model's page, then send accept_terms: true.",
                "accept_terms",
            )
        if os.path.lexists(self.target(order)):
            raise taken(self.target(order))

    def run(self, request: FetchRequest, should_stop: Callable[[], Stop]) -> Iterator[Event]:
        """The job's events. The downloaded part of a file stays if the job ends early. Raises WebuiError."""
        begun = time.monotonic()
        self.require(request)

        def breathe() -> None:
            if should_stop():
                raise Stopped

        yield Started(1, 1, STEPS, 0, 0, seed=0)
        yield Staged("asking the hub")
        order = self.order(request)
        try:
            with self._client() as asking:
                offer = look_up(asking, order, self._endpoint)
                if not (offer.sha256 or offer.git_hash):
                    yield Warned("The server tells no hash of the file: only its size can be checked.")
                yield Staged(f"fetching {order.name}")
                shown = 0
                for there in download(asking, offer, self.target(order), breathe, self._wait):
                    step = STEPS * there // offer.size
                    if step > shown:
                        shown = step
                        yield Stepped(0, step, STEPS)
        except Stopped:
            yield Finished(time.monotonic() - begun, {}, interrupted=True)
            return
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error
        yield FileSaved(order.name, offer.size)
        yield Finished(time.monotonic() - begun, {"fetching": time.monotonic() - begun})

    def _client(self) -> AbstractContextManager[httpx2.Client]:
        return client(self._transport or GuardedTransport(self._endpoint), get_token() or "")

    def _require_online(self) -> None:
        if self.is_offline:
            raise WebuiError(
                "Nothing is fetched: Palimpsest was started with --offline.", "Start it without.", status=403
            )

    def _unreachable(self, error: httpx2.HTTPError) -> WebuiError:
        return WebuiError(
            f"{self._endpoint} cannot be reached ({type(error).__name__}).", "Check the connection.", "file", 502
        )
