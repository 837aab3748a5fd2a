"""The models in a set of folders: listed immediately, however many they are; headers are read in the background."""

from modules.networks.files.cards import CardFiles
from modules.networks.files.checkpoints import CheckpointFiles
from modules.networks.files.control import find_control_models
from modules.networks.files.embeddings import EmbeddingFiles
from modules.networks.files.headers import HeaderCache
from modules.networks.files.hypernetworks import find_hypernetworks
from modules.networks.files.listing import HashCache, find_vaes
from modules.networks.files.loras import LoraFiles
from modules.networks.files.upscalers import find_upscalers
from modules.schema.catalog import Catalog
from modules.schema.upscalers import UPSCALERS, Upscaler, find
from modules.server.folders import HASHES, HEADERS, ModelFolders


class ModelFiles:
    """The available models. `scan` reads at most `at_once` changed headers of each kind (None for all); `look_further`
    reads the rest.
    """

    def __init__(
        self, folders: ModelFolders, upscalers: tuple[Upscaler, ...] = UPSCALERS, at_once: int | None = None
    ) -> None:
        self._folders = folders
        self._upscalers = upscalers
        self._hashes = folders.flags.data_dir / HASHES
        self._headers = HeaderCache(folders.flags.data_dir / HEADERS)
        self._checkpoints = CheckpointFiles(folders.checkpoints, self._headers, at_once, folders.text_encoders)
        self._loras = LoraFiles(folders.loras, self._headers, at_once)
        self._embeddings = EmbeddingFiles(folders.embeddings, self._headers)

    def scan(self) -> Catalog:
        """The models that are there now."""
        folders, hashes = self._folders, HashCache(self._hashes)
        found = (row for row in find_upscalers(folders.upscalers) if find(row.name, self._upscalers) is None)
        return Catalog(
            self._checkpoints.found(hashes),
            self._loras.found(hashes),
            self._embeddings.found(),
            find_vaes(folders.vaes, folders.checkpoints, hashes),
            find_hypernetworks(folders.hypernetworks),
            (*self._upscalers, *found),
            find_control_models(folders.control_models),
        )

    def look_further(self) -> bool:
        """Read headers that the last scan left out, for a few seconds. Returns whether there was anything new."""
        is_news = self._checkpoints.look_further()
        is_news |= self._loras.look_further()
        self._headers.save()
        return is_news

    def card_files(self) -> CardFiles:
        """The files beside the models."""
        return CardFiles(self._folders.card_roots, self._folders.read_only, self._headers)
