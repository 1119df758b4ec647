"""The named cleaning steps of the catalogue: what each does to the documents of one source.

A recipe is an ordered list of names. `parse` turns it into steps of four kinds, which the pipeline applies
one after another: a Map changes each text, a Filter removes documents one by one, and FirstKept and RareLines
must see the keys of the whole source first (the exchange gathers them). `run` does all four on a source held
in memory.

Departure: where the original empties the text of a duplicate and leaves it to a later filter to drop the row,
we remove the document at once, with its reason. What stays is the same wherever an empty-document filter
follows, as it does in every recipe that has such a step. A Map or RareLines may still leave a text empty.

source  BigScience data-preparation, 01a_catalogue_cleaning_and_filtering, clean.py and clean_helpers/
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import orjson
import pyarrow as pa

from roots import exact, lines, utf8


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
    """Lines that occur at least `count_min` times in a source are deleted, all of them; the others are
    stripped.

    Counted are lines of at least `chars_min` code points when stripped, repeats within a document included.
    `reason` names what is deleted, for the counts of lines.
    """

    name: str
    chars_min: int
    count_min: int
    reason: str
    source: str

    def keys(self, text: pa.StringArray) -> np.ndarray:
        """uint64 [lines, 2]: the key of each line that counts, once per occurrence, in order."""
        keys, _, chars, _ = exact.line_keys(text)
        return keys[chars >= self.chars_min]

    def drop(self, text: pa.StringArray, frequent: np.ndarray) -> pa.StringArray:
        """The documents without the lines whose key is in `frequent`, the other lines stripped, joined by
        "\\n".

        frequent  uint64 [keys, 2], sorted by its first column, then its second
        """
        keys, line_offsets, chars, spans = exact.line_keys(text)
        keep = (chars < self.chars_min) | ~lines.among(keys, frequent)
        return exact.join_lines(text, spans, line_offsets, keep)


Step = Map | Filter | FirstKept | RareLines


def implemented(names: Iterable[str]) -> bool:
    """Whether every name is a step of this module."""
    return all(name in STEPS for name in names)


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


def run(steps: Iterable[Step], docs: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.StringArray]:
    """All steps on one whole source.

    returns the documents that stay, in order, and for every document given its reason, null = stays
    """
    reasons = np.full(docs.num_rows, None, object)
    rows = np.arange(docs.num_rows)
    for step in steps:
        if isinstance(step, Map):
            docs = with_text(docs, step.text(docs))
        elif isinstance(step, RareLines):
            text = docs.column("text")
            docs = with_text(docs, step.drop(text, lines.frequent(step.keys(text), step.count_min)))
        else:
            keep = step.keep(docs) if isinstance(step, Filter) else lines.first_of_each(*step.keys(docs))
            reasons[rows[~keep]] = step.reason
            rows, docs = rows[keep], docs.filter(pa.array(keep))
    return docs, pa.array(reasons, pa.string())


def _text(docs: pa.RecordBatch) -> pa.StringArray:
    return docs.column("text")


def _meta(docs: pa.RecordBatch, key: str) -> list[str | None]:
    """The string under one key of each document's metadata; None where there is none or it is no string."""
    values = (orjson.loads(meta).get(key) for meta in docs.column("meta").to_pylist())
    return [value if isinstance(value, str) else None for value in values]


def _document_key(docs: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
    return exact.document_keys(_text(docs)), np.ones(docs.num_rows, bool)


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


def _is_text(docs: pa.RecordBatch) -> np.ndarray:
    return np.array([kind == "text" for kind in _meta(docs, "type")], bool)


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
    FirstKept(
        "dedup_document",
        _document_key,
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
)
STEPS: Mapping[str, Step] = MappingProxyType({step.name: step for step in _ALL})
