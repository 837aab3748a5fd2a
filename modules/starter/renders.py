"""Processes that draw pictures while something else trains on them."""

from __future__ import annotations

import multiprocessing
import random
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modules.starter.captions import caption
from modules.starter.noise import Field
from modules.starter.spec import MIXES, Mix, Spec, random_spec
from modules.starter.train_unet import SHORT_LENGTH, cell_weights
from modules.starter.vocabulary import Vocabulary
from modules.starter.world import draw, photo_like

# Captions kept with each picture: training draws one of them at each use.
CAPTIONS: Final = 8
CHUNK: Final = 16
# Chunks that have arrived and wait before the processes pause.
WAITING: Final = 96
PHOTO_SIZE: Final = 256
EMPTY_PROMPT: Final = 0.1
Size = tuple[int, int, float]


@dataclass(frozen=True)
class Drawn:
    """Pictures of one size: bytes (n, h, w, 3); caption rows (n, CAPTIONS, SHORT_LENGTH) and cell weights
    (n, h / 8, w / 8), both without length for photo-like textures, which have no captions."""

    pictures: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int16]
    cells: npt.NDArray[np.float16]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pictures.shape[2], self.pictures.shape[1]

    @property
    def captioned(self) -> bool:
        return len(self.rows) > 0


def as_bytes(pictures: Sequence[Field]) -> npt.NDArray[np.uint8]:
    return (np.stack(pictures) * 255 + 0.5).astype(np.uint8)


def draw_chunk(count: int, width: int, height: int, mix: Mix, vocabulary: Vocabulary, rng: random.Random) -> Drawn:
    """`count` captioned pictures; a tenth of the captions is empty, for classifier-free guidance."""
    specs = [random_spec(rng, mix) for _ in range(count)]

    def rows(spec: Spec) -> list[list[int]]:
        texts = [caption(spec, rng) if rng.random() >= EMPTY_PROMPT else "" for _ in range(CAPTIONS)]
        return [vocabulary.encode(text, SHORT_LENGTH, rng) for text in texts]

    return Drawn(
        as_bytes([draw(spec, width, height) for spec in specs]),
        np.array([rows(spec) for spec in specs], np.int16),
        np.stack([cell_weights(spec, width, height, 1.0).numpy().astype(np.float16) for spec in specs]),
    )


def photo_chunk(count: int, rng: random.Random) -> Drawn:
    pictures = as_bytes([photo_like(rng, PHOTO_SIZE) for _ in range(count)])
    return Drawn(pictures, np.empty((0,), np.int16), np.empty((0,), np.float16))


def work(outbox: Connection, photos: Any, sizes: Sequence[Size], mix: str, seed: int) -> None:
    """Draw until the process is ended; `photos` is the share of photo-like chunks, which may change meanwhile."""
    rng = random.Random(seed)
    vocabulary = Vocabulary.of_the_world()
    weights = [weight for _, _, weight in sizes]
    while True:
        if rng.random() < photos.value:
            outbox.send(photo_chunk(CHUNK, rng))
        else:
            width, height, _ = rng.choices(sizes, weights)[0]
            outbox.send(draw_chunk(CHUNK, width, height, MIXES[mix], vocabulary, rng))


class Renderers:
    """Drawing processes and the thread that unpacks what they send. To be started before CUDA is.

    Each process has a pipe of its own whose other end nobody else holds: a process that is ended in the middle of a
    chunk ends its pipe, so that the thread hears of it. (In a queue that all share it would wait for the rest.)
    """

    def __init__(self, workers: int, sizes: Sequence[Size], mix: str, seed: int, photos: float) -> None:
        self._context = multiprocessing.get_context("fork")
        self._photos = self._context.Value("d", photos)
        self._tasks = [(sizes, mix, seed * 1009 + rank) for rank in range(workers)]
        self.processes: list[Any] = []
        self._inboxes: list[Connection] = []
        self._arrived: deque[Drawn] = deque()
        self._room = threading.Semaphore(WAITING)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._unpack, daemon=True)

    def __enter__(self) -> Renderers:
        for task in self._tasks:
            inbox, outbox = self._context.Pipe(duplex=False)
            process = self._context.Process(target=work, args=(outbox, self._photos, *task), daemon=True)
            process.start()
            outbox.close()  # before the next process is forked, which would hold it open
            self.processes.append(process)
            self._inboxes.append(inbox)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join()
        self._thread.join()
        for inbox in self._inboxes:
            inbox.close()

    def _unpack(self) -> None:
        open_inboxes = list(self._inboxes)
        while open_inboxes and not self._ended.is_set():
            for inbox in wait(open_inboxes, timeout=0.2):
                while not self._room.acquire(timeout=0.2):
                    if self._ended.is_set():
                        return
                try:
                    self._arrived.append(inbox.recv())
                except (EOFError, OSError):  # the process has ended, perhaps in the middle of a chunk
                    self._room.release()
                    open_inboxes.remove(inbox)

    def no_more_photos(self) -> None:
        self._photos.value = 0.0

    def take(self, most: int) -> list[Drawn]:
        """What has arrived, at most `most` chunks; a process that has died is an error."""
        dead = [process.pid for process in self.processes if not process.is_alive()]
        if dead:
            raise RuntimeError(f"drawing processes {dead} have ended")
        taken: list[Drawn] = []
        while self._arrived and len(taken) < most:
            taken.append(self._arrived.popleft())
            self._room.release()
        return taken
