"""Textual inversion (Gal et al. 2022, arXiv 2208.01618): words replaced by vectors in the text encoder's input."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from modules.base.errors import WebuiError
from modules.clip.bpe import ClipBPE
from modules.clip.chunks import Chunk, Vocabulary, Word
from modules.networks.files.embedding_pictures import is_picture, picture_vectors
from modules.networks.files.embeddings import describe, read_content, vectors_in
from modules.networks.files.pickles import PickleReader
from modules.networks.files.torch_pickle import Stored
from modules.networks.weights import open_weights, read_stored
from modules.schema.catalog import Embedding, usable

ReadVectors = Callable[[str], Tensor]
"""name -> its vectors (n, width), on the CPU."""


@dataclass(frozen=True)
class EmbeddingWords:
    """The embeddings that a checkpoint can use. `of` are their files in their current state, `read` fetches vectors.

    `unusable` are the embeddings that it cannot use, `unheard` are their words.
    """

    of: tuple[Embedding, ...]
    vocabulary: Vocabulary
    read: ReadVectors
    unusable: tuple[Embedding, ...]
    unheard: Vocabulary

    def file(self, name: str) -> Embedding:
        return next(embedding for embedding in self.of if embedding.name == name)

    def columns(self, start: int, stop: int) -> "EmbeddingWords":
        """The same words with columns `start` to `stop` of their vectors: those for one of several text encoders."""
        return replace(self, read=lambda name: self.read(name)[:, start:stop])

    def unusable_in(self, text: str, tokenizer: ClipBPE) -> tuple[Embedding, ...]:
        """The unusable embeddings that a text names, each once."""
        tokens = self.unheard.tokens(text, tokenizer) if self.unusable else []
        named: set[str] = set()
        position = 0
        while position < len(tokens):
            known = self.vocabulary.at(tokens, position)
            found = self.unheard.at(tokens, position) if known is None else None
            if found is not None:
                named.add(found[0].name)
            position += (known or found or (None, 1))[1]
        return tuple(embedding for embedding in self.unusable if embedding.name in named)


class EmbeddingCache:
    """The embeddings that a job may name, for any checkpoint. Vectors are read when a prompt contains their word."""

    def __init__(self) -> None:
        self._found: tuple[Embedding, ...] = ()
        self._words: dict[int, EmbeddingWords] = {}
        self._vectors: dict[Embedding, Tensor] = {}

    def offer(self, embeddings: Iterable[Embedding]) -> None:
        """Sets the embeddings of the next job. A file that has changed since it was found is read again."""
        found = tuple(map(_as_it_is, embeddings))
        if found != self._found:
            self._found = found
            self._words.clear()
            self._vectors = {each: vectors for each, vectors in self._vectors.items() if each in found}

    def words(self, width: int, tokenizer: ClipBPE) -> EmbeddingWords:
        """The embeddings with vectors of this width."""
        if width not in self._words:
            fitting = usable(self._found, width)
            by_name = {embedding.name: embedding for embedding in fitting}
            vocabulary = Vocabulary([Word(each.name, each.vectors) for each in fitting], tokenizer)
            others = tuple(each for each in self._found if each.name not in by_name)
            unheard = Vocabulary([Word(each.name, 1) for each in others], tokenizer)
            self._words[width] = EmbeddingWords(
                fitting, vocabulary, lambda name: self._read(by_name[name]), others, unheard
            )
        return self._words[width]

    def _read(self, embedding: Embedding) -> Tensor:
        if embedding not in self._vectors:
            self._vectors[embedding] = read_vectors(embedding)
        return self._vectors[embedding]


def _as_it_is(embedding: Embedding) -> Embedding:
    """The embedding as its file is now; a missing file raises an error when its vectors are read."""
    if embedding.within:
        return embedding
    try:
        is_changed = embedding.path.stat().st_mtime_ns != embedding.changed
        return describe(embedding.path) if is_changed else embedding
    except OSError:
        return embedding


def read_vectors(embedding: Embedding) -> Tensor:
    """(vectors, width), fp32; for XL, the vectors of both text encoders concatenated along the width.

    Raises WebuiError if the file is missing, damaged, or has changed."""
    path = embedding.path
    try:
        if embedding.within:
            parts = _read_bundled(path, embedding.within)
        else:
            with PickleReader() as pickles:
                content: Any = read_content(path, pickles)
            parts = [_read(path, content, inside.keys) for inside in vectors_in(content, path.name)]
        vectors = torch.cat([part.reshape(-1, part.shape[-1]) for part in parts], dim=1)
    except WebuiError as error:
        raise WebuiError(f"prompt: the embedding {embedding.name!r}: {error.message}", error.hint, "prompt") from error
    except OSError as error:
        raise WebuiError(
            f"prompt: the embedding {embedding.name!r} cannot be read: {error.strerror or error}.",
            "Refresh the list.",
            "prompt",
        ) from error
    if tuple(vectors.shape) != (embedding.vectors, embedding.width) or not bool(torch.isfinite(vectors).all()):
        raise WebuiError(
            f"prompt: the embedding {embedding.name!r} contains NaN or infinite numbers, or has just changed.",
            "Send it again, or choose another file.",
            "prompt",
        )
    return vectors


def _read_bundled(path: Path, within: str) -> list[Tensor]:
    weights = open_weights(path)
    own = {key.removeprefix(within): info for key, info in weights.header.items() if key.startswith(within)}
    return [weights.read(within + inside.keys[-1]).float() for inside in vectors_in(own, path.name)]


def _read(path: Path, content: Any, keys: tuple[str, ...]) -> Tensor:
    if is_picture(path):
        return torch.from_numpy(picture_vectors(path, keys))
    for key in keys:
        content = content[key]
    tensor = read_stored(path, content) if isinstance(content, Stored) else open_weights(path).read(keys[-1])
    return tensor.float()


@contextmanager
def spoken(
    text_encoder: CLIPTextModel | CLIPTextModelWithProjection, chunks: Sequence[Chunk], read: ReadVectors | None
) -> Iterator[None]:
    """Within the context, the words in `chunks` (the batch) are encoded with their own vectors, not their tokens'."""
    vectors: Mapping[str, Tensor] = {
        placed.word.name: read(placed.word.name) for chunk in chunks for placed in chunk.words if read
    }
    if not vectors:
        yield
        return

    def placed_over(module: Any, inputs: Any, embedded: Tensor) -> Tensor:
        embedded = embedded.clone()
        for row, chunk in enumerate(chunks):
            for position, word in chunk.words:
                own = vectors[word.name][: embedded.shape[1] - position]
                embedded[row, position : position + len(own)] = own.to(embedded)
        return embedded

    hook = text_encoder.get_input_embeddings().register_forward_hook(placed_over)
    try:
        yield
    finally:
        hook.remove()
