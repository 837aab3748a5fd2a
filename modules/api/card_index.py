"""The cards of all models as they were last found; requests trigger a new scan in the background."""

import logging
import threading
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

from modules.api.catalog_holder import CatalogHolder
from modules.base.errors import WebuiError
from modules.networks.files.cards import KINDS, Card, CardFiles, CardKind, Found, models_of
from modules.schema.catalog import Catalog

log = logging.getLogger(__name__)

PATIENCE: Final = 0.2  # seconds that a request waits for a running scan
FRESH: Final = 1.0  # seconds for which a scan is considered current
SLICE: Final = 0.3  # seconds of reading before the first results are published


class Cards(NamedTuple):
    """Cards by kind and name, for the models in `catalog`. `unread` is how many have notes that were not read yet."""

    catalog: Catalog
    cards: Mapping[CardKind, Mapping[str, Card]]
    unread: int = 0


class CardIndex:
    """The cards. Thread-safe: one thread scans in the background, and the others get what is known so far.

    So a list is returned at once, however many files there are; clients that ask again while `is_looking` get the rest.
    """

    def __init__(self, catalog: CatalogHolder, files: CardFiles) -> None:
        self.files = files
        self._catalog = catalog
        self._changed = threading.Condition()  # guards the fields below
        self._current: Cards | None = None
        self._is_looking = False
        self._ended = float("-inf")  # when the last scan ended, on the monotonic clock
        self._one_looks = threading.Lock()

    @property
    def is_looking(self) -> bool:
        return self._is_looking

    def begin(self) -> None:
        """Start a scan in the background, so the first request finds everything."""
        with self._changed:
            if self._is_looking:
                return
            self._is_looking = True
        threading.Thread(target=self._look, name="cards", daemon=True).start()

    def current(self, anew: bool = False) -> Cards:
        """The cards after a scan of the folders if it ends within `PATIENCE` seconds, else the cards known so far.

        A scan that ended less than `FRESH` seconds ago counts, unless `anew`.
        """
        if anew or time.monotonic() - self._ended > FRESH:
            self.begin()
        with self._changed:
            self._changed.wait_for(lambda: not self._is_looking, PATIENCE)
            return self._current or self._bare()

    def card(self, kind: CardKind, name: str) -> Card:
        """The card of a model. Raises WebuiError (404) if there is none."""
        current = self._current or self.current()
        card = current.cards[kind].get(name)
        if card is None:
            raise WebuiError(f"There is no {kind[:-1]} named {name[:100]!r}.", field="name", status=404)
        return card

    def look(self, anew: bool = True) -> None:
        """Scan now: the files beside each model and, if `anew`, the lists of models too."""
        with self._one_looks:
            catalog = self._catalog.refresh() if anew else self._catalog.current
            found = self.files.found(models_of(catalog))
            seconds = SLICE
            while self._publish(catalog, self._read(found, seconds)):
                seconds *= 2  # a list of thousands takes long to build, and clients request it after each slice

    def _read(self, found: list[Found], seconds: float) -> list[Card]:
        end = time.monotonic() + seconds
        return self.files.cards(found, lambda: time.monotonic() > end)

    def _publish(self, catalog: Catalog, cards: list[Card]) -> int:
        """Publish the cards known so far; returns how many have not been read."""
        current = _by_kind(catalog, cards)
        if current != self._current:  # else keep the old object, which others may have cached
            with self._changed:
                self._current = current
        return current.unread

    def _look(self) -> None:
        try:
            self.look()
        except Exception:  # no file may end the scans: the next one must be possible
            log.exception("The models' folders could not be examined.")
        with self._changed:
            self._is_looking = False
            self._ended = time.monotonic()
            self._changed.notify_all()

    def _bare(self) -> Cards:
        catalog = self._catalog.current
        return _by_kind(catalog, [self.files.bare(model) for model in models_of(catalog)])


def _by_kind(catalog: Catalog, cards: list[Card]) -> Cards:
    by_kind: dict[CardKind, dict[str, Card]] = {kind: {} for kind in KINDS}
    for card in cards:
        by_kind[card.kind].setdefault(card.name, card)
    return Cards(catalog, by_kind, sum(not card.is_read for card in cards))
