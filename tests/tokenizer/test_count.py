"""Counting: every piece once, the same table however the text came, and a table that is not ours refused."""

from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer import count, pieces, spec

WORDS = st.lists(st.text(st.sampled_from("ab é今。"), max_size=12), max_size=30)


def as_dict(found: count.Counts) -> dict[bytes, int]:
    return dict(zip(found.pieces.to_pylist(), found.counts.tolist(), strict=True))


@given(documents=WORDS)
def test_counts_are_those_of_a_counter_in_order_of_the_bytes(documents):
    want = Counter(p for text in documents for p, _ in spec.split().pre_tokenize_str(text))
    found = as_dict(count.of([pa.array(documents, pa.string())]))
    assert found == {piece.encode(): times for piece, times in want.items()}
    assert list(found) == sorted(found)


@given(documents=WORDS, cut=st.integers(0, 30))
def test_batches_parts_and_order_do_not_matter(documents, cut):
    whole = count.of([pa.array(documents, pa.string())])
    parts = [count.of([pa.array(part, pa.string())]) for part in (documents[cut:], documents[:cut])]
    assert count.total(parts).digest() == whole.digest()


def test_the_table_grows_past_many_pieces_and_long_ones():
    words = [f"w{n}" for n in range(50_000)]
    long = "x" * 300_000
    found = as_dict(count.of([pa.array([",".join(words), long, long])]))
    assert found[long.encode()] == 2
    assert found[b","] == len(words) - 1
    assert len(found) == len(words) + 2


def test_pieces_that_differ_in_their_last_byte_or_length_are_not_one():
    texts = ["a" * n + end for n in range(1, 40) for end in ("", "b", "c")]
    assert as_dict(count.of([pa.array(texts)])) == dict(Counter(text.encode() for text in texts))


def test_pieces_that_begin_alike_are_in_order_of_their_bytes():
    texts = ["x" * n + end for n in range(1, 60) for end in ("", "\0", "\0\0", "a", "é")] + [
        "y" * 5_000 + "\0",
        "y" * 5_000,
    ]
    found = count.of([pa.array(texts[::-1])]).pieces.to_pylist()
    assert found == sorted({text.encode() for text in texts})


def test_no_text_counts_nothing_and_is_written_and_read(tmp_path):
    empty = count.of([pa.array(["", ""])])
    assert len(empty) == 0
    count.write(tmp_path / "counts.parquet", empty)
    assert count.read(tmp_path / "counts.parquet").digest() == empty.digest()


def test_what_is_written_is_read_and_the_bytes_are_the_same_each_time(tmp_path):
    found = count.of([pa.array(["a b a", "今天。"])])
    for name in ("one", "two"):
        count.write(tmp_path / name, found)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    again = count.read(tmp_path / "one")
    assert as_dict(again) == as_dict(found)
    assert again.digest() == found.digest()


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no table of counts here; count a corpus first"):
        count.read(tmp_path / "counts.parquet")


def test_a_table_of_another_split_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(pieces, "digest", lambda: "f" * 64)  # as a version with another pattern would have written
        count.write(tmp_path / "counts.parquet", count.of([pa.array(["a b"])]))
    with pytest.raises(ValueError, match=r"were cut by the split ffffffffffff, this version cuts by .*; count again"):
        count.read(tmp_path / "counts.parquet")


def test_an_altered_table_is_refused(tmp_path):
    path = tmp_path / "counts.parquet"
    count.write(path, count.of([pa.array(["a b a"])]))
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, "count", pa.array([7] * len(table))).cast(table.schema), path)
    with pytest.raises(ValueError, match="its content gives another digest than the one in the file; count again"):
        count.read(path)


def test_another_parquet_file_and_no_parquet_file_are_refused(tmp_path):
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "text.parquet")
    with pytest.raises(ValueError, match=r"no table of counts, its columns are \['text'\]"):
        count.read(tmp_path / "text.parquet")
    (tmp_path / "plain").write_bytes(b"no Parquet")
    with pytest.raises(ValueError, match=r"cannot be read as Parquet \("):
        count.read(tmp_path / "plain")
