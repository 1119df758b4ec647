from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import exchange


def _keys(rows: list[tuple[int, int]]) -> np.ndarray:
    pairs = np.array([[key, key * 7] for key, _ in rows], np.uint64).reshape(-1, 2)
    return exchange.keys(pairs, np.array([doc for _, doc in rows], np.uint64))


def test_segments_come_back_in_order_and_only_they_are_read(tmp_path: Path) -> None:
    records = _keys([(1, 10), (2, 20), (3, 30), (4, 40)])
    exchange.write(tmp_path / "a.seg", records, np.array([2, 0, 2, 0]), 3)
    assert exchange.read(tmp_path / "a.seg", 0, exchange.KEY)["doc"].tolist() == [20, 40]
    assert exchange.read(tmp_path / "a.seg", 1, exchange.KEY)["doc"].tolist() == []
    assert exchange.read(tmp_path / "a.seg", 2, exchange.KEY)["doc"].tolist() == [10, 30]


def test_a_file_of_other_records_is_refused(tmp_path: Path) -> None:
    exchange.write(tmp_path / "a.seg", _keys([(1, 1)]), np.array([0]), 1)
    with pytest.raises(ValueError, match="expected segment 0 of records of 16 bytes, got 1 segments of 24;"):
        exchange.read(tmp_path / "a.seg", 0, exchange.BAND)
    with pytest.raises(ValueError, match="expected segment 1 of records"):
        exchange.read(tmp_path / "a.seg", 1, exchange.KEY)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    exchange.write(tmp_path / "a.seg", _keys([(1, 1), (2, 2)]), np.array([0, 0]), 1)
    whole = (tmp_path / "a.seg").read_bytes()
    (tmp_path / "a.seg").write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="ends inside segment 0; remove the file and run again"):
        exchange.read(tmp_path / "a.seg", 0, exchange.KEY)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2**40)), unique_by=lambda row: row[1]))
def test_the_first_document_of_each_key_is_kept_whatever_the_order(rows: list[tuple[int, int]]) -> None:
    first = {key: min(doc for k, doc in rows if k == key) for key, _ in rows}
    expected = sorted((doc, first[key]) for key, doc in rows if doc != first[key])
    found = exchange.first_kept(_keys(rows))
    assert list(zip(found["doc"].tolist(), found["witness"].tolist(), strict=True)) == expected


@given(st.lists(st.integers(0, 5)), st.integers(1, 4))
def test_frequent_keys_are_those_counted_often_enough_over_all_tasks(keys: list[int], count_min: int) -> None:
    halves = [keys[::2], keys[1::2]]
    counted = [exchange.counted(np.array([[k, k] for k in half], np.uint64).reshape(-1, 2)) for half in halves]
    found = exchange.frequent(np.concatenate(counted), count_min)
    assert found["high"].tolist() == sorted(k for k in set(keys) if keys.count(k) >= count_min)


@pytest.mark.parametrize("count", [1, 2, 8, 256])
def test_a_partition_is_the_top_bits_of_the_key(count: int) -> None:
    high = np.array([0, 2**63, 2**64 - 1], np.uint64)
    assert exchange.partition_of(high, count).tolist() == [0, count // 2, count - 1]


def test_partitions_grow_with_the_records() -> None:
    per = exchange.PARTITION_BYTES // exchange.KEY.itemsize
    assert [exchange.partitions(n, exchange.KEY) for n in (0, 1, per, 2 * per, 5 * per)] == [1, 1, 1, 2, 8]


def test_a_document_number_holds_its_shard_and_row() -> None:
    docs = exchange.number(5, np.array([0, 7, 2**32 - 1]))
    assert exchange.shard_of(docs).tolist() == [5, 5, 5]
    assert exchange.row_of(docs).tolist() == [0, 7, 2**32 - 1]
