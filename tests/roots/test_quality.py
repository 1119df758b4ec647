"""The measures against published vectors and a plain reading of their definitions; the verdict."""

import gzip
import io
import itertools
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import zstandard

from roots import quality, quality_kernels, schema, stopwords

CORPUS = Path(__file__).parents[2] / "../shared/corpus"
SPECIAL = "".join(stopwords.special_characters())
PLAIN = quality.Parameters(char_ngram=10, word_ngram=5)

# Output of the public filtering.py on made-up texts (bigscience-workshop/data-preparation, commit 9d05884):
# words, character repetition (10), word repetition (5), special characters, stop words. These stop words are
# the ones of the English list that the texts contain.
STOPS = frozenset(["the", "on", "over", "a", "d", "to", "be", "or", "not", "that", "is", "whether"])
PUBLISHED = [
    ("the cat sat on the mat", 6, 0.0, 0.0, 0.227273, 0.5),
    ("aaaaaaaaaaaaaaaaaaaa", 1, 1.0, 0.0, 0.0, 0.0),
    ("abcdefghijabcdefghijabcdefghij", 1, 0.333333, 0.0, 0.0, 0.0),
    ("the quick brown fox jumps over the quick brown fox jumps", 11, 0.212766, 0.285714, 0.178571, 0.272727),
    ("Hello!!! 123 ... world", 2, 0.0, 0.0, 0.545455, 0.0),
    (
        "a  b\t\tc\n\n\nd http://x.y (www.foo.org) averyveryveryveryveryverylongword end",
        8, 0.230769, 0.0, 0.256757, 0.25,
    ),
    ("ab", 1, 0.0, 0.0, 0.0, 0.0),
    ("To be or not to be, that is the question: whether 'tis nobler.", 13, 0.0, 0.0, 0.258065, 0.769231),
    ("¿Qué tal? 12:30 — bien…", 3, 0.0, 0.0, 0.565217, 0.0),
]  # fmt: skip

REAL = {
    "lm_en_tldr_pages": PLAIN,
    "lm_ar_common_voice_text": PLAIN,
    "lm_indic-hi_pratham_storyweaver": PLAIN,
    "lm_indic-bn_wikisource": PLAIN,
    "lm_indic-ur_common_voice_text": quality.Parameters(char_ngram=10, word_ngram=7),
    "lm_nigercongo-sw_african_storybook": PLAIN,
    "lm_nigercongo-yo_african_storybook": PLAIN,
    "lm_eu_common_voice_text": PLAIN,
    "lm_vi_ud_vietnamese_vtb": quality.Parameters(char_ngram=10, word_ngram=5, augmentation=" "),
    "lm_zhs_tldr_pages": quality.Parameters(char_ngram=3, word_ngram=5, augmentation="", words_by_code_point=True),
    "lm_zht_quan_tang_shi_volumes": quality.Parameters(
        char_ngram=3, word_ngram=5, augmentation="", words_by_code_point=True
    ),
    "lm_code_python": PLAIN,
}


def reference(text: str, parameters: quality.Parameters) -> dict:
    """The definitions, word for word, on Python strings."""

    def words_of(text: str) -> list[str]:
        if parameters.words_by_code_point:
            text = re.sub("([\u4e00-\u9fff\u3400-\u4dbf])", r" \1 ", text)
        return [w for w in (w.strip(SPECIAL) for w in re.split("[ \n\t]", text)) if w]

    def list_ratio(listed: frozenset[str]) -> float:
        join = parameters.augmentation
        pairs = [] if join is None else [a + join + b for a, b in itertools.pairwise(words)]
        return min(1.0, sum(w in listed for w in words + pairs) / len(words)) if words else 0.0

    words = words_of(text.lower())
    n, m = parameters.char_ngram, parameters.word_ngram
    chars = Counter(text[i : i + n] for i in range(len(text) - n + 1))
    counts = sorted(chars.values(), reverse=True)
    most = min(int(len(counts) ** 0.5), sum(c > 1 for c in counts))
    grams = Counter(" ".join(words[i : i + m]) for i in range(len(words) - m + 1)).values()
    return {
        "word_count": len(words_of(text)),
        "char_repetition_ratio": sum(counts[:most]) / sum(counts) if counts else 0.0,
        "word_repetition_ratio": sum(c for c in grams if c > 1) / sum(grams) if grams else 0.0,
        "special_char_ratio": sum(c in SPECIAL for c in text) / len(text) if text else 0.0,
        "stopword_ratio": None if parameters.stopwords is None else list_ratio(parameters.stopwords),
        "flagged_word_ratio": None if parameters.flagged_words is None else list_ratio(parameters.flagged_words),
    }


def batch(texts: list[str], language: str = "en") -> pa.RecordBatch:
    return schema.documents([f"s/{i}" for i in range(len(texts))], "s", language, texts)


def measure(texts: list[str], parameters: quality.Parameters) -> list[dict]:
    return quality.measure(batch(texts), {"en": parameters}).to_pylist()


def as_float32(row: dict) -> dict:
    return {k: float(np.float32(v)) if isinstance(v, float) else v for k, v in row.items()}


def real_texts(source: str, documents: int) -> list[str]:
    """Documents of the shared corpus, cut to 4,000 characters each."""
    files = sorted((CORPUS / source).glob("part-*"))
    if not files:
        pytest.skip(f"the shared corpus is not beside the repository: {source}")
    opener = gzip.open if files[0].suffix == ".gz" else zstandard.open
    with opener(files[0]) as file, io.TextIOWrapper(file, "utf-8", newline="\n") as lines:
        return [json.loads(line)["text"][:4000] for line, _ in zip(lines, range(documents), strict=False)]


@pytest.mark.parametrize("case", PUBLISHED, ids=[case[0][:20] for case in PUBLISHED])
def test_the_measures_are_those_of_the_published_code(case):
    text, *expected = case
    parameters = quality.Parameters(char_ngram=10, word_ngram=5, stopwords=STOPS)
    assert [round(v, 6) for v in list(measure([text], parameters)[0].values())[:5]] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("source", REAL)
def test_on_real_text_the_measures_equal_their_definitions(source):
    short = source.split("_")[1].split("-")[-1]
    base = REAL[source]
    listed = stopwords.stopwords("zhs" if short == "zht" else short)
    parameters = quality.Parameters(
        char_ngram=base.char_ngram,
        word_ngram=base.word_ngram,
        stopwords=listed,
        flagged_words=frozenset(sorted(listed)[::7]) if listed else None,
        augmentation=base.augmentation,
        words_by_code_point=base.words_by_code_point,
    )
    texts = real_texts(source, 25)
    assert measure(texts, parameters) == [as_float32(reference(text, parameters)) for text in texts]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n\t \n",
        "...",
        "a",
        "Гг Г г",
        "İstanbul",
        "x" * 5000,
        "ab " * 3000,
        "一上士一上士",
        "\U0001f600" * 40,
    ],
    ids=range(11),
)
@pytest.mark.parametrize("by_code_point", [False, True])
def test_odd_texts_follow_the_definitions_too(text, by_code_point):
    parameters = quality.Parameters(
        char_ngram=3, word_ngram=2, stopwords=frozenset({"ab", "г"}), words_by_code_point=by_code_point
    )
    text = text.replace("İ", "I")  # lower-cased to two code points by Python, see the module's departures
    assert measure([text], parameters) == [as_float32(reference(text, parameters))]


def test_an_ngram_seen_more_often_than_there_are_bins_is_counted_exactly():
    text = "a" * (2 * quality_kernels.COUNT_BINS) + "b" * (quality_kernels.COUNT_BINS + 5) + "abcabcabd" * 3
    assert measure([text], PLAIN) == [as_float32(reference(text, PLAIN))]


def test_a_document_too_long_for_one_table_is_counted_exactly():
    rng = np.random.default_rng(3)
    block = rng.integers(0, 26, quality_kernels.MAX_SLOTS // 3)
    letters = np.concatenate([block, rng.integers(0, 26, quality_kernels.MAX_SLOTS // 4), block[: len(block) // 5]])
    numbers = sum(letters[i : len(letters) - 9 + i] * 26**i for i in range(10))  # each 10-gram as one integer
    counts = np.sort(np.unique(numbers, return_counts=True)[1])[::-1]
    most = min(int(len(counts) ** 0.5), int((counts > 1).sum()))
    text = bytes(letters.astype(np.uint8) + ord("a")).decode()
    assert len(numbers) > quality_kernels.MAX_SLOTS // 2
    assert measure([text], PLAIN)[0]["char_repetition_ratio"] == np.float32(counts[:most].sum() / len(numbers))


def test_a_pair_of_words_in_the_list_counts_where_words_are_joined():
    spaced = quality.Parameters(char_ngram=10, word_ngram=5, stopwords=frozenset({"bởi vì"}), augmentation=" ")
    joined = quality.Parameters(
        char_ngram=3, word_ngram=5, stopwords=frozenset({"我们"}), augmentation="", words_by_code_point=True
    )
    alone = quality.Parameters(char_ngram=3, word_ngram=5, stopwords=frozenset({"我们"}), words_by_code_point=True)
    assert measure(["Bởi vì tôi đi"], spaced)[0]["stopword_ratio"] == 0.25
    assert measure(["我们去"], joined)[0]["stopword_ratio"] == np.float32(1 / 3)
    assert measure(["我们去"], alone)[0]["stopword_ratio"] == 0.0


def test_a_language_without_a_list_has_a_null_ratio():
    assert measure(["some words"], PLAIN)[0] | {"stopword_ratio": 1, "flagged_word_ratio": 1} == {
        "word_count": 2, "char_repetition_ratio": 0.0, "word_repetition_ratio": 0.0,
        "special_char_ratio": float(np.float32(0.1)), "stopword_ratio": 1, "flagged_word_ratio": 1,
    }  # fmt: skip
    assert measure(["some words"], PLAIN)[0]["stopword_ratio"] is None
    assert measure(["some words"], PLAIN)[0]["flagged_word_ratio"] is None


def test_rows_keep_their_places_however_languages_are_mixed_and_batches_cut():
    texts = [text for source in list(REAL)[:6] for text in real_texts(source, 8)]
    languages = [source.split("_")[1] for source in list(REAL)[:6] for _ in real_texts(source, 8)]
    order = np.random.default_rng(1).permutation(len(texts))
    docs = batch(texts).set_column(2, "language", pa.array(languages)).take(pa.array(order))
    parameters = {
        "default": PLAIN,
        "en": quality.Parameters(char_ngram=10, word_ngram=5, stopwords=stopwords.stopwords("en")),
        "indic-ur": quality.Parameters(char_ngram=4, word_ngram=2),
    }
    whole = quality.measure(docs, parameters)
    assert whole.schema == quality.MEASURED
    for size in (1, 7):
        pieces = [quality.measure(docs.slice(i, size), parameters) for i in range(0, docs.num_rows, size)]
        assert pa.Table.from_batches(pieces).combine_chunks().to_batches()[0] == whole
    expected = [as_float32(reference(texts[i], parameters.get(languages[i], PLAIN))) for i in order]
    assert whole.to_pylist() == expected


def test_ten_thousand_empty_documents_repeat_nothing():
    measures = quality.measure(batch([""] * 10_000), {"en": PLAIN})
    assert measures.num_rows == 10_000 and not any(pc.any(pc.not_equal(c, 0)).as_py() for c in measures.columns[:4])


def test_no_documents_give_no_measures():
    assert quality.measure(batch([]), {}).num_rows == 0


def test_a_language_without_parameters_is_named():
    with pytest.raises(ValueError, match=r"no parameters for language 'en', only for \['fr'\]; add them, or a 'defa"):
        quality.measure(batch(["x"]), {"fr": PLAIN})


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 5), "char_ngram must be 1 to 64, got 0"),
        ((65, 5), "got 65"),
        ((3, 0), "word_ngram must be at least 1"),
    ],
)
def test_ngram_lengths_are_checked(sizes, message):
    with pytest.raises(ValueError, match=message):
        quality.Parameters(char_ngram=sizes[0], word_ngram=sizes[1])


def measured(**columns) -> pa.RecordBatch:
    """A batch of English documents with the given measures, null where not given."""
    rows = max(len(values) for values in columns.values())
    arrays = [pa.array(columns.get(field.name, [None] * rows), field.type) for field in schema.MEASURES]
    return pa.RecordBatch.from_arrays([pa.array(["en"] * rows), *arrays], names=["language", *schema.MEASURES.names])


@pytest.mark.parametrize(
    ("limit", "value", "column", "values", "expected"),
    [
        ("word_count_min", 10, "word_count", [9, 10, 11], ["too_few_words", None, None]),
        ("word_count_max", 10, "word_count", [9, 10, 11], [None, None, "too_many_words"]),
        ("char_repetition_ratio_max", 0.106, "char_repetition_ratio", [0.105, 0.106, 0.107],
         [None, None, "repeated_characters"]),
        ("word_repetition_ratio_max", 0.19, "word_repetition_ratio", [0.18, 0.19, 0.2],
         [None, None, "repeated_words"]),
        ("special_char_ratio_max", 0.4, "special_char_ratio", [0.3, 0.4, 0.5],
         [None, None, "too_many_special_characters"]),
        ("stopword_ratio_min", 0.3, "stopword_ratio", [0.2, 0.3, 0.4], ["too_few_stopwords", None, None]),
        ("flagged_word_ratio_max", 0.01, "flagged_word_ratio", [0.0, 0.01, 0.02],
         [None, None, "flagged_words"]),
        ("lang_score_min", 0.8, "lang_score", [0.79, 0.8, 0.81], ["uncertain_language", None, None]),
        ("perplexity_max", 1500.0, "perplexity", [1499.9, 1500.0, 1500.1], [None, None, "high_perplexity"]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
def test_a_document_on_its_limit_passes(limit, value, column, values, expected):
    limits = {"en": quality.Limits(**{limit: value})}
    assert quality.verdict(measured(**{column: values}), limits).to_pylist() == expected


def test_the_first_failure_in_the_published_order_is_the_reason():
    docs = measured(word_count=[1, 50], special_char_ratio=[0.9, 0.9], stopword_ratio=[0.0, 0.0])
    limits = {"en": quality.Limits(stopword_ratio_min=0.3, special_char_ratio_max=0.4, word_count_min=20)}
    assert quality.verdict(docs, limits).to_pylist() == ["too_few_words", "too_many_special_characters"]


def test_another_language_is_told_after_the_words_and_before_the_score_and_perplexity():
    docs = measured(word_count=[1, 50, 50, 50], lang_score=[0.9, 0.9, 0.1, 0.1], perplexity=[1.0, 9e9, 9e9, 9e9])
    limits = {"en": quality.Limits(word_count_min=20, lang_score_min=0.8, perplexity_max=1500)}
    assert quality.verdict(docs, limits, np.array([True, True, True, False])).to_pylist() == [
        "too_few_words", "wrong_language", "wrong_language", "uncertain_language",
    ]  # fmt: skip
    assert quality.verdict(docs, {}, np.array([True, False, False, False])).to_pylist()[:2] == ["wrong_language", None]


def test_a_null_measure_passes_and_so_does_a_language_without_limits():
    docs = measured(stopword_ratio=[None, 0.0])
    assert quality.verdict(docs, {"en": quality.Limits(stopword_ratio_min=0.3)}).to_pylist() == [
        None, "too_few_stopwords",
    ]  # fmt: skip
    assert quality.verdict(docs, {"fr": quality.Limits(stopword_ratio_min=0.3)}).to_pylist() == [None, None]


def test_a_limit_without_its_measure_is_named():
    docs = measured(word_count=[1]).drop_columns(["lang_score"])
    with pytest.raises(ValueError, match="the limit lang_score_min needs the column lang_score, the batch has"):
        quality.verdict(docs, {"en": quality.Limits(lang_score_min=0.8)})


def test_every_limit_has_a_reason():
    assert [name for name in quality.REASONS if name != quality.LANGUAGE] == list(quality.Limits.__dataclass_fields__)


def test_the_special_characters_are_the_1599_published_ones():
    special = stopwords.special_characters()
    assert len(special) == 1599 and set(" \n\t!~09№") - special == {"№"} and "\U0001f600" in special


def test_stop_words_end_as_measured_words_end():
    assert {"क", "है"} <= stopwords.stopwords("hi") and "का" not in stopwords.stopwords("hi")
    assert stopwords.stopwords("tum") is None


def test_a_list_of_the_users_is_lower_cased_stripped_and_commented(tmp_path):
    path = tmp_path / "flagged.txt"
    path.write_text("\ufeff# two words\nBad!\n\n(very bad)\n", encoding="utf-8")
    assert stopwords.load_words(path) == {"bad", "very bad"}


def test_faults_of_a_list_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.txt: no such file; give a UTF-8 text file"):
        stopwords.load_words(tmp_path / "missing.txt")
    (tmp_path / "latin.txt").write_bytes(b"ni\xf1o\n")
    with pytest.raises(ValueError, match=r"latin\.txt: byte 2 is not UTF-8; save"):
        stopwords.load_words(tmp_path / "latin.txt")
    (tmp_path / "empty.txt").write_text("# nothing\n...\n")
    with pytest.raises(ValueError, match=r"empty\.txt: expected a word a line, got none"):
        stopwords.load_words(tmp_path / "empty.txt")
