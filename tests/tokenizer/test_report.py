"""The report: counts by hand, ratios from counts, and what is shown of the vocabulary."""

import csv
import io
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer import count, encode, learn, report


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> encode.Encoder:
    """The bytes and one merge, `ab`: tokens can be counted by hand."""
    folder = tmp_path_factory.mktemp("plain")
    learn.save(learn.learn(count.of([pa.array(["abab"])]), 261).tokenizer(), folder)
    return encode.Encoder(folder)


def row(language: str, documents: int, size: int, points: int, words: int, tokens: int) -> report.Row:
    return report.Row(
        language=language, documents=documents, bytes=size, code_points=points, words=words, tokens=tokens
    )


def test_rows_are_counted_by_language_and_in_all(plain):
    rows, counts = report.rows(
        [("sw", pa.array(["ab ab", ""])), ("ar", pa.array(["مر"])), ("sw", pa.array([" a\u3000b\n"]))], plain
    )
    want = [row("ar", 1, 4, 2, 1, 4), row("sw", 3, 12, 10, 4, 10), row("all", 4, 16, 12, 5, 14)]
    assert rows == want
    used = {plain.tokens()[n]: int(counts[n]) for n in np.flatnonzero(counts)}
    once = [b"a", b"b", b"\n", b"\xe3", b"\xd9", b"\x85", b"\xd8", b"\xb1"]
    assert used == {b"ab": 2, b" ": 2, b"\x80": 2, **dict.fromkeys(once, 1)}


def test_ratios():
    one = row("sw", 1, 12, 10, 4, 8)
    assert (one.bytes_per_token, one.tokens_per_word, one.tokens_per_code_point) == (1.5, 2.0, 0.8)
    none = row("sw", 1, 0, 0, 0, 0)
    assert all(map(math.isnan, (none.bytes_per_token, none.tokens_per_word, none.tokens_per_code_point)))


@settings(deadline=None)
@given(documents=st.lists(st.text(), max_size=5), cut=st.integers(0, 5))
def test_words_and_code_points_are_those_of_python_and_batches_do_not_matter(documents, cut, plain):
    whole = pa.array(documents, pa.string())
    rows, counts = report.rows([("x", whole)], plain)
    parts, same = report.rows([("x", whole[:cut]), ("x", whole[cut:])], plain)
    assert (parts, same.tolist()) == (rows, counts.tolist())
    assert rows[0].code_points == sum(map(len, documents))
    # Python splits at the four information separators too, which are not White_Space
    words = [text.translate(dict.fromkeys(range(0x1C, 0x20), "x")).split() for text in documents]
    assert rows[0].words == sum(map(len, words))


def test_no_text_gives_the_row_of_all_alone(plain):
    rows, counts = report.rows([], plain)
    assert rows == [row("all", 0, 0, 0, 0, 0)]
    assert counts.tolist() == [0] * 261


def test_the_vocabulary_is_described(plain):
    _, counts = report.rows([("x", pa.array(["ab a"]))], plain)
    facts = report.vocabulary(plain, counts)
    assert facts.size == 261
    assert facts.unused_ratio == 254 / 257  # used: ab, space, a
    assert facts.special_in_text == 0
    assert facts.invalid_utf8_ratio == 128 / 257  # the bytes from 0x80
    assert facts.longest[:3] == ((260, b"ab"), (4, b"!"), (5, b'"'))
    assert len(facts.longest) == report.LONGEST_TOKENS


def test_special_ids_in_text_are_counted(plain):
    counts = np.zeros(261, np.int64)
    counts[[0, 2]] = [1, 4]
    assert report.vocabulary(plain, counts).special_in_text == 5


def test_special_tokens_in_text_do_not_become_special_ids(encoder, texts):
    _, counts = report.rows([("en", pa.array(texts))], encoder)
    assert report.vocabulary(encoder, counts).special_in_text == 0


def test_the_page_and_the_table_are_written(plain, tmp_path):
    rows, counts = report.rows([("ar", pa.array([""])), ("sw", pa.array(["ab ab"]))], plain)
    report.write(tmp_path, rows, report.vocabulary(plain, counts))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.csv", "report.md"]
    table = list(csv.reader(io.StringIO((tmp_path / "report.csv").read_text(encoding="utf-8"))))
    assert table[0] == [
        *("language", "documents", "bytes", "code_points", "words", "tokens"),
        *("bytes_per_token", "tokens_per_word", "tokens_per_code_point"),
    ]
    assert table[1] == ["ar", "1", "0", "0", "0", "0", "nan", "nan", "nan"]
    assert table[2] == ["sw", "1", "5", "5", "2", "3", "1.666667", "1.500000", "0.600000"]
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| sw | 1 | 5 | 3 | 1.667 | 1.500 | 0.600 |\n" in page
    assert "- Special ids (0 to 3) that text was encoded to: 0\n" in page
    assert "| 260 | 2 | `ab` |\n" in page


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (b" today", "` today`"),
        ("今天".encode(), "`今天`"),
        (b"\n|`", r"`\u000a\u007c\u0060`"),
        (b"\xe4\xbb", r"`\xe4\xbb`"),
        (b"-" * 61, "`" + "-" * 60 + "…`"),
    ],
)
def test_a_token_never_breaks_the_table(token, shown):
    facts = report.Vocabulary(
        size=1, unused_ratio=0.0, special_in_text=0, invalid_utf8_ratio=0.0, longest=((7, token),)
    )
    assert report.markdown([], facts).splitlines()[-1] == f"| 7 | {len(token)} | {shown} |"
