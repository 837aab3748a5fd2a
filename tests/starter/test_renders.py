"""Pictures for training: bytes with captions and weights, drawn by processes that end with the training run."""

import os
import random
import struct
import time
from multiprocessing.connection import Connection

import numpy as np
import pytest

from modules.starter import renders
from modules.starter.renders import CAPTIONS, CHUNK, Renderers, draw_chunk, photo_chunk
from modules.starter.spec import FIRST
from modules.starter.train_unet import SHORT_LENGTH
from modules.starter.vocabulary import BEGIN_ROW, END_ROW, Vocabulary


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.of_the_world()


def test_a_chunk_holds_pictures_captions_and_weights_of_one_size(vocabulary: Vocabulary) -> None:
    chunk = draw_chunk(3, 64, 96, FIRST, vocabulary, random.Random(1))
    assert chunk.size == (64, 96)
    assert chunk.captioned
    assert (chunk.pictures.shape, chunk.pictures.dtype) == ((3, 96, 64, 3), np.uint8)
    assert chunk.rows.shape == (3, CAPTIONS, SHORT_LENGTH)
    assert (chunk.rows[:, :, 0] == BEGIN_ROW).all()
    assert chunk.rows.min() >= 0
    assert chunk.rows.max() < vocabulary.size
    assert chunk.cells.shape == (3, 12, 8)
    assert chunk.cells.astype(float).mean() == pytest.approx(1, abs=0.01)


def test_captions_of_a_picture_differ_and_a_tenth_is_empty(vocabulary: Vocabulary) -> None:
    chunk = draw_chunk(24, 64, 64, FIRST, vocabulary, random.Random(2))
    empty = (chunk.rows[:, :, 1] == END_ROW).mean()
    assert 0.03 < empty < 0.2
    assert all(len({tuple(row) for row in rows.tolist()}) > 2 for rows in chunk.rows)


def test_the_same_seed_draws_the_same_chunk(vocabulary: Vocabulary) -> None:
    one, other = (draw_chunk(2, 64, 64, FIRST, vocabulary, random.Random(3)) for _ in range(2))
    assert np.array_equal(one.pictures, other.pictures)
    assert np.array_equal(one.rows, other.rows)


def test_photo_like_textures_have_no_captions() -> None:
    chunk = photo_chunk(1, random.Random(4))
    assert not chunk.captioned
    assert chunk.size == (256, 256)


def test_processes_draw_until_the_sitting_is_over() -> None:
    with Renderers(1, [(64, 64, 1.0)], "first", 5, photos=0.0) as renderers:
        until = time.monotonic() + 300
        taken = renderers.take(1)
        while not taken and time.monotonic() < until:
            time.sleep(0.02)
            taken = renderers.take(1)
        assert [len(chunk.pictures) for chunk in taken] == [CHUNK]
        processes = renderers.processes
        assert all(process.is_alive() for process in processes)
    assert not any(process.is_alive() for process in processes)


def test_a_drawing_process_that_died_is_an_error_and_not_a_wait() -> None:
    with Renderers(1, [(64, 64, 1.0)], "first", 6, photos=0.0) as renderers:
        (process,) = renderers.processes
        process.kill()
        process.join()
        with pytest.raises(RuntimeError, match=f"{process.pid}"):
            renderers.take(1)


def half_a_chunk(outbox: Connection, *_: object) -> None:
    """A drawing process that never gets beyond the header of its first chunk, which promises a megabyte."""
    os.write(outbox.fileno(), struct.pack("!i", 1_000_000) + b"begun")
    time.sleep(3600)


def test_processes_that_are_ended_in_the_middle_of_a_chunk_hold_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renders, "work", half_a_chunk)
    with Renderers(2, [(64, 64, 1.0)], "first", 7, photos=0.0) as drawing:
        assert drawing.take(1) == []
    assert not any(process.is_alive() for process in drawing.processes)
