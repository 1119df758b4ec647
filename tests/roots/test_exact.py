import json
import re
import string
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import example, given, settings
from hypothesis import strategies as st

from roots import exact

GOLDEN = Path(__file__).parents[2] / "../shared/reference/golden_vectors.json"
DELETED = re.compile(rf"[\s\d{re.escape(string.punctuation)}]")
NEW_DIGITS = {*range(0x11F50, 0x11F5A), *range(0x1E4F0, 0x1E4FA)}  # Kawi and Nag Mundari, since Unicode 15.0
SPACES = "".join(map(chr, exact.WHITESPACES))
texts = st.lists(st.text(st.sampled_from("ab1٣²!—é我👍𝟘\n " + SPACES), max_size=80), max_size=6)


def key_of(data):
    return [xxhash.xxh64_intdigest(data, seed=int(seed)) for seed in exact.SEEDS]


@pytest.mark.parametrize("length", [*range(70), 95, 96, 97, 1000])
def test_text_keys_equal_those_of_the_xxhash_package(length):
    text = "".join(chr(33 + (k * k + length) % 90) for k in range(length))
    assert exact.text_keys(pa.array([text, "é" + text])).tolist() == [
        key_of(text.encode()),
        key_of(("é" + text).encode()),
    ]


def test_whitespace_and_digits_are_those_of_python():
    table = exact.classes()
    every = [chr(c) for c in range(0x110000)]
    assert np.flatnonzero(table == exact.WHITESPACE).tolist() == [ord(c) for c in every if c.isspace()]
    digits = {ord(c) for c in every if c.isdecimal()}
    assert set(np.flatnonzero(table == exact.DIGIT).tolist()) == digits - NEW_DIGITS
    assert {chr(c) for c in np.flatnonzero(table == exact.PUNCTUATION)} == set(string.punctuation)


@settings(max_examples=80)
@given(texts)
@example(["", " ", "12,34"])
def test_document_keys_hash_what_is_left_without_space_digits_and_punctuation(batch):
    expected = [key_of(DELETED.sub("", text).encode()) for text in batch]
    assert exact.document_keys(pa.array(batch, pa.string())).tolist() == expected


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        pytest.param("Hello, World 1!", "HelloWorld42", True, id="en"),
        pytest.param("Hello", "hello", False, id="case"),
        pytest.param("عام ٢٠٢١ كان طويلا", "عام ١٩٩٩ كان\nطويلا", True, id="ar"),
        pytest.param("第１章\u3000雨", "第2章雨", True, id="zhs"),
        pytest.param("नौ ९ बजे।", "नौ ३ बजे", False, id="indic-hi, its full stop is no ASCII"),
        pytest.param("x²", "x", False, id="superscript"),
        pytest.param("1, 2, 3", "", True, id="numbers only"),
    ],
)
def test_two_documents_are_the_same_when_their_letters_are(a, b, same):
    keys = exact.document_keys(pa.array([a, b]))
    assert (keys[0] == keys[1]).all() == same


def keep_first(keys):
    seen = set()
    return [not (tuple(k) in seen or seen.add(tuple(k))) for k in keys.tolist()]


def template_lines(batch, chars_min, count_min):
    """dedup_template_soft as pipeline-spec section 4 states it, by the keys under test."""
    text = pa.array(batch)
    keys, line_offsets, chars, spans = exact.line_keys(text)
    counts = Counter(map(tuple, keys.tolist()))
    repeated = np.array([counts[tuple(k)] >= count_min for k in keys.tolist()])
    return exact.join_lines(text, spans, line_offsets, ~(repeated & (chars >= chars_min))).to_pylist()


@pytest.mark.skipif(not GOLDEN.exists(), reason="shared/reference/golden_vectors.json is not beside this checkout")
def test_golden_vectors_of_the_original_cleaning():
    cases = json.loads(GOLDEN.read_text())["catalogue_cleaning"]["cases"]
    case = cases["dedup_document"]
    kept = keep_first(exact.document_keys(pa.array(case["inp"])))
    assert [t if k else "" for t, k in zip(case["inp"], kept, strict=True)] == case["out"]
    case = cases["dedup_pseudocrawl_newspapers"]
    assert template_lines(case["inp"], 0, 2) == case["out"]
    for docs in (9, 10):
        case = cases[f"dedup_template_soft_{docs}docs_first"]
        batch = [case["inp"].replace("0", str(k)) for k in range(docs)]
        assert template_lines(batch, 15, 10)[0] == case["out"]


@settings(max_examples=80)
@given(texts)
@example([])
@example(["", "\n", "a\r\nb\u2028c\x85\n\n d "])
def test_lines_are_those_of_split_and_strip(batch):
    text = pa.array(batch, pa.string())
    keys, line_offsets, chars, spans = exact.line_keys(text)
    lines = [[line.strip() for line in t.split("\n")] for t in batch]
    flat = [line for document in lines for line in document]
    assert np.diff(line_offsets).tolist() == [len(document) for document in lines]
    assert keys.tolist() == [key_of(line.encode()) for line in flat]
    assert chars.tolist() == [len(line) for line in flat]
    data = text.buffers()[2].to_pybytes() if flat and text.buffers()[2] else b""
    assert [data[a:b].decode() for a, b in spans] == flat


@settings(max_examples=80)
@given(texts, st.randoms(use_true_random=False))
def test_kept_lines_are_joined_by_line_feeds(batch, random):
    text = pa.array(["unrelated\n", *batch], pa.string())[1:]
    keys, line_offsets, _, spans = exact.line_keys(text)
    keep = np.array([random.random() < 0.6 for _ in keys], bool)
    answers = iter(keep)
    expected = ["\n".join([line.strip() for line in t.split("\n") if next(answers)]) for t in batch]
    joined = exact.join_lines(text, spans, line_offsets, keep)
    joined.validate(full=True)
    assert joined.to_pylist() == expected


def test_an_empty_first_line_keeps_its_line_feed():
    text = pa.array(["\na\n\nb"])
    _, line_offsets, _, spans = exact.line_keys(text)
    assert exact.join_lines(text, spans, line_offsets, np.ones(4, bool)).to_pylist() == ["\na\n\nb"]


def test_slices_and_other_batches_give_the_same_keys():
    batch = ["a b\n c", "", "我 \n我们", "x" * 100, "\n\n"]
    array = pa.array(["unrelated", *batch, "unrelated"])
    for function in (exact.text_keys, exact.document_keys, lambda t: exact.line_keys(t)[0]):
        whole = function(pa.array(batch)).tolist()
        assert function(array[1:-1]).tolist() == whole
        assert [k for i in range(len(batch)) for k in function(array[i + 1 : i + 2]).tolist()] == whole


def test_keep_must_have_one_value_a_line():
    text = pa.array(["a\nb"])
    _, line_offsets, _, spans = exact.line_keys(text)
    with pytest.raises(ValueError, match=r"keep has 3 values for 2 lines"):
        exact.join_lines(text, spans, line_offsets, np.ones(3, bool))


def test_keys_that_stand_more_than_once_are_all_found_and_few_others():
    draws = np.random.default_rng(3).integers(0, 2**63, 20_000, dtype=np.uint64)
    keys = np.concatenate([draws, draws[:500], [np.uint64(0), np.uint64(0)]])
    found = exact.shared(keys)
    assert found[:500].all() and found[20_000:].all()
    assert found[500:20_000].mean() < 1 / 8
    assert exact.shared(keys[:0]).tolist() == []
    assert exact.shared(keys[:1]).tolist() == [False]


def test_paragraphs_are_parted_by_blank_lines_and_joined_by_one():
    texts = ["  a\nb \n \t\n\nc\n", "", "\n \n", "a\nb", "a\nb\n\nb"]
    text = pa.array(texts)
    keys, offsets, chars, spans = exact.paragraph_keys(text)
    paragraphs = ["a\nb", "c", "", "", "a\nb", "a\nb", "b"]
    assert offsets.tolist() == [0, 2, 3, 4, 5, 7]
    assert chars.tolist() == [len(p) for p in paragraphs]
    assert keys.tolist() == exact.text_keys(pa.array(paragraphs)).tolist()
    whole = exact.join_lines(text, spans, offsets, np.ones(7, bool), feeds=2)
    assert whole.to_pylist() == ["a\nb\n\nc", "", "", "a\nb", "a\nb\n\nb"]
    without = exact.join_lines(text, spans, offsets, np.array([0, 1, 1, 1, 0, 0, 1], bool), feeds=2)
    assert without.to_pylist() == ["c", "", "", "", "b"]
