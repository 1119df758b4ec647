"""Quality: what is measured in a document, and the verdict that a language's limits give on the measures.

The definitions are those of the OSCAR filter of ROOTS (bigscience-workshop/data-preparation,
preprocessing/training/01b_oscar_cleaning_and_filtering, filtering.py and parameters_filtering.py); language
and perplexity are measured elsewhere. A word is what stands between spaces, newlines and tabs, without the
special characters at its ends.

Departure: the original counted the pieces of a SentencePiece model as the words of Chinese; here each code
point of a script without spaces is a word (`Parameters.words_by_code_point`), so that no model is needed.
Departure: lower case is per code point, so a capital sigma at the end of a Greek word becomes a medial one.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from roots import quality_kernels, schema, stopwords, utf8

DEFAULT = "default"  # key of the parameters for a language that has none of its own
MEASURED = pa.schema([field for field in schema.MEASURES if field.name not in ("lang_score", "perplexity")])


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """How the documents of a language are measured.

    char_ngram           code points, 1 to 64
    word_ngram           words, at least 1
    stopwords            lower-case words; None where there is no list: the ratio is null then
    flagged_words        likewise
    augmentation         the string that joins two neighbouring words to a further candidate for the two lists
                         (" " in Vietnamese, "" in Chinese); None for no such candidates
    words_by_code_point  each code point of a script without spaces is a word of its own (Chinese)
    """

    char_ngram: int
    word_ngram: int
    stopwords: frozenset[str] | None = None
    flagged_words: frozenset[str] | None = None
    augmentation: str | None = None
    words_by_code_point: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.char_ngram <= quality_kernels.MAX_CHAR_NGRAM:
            raise ValueError(
                f"quality.Parameters: char_ngram must be 1 to {quality_kernels.MAX_CHAR_NGRAM}, got {self.char_ngram}"
            )
        if self.word_ngram < 1:
            raise ValueError(f"quality.Parameters: word_ngram must be at least 1, got {self.word_ngram}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The limits of a language, in the order in which they are checked; a document on a limit passes.

    word_count_*  words;   *_ratio_*, lang_score_min  0 to 1;   perplexity_max  at least 1;   None  no limit
    """

    word_count_min: int | None = None
    word_count_max: int | None = None
    char_repetition_ratio_max: float | None = None
    word_repetition_ratio_max: float | None = None
    special_char_ratio_max: float | None = None
    stopword_ratio_min: float | None = None
    flagged_word_ratio_max: float | None = None
    lang_score_min: float | None = None
    perplexity_max: float | None = None


LANGUAGE = "language"  # the check that needs no limit: the model is sure of another language

# Each check's limit and the reason it gives, in the published order (filtering.py).
REASONS = {
    "word_count_min": "too_few_words",
    "word_count_max": "too_many_words",
    "char_repetition_ratio_max": "repeated_characters",
    "word_repetition_ratio_max": "repeated_words",
    "special_char_ratio_max": "too_many_special_characters",
    "stopword_ratio_min": "too_few_stopwords",
    "flagged_word_ratio_max": "flagged_words",
    LANGUAGE: "wrong_language",
    "lang_score_min": "uncertain_language",
    "perplexity_max": "high_perplexity",
}


def measure(docs: pa.RecordBatch, parameters: Mapping[str, Parameters]) -> pa.RecordBatch:
    """Measures every document; the columns are those of `MEASURED`, one row a document.

    docs        columns language (ROOTS code) and text
    parameters  ROOTS code -> parameters; the key "default" serves the languages that have none of their own
    returns     word_count int32 and float32 ratios in 0..1. A text too short for an n-gram repeats nothing
                (0.0), a text without words has stop and flagged word ratios of 0.0, an empty text no special
                characters (0.0). stopword_ratio and flagged_word_ratio are null where there is no such list
    raises      ValueError for a language without parameters when there is no default
    """
    data, offsets = utf8.view(docs.column("text"))
    counts = np.zeros(docs.num_rows, np.int32)
    ratios = np.zeros((docs.num_rows, len(MEASURED) - 1), np.float32)
    missing = np.zeros(ratios.shape, bool)
    columns = {name: i for i, name in enumerate(MEASURED.names[1:])}
    for language, rows in _rows_by_language(docs):
        chosen = _chosen(language, parameters)
        quality_kernels.measure(data, offsets, rows, traits(), *_compiled(chosen), counts, ratios)
        missing[rows, columns["stopword_ratio"]] = chosen.stopwords is None
        missing[rows, columns["flagged_word_ratio"]] = chosen.flagged_words is None
    measured = [pa.array(ratios[:, i], mask=missing[:, i]) for i in range(ratios.shape[1])]
    return pa.RecordBatch.from_arrays([pa.array(counts), *measured], schema=MEASURED)


def verdict(
    docs: pa.RecordBatch, limits: Mapping[str, Limits], wrong_language: np.ndarray | None = None
) -> pa.StringArray:
    """The first check that each document fails, in the order of `REASONS`.

    docs            columns language (ROOTS code) and those columns of `schema.MEASURES` that a limit needs
    limits          ROOTS code -> limits; a language without limits passes
    wrong_language  bool [docs]: another language was found; None = not asked
    returns [docs] reason, null = keep. A null measure passes; so does one equal to its limit in float32
    raises  ValueError where a column that a limit needs is missing
    """
    failed = np.zeros(docs.num_rows, np.int8)  # position in REASONS, 1-based; 0 = none yet
    by_language = _rows_by_language(docs)
    for i, name in enumerate(REASONS, start=1):
        if name == LANGUAGE:
            if wrong_language is not None:
                failed[(failed == 0) & wrong_language] = i
            continue
        for language, rows in by_language:
            limit = getattr(limits.get(language, Limits()), name)
            if limit is not None:
                fails = beyond(docs, name, limit)[rows]
                failed[rows] = np.where((failed[rows] == 0) & fails, i, failed[rows])
    reasons = pa.array([None, *REASONS.values()], pa.string())
    return reasons.take(pa.array(failed))


def beyond(docs: pa.RecordBatch, name: str, limit: float) -> np.ndarray:
    """bool [docs]: the measure is known and on the failing side of the limit."""
    measure_name, side = name.rsplit("_", 1)
    if measure_name not in docs.schema.names:
        raise ValueError(
            f"quality.verdict: the limit {name} needs the column {measure_name}, the batch has "
            f"{docs.schema.names}; measure it first or drop the limit"
        )
    column = docs.column(measure_name)
    bound = pa.scalar(limit, column.type)  # the measure's own type: 0.2 as float32 is not beyond a limit of 0.2
    outside = pc.less(column, bound) if side == "min" else pc.greater(column, bound)
    return pc.fill_null(outside, False).to_numpy(zero_copy_only=False)


def _rows_by_language(docs: pa.RecordBatch) -> list[tuple[str, np.ndarray]]:
    """Each language of the batch with its rows, int64."""
    encoded = docs.column("language").dictionary_encode()
    codes = encoded.indices.to_numpy()
    return [(language, np.flatnonzero(codes == i)) for i, language in enumerate(encoded.dictionary.to_pylist())]


def _chosen(language: str, parameters: Mapping[str, Parameters]) -> Parameters:
    chosen = parameters.get(language, parameters.get(DEFAULT))
    if chosen is None:
        raise ValueError(
            f"quality.measure: no parameters for language {language!r}, only for {sorted(parameters)}; "
            f"add them, or a {DEFAULT!r} entry"
        )
    return chosen


@functools.cache
def traits() -> np.ndarray:
    """uint32 [0x110000]: what the kernels need to know of each code point, see quality_kernels.LOWER."""
    lower = utf8.lowercase()
    special = np.zeros(len(lower), bool)
    special[[ord(c) for c in stopwords.special_characters()]] = True
    table = lower.astype(np.uint32)
    table[special] |= quality_kernels.SPECIAL
    table[special[lower]] |= quality_kernels.LOWER_SPECIAL
    table[utf8.kinds() == utf8.UNSPACED] |= quality_kernels.UNSPACED
    table[[ord(c) for c in " \n\t"]] |= quality_kernels.SPACE
    return table


@functools.lru_cache(maxsize=128)
def _compiled(parameters: Parameters) -> tuple:
    """The parameters as arguments of `quality_kernels.measure`: numbers, and word lists as hash sets."""
    join = parameters.augmentation
    lists = [_hash_sets(words or frozenset(), join) for words in (parameters.stopwords, parameters.flagged_words)]
    return parameters.char_ngram, parameters.word_ngram, parameters.words_by_code_point, *lists[0], *lists[1]


def _hash_sets(words: frozenset[str], join: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Hash sets of the list's words, and of the pairs of words that make one of its entries when joined."""
    pairs = [] if join is None else [pair for word in words for pair in _pairs(word, join)]
    first, second = (_hashes([pair[i] for pair in pairs]) for i in (0, 1))
    return quality_kernels.hash_set(_hashes(words)), quality_kernels.hash_set(
        quality_kernels.pair_hashes(first, second)
    )


def _pairs(entry: str, join: str) -> list[tuple[str, str]]:
    cuts = [i for i in range(1, len(entry)) if entry.startswith(join, i)]
    return [(entry[:i], entry[i + len(join) :]) for i in cuts if i + len(join) < len(entry)]


def _hashes(words: Iterable[str]) -> np.ndarray:
    data, offsets = utf8.view(pa.array(list(words), pa.string()))
    return quality_kernels.word_hashes(data, offsets, traits())
