"""Merging one piece, against merging as it is defined: the lowest rank first, of equal ones the leftmost."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer import bpe

IDENTITY = np.arange(256, dtype=np.int32)
LETTERS = st.sampled_from(b"abc")


def merged(data: bytes, found: bpe.Merges) -> list[int]:
    ids = np.empty(len(data) + 1, np.int32)
    scratch = np.empty((3, bpe.SHORT_BYTES_MAX + 1), np.int32)
    count = bpe.merge_piece(np.frombuffer(data, np.uint8).copy(), 0, len(data), found, ids, np.int64(0), scratch)
    return ids[:count].tolist()


def by_definition(data: bytes, table: list[tuple[int, int, int]]) -> list[int]:
    ids = list(data)
    ranks = {(left, right): rank for rank, (left, right, _) in enumerate(table)}
    while True:
        best = min(((ranks[p], i) for i, p in enumerate(itertools.pairwise(ids)) if p in ranks), default=None)
        if best is None:
            return ids
        rank, i = best
        ids[i : i + 2] = [table[rank][2]]


@st.composite
def tables(draw) -> list[tuple[int, int, int]]:
    """Merges over the bytes a, b, c: each of two earlier ids, no pair twice."""
    known, table = list(b"abc"), {}
    for new in range(256, 256 + draw(st.integers(0, 12))):
        pair = draw(st.sampled_from(known)), draw(st.sampled_from(known))
        if pair not in table:
            table[pair] = new
            known.append(new)
    return [(left, right, new) for (left, right), new in table.items()]


@given(table=tables(), data=st.lists(LETTERS, max_size=40).map(bytes), times=st.sampled_from([1, 30]))
def test_short_and_long_pieces_are_merged_as_defined(table, data, times):
    rows = np.array(table, np.int32).reshape(-1, 3)
    assert merged(data * times, bpe.merges(IDENTITY, rows)) == by_definition(data * times, table)


def test_a_pair_that_is_named_twice_has_its_last_rank():
    rows = np.array([[97, 98, 256], [98, 99, 257], [97, 98, 256]], np.int32)
    assert merged(b"abc", bpe.merges(IDENTITY, rows)) == [97, 257]


def test_a_byte_without_an_id_is_left_out():
    first = IDENTITY.copy()
    first[ord("b")] = -1
    assert merged(b"abab", bpe.merges(first, np.array([[97, 97, 256]], np.int32))) == [256]


def test_a_megabyte_without_a_separator_is_merged():
    # 2^20 letters a, doubled twenty times
    rows = [(97, 97, 256), *((256 + n, 256 + n, 257 + n) for n in range(19))]
    assert merged(b"a" * 2**20, bpe.merges(IDENTITY, np.array(rows, np.int32))) == [275]


def test_ids_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="ids and merges must be at most 2097150, got 1 merges"):
        bpe.merges(IDENTITY, np.array([[97, 98, 2**21]], np.int32))
