"""Qwen's tokenizer, read from files: a `tokenizer.json`, or `vocab.json` with `merges.txt`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from tokenizers import Tokenizer
from transformers import Qwen2Tokenizer

from modules.base.errors import WebuiError
from modules.networks.files.foreign import FIELD, open_file

_WHOLE, _VOCABULARY, _MERGES = "tokenizer.json", "vocab.json", "merges.txt"
_LARGEST: Final = 64 * 2**20  # bytes; Qwen3's tokenizer.json has 11 MB
_MARKS: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")  # in the order of their ids
# Qwen3's chat template for one message of a user, and what follows it where thinking is switched off.
_TURN: Final = "<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
_NO_THOUGHT: Final = "<think>\n\n</think>\n\n"

Read = Callable[[str], Sequence[int]]


@dataclass(frozen=True)
class QwenTokenizer:
    """`read(text)` gives a text's token ids."""

    read: Read

    def question(self, text: str, most: int, thinks: bool = True) -> list[int]:
        """The ids of `text` as a user's message, which the assistant is about to answer; the first `most`.

        thinks: whether the answer may begin with a thought.
        """
        whole = _TURN.format(text=text) + ("" if thinks else _NO_THOUGHT)
        return list(self.read(whole))[:most]

    @property
    def padding(self) -> int:
        """The token that fills up a text."""
        return self.read(_MARKS[0])[0]


def tokenizer_in(folder: Path) -> QwenTokenizer | None:
    """The tokenizer in a folder; None if there is none. Raises WebuiError for damaged files."""
    whole, parts = folder / _WHOLE, (folder / _VOCABULARY, folder / _MERGES)
    try:
        if whole.is_file():
            # Not by its path: the content was checked to be a regular file of reasonable size.
            tokenizer = Tokenizer.from_str(_text(whole))
            return QwenTokenizer(lambda text: tokenizer.encode(text, add_special_tokens=False).ids)
        if all(part.is_file() for part in parts):
            for part in parts:
                _text(part)
            slow: Any = Qwen2Tokenizer(*map(str, parts))
            slow.add_special_tokens({"additional_special_tokens": list(_MARKS)})
            return QwenTokenizer(lambda text: cast(Sequence[int], slow(text, add_special_tokens=False).input_ids))
    except WebuiError:
        raise
    except Exception as error:  # the tokenizers library raises plain Exceptions for damaged files
        raise WebuiError(
            f"The tokenizer in {folder.name} cannot be read: {str(error)[:200] or type(error).__name__}.",
            "Download it again.",
            FIELD,
        ) from error
    return None


def _text(path: Path) -> str:
    with open_file(path) as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise WebuiError(f"{path.name} is larger than {_LARGEST // 2**20} MB.", "Download it again.", FIELD)
    return data.decode("utf-8")
