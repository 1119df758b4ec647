"""Where text is cut, against the published pattern's golden pieces, and what bytes a token stands for."""

import json
import unicodedata
from pathlib import Path

import pytest

from tokenizer import spec

GOLDEN = Path(__file__).parents[2] / "../shared/reference/golden_vectors.json"
BLOOM_PUBLIC = Path(__file__).parents[2] / "../shared/cases/tokenizer/bloom_vectors_public.jsonl"


@pytest.fixture(scope="module")
def golden() -> dict:
    if not GOLDEN.is_file():
        pytest.skip("the golden vectors (shared/reference) are not beside this checkout")
    return json.loads(GOLDEN.read_text(encoding="utf-8"))["tokenizer_pre_tokenisation"]


def pieces(text: str) -> list[str]:
    return [piece for piece, _ in spec.split().pre_tokenize_str(text)]


def test_the_pattern_is_the_published_one(golden):
    assert golden["pattern"] == spec.SPLIT


def test_the_39_separators_are_the_published_ones(golden):
    assert [f"{point:04X}" for point in spec.SEPARATORS] == golden["split_codepoints"]
    assert len(spec.SEPARATORS) == 39


def test_every_golden_text_is_cut_as_published(golden):
    want = [(case["pieces"], case["byte_level"]) for case in golden["examples"]]
    chain = spec.build_tokenizer().pre_tokenizer
    got = [
        (pieces(case["text"]), [piece for piece, _ in chain.pre_tokenize_str(case["text"])])
        for case in golden["examples"]
    ]
    assert got == want


def test_of_all_code_points_only_the_separators_separate():
    # one text holds all code points between letters, so the pattern is run once and not a million times
    points = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    separators = set(spec.SEPARATORS)
    cut = spec.split().pre_tokenize_str("x" + "x".join(map(chr, points)) + "x")
    found = [piece for piece, _ in cut if len(piece) == 1 and piece != "x"]
    # U+0020 is no piece of its own: the run after it takes it
    assert {ord(piece) for piece in found} == separators - {0x20}
    assert len(cut) == len(found) + len(separators) + 1  # and one run more than there are separators


@pytest.mark.parametrize("point", spec.SEPARATORS, ids=lambda point: f"U+{point:04X}")
def test_a_separator_stands_alone_between_words_and_a_space_joins_the_next_word(point):
    mark = chr(point)
    assert pieces(f"a{mark}b") == (["a", " b"] if mark == " " else ["a", mark, "b"])
    assert pieces(f"a{mark}{mark} b") == ["a", mark * 2, " b"]


@pytest.mark.parametrize("mark", ["[", "]", ":", ";", "'", '"', "-", "/", "=", "7", "！", "？", "\u200b", "\x1c"])
def test_other_marks_do_not_separate(mark):
    assert pieces(f"a{mark}b c") == [f"a{mark}b", " c"]


def test_whitespace_is_the_unicode_property():
    assert len(spec.WHITESPACE) == 25
    assert {unicodedata.category(chr(point)) for point in spec.WHITESPACE} == {"Cc", "Zs", "Zl", "Zp"}


def test_each_byte_has_its_character():
    chain = spec.byte_level()
    for text in ["".join(map(chr, range(0x800))), "今天𝄞\U0010ffff"]:
        shown = "".join(piece for piece, _ in chain.pre_tokenize_str(text))
        assert spec.token_bytes(shown) == text.encode()
    assert sorted(spec.bytes_of_characters().values()) == list(range(256))
    assert sorted(spec.bytes_of_characters()) == sorted(chain.alphabet())


def test_the_embedding_has_room_for_the_vocabulary_and_the_published_number_of_rows():
    assert spec.EMBEDDING_ROWS >= spec.VOCAB_SIZE
    assert spec.EMBEDDING_ROWS == 642_252_800 // 2_560  # bloom-3b card: weights of the embedding / width


def test_special_ids_are_those_of_the_real_tokenizer():
    if not BLOOM_PUBLIC.is_file():
        pytest.skip("the public BLOOM vectors (shared/cases) are not beside this checkout")
    cases = [json.loads(line) for line in BLOOM_PUBLIC.read_text(encoding="utf-8").splitlines()]
    for case in cases:
        assert case["text"].endswith(spec.EOS)
        assert case["ids"][-1] == spec.SPECIALS.index(spec.EOS)
        # every piece before the end takes at least one token
        body = case["text"].removesuffix(spec.EOS)
        assert len(case["ids"]) - 1 >= len(pieces(body))
