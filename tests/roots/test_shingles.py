import itertools
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from roots import shingles, utf8

TEXTS = {
    "en": "The rain came late this year, and the RAIN came hard: we lost 12 goats.",
    "fr": "L'été, nous allions à la rivière; l'ÉTÉ suivant, plus d'eau.",
    "ar": "جلسنا تحت الشجرة، ثم عدنا إلى البيت قبل الغروب.",
    "zhs": "今天下雨，我们没有去市场。iPhone 手机也没电了。",
    "th": "วันนี้ฝนตก เราไม่ได้ไปตลาด",
    "indic-hi": "आज बारिश हुई, इसलिए हम बाज़ार नहीं गए।",
    "vi": "Hôm nay trời mưa nên chúng tôi không đi chợ.",
    "code": "def add_one(x):\n    return x + 1  # add_one\n",
    "ko": "비가 왔다. 장에 가지 않았다.",
    "ja": "雨が降ったので、ｷﾞﾝｺｳには行かなかった。",
    "full-width": "ＡＢＣ １２３ ﬁn ½ ª straße ǅ ﷺ co\u00adop 가\u200d나",
    "emoji": "so 👍🏽 good 👍🏽 𝒳 𐐀𐐁",
}
MASK = (1 << 64) - 1


def compared(c):
    """What a code point is compared as, by the interpreter's own tables; None for a separator."""
    if c in "\u00ad\u200b\u200c\u200d\ufe0f":  # of the ignorable ones, those in these tests
        return ""
    kinds = utf8.kinds()
    if kinds[ord(c)] == utf8.SEPARATOR:
        return None
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", c).casefold())
    whole = unicodedata.normalize("NFC", apart)
    fits = all(kinds[ord(part)] == utf8.WORD for part in apart)
    return apart if fits else whole if len(whole) == 1 and kinds[ord(whole)] else c.lower()


def tokens_of(text):
    """The rule in plain Python: word runs and single unspaced code points, as they are compared."""
    tokens, run = [], ""
    for c in text:
        form = compared(c)
        if form is not None and not (len(form) == 1 and utf8.kinds()[ord(form)] == utf8.UNSPACED):
            run += form
            continue
        if run:
            tokens.append(run)
            run = ""
        if form:
            tokens.append(form)
    return [*tokens, run] if run else tokens


def shingles_of(text, ngram):
    tokens = tokens_of(text)
    if len(tokens) < ngram:
        return [tuple(tokens)] if tokens else []
    return [tuple(tokens[k : k + ngram]) for k in range(len(tokens) - ngram + 1)]


def mix(x):
    for multiplier in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        x = (x ^ x >> 33) * multiplier & MASK
    return x ^ x >> 33


def hash_of(shingle):
    """The hash as its formula says, in Python's whole numbers."""
    rolling = 0
    for token in shingle:
        h = 0
        for c in token:
            unspaced = (1 << 21) if utf8.kinds()[ord(c)] == utf8.UNSPACED else 0
            h = (h ^ ord(c) ^ unspaced) * 0x9E3779B97F4A7C15 & MASK
        rolling = (rolling * 0xD1342543DE82EF95 + mix(h)) & MASK
    return mix(rolling)


def per_document(values, offsets):
    return [values[a:b].tolist() for a, b in itertools.pairwise(offsets)]


@pytest.mark.parametrize("ngram", [1, 3, 5, 40])
@pytest.mark.parametrize("language", TEXTS)
def test_hashes_follow_the_token_rule_and_the_formula(language, ngram):
    values, offsets = shingles.hashes(pa.array([TEXTS[language]]), ngram)
    assert per_document(values, offsets) == [[hash_of(s) for s in shingles_of(TEXTS[language], ngram)]]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        pytest.param("Hello, hello_World 2x", ["hello", "hello_world", "2x"], id="en"),
        pytest.param("我们a去b1", ["我", "们", "a", "去", "b1"], id="zhs"),
        pytest.param("ÉTÉ\u00a0Ωmega—x", ["e\u0301te\u0301", "ωmega", "x"], id="fr"),
        pytest.param("بيت، بيت", ["بيت", "بيت"], id="ar"),
        pytest.param("\x00 \t\n…!", [], id="none"),
    ],
)
def test_tokens_are_word_runs_and_single_unspaced_characters(text, tokens):
    values, _ = shingles.hashes(pa.array([text]), 1)
    assert values.tolist() == [hash_of((t,)) for t in tokens]


ALPHABET = st.sampled_from("aAbzÉ1_ \n.,-ßПя我ก中ーが한👍𐐀\u0301\u00adﬁＡ")


@settings(max_examples=60)
@given(st.lists(st.text(ALPHABET, max_size=40), max_size=6), st.integers(1, 6))
@example(["", "a", ""], 5)
def test_equal_hashes_mean_equal_shingles(texts, ngram):
    values, offsets = shingles.hashes(pa.array(texts, pa.string()), ngram)
    expected = [shingles_of(text, ngram) for text in texts]
    assert np.diff(offsets).tolist() == [len(e) for e in expected]
    pairs = set(zip(values.tolist(), [s for e in expected for s in e], strict=True))
    assert len(pairs) == len({h for h, _ in pairs}) == len({s for _, s in pairs})


@pytest.mark.parametrize("length", [511, 512, 513, 516, 517, 1024, 3000])
@pytest.mark.parametrize("unit", ["{} ", "{}我", "我"], ids=["en", "mixed", "zhs"])
def test_a_document_longer_than_a_block_is_hashed_like_one_piece(unit, length):
    text = "".join(unit.format(k % 700) for k in range(length))
    for tail in ("", "...   ", "x"):
        values, _ = shingles.hashes(pa.array([text + tail]), 5)
        assert values.tolist() == [hash_of(s) for s in shingles_of(text + tail, 5)]


def test_a_word_longer_than_a_block_is_one_token():
    values, _ = shingles.hashes(pa.array(["Aé" * 2000]), 5)
    assert values.tolist() == [hash_of(("ae\u0301" * 2000,))]


def test_separators_that_fill_the_rest_of_a_document_add_no_shingle():
    text = "w " * 516  # the block of 512 + 5 tokens ends just before the separators
    for spaces in (0, 1, 2, 5000):
        assert len(shingles.hashes(pa.array([text + " " * spaces]), 5)[0]) == 512


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ΣΊΣΥΦΟΣ STRASSE", "σίσυφος straße"),
        ("Việt Nam, tiếng Việt", unicodedata.normalize("NFD", "VIỆT NAM tiếng việt")),
        ("ＦＵＬＬ　ｗｉｄｔｈ １２", "full width 12"),
        ("ﬁne ofﬁce", "fine office"),
        ("co\u00adoper\u200date\ufe0f", "cooperate"),
        ("ﻣﺪﺭﺳﺔ", "مدرسة"),
        ("한국어", unicodedata.normalize("NFD", "한국어")),
        ("\u0958लम", "क\u093cलम"),
    ],
    ids=["case", "vi", "width", "ligature", "ignorable", "ar", "ko", "hi"],
)
def test_texts_that_differ_in_form_alone_have_the_same_shingles(one, other):
    assert one != other
    assert shingles.hashes(pa.array([one]), 2)[0].tolist() == shingles.hashes(pa.array([other]), 2)[0].tolist()


@pytest.mark.parametrize("text", ["peche pêche péché", "cap căp cáp", "कि की का", "か が ぎ", "ا أ آ"])
def test_accents_and_vowel_signs_count(text):
    assert len(shingles.sets(pa.array([text]), 1)[0]) == 3


def test_slices_and_other_batches_give_the_same_hashes():
    texts = [*TEXTS.values(), "", "one two", "x " * 2000]
    whole = per_document(*shingles.hashes(pa.array(texts), 5))
    array = pa.array(["unrelated", *texts, "unrelated"])
    assert per_document(*shingles.hashes(array[1:-1], 5)) == whole
    assert [per_document(*shingles.hashes(array[k : k + 1], 5))[0] for k in range(1, len(texts) + 1)] == whole


def test_an_array_without_documents_has_no_shingles():
    values, offsets = shingles.hashes(pa.array([], pa.string()), 5)
    assert (values.tolist(), offsets.tolist()) == ([], [0])


def test_the_low_32_bits_are_balanced_and_collide_no_more_than_chance():
    text = pa.array([" ".join(f"w{k}" for k in range(200_000)), "".join(map(chr, range(0x4E00, 0x9F00)))])
    low = np.unique(shingles.hashes(text, 2)[0]).astype(np.uint32)
    n = len(low)
    for bit in range(32):
        assert abs(np.mean(low >> np.uint32(bit) & 1) - 0.5) < 4 * 0.5 / n**0.5
    expected = n * n / 2 / 2**32
    assert abs(n - len(np.unique(low)) - expected) < 4 * expected**0.5 + 1


def test_sets_are_sorted_and_hold_each_shingle_once():
    texts = ["a b a b a b", "", "c"]
    values, offsets = shingles.sets(pa.array(texts), 2)
    expected = [sorted({hash_of(s) for s in shingles_of(text, 2)}) for text in texts]
    assert per_document(values, offsets) == expected


sets_of_numbers = st.sets(st.integers(0, 12)).map(lambda s: np.array(sorted(s), np.uint64))


@settings(max_examples=60)
@given(sets_of_numbers, sets_of_numbers)
def test_jaccard_is_intersection_over_union(a, b):
    union = set(a) | set(b)
    assert shingles.jaccard(a, b) == (len(set(a) & set(b)) / len(union) if union else 0.0)


def test_pair_jaccard_compares_the_named_rows():
    # word pairs: {ab, bc, cd}, {bc, cd, de}, none
    values, offsets = shingles.sets(pa.array(["a b c d", "B, c; d e", ""]), 2)
    pairs = np.array([[0, 1], [1, 1], [0, 2], [2, 2]])
    assert shingles.pair_jaccard(values, offsets, pairs).tolist() == [0.5, 1.0, 0.0, 0.0]
    assert shingles.pair_jaccard(values, offsets, np.empty((0, 2), np.int64)).tolist() == []


def test_pair_jaccard_refuses_a_row_that_is_not_there():
    values, offsets = shingles.sets(pa.array(["a", "b"]), 2)
    with pytest.raises(ValueError, match=r"pair_jaccard: pairs name rows 0 to 2, but there are 2 documents"):
        shingles.pair_jaccard(values, offsets, np.array([[0, 2]]))


def test_a_shingle_of_no_tokens_is_refused():
    with pytest.raises(ValueError, match=r"ngram, the tokens in a shingle, must be at least 1, got 0"):
        shingles.hashes(pa.array(["a"]), 0)


CODE = "if (a_1 != B):\n\treturn  x<<=2 # Größe"


def test_code_keeps_its_case_and_its_operators():
    values, _ = shingles.hashes(pa.array([CODE]), 1, "code")
    tokens = ["if", "a_1", "!", "=", "B", "return", "x", "<", "<", "=", "2", "#", "Größe"]
    assert len(values) == len(tokens)
    assert [values.tolist().index(v) for v in values] == [tokens.index(t) for t in tokens]  # equal where they are
    words, _ = shingles.hashes(pa.array(["if a_1 return x 2 GRÖSSE"]), 1)
    assert set(words.tolist()) & set(values.tolist()) == set(words[:5].tolist())


def test_code_in_the_smallest_pieces_is_hashed_whole():
    values, bounds = shingles.hashes(pa.array(["<-!" * 1000, "++", "{}"]), 10, "code")
    assert bounds.tolist() == [0, 2991, 2992, 2992]
    assert len(set(values.tolist())) == 4  # the pattern has a period of three


def test_code_is_the_same_however_it_is_laid_out():
    texts = ["f(a, 'b')\nreturn [x+1]", 'f(\n    a,\n    "b",\n)\nreturn [x + 1]']
    first, second = (shingles.hashes(pa.array([text]), 3, "code")[0].tolist() for text in texts)
    assert first == second


def test_an_unknown_unit_is_refused():
    with pytest.raises(ValueError, match=r"unit must be one of words, code, got 'lines'"):
        shingles.hashes(pa.array(["a"]), 5, "lines")
