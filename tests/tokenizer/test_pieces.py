"""Pieces of raw bytes against the published pattern, as the `tokenizers` library runs it."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer import pieces, spec

GOLDEN = Path(__file__).parents[2] / "../shared/reference/golden_vectors.json"
BLOOM_PUBLIC = Path(__file__).parents[2] / "../shared/cases/tokenizer/bloom_vectors_public.jsonl"

MARKS = st.text(st.sampled_from([*map(chr, spec.SEPARATORS), "a", "é", "今", "𝄞", "[", "！", "\x1c", "\u200b", " "]))


def cut(text: str) -> list[bytes]:
    return pieces.cut(pa.array([text]))[0].as_py()


def by_the_library(text: str) -> list[bytes]:
    return [piece.encode() for piece, _ in spec.split().pre_tokenize_str(text)]


@given(text=st.one_of(st.text(), MARKS))
def test_any_text_is_cut_as_the_library_cuts_it(text):
    assert cut(text) == by_the_library(text)


@given(data=st.binary())
def test_random_bytes_read_as_text_are_cut_as_the_library_cuts_them(data):
    text = data.decode("utf-8", "replace")
    assert cut(text) == by_the_library(text)


@given(data=st.lists(st.sampled_from([0x20, 0x41, 0x80, 0xA4, 0xA5, 0xC2, 0xD8, 0xE0, 0xE2, 0xE3, 0xEF, 0xFF])))
def test_bytes_that_are_no_text_lose_nothing(data):
    text = pa.BinaryArray.from_buffers(pa.binary(), 1, pa.array([bytes(data)]).buffers()).view(pa.string())
    assert b"".join(pieces.cut(text)[0].as_py()) == bytes(data)


def test_every_code_point_is_cut_as_the_library_cuts_it():
    # x after each, so that runs of separators are short; the pieces number 79, as test_spec.py finds them
    text = "x" + "x".join(chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000) + "x"
    assert cut(text) == by_the_library(text)


def test_a_space_goes_with_the_word_behind_it():
    assert cut("a  b .c") == [b"a", b" ", b" b", b" .", b"c"]
    assert cut(" a") == [b" a"]
    assert cut("a ") == [b"a", b" "]


def test_documents_are_cut_apart_and_a_slice_is_fine():
    text = pa.array(["drop", "a b", "", "c"])
    assert pieces.cut(text[1:]).to_pylist() == [[b"a", b" b"], [], [b"c"]]


def test_the_golden_texts_are_cut_as_published():
    if not GOLDEN.is_file():
        pytest.skip("the golden vectors (shared/reference) are not beside this checkout")
    cases = json.loads(GOLDEN.read_text(encoding="utf-8"))["tokenizer_pre_tokenisation"]["examples"]
    assert [cut(case["text"]) for case in cases] == [[p.encode() for p in case["pieces"]] for case in cases]


def test_the_public_texts_of_bloom_have_no_more_pieces_than_ids():
    if not BLOOM_PUBLIC.is_file():
        pytest.skip("the public BLOOM vectors (shared/cases) are not beside this checkout")
    for line in BLOOM_PUBLIC.read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        found = cut(case["text"].removesuffix(spec.EOS))
        assert len(found) <= len(case["ids"]) - 1
        # each of these words begins a token: ids of words that follow a space are those of the other line's words
        assert found == [b"The", b" quick", b" brown", b" fox"] or found == [
            b"jumps",
            b" over",
            b" the",
            b" lazy",
            b" dog",
        ]
