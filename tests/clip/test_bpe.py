import pickle

import ftfy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from modules.clip.bpe import COMMA, END, START, VOCABULARY_SIZE, ClipBPE

AWKWARD = [
    "", "  ", "a photo of a cat", "1234 5678", "x1y2", "123,456 A.B.C.",
    "it's don't I'LL we've she'd they're I'm", "'s's't' don''t", "café Zürich naïve",
    "e\u0301 a\u0308", "schÃ¶n", "日本語 アニメ 少女", "नमस्ते दुनिया", "سلام", "🦊🎨👩‍👩‍👧 1😀a",
    "(((masterpiece)))", "<lora:x:1>", "a_b-c+d=e", "@#$%^* ´`’s", "…“quoted” ‘single’", "ﬁne ﬂow",
    "ＦＵＬＬ　ｗｉｄｔｈ", "&amp; &lt;b&gt; &eacute;", "a\nb\tc\u2028d", "\u00a0nbsp\u2003em",
    "\u200bzero\u200bwidth", "\x00 \x07 b", "<|endoftext|> x <|startoftext|>", "x<|endoftext|>y",
    "<|ENDOFTEXT|>", "İstanbul ǅ ß ẞ", "½ Ⅷ ²", "K (Kelvin) Å", "http://x.y/z?q=1&r=2", "a" * 300,
    "ab" * 200, "!" * 50,
]  # fmt: skip


@pytest.fixture(scope="module")
def bpe() -> ClipBPE:
    return ClipBPE()


@pytest.fixture(scope="module")
def reference(bpe: ClipBPE) -> CLIPTokenizer:
    """transformers' tokenizer over the same vocabulary."""
    symbols = [bpe.symbol(index) for index in range(len(bpe))]
    return CLIPTokenizer(vocab={symbol: index for index, symbol in enumerate(symbols)}, merges=bpe.merges())  # pyright: ignore[reportArgumentType]


def test_the_vocabulary_is_whole_and_its_landmarks_stand_where_clip_has_them(bpe: ClipBPE) -> None:
    assert len(bpe) == VOCABULARY_SIZE == 49408
    assert [bpe.symbol(index) for index in (0, START, END, COMMA)] == ["!", "<|startoftext|>", "<|endoftext|>", ",</w>"]


@pytest.mark.parametrize("text", AWKWARD)
def test_tokens_equal_those_of_transformers(text: str, bpe: ClipBPE, reference: CLIPTokenizer) -> None:
    assert bpe.encode(text) == reference(ftfy.fix_text(text), add_special_tokens=False).input_ids


@given(st.text(alphabet=st.sampled_from("abcdeinrst ,.!'12 éñ日🦊"), max_size=60))
def test_tokens_of_any_text_equal_those_of_transformers(bpe: ClipBPE, reference: CLIPTokenizer, text: str) -> None:
    assert bpe.encode(text) == reference(ftfy.fix_text(text), add_special_tokens=False).input_ids


def test_final_sigma_is_lowered_as_a_greek_would_write_it(bpe: ClipBPE) -> None:
    """transformers' fast tokenizer works letter by letter; A1111's uses Python's rule, as CLIP did."""
    assert bpe.encode("ΟΔΟΣ") == bpe.encode("οδος")


def test_a_word_of_100_000_letters_ends_in_good_time(bpe: ClipBPE) -> None:
    assert len(bpe.encode("x" * 100_000)) == 25_000


def test_decoding_gives_the_words_back(bpe: ClipBPE) -> None:
    assert bpe.decode([START, *bpe.encode("A photo, 12 cats 日本"), END]) == "a photo , 1 2 cats 日本"


def test_a_pickled_tokenizer_encodes_alike(bpe: ClipBPE) -> None:
    assert pickle.loads(pickle.dumps(bpe)).encode("a photo of a cat") == [320, 1125, 539, 320, 2368]
