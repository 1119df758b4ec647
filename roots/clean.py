"""The named cleaning steps of the catalogue: what each does to the documents of one source.

A recipe is an ordered list of names; `parse` turns it into steps.

source  BigScience data-preparation, 01a_catalogue_cleaning_and_filtering, clean.py and clean_helpers/
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from roots import code, exact, html, lines, segment, stopwords, utf8, web_text
from roots.step_kinds import Filter, FirstKept, Joined, Later, Map, RareLines, Step, with_text


def parse(names: Sequence[str]) -> tuple[Step, ...]:
    """The steps of a recipe, in its order.

    raises  ValueError for a name that is not in STEPS, with the nearest that is
    """
    for place, name in enumerate(names, 1):
        if name not in STEPS:
            nearest = difflib.get_close_matches(name, STEPS, n=1, cutoff=0.0)[0]
            raise ValueError(f"cleaning step {place}, {name!r}, is not implemented; the nearest that is: {nearest!r}")
    return tuple(STEPS[name] for name in names)


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
    RareLines(
        "dedup_template_paragraph",
        15,
        10,
        "template_paragraph",
        "ours: dedup_template_soft by paragraphs",
        paragraphs=True,
    ),
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
