"""The record that carries prompts to a network, and what an evaluation gets besides."""

import pytest
import torch

from modules.networks.conditioning import NOTHING, Conditioning, Extra, Residuals, added


def numbered(rows: int, tokens: int, start: int = 0, masked: bool = False) -> Conditioning:
    """Each token of each row has its own number, in both of its two values."""
    numbers = torch.arange(start, start + rows * tokens, dtype=torch.float32).reshape(rows, tokens, 1)
    mask = torch.ones(rows, tokens) if masked else None
    return Conditioning(numbers.expand(-1, -1, 2).clone(), mask)


def first_values(cond: Conditioning) -> list[list[float]]:
    return cond.tokens[..., 0].tolist()


FULL = Conditioning(
    torch.arange(12.0).reshape(2, 3, 2),
    mask=torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]),
    pooled=torch.tensor([[1.0], [2.0]]),
    size_ids=torch.tensor([[10.0, 20.0], [30.0, 40.0]]),
    references=(torch.full((2, 1, 2, 2), 5.0),),
)


@pytest.mark.parametrize("rows", [1, slice(1, 2), [1], torch.tensor([1])])
def test_every_part_is_indexed_by_row_and_a_single_row_stays_a_row(
    rows: int | slice | list[int] | torch.Tensor,
) -> None:
    second = FULL[rows]
    assert len(second) == 1
    assert second.tokens.tolist() == [[[6, 7], [8, 9], [10, 11]]]
    assert second.mask is not None
    assert second.mask.tolist() == [[1, 0, 0]]
    assert second.pooled is not None
    assert second.pooled.tolist() == [[2]]
    assert second.size_ids is not None
    assert second.size_ids.tolist() == [[30, 40]]
    assert second.references[0].shape == (1, 1, 2, 2)


def test_bytes_count_every_tensor() -> None:
    assert FULL.bytes == 4 * (12 + 6 + 2 + 4 + 8)
    assert FULL.to(torch.float64).bytes == 2 * FULL.bytes
    assert FULL.to(torch.float64).references[0].dtype == torch.float64


def test_rows_are_repeated_in_turn() -> None:
    assert first_values(numbered(2, 1).repeated(3)) == [[0], [1], [0], [1], [0], [1]]
    assert FULL.repeated(1) is FULL


def test_shortening_cuts_tokens_and_mask_alike() -> None:
    short = FULL.shortened(2)
    assert short.length == 2
    assert short.mask is not None
    assert short.mask.tolist() == [[1, 1], [1, 0]]
    assert short.pooled is FULL.pooled


def test_lengthening_copies_the_last_token_and_masks_the_copies() -> None:
    long = numbered(2, 2, masked=True).lengthened(4)
    assert first_values(long) == [[0, 1, 1, 1], [2, 3, 3, 3]]
    assert long.mask is not None
    assert long.mask.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0]]


def test_lengthening_repeats_a_filling_as_a_whole() -> None:
    filling = torch.tensor([[8.0, 8.0], [9.0, 9.0]])
    assert first_values(numbered(1, 2).lengthened(6, filling)) == [[0, 1, 8, 9, 8, 9]]


def test_what_is_long_enough_is_not_changed() -> None:
    assert FULL.lengthened(3) is FULL
    assert FULL.lengthened(1) is FULL


def test_joined_rows_have_the_length_of_the_longest() -> None:
    joined = Conditioning.joined([numbered(1, 1, masked=True), numbered(2, 3, start=10, masked=True)])
    assert first_values(joined) == [[0, 0, 0], [10, 11, 12], [13, 14, 15]]
    assert joined.mask is not None
    assert joined.mask.tolist() == [[1, 0, 0], [1, 1, 1], [1, 1, 1]]
    assert joined.pooled is None


def test_joining_keeps_the_parts_of_each_row() -> None:
    joined = Conditioning.joined([FULL[1], FULL[0]])
    assert joined.pooled is not None
    assert joined.pooled.tolist() == [[2], [1]]
    assert joined.size_ids is not None
    assert joined.size_ids.tolist() == [[30, 40], [10, 20]]
    assert [reference.shape for reference in joined.references] == [(2, 1, 2, 2)]


def test_residuals_are_summed_where_both_have_them() -> None:
    one, two = torch.ones(1, 1, 1, 1), torch.full((1, 1, 1, 1), 2.0)
    both = Residuals((one, two), one).plus(Residuals((two, two), two))
    assert [tensor.item() for tensor in both.down] == [3, 4]
    assert both.middle is not None
    assert both.middle.item() == 3
    only_middle = Residuals((), one)
    assert Residuals((two,)).plus(only_middle) == Residuals((two,), one)
    assert only_middle.plus(Residuals((two,))) == Residuals((two,), one)


def test_residuals_of_another_number_of_skips_are_refused() -> None:
    one = torch.ones(1, 1, 1, 1)
    with pytest.raises(ValueError, match="zip"):
        Residuals((one,)).plus(Residuals((one, one)))


def test_an_extra_collects_tokens_and_residuals() -> None:
    shared, by_row = torch.zeros(1, 1, 2), torch.ones(2, 2, 2)
    extra = NOTHING.with_tokens(shared).with_tokens(by_row)
    assert extra.tokens is not None
    assert extra.tokens[..., 0].tolist() == [[0, 1, 1], [0, 1, 1]]
    one = torch.ones(1)
    summed = NOTHING.with_residuals([one]).with_residuals([one], middle=one)
    assert summed.residuals is not None
    assert [tensor.item() for tensor in summed.residuals.down] == [2]
    assert summed.residuals.middle is one
    assert Extra() == NOTHING


def test_added_tokens_count_and_come_behind_the_prompt() -> None:
    cond = added(FULL, NOTHING.with_tokens(torch.full((1, 1, 2), 99.0, dtype=torch.float64)))
    assert cond.tokens.dtype == FULL.tokens.dtype
    assert first_values(cond) == [[0, 2, 4, 99], [6, 8, 10, 99]]
    assert cond.mask is not None
    assert cond.mask.tolist() == [[1, 1, 0, 1], [1, 0, 0, 1]]


def test_an_attention_mask_narrows_the_prompts_own() -> None:
    narrow = torch.tensor([[0.0, 1.0, 1.0]])
    masked = added(FULL, Extra(attention_mask=narrow))
    assert masked.mask is not None
    assert masked.mask.tolist() == [[0, 1, 0], [0, 0, 0]]
    plain = added(numbered(2, 3), Extra(attention_mask=narrow))
    assert plain.mask is not None
    assert plain.mask.tolist() == [[0, 1, 1], [0, 1, 1]]
    assert added(FULL, NOTHING) is FULL
