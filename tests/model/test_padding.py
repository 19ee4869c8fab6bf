"""Padding on the right, and rows of similar length in one batch."""

from __future__ import annotations

from ziggurat.model.padding import by_length, right_pad


def test_rows_are_padded_on_the_right() -> None:
    ids, lengths = right_pad([[5, 6, 7], [8]], 9)
    assert ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert lengths.tolist() == [3, 1]


def test_a_batch_stays_within_its_tokens_and_begins_with_its_longest_row() -> None:
    lengths = [3, 9, 4, 9, 30, 1, 4]
    batches = by_length(lengths, 20)
    assert batches == [[4], [1, 3], [2, 6, 0, 5]]
    assert sorted(i for batch in batches for i in batch) == list(range(7))
    assert by_length([], 20) == []


def test_a_batch_with_enough_tokens_ends_before_a_row_that_is_mostly_padding() -> None:
    assert by_length([8, 8, 6, 5], 100) == [[0, 1, 2, 3]]
    assert by_length([8, 8, 6, 5], 100, enough=16) == [[0, 1, 2], [3]]
    assert by_length([8, 8, 5, 5], 100, enough=25) == [[0, 1, 2, 3]]


def test_a_batch_has_at_most_so_many_rows_and_none_is_lost() -> None:
    lengths = [5, 3_000, 1_000, 900, 1_100, *[7] * 40, 0]
    made = by_length(lengths, 2_048, rows=16)
    assert sorted(i for batch in made for i in batch) == list(range(len(lengths)))
    assert [len(batch) for batch in made] == [1, 1, 2, 16, 16, 10]
