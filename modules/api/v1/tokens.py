"""The token count of a prompt, as the text encoder will see it, without torch."""

import threading
from collections.abc import Callable

from modules.api.services import SettingsHolder
from modules.clip.bpe import ClipBPE
from modules.clip.chunks import TokenCount, Vocabulary, Word, count_tokens
from modules.prompts.attention import parse_attention
from modules.prompts.schedule import composition, schedule, timing
from modules.prompts.tags import take_tags

STEPS = 20  # for a prompt that changes during sampling; its texts hardly depend on the number


class TokenCounter:
    """Counts the tokens of a prompt, or of its longest version. The vocabulary is read at first use.

    `words` are the embeddings that a prompt may contain.
    """

    def __init__(self, settings: SettingsHolder, words: Callable[[], tuple[Word, ...]] = lambda: ()) -> None:
        self._settings = settings
        self._words = words
        self._lock = threading.Lock()
        self._tokenizer: ClipBPE | None = None
        self._vocabulary: tuple[tuple[Word, ...], Vocabulary] | None = None

    def reader(self) -> tuple[ClipBPE, Vocabulary]:
        """The tokenizer, and the vocabulary that finds the words of embeddings in a text."""
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = ClipBPE()
            words = self._words()
            if self._vocabulary is None or words != self._vocabulary[0]:
                self._vocabulary = words, Vocabulary(words, self._tokenizer)
            return self._tokenizer, self._vocabulary[1]

    def __call__(self, prompt: str) -> TokenCount:
        tokenizer, vocabulary = self.reader()
        settings = self._settings.current
        text, _ = take_tags(prompt)
        texts = {stage.text for part in composition(text) for stage in schedule(part.text, timing(STEPS))}
        return max(
            count_tokens(
                [(text, 1.0)] if settings.emphasis == "None" else parse_attention(text),
                tokenizer,
                settings.comma_padding_backtrack,
                vocabulary,
            )
            for text in texts
        )
