"""Packing: the published 4 x 10 example, no token lost, batches that resume."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ziggurat.corpus.pack import RowBatches, join, pack_rows, pack_streams, segments
from ziggurat.errors import DataError

EOT = 50256  # GPT-2's <|endoftext|>

# GPT-2's ids of the four texts of the example, each stream going on beyond its row.
HERE_IS = [
    4342,
    318,
    281,
    1672,
    3188,
    352,
    4478,
    617,
    16326,
    13,
]  # Here is an example document 1 showing some tokens.
DOCUMENT_2, DOCUMENT_3, DOCUMENT_4 = ([16281, 3188, n] for n in (362, 513, 604))  # Example document 2, 3, 4
RANDOM = [1212, 318, 617, 4738, 2420, 655, 329, 1672]  # This is some random text just for example
NUMBERS = [16, 11, 17, 11, 18, 11, 19, 11, 20, 11, 21, 11]  # 1,2,3,4,5,6,


def test_four_streams_make_the_published_rows() -> None:
    """REQUIREMENTS A021: B = 4, T = 10, separators between documents, rows cut where they are full."""
    streams = [[HERE_IS], [DOCUMENT_2, DOCUMENT_3, DOCUMENT_4], [RANDOM, RANDOM], [NUMBERS]]
    batches = pack_streams(streams, T=10, endoftext=EOT)
    inputs, targets = batches[0][:, :-1], batches[0][:, 1:]
    assert inputs.tolist() == [
        [4342, 318, 281, 1672, 3188, 352, 4478, 617, 16326, 13],
        [16281, 3188, 362, 50256, 16281, 3188, 513, 50256, 16281, 3188],
        [1212, 318, 617, 4738, 2420, 655, 329, 1672, 50256, 1212],
        [16, 11, 17, 11, 18, 11, 19, 11, 20, 11],
    ]
    assert (targets[:, :-1] == inputs[:, 1:]).all()
    assert targets[:, -1].tolist() == [50256, 604, 318, 21]


def test_streams_continue_from_batch_to_batch() -> None:
    batches = pack_streams([[list(range(1, 13))], [list(range(101, 105))]], T=4, endoftext=0)
    assert batches[:, 0].tolist() == [[1, 2, 3, 4, 5], [5, 6, 7, 8, 9], [9, 10, 11, 12, 0]]
    assert batches[:, 1].tolist() == [[101, 102, 103, 104, 0]] * 3  # the short stream begins again


def test_worked_example_of_the_docstring() -> None:
    assert pack_rows([[1, 2, 3], [4, 5]], T=3, endoftext=0).tolist() == [[1, 2, 3, 0], [0, 4, 5, 0]]


def test_last_row_steps_back_to_the_end() -> None:
    assert pack_rows([[1, 2, 3, 4]], T=3, endoftext=0).tolist() == [[1, 2, 3, 4], [2, 3, 4, 0]]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.integers(1, 9), max_size=12), min_size=1, max_size=9), st.integers(1, 12))
def test_one_stream_loses_no_token_and_pads_none(docs: list[list[int]], T: int) -> None:
    """Every token but the first is a target; rows follow the stream, only the last may repeat some of it."""
    stream = join(docs, 0)
    if len(stream) <= T:
        with pytest.raises(
            DataError, match=f"has {len(stream)} tokens and one row of context {T} needs {T + 1}"
        ):
            pack_rows(docs, T, 0)
        return
    rows = pack_rows(docs, T, 0)
    rebuilt = [int(rows[0, 0])]
    for row in rows[:-1]:
        rebuilt += row[1:].tolist()
    missing = len(stream) - len(rebuilt)
    assert 0 < missing <= T
    rebuilt += rows[-1, -missing:].tolist()
    assert rebuilt == stream.tolist()
    assert stream.tolist() == [id for doc in docs for id in (*doc, 0)]


def test_segments_number_the_documents_of_a_row() -> None:
    assert segments(np.array([[1, 2, 0, 3, 4, 0, 5]]), 0).tolist() == [[0, 0, 0, 1, 1, 1, 2]]


ROWS = np.arange(7 * 3).reshape(7, 3).astype(np.int32)


def test_each_row_is_seen_once_an_epoch() -> None:
    batches = RowBatches(ROWS, batch_rows=2, seed=3)
    seen = np.concatenate([batches.next() for _ in range(7)])  # two epochs
    for epoch in (seen[:7], seen[7:]):
        assert sorted(epoch[:, 0].tolist()) == ROWS[:, 0].tolist()
    assert seen[:7].tolist() != seen[7:].tolist()


def test_resumed_batches_are_the_same_batches() -> None:
    whole, first = RowBatches(ROWS, 2, seed=1), RowBatches(ROWS, 2, seed=1)
    expected = [whole.next() for _ in range(12)]
    for _ in range(5):
        first.next()
    resumed = RowBatches(ROWS, 2, seed=1)
    resumed.restore(first.state())
    assert all((resumed.next() == batch).all() for batch in expected[5:])


def test_other_data_is_not_resumed() -> None:
    state = RowBatches(ROWS, 2, seed=1).state()
    with pytest.raises(DataError, match="not what the checkpoint was made with"):
        RowBatches(ROWS[:5], 2, seed=1).restore(state)


def test_batch_larger_than_the_data_is_filled_from_the_next_epoch() -> None:
    assert RowBatches(ROWS, 20, seed=0).next().shape == (20, 3)
