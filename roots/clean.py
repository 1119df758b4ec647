"""The named cleaning steps of the catalogue: what each does to the documents of one source.

A recipe is an ordered list of names. `parse` turns it into steps, which the pipeline applies one after another:

    Map        changes each text                  Filter     removes documents one by one
    FirstKept  of equal documents the first stays RareLines  deletes lines that are frequent in the source
    Joined     makes one document of several      Later      is done by a later stage of the path

FirstKept and RareLines must see the keys of the whole source first (the exchange gathers them), Joined its documents.
`replay` does them all on a batch, given the answers of the exchange; `run` on a source held in memory.

Departure: where the original empties the text of a duplicate and leaves it to a later filter to drop the row,
we remove the document at once, with its reason. What stays is the same wherever an empty-document filter
follows, as it does in every recipe that has such a step. A Map or RareLines may still leave a text empty.

source  BigScience data-preparation, 01a_catalogue_cleaning_and_filtering, clean.py and clean_helpers/
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from roots import code, exact, html, lines, segment, stopwords, utf8, web_text


@dataclasses.dataclass(frozen=True, slots=True)
class Map:
    """A new text for each document, from the batch alone."""

    name: str
    text: Callable[[pa.RecordBatch], pa.StringArray]
    source: str  # where the original has it, and its constants


@dataclasses.dataclass(frozen=True, slots=True)
class Filter:
    """Which documents stay (`keep`: bool [docs]); `reason` names the defect of those that do not."""

    name: str
    keep: Callable[[pa.RecordBatch], np.ndarray]
    reason: str
    source: str


@dataclasses.dataclass(frozen=True, slots=True)
class FirstKept:
    """Of the documents of a source with one key the first stays, in the order of the source.

    keys    gives uint64 [docs, 2], and bool [docs]: whether there is a key; a document without one always
    stays
    """

    name: str
    keys: Callable[[pa.RecordBatch], tuple[np.ndarray, np.ndarray]]
    reason: str
    source: str


@dataclasses.dataclass(frozen=True, slots=True)
class RareLines:
    """Lines that are frequent in a source are deleted, every occurrence; the others are stripped.

    Counted are lines of at least `chars_min` code points when stripped; each occurrence, or one a document with
    `once_a_document`. Frequent is what is counted at least `count_min` times, and in more than `share_max` of the
    documents. `reason` names what is deleted, for the counts of lines.
    """

    name: str
    chars_min: int
    count_min: int
    reason: str
    source: str
    once_a_document: bool = False
    share_max: float = 0.0

    def keys(self, text: pa.StringArray) -> np.ndarray:
        """uint64 [lines, 2]: the key of each line that counts, as often as it counts."""
        keys, line_offsets, chars, _ = exact.line_keys(text)
        counts = chars >= self.chars_min
        if self.once_a_document:
            counts &= lines.first_in_document(keys, line_offsets)
        return keys[counts]

    def frequent_from(self, documents: int) -> int:
        """The least count of a frequent line in a source of so many documents."""
        return max(self.count_min, int(self.share_max * documents) + 1 if self.share_max else 0)

    def drop(self, text: pa.StringArray, frequent: np.ndarray) -> pa.StringArray:
        """The documents without the lines whose key is in `frequent`, the other lines stripped, joined by
        "\\n".

        frequent  uint64 [keys, 2], sorted by its first column, then its second
        """
        keys, line_offsets, chars, spans = exact.line_keys(text)
        keep = (chars < self.chars_min) | ~lines.among(keys, frequent)
        return exact.join_lines(text, spans, line_offsets, keep)


@dataclasses.dataclass(frozen=True, slots=True)
class Joined:
    """Pieces are joined into one document each; `join` takes the whole source as one batch.

    join    gives the batch with the joined texts and metadata in the rows that stay, and which stay, bool [docs];
            the others are removed with the reason
    """

    name: str
    join: Callable[[pa.RecordBatch], tuple[pa.RecordBatch, np.ndarray]]
    reason: str
    source: str


@dataclasses.dataclass(frozen=True, slots=True)
class Later:
    """A step that a later stage of the path does, by its own part of the recipe; cleaning leaves it out."""

    name: str
    stage: str
    source: str


Step = Map | Filter | FirstKept | RareLines | Joined | Later
Whole = FirstKept | RareLines  # must see the keys of the whole source first


def parse(names: Sequence[str]) -> tuple[Step, ...]:
    """The steps of a recipe, in its order.

    raises  ValueError for a name that is not in STEPS, with the nearest that is
    """
    for place, name in enumerate(names, 1):
        if name not in STEPS:
            nearest = difflib.get_close_matches(name, STEPS, n=1, cutoff=0.0)[0]
            raise ValueError(f"cleaning step {place}, {name!r}, is not implemented; the nearest that is: {nearest!r}")
    return tuple(STEPS[name] for name in names)


def with_text(docs: pa.RecordBatch, text: pa.StringArray) -> pa.RecordBatch:
    """The batch with another text column."""
    place = docs.schema.get_field_index("text")
    return docs.set_column(place, docs.schema.field(place), text)


def replay(
    steps: Iterable[Step], docs: pa.RecordBatch, answer: Callable[[int, Whole, pa.RecordBatch, np.ndarray], np.ndarray]
) -> tuple[pa.RecordBatch, pa.StringArray]:
    """The steps on a batch, one after another.

    answer   of the exchange, to the n-th of the steps that must see the whole source: answer(n, step, left, rows)
             gives bool [left], which documents stay, to a FirstKept, and its sorted frequent keys to a RareLines.
             left are the documents that are left when the step comes, rows int64 [left] their places in the batch
    returns  every document as it was when it was removed, or at the end; and its reason, null = stays
    """
    reasons = np.full(docs.num_rows, None, object)
    left, rows = docs, np.arange(docs.num_rows)
    parts = []
    asked = 0
    for step in steps:
        if isinstance(step, Later):
            continue
        if isinstance(step, Map):
            left = with_text(left, step.text(left))
            continue
        given = answer(asked, step, left, rows) if isinstance(step, Whole) else np.empty(0)
        asked += isinstance(step, Whole)
        if isinstance(step, RareLines):
            left = with_text(left, step.drop(left.column("text"), given))
            continue
        if isinstance(step, Joined):
            left, keep = step.join(left)
        else:
            keep = step.keep(left) if isinstance(step, Filter) else given
        if not keep.all():
            reasons[rows[~keep]] = step.reason
            parts.append((rows[~keep], left.filter(pa.array(~keep))))
            left, rows = left.filter(pa.array(keep)), rows[keep]
    parts.append((rows, left))
    return _in_order(parts), pa.array(reasons, pa.string())


def _in_order(parts: Sequence[tuple[np.ndarray, pa.RecordBatch]]) -> pa.RecordBatch:
    """The documents of all parts by their row."""
    if len(parts) == 1:
        return parts[0][1]
    order = np.argsort(np.concatenate([rows for rows, _ in parts]))
    table = pa.Table.from_batches([docs for _, docs in parts]).combine_chunks().take(pa.array(order))
    return table.combine_chunks().to_batches()[0] if len(order) else parts[0][1]


def run(steps: Iterable[Step], docs: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.StringArray]:
    """All steps on one whole source.

    returns the documents that stay, in order, and for every document given its reason, null = stays
    """
    docs, reasons = replay(steps, docs, _own_answer)
    return docs.filter(pc.is_null(reasons)), reasons


def _own_answer(asked: int, step: Whole, left: pa.RecordBatch, rows: np.ndarray) -> np.ndarray:
    if isinstance(step, FirstKept):
        return lines.first_of_each(*step.keys(left))
    return lines.frequent(step.keys(left.column("text")), step.frequent_from(left.num_rows))


def _text(docs: pa.RecordBatch) -> pa.StringArray:
    return docs.column("text")


def _meta(docs: pa.RecordBatch, key: str) -> list[str | None]:
    """The string under one key of each document's metadata; None where there is none or it is no string."""
    values = (orjson.loads(meta).get(key) for meta in docs.column("meta").to_pylist())
    return [value if isinstance(value, str) else None for value in values]


def _keyed(keys: Callable[[pa.StringArray], np.ndarray]) -> Callable[[pa.RecordBatch], tuple[np.ndarray, np.ndarray]]:
    """Keys of the texts; every document has one."""
    return lambda docs: (keys(_text(docs)), np.ones(docs.num_rows, bool))


def _url_key(cut: Callable[[str], str]) -> Callable[[pa.RecordBatch], tuple[np.ndarray, np.ndarray]]:
    def keys(docs: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
        urls = _meta(docs, "url")
        cut_urls = pa.array(["" if url is None else cut(url) for url in urls], pa.string())
        return exact.text_keys(cut_urls), np.array([url is not None for url in urls], bool)

    return keys


def _before_query(url: str) -> str:
    return url.partition("?")[0]


def _before_amp(url: str) -> str:
    return url.partition("?")[0].partition("/amp")[0]


def _bytes_min(size: int) -> Callable[[pa.RecordBatch], np.ndarray]:
    return lambda docs: np.diff(utf8.view(_text(docs))[1]) >= size


def _without_lines(*marks: str) -> Callable[[pa.RecordBatch], pa.StringArray]:
    return lambda docs: lines.without(_text(docs), marks)


def _not_user_page(docs: pa.RecordBatch) -> np.ndarray:
    return np.array([title is None or not title.startswith("User ") for title in _meta(docs, "title")], bool)


def _is_of_a_language(docs: pa.RecordBatch) -> np.ndarray:
    paths = zip(_meta(docs, "path"), _text(docs).to_pylist(), strict=True)
    return np.array([code.language(path or "", text) is not None for path, text in paths], bool)


def _is_text(docs: pa.RecordBatch) -> np.ndarray:
    return np.array([kind == "text" for kind in _meta(docs, "type")], bool)


PIECE_ID = re.compile(r"(?P<document>.*)_id_(?P<number>\d{1,18})", re.DOTALL | re.ASCII)


def _recordings(docs: pa.RecordBatch) -> tuple[pa.RecordBatch, np.ndarray]:
    """The pieces of each recording in the row of its first one, ordered by number, joined by "\\n"; the metadata
    become the recording's id. A document whose meta.id is no piece's stays as it is.

    Departure: recordings stand in the order of their first pieces, the original sorts them by id.
    """
    pieces: dict[str, list[tuple[int, int]]] = {}
    keep = np.ones(docs.num_rows, bool)
    for row, identity in enumerate(_meta(docs, "id")):
        if identity is not None and (piece := PIECE_ID.fullmatch(identity)):
            pieces.setdefault(piece["document"], []).append((int(piece["number"]), row))
            keep[row] = False
    texts, metas = docs.column("text").to_pylist(), docs.column("meta").to_pylist()
    for document, members in pieces.items():
        ordered = [row for _, row in sorted(members)]
        first = ordered[0]
        joined = "\n".join(texts[row] for row in ordered)
        keep[first] = True
        texts[first], metas[first] = joined, orjson.dumps({"id": document}).decode()
    place = docs.schema.get_field_index("meta")
    docs = docs.set_column(place, docs.schema.field(place), pa.array(metas, pa.string()))
    return with_text(docs, pa.array(texts, pa.string())), keep


def _without_references(code: str, ratio_min: float) -> Callable[[pa.RecordBatch], pa.StringArray]:
    """Cut what follows the last line of running text: one with more than `ratio_min` stop words among its words."""
    return lambda docs: pa.array(
        [_running_text(text, stopwords.stopwords(code) or frozenset(), ratio_min) for text in _text(docs).to_pylist()],
        pa.string(),
    )


def _running_text(text: str, stop: frozenset[str], ratio_min: float) -> str:
    end = len(text)
    while end >= 0:
        begin = text.rfind("\n", 0, end) + 1
        words = text[begin:end].split()
        if sum(word in stop for word in words) > ratio_min * len(words):
            return text[:end]
        end = begin - 1
    return ""


def _sentences(language: str) -> Callable[[pa.RecordBatch], pa.StringArray]:
    return lambda docs: segment.sentences(_text(docs), language)


# clean_helpers, remove_references: minima of the stop word ratio, by language (`zh`: simplified characters here)
REFERENCES_STOPWORD_RATIO = {
    "ar": 0.07,
    "bn": 0.002,
    "ca": 0.25,
    "en": 0.3,
    "es": 0.4,
    "eu": 0.05,
    "fr": 0.27,
    "hi": 0.01,
    "id": 0.15,
    "pt": 0.2,
    "ur": 0.01,
    "vi": 0.08,
    "zh": 0.1691,
}
# clean_helpers, split_sentences: the languages, by the library that did it
SENTENCE_SPLITTERS = {
    "nltk_punkt": ("en", "fr", "pt", "es"),
    "stanza": ("ar", "ca", "eu", "id", "zhs", "zht"),
    "indic_nlp": tuple(f"indic-{code}" for code in ("bn", "gu", "hi", "kn", "ml", "mr", "pa", "ta", "te")),
    "underthesea": ("vi",),
}
PIECES_MIN = 15  # clean_helpers, filter_small_docs: pieces when parted at each space
WIKTIONARY_NOTICES = (  # clean_helpers, strip_substrings: in this order, the first that fits wins
    "This entry needs pronunciation information",
    "Please try to find a suitable image on Wikimedia Commons or upload one there yourself!This entry "
    "needs pronunciation information",
    "You may continue to edit this entry while the discussion proceeds, but please mention significant "
    "edits at the RFD discussion and ensure that the intention of votes already cast is not left unclear",
    "This entry is part of the phrasebook project, which presents criteria for inclusion based on "
    "utility, simplicity and commonality",
    "If you are a native speaker with a microphone, please record some and upload them",
    "If you are familiar with the IPA then please add some!",
    "Feel free to edit this entry as normal, but do not remove {{rfv}} until the request has been resolved",
    "This entry needs quotations to illustrate usage",
    "If you are familiar with the IPA then please add some!This entry needs audio files",
    "Please see that page for discussion and justifications",
    "If you are familiar with the IPA or enPR then please add some!A user has added this entry to "
    "requests for verification(+) If it cannot be verified that this term meets our attestation criteria,"
    " it will be deleted",
    "This entry needs a photograph or drawing for illustration",
    "A user has added this entry to requests for deletion(+)",
    "Do not remove the {{rfd}} until the debate has finished",
    "This entry needs audio files",
    "If you come across any interesting, durably archived quotes then please add them!This entry is part "
    "of the phrasebook project, which presents criteria for inclusion based on utility, simplicity and "
    "commonality",
    "(For audio required quickly, visit WT:APR)",
)

_ALL: tuple[Step, ...] = (
    Joined(
        "concatenate_lm_fr_ester", _recordings, "joined_to_its_recording", "maps: meta.id is <document>_id_<number>"
    ),
    FirstKept(
        "dedup_document",
        _keyed(exact.document_keys),
        "duplicate_document",
        "dedup: less white space, digits, ASCII punctuation",
    ),
    FirstKept("dedup_document_on_url", _url_key(_before_query), "duplicate_url", "dedup: meta.url before '?'"),
    FirstKept(
        "dedup_document_on_url_lm_es_pseudocrawl-filtered_341_es_cointelegraph_com",
        _url_key(_before_amp),
        "duplicate_url",
        "dedup: meta.url before '/amp' or '?'",
    ),
    RareLines("dedup_template_soft", 15, 10, "template_line", "dedup: 15 characters, 10 occurrences"),
    RareLines("dedup_pseudocrawl_newspapers", 0, 2, "template_line", "dedup: no length, 2 occurrences"),
    Filter(
        "filter_remove_empty_docs",
        lambda docs: lines.has_text(_text(docs)),
        "empty_text",
        "filters: stripped",
    ),
    Filter(
        "filter_small_docs",
        lambda docs: lines.spaces(_text(docs)) + 1 >= PIECES_MIN,
        "too_few_words",
        "filters",
    ),
    Filter("filter_small_docs_bytes_300", _bytes_min(300), "too_few_bytes", "filters: UTF-8 bytes"),
    Filter("filter_small_docs_bytes_1024", _bytes_min(1024), "too_few_bytes", "filters: UTF-8 bytes"),
    Filter("filter_wiki_non_text_type", _is_text, "wiki_non_text", "filters: meta.type is 'text'"),
    Filter("filter_wiki_user_titles", _not_user_page, "wiki_user_page", "filters: meta.title begins with 'User '"),
    Map("remove_html_spans", _without_lines("<span", "</span>", "<div", "</div>", "<a", "</a>", "br>"), "maps"),
    Map(
        "remove_html_spans_sanad",
        _without_lines(
            "<img", "]]>", "<![CDATA", "//DW", "var ", "xtImg", "To view this video please enable JavaScript"
        ),
        "maps",
    ),
    Map("remove_lines_with_code", _without_lines("{", "}", "[if", "<script"), "maps"),
    Map("remove_wiki_mojibake", _without_lines("À À"), "maps"),
    Map("replace_newline_with_space", lambda docs: lines.joined_by_spaces(_text(docs)), "maps"),
    Map(
        "strip_substrings_en_wiktionary",
        lambda docs: lines.stripped_of(_text(docs), WIKTIONARY_NOTICES),
        "maps",
    ),
    *(
        Map(f"remove_references_{code}", _without_references("zhs" if code == "zh" else code, ratio), "maps")
        for code, ratio in REFERENCES_STOPWORD_RATIO.items()
    ),
    *(
        Map(f"split_sentences_{language}", _sentences(language), f"maps: {splitter}; roots.segment says what differs")
        for splitter, split in SENTENCE_SPLITTERS.items()
        for language in split
    ),
    # the pseudo-crawl before it is parted by language: data-preparation, sourcing/cc_pseudo_crawl/python_scripts
    Map("extract_html_text", lambda docs: html.texts(_text(docs)), "extract_text/; roots.html says what differs"),
    FirstKept("dedup_text", _keyed(exact.text_keys), "duplicate_text", "preprocess_dataset.py: distinct pages"),
    RareLines(
        "dedup_seed_lines",
        0,
        11,
        "template_line",
        "preprocess_dataset.py: on more than 10 pages and more than 1 % of them; there of 10,000 pages at most",
        once_a_document=True,
        share_max=0.01,
    ),
    Filter(
        "filter_small_docs_chars_33",
        lambda docs: np.asarray(pc.greater_equal(pc.utf8_length(_text(docs)), 33)),
        "too_few_characters",
        "preprocess_dataset.py: above 32",
    ),
    FirstKept(
        "dedup_text_without_spaces",
        _keyed(exact.spaceless_keys),
        "duplicate_text",
        "preprocess_dataset.py; processing.py",
    ),
    Map(
        "dedup_lines_in_document",
        lambda docs: lines.without_repeats(_text(docs)),
        "doc_by_doc_line_dedup.py; there lines are not stripped",
    ),
    # source code: data-preparation, sourcing/code_dataset/processing.py
    Filter(
        "filter_code_longest_line", lambda docs: code.has_no_overlong_line(_text(docs)), "overlong_line", "first test"
    ),
    Filter(
        "filter_code_shape", lambda docs: code.has_shape_of_code(_text(docs)), "not_shaped_like_code", "second test"
    ),
    Filter(
        "filter_code_licence",
        lambda docs: code.is_free_of_gpl(_meta(docs, "license")),
        "gpl_licence",
        "README.md: what was meant",
    ),
    Filter(
        "filter_code_licence_as_published",
        lambda docs: code.is_gpl_as_published(_meta(docs, "license")),
        "not_gpl_licence",
        "processing.py: what was done",
    ),
    Filter(
        "filter_code_language", _is_of_a_language, "no_known_extension", "query.sql: 25 extensions; here .c, .h too"
    ),
    Map(
        "oscar_document_modification",
        lambda docs: web_text.modified(_text(docs), docs.column("language")),
        "01b_oscar_cleaning_and_filtering, filtering.py",
    ),
    Later("oscar_quality_filters", "annotate", "01b_oscar_cleaning_and_filtering, filtering.py"),
    Later("simhash_near_dedup", "dedup", "01b_oscar_cleaning_and_filtering, deduplicate/; there SimHash"),
    Later("suffix_array_substring_dedup", "dedup", "01b_oscar_cleaning_and_filtering, deduplicate/"),
)
STEPS: Mapping[str, Step] = MappingProxyType({step.name: step for step in _ALL})
