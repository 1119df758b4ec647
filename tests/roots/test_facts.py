"""roots/facts.py: counts that add up, in any order, and a run that accounts for every document."""

import dataclasses
import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roots import facts, schema

TEXTS = ["", "a", "ab", "héllo", "你好，世界", "x" * 1023, "x" * 1024]


def corpus_batch() -> pa.RecordBatch:
    """Five documents with the columns of the corpus; their facts are worked out by hand below."""
    texts = ["", "abc", "é", "sawa sawa", "x" * 300]
    columns = {
        "id": [f"s/{i}" for i in range(5)],
        "source": ["s"] * 5,
        "language": ["en"] * 5,
        "text": texts,
        "meta": ["{}"] * 5,
        "lang_label": ["en", "en", None, "sw", "other"],
        "word_count": [0, 1, 1, 2, 1],
        "char_repetition_ratio": [0.0, 0.05, 0.0499, 1.0, None],
        "word_repetition_ratio": [None] * 5,
        "special_char_ratio": [0.5, 0.5, 0.5, 0.5, float("nan")],
        "stopword_ratio": [0.99, 0.0, 0.0, 0.0, 0.0],
        "flagged_word_ratio": [None] * 5,
        "lang_score": [0.1, 0.25, 0.26, 1.0, 0.9],
        "perplexity": [1.0, 2.0, 1023.9, 1024.0, None],
        "pii_count": [0, 0, 2, 1, 0],
    }
    return pa.RecordBatch.from_pydict(columns, schema=schema.CORPUS)


def count() -> st.SearchStrategy[int]:
    return st.integers(0, 10**15)


@st.composite
def any_facts(draw: st.DrawFn) -> facts.Facts:
    lengths = draw(st.dictionaries(st.sampled_from(["0", "1", "9", "10", "31"]), count()))
    tags = draw(st.dictionaries(st.sampled_from(["EMAIL", "USER"]), count()))
    return facts.Facts(
        documents=sum(lengths.values()),
        text_bytes=draw(count()),
        code_points=draw(count()),
        pii_documents=draw(count()),
        pii_spans=sum(tags.values()) + draw(count()),
        lengths=lengths,
        pii_tags=tags,
        lang_labels=draw(st.dictionaries(st.sampled_from(["en", "sw", "other"]), count())),
        measures=draw(st.dictionaries(st.sampled_from(["word_count", "lang_score"]), st.just({"3": 1}))),
    )


def test_facts_of_a_corpus_batch_equal_those_counted_by_hand():
    assert facts.Facts.of(corpus_batch(), {"EMAIL": 2, "KEY": 1}) == facts.Facts(
        documents=5,
        text_bytes=0 + 3 + 2 + 9 + 300,
        code_points=0 + 3 + 1 + 9 + 300,
        pii_documents=2,
        pii_spans=3,
        pii_tags={"EMAIL": 2, "KEY": 1},
        lengths={"0": 1, "2": 2, "4": 1, "9": 1},
        lang_labels={"en": 2, "not_asked": 1, "sw": 1, "other": 1},
        measures={
            "word_count": {"0": 1, "1": 3, "2": 1},
            "char_repetition_ratio": {"0": 2, "1": 1, "19": 1, "null": 1},
            "word_repetition_ratio": {"null": 5},
            "special_char_ratio": {"10": 4, "null": 1},
            "stopword_ratio": {"19": 1, "0": 4},
            "flagged_word_ratio": {"null": 5},
            "lang_score": {"2": 1, "5": 2, "19": 1, "18": 1},
            "perplexity": {"1": 1, "2": 1, "10": 1, "11": 1, "null": 1},
        },
    )


def test_a_document_of_a_power_of_two_bytes_opens_a_new_bin():
    found = facts.Facts.of(schema.documents([str(i) for i in range(len(TEXTS))], "s", "en", TEXTS))
    assert found.lengths == {"0": 1, "1": 1, "2": 1, "3": 1, "4": 1, "10": 1, "11": 1}
    assert (found.text_bytes, found.code_points) == (
        0 + 1 + 2 + 6 + 15 + 1023 + 1024,
        0 + 1 + 2 + 5 + 5 + 1023 + 1024,
    )
    assert found.lang_labels == {} and found.measures == {} and found.pii_spans == 0


def test_extensions_are_counted_for_code_only_and_their_case_matters():
    paths = ["a/b.py", "x.C", "x.c", "x.H", "no_extension", 'q\\"uote.v1.rs', "readme.md", "a.tar.go"]
    metas = [json.dumps({"lang": "x", "path": path}) for path in paths] + ["{}"]
    batch = schema.documents([str(i) for i in range(9)], "s", "code", ["x"] * 9, metas)
    assert facts.Facts.of(batch).extensions == {"py": 1, "C": 1, "c": 1, "H": 1, "rs": 1, "go": 1, "other": 3}
    assert facts.Facts.of(schema.documents(["0"], "s", "en", ["x"], metas[:1])).extensions == {}


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_facts_are_the_same_for_any_split_of_the_batch(size):
    batch = corpus_batch()
    parts = [facts.Facts.of(batch.slice(start, size)) for start in range(0, len(batch), size)]
    assert facts.total(parts) == facts.total(reversed(parts)) == facts.Facts.of(batch)


def test_facts_of_no_document_are_zero():
    empty = facts.Facts.of(schema.documents([], "s", "code", []))
    assert empty == facts.Facts.zero() == facts.total([])


@given(any_facts(), any_facts(), any_facts())
def test_sums_do_not_depend_on_order_or_grouping(a, b, c):
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + facts.Facts.zero() == a


@given(any_facts())
def test_facts_survive_json(found):
    assert facts.Facts.from_json(facts.dump(found)) == found
    assert facts.Facts.from_json(found.to_json()) == found


def test_equal_facts_give_equal_text():
    a, b = facts.Facts(lang_labels={"en": 1, "sw": 2}), facts.Facts(lang_labels={"sw": 2, "en": 1})
    assert facts.dump(a) == facts.dump(b)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"documents": -1}, "facts: documents is -1, expected a whole number of at least 0"),
        ({"text_bytes": 1.0}, "facts: text_bytes is 1.0, expected a whole number of at least 0"),
        ({"measures": {"word_count": {"1": None}}}, "facts: measures.word_count.1 is None, expected"),
        ({"documents": 3, "lengths": {"1": 2}}, "facts: lengths count 2 documents, but there are 3"),
        ({"pii_tags": {"EMAIL": 2}, "pii_spans": 1}, "facts: pii_tags count 2 spans, but there are 1"),
    ],
)
def test_counts_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        facts.Facts(**fields)


def test_tags_must_count_the_spans_of_the_batch():
    with pytest.raises(ValueError, match="facts: pii_tags count 2 spans, but column pii_count has 3"):
        facts.Facts.of(corpus_batch(), {"EMAIL": 2})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "facts: not JSON: "),
        ("[]", "facts: expected a JSON object, got list"),
        ('{"document": 1}', "Facts: unknown key 'document'; known: code_points, documents"),
    ],
)
def test_text_that_holds_no_facts_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        facts.Facts.from_json(text)


def run(**changes: object) -> facts.SourceRun:
    """Ten records in, six documents kept."""
    fields = {
        "source": "lm_en_x",
        "language": "en",
        "stages": (
            facts.StageCounts(name="ingest", documents_in=10, kept=9, rejected={"not_json": 1}),
            facts.StageCounts(
                name="redact", documents_in=9, kept=6, removed={"exact": 2, "near": 1}, text_bytes_kept=60
            ),
        ),
        "corpus": facts.Facts(documents=6, text_bytes=60, lengths={"4": 6}),
        "duplicates": facts.Duplicates.of(2, 1, {"lm_en_y": 2, "lm_en_x": 1}),
        "steps": ("dedup_document",),
        "language_note": "passed on provenance",
    }
    return facts.SourceRun(**(fields | changes))


def test_a_run_that_conserves_adds_up_over_its_stages():
    assert (run().documents_in, run().removed, run().rejected) == (
        10,
        {"exact": 2, "near": 1},
        {"not_json": 1},
    )


def test_a_run_survives_json_with_its_witnesses_in_order():
    back = facts.SourceRun.from_json(facts.dump(run()))
    assert back == run() and list(back.duplicates.witnesses) == ["lm_en_y", "lm_en_x"]
    assert facts.SourceRun.from_json(run().to_json()) == run()


def test_ten_witnesses_are_kept_and_ties_go_to_the_smaller_name():
    found = facts.Duplicates.of(12, 0, dict.fromkeys("lkjihgfedcba", 1))
    assert list(found.witnesses) == list("abcdefghij")


LOST = (facts.StageCounts(name="ingest", documents_in=10, kept=8, rejected={"not_json": 1}),)
GAP = (
    facts.StageCounts(name="ingest", documents_in=10, kept=10),
    facts.StageCounts(name="clean", documents_in=9, kept=9),
)
NEGATIVE = (facts.StageCounts(name="ingest", documents_in=10, kept=11, removed={"x": -1}),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ()}, "run of lm_en_x: no stage; a run has at least one"),
        ({"stages": LOST}, r"stage ingest: 10 documents in, but 8 kept \+ 0 removed \+ 1 rejected = 9"),
        ({"stages": GAP}, "stage ingest kept 10 documents, but stage clean took in 9"),
        ({"stages": NEGATIVE}, "run of lm_en_x, stage ingest: a count is negative"),
        ({"corpus": facts.Facts(documents=6, text_bytes=61, lengths={"4": 6})},
         "stage redact kept 6 documents with 60 bytes, but the facts of the corpus count 6 with 61"),
        ({"duplicates": facts.Duplicates(exact=2, near=2)},
         "2 exact and 2 near duplicates, but only 3 documents were removed in all stages"),
    ],
)  # fmt: skip
def test_a_run_that_loses_a_document_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        run(**changes)


def test_a_run_without_a_field_is_refused():
    text = json.dumps({key: value for key, value in run().to_json().items() if key != "source"})
    with pytest.raises(ValueError, match=r"SourceRun: .*missing 1 required keyword-only argument: 'source'"):
        facts.SourceRun.from_json(text)


@pytest.mark.parametrize(
    ("k", "expected"),
    [(0, "0"), (1, "1 B"), (10, "512 B"), (11, "1 KiB"), (12, "2 KiB"), (21, "1 MiB"), (31, "1 GiB")],
)
def test_a_bin_is_named_by_its_smallest_size(k, expected):
    assert facts.size(k) == expected


def test_no_fact_holds_the_text_of_a_document():
    batch = corpus_batch()
    assert "sawa" not in facts.dump(facts.Facts.of(batch))
    assert {field.type for field in dataclasses.fields(facts.Facts)} == {
        "int",
        "Counts",
        "Mapping[str, Counts]",
    }
