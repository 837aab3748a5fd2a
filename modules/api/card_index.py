"""The cards of all models as they were found last, looked at again while somebody asks for them."""

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

PATIENCE: Final = 0.2  # seconds that a request waits for a look that goes on
FRESH: Final = 1.0  # seconds for which a look counts
SLICE: Final = 0.3  # seconds of reading after which what is known is told


class Cards(NamedTuple):
    """Cards by kind and name, of the models of `catalog`. `unread` have notes that nobody has looked at yet."""

    catalog: Catalog
    cards: Mapping[CardKind, Mapping[str, Card]]
    unread: int = 0


class CardIndex:
    """The cards. May be used from any thread: one looks, in the background, and the others have what is known.

    So a list is answered at once, however many files there are; whoever asks again while `is_looking` has the rest.
    """

    def __init__(self, catalog: CatalogHolder, files: CardFiles) -> None:
        self.files = files
        self._catalog = catalog
        self._changed = threading.Condition()  # guards the fields below
        self._current: Cards | None = None
        self._is_looking = False
        self._ended = float("-inf")  # when the last look ended, on the monotonic clock
        self._one_looks = threading.Lock()

    @property
    def is_looking(self) -> bool:
        return self._is_looking

    def begin(self) -> None:
        """Look in the background, so that the first request finds everything."""
        with self._changed:
            if self._is_looking:
                return
            self._is_looking = True
        threading.Thread(target=self._look, name="cards", daemon=True).start()

    def current(self, anew: bool = False) -> Cards:
        """The cards, after a look into the folders if that is done in `PATIENCE` seconds, else as they are known.

        A look that has just ended counts, unless `anew`.
        """
        if anew or time.monotonic() - self._ended > FRESH:
            self.begin()
        with self._changed:
            self._changed.wait_for(lambda: not self._is_looking, PATIENCE)
            return self._current or self._bare()

    def card(self, kind: CardKind, name: str) -> Card:
        """The card of a model. Raises WebuiError (404)."""
        current = self._current or self.current()
        card = current.cards[kind].get(name)
        if card is None:
            raise WebuiError(f"There is no {kind[:-1]} named {name[:100]!r}.", field="name", status=404)
        return card

    def look(self, anew: bool = True) -> None:
        """Look now: at the lists of models, too, if `anew`, and at what lies beside each model."""
        with self._one_looks:
            catalog = self._catalog.refresh() if anew else self._catalog.current
            found = self.files.found(models_of(catalog))
            seconds = SLICE
            while self._publish(catalog, self._read(found, seconds)):
                seconds *= 2  # a list of thousands takes long to make, and is asked for after each slice

    def _read(self, found: list[Found], seconds: float) -> list[Card]:
        end = time.monotonic() + seconds
        return self.files.cards(found, lambda: time.monotonic() > end)

    def _publish(self, catalog: Catalog, cards: list[Card]) -> int:
        """Tell what is known; how many have not been read."""
        current = _by_kind(catalog, cards)
        if current != self._current:  # else the one before stays, and what was made of it
            with self._changed:
                self._current = current
        return current.unread

    def _look(self) -> None:
        try:
            self.look()
        except Exception:  # whatever somebody's files do, the next look has its chance
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
