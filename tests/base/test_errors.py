"""The exception for mistakes that a person can correct."""

import pickle

import pytest

from modules.base.errors import WebuiError


@pytest.mark.parametrize(
    ("error", "text"),
    [(WebuiError("It broke."), "It broke."), (WebuiError("It broke.", "Mend it."), "It broke. Mend it.")],
)
def test_text_is_the_sentence_and_the_cure(error: WebuiError, text: str) -> None:
    assert str(error) == text


def test_it_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(WebuiError("It broke.", "Mend it.", "width", 404)))
    assert (error.message, error.hint, error.field, error.status) == ("It broke.", "Mend it.", "width", 404)


def test_a_file_name_that_is_no_utf_8_can_be_sent_in_a_sentence() -> None:
    error = WebuiError("caf\udce9.ckpt is damaged.", "Copy caf\udce9.ckpt again.")
    assert str(error).encode() == b"caf%E9.ckpt is damaged. Copy caf%E9.ckpt again."
