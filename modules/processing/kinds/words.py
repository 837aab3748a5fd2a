"""The embeddings used in prompts, found as the text encoder's tokenizer finds them. Free of torch."""

import threading
from collections.abc import Iterable

from modules.clip.bpe import ClipBPE
from modules.clip.chunks import Vocabulary, Word, chunk_prompt
from modules.processing.plan import read_prompt
from modules.prompts.attention import parse_attention
from modules.prompts.schedule import Timing, composition, schedule
from modules.prompts.tags import take_tags
from modules.schema.catalog import Embedding
from modules.schema.settings import EXACT, Settings


class WordReader:
    """Finds embeddings in prompts. CLIP's vocabulary is read when the first embedding is looked for."""

    def __init__(self, tokenizer: ClipBPE | None = None) -> None:
        self._lock = threading.Lock()
        self._tokenizer = tokenizer
        self._known: tuple[tuple[Embedding, ...], Vocabulary] | None = None

    def named(
        self, prompts: Iterable[tuple[str, Timing]], settings: Settings, embeddings: tuple[Embedding, ...]
    ) -> tuple[Embedding, ...]:
        """The `embeddings` used in one of the prompts at any step of its pass, in the order of the list."""
        if not embeddings:
            return ()
        tokenizer, vocabulary = self._reader(embeddings)
        is_exact = settings.compatibility == EXACT
        texts: dict[str, None] = {}
        for prompt, when in prompts:
            text, _ = take_tags(read_prompt(prompt, settings))
            for part in composition(text, is_exact):
                stages = schedule(part.text, when, is_exact)
                texts.update(dict.fromkeys(stage.text for stage in stages))
        found: set[str] = set()
        for text in texts:
            pieces = [(text, 1.0)] if settings.emphasis == "None" else parse_attention(text, is_exact)
            chunks = chunk_prompt(pieces, tokenizer, settings.comma_padding_backtrack, vocabulary, is_exact).chunks
            found |= {placed.word.name for chunk in chunks for placed in chunk.words}
        return tuple(embedding for embedding in embeddings if embedding.name in found)

    def _reader(self, embeddings: tuple[Embedding, ...]) -> tuple[ClipBPE, Vocabulary]:
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = ClipBPE()
            if self._known is None or self._known[0] != embeddings:
                # One vector each: the real number affects positions, not whether an embedding is found.
                words = [Word(each.name, 1) for each in embeddings]
                self._known = embeddings, Vocabulary(words, self._tokenizer)
            return self._tokenizer, self._known[1]
