"""roots/corpus_card.py: the card of a corpus, its totals and its shares beside the published ones."""

import re

import pytest

from roots import corpus_card, facts, hub, languages


def run(source: str, language: str | None, documents: int, extensions: dict[str, int] | None = None) -> facts.SourceRun:
    """Of `documents` + 3 records one is rejected and two are removed; each document kept has 100 bytes."""
    return facts.SourceRun(
        source=source,
        language=language,
        stages=(
            facts.StageCounts(
                name="ingest", documents_in=documents + 3, kept=documents + 2, rejected={"not_json": 1}
            ),
            facts.StageCounts(
                name="redact", documents_in=documents + 2, kept=documents, removed={"near_duplicate": 2},
                text_bytes_kept=100 * documents,
            ),
        ),
        corpus=facts.Facts(
            documents=documents, text_bytes=100 * documents, lengths={"7": documents} if documents else {},
            pii_spans=1, pii_documents=1, pii_tags={"KEY": 1}, extensions=extensions or {},
        ),
    )  # fmt: skip


RUNS = [
    run("lm_en_a", "en", 50),
    run("lm_nigercongo-sw_b", "nigercongo-sw", 30),
    run("lm_indic-hi_c", "indic-hi", 12),
    run("lm_code_d", "code", 6, {"py": 3, "C": 1, "h": 1, "other": 1}),
    run("pages", None, 2),
]
PAGE = corpus_card.render(RUNS)


def table(name: str) -> list[list[str]]:
    rows = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    body = next(row for row in rows if row.startswith(f"{name}\n"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines() if line[:1] == "|"][2:]


def test_the_front_matter_lists_each_language_once_and_is_valid():
    front_matter, _ = hub.split(PAGE)
    assert hub.problems(front_matter) == []
    assert front_matter["language"] == ["code", "en", "hi", "sw"] and "language_bcp47" not in front_matter


def test_chinese_is_one_language_in_two_scripts():
    front_matter, _ = hub.split(corpus_card.render([run("a", "zhs", 1), run("b", "zht", 1)]))
    assert (front_matter["language"], front_matter["language_bcp47"]) == (["zh"], ["zh-Hans", "zh-Hant"])


def test_totals_conserve():
    rows = table("Every record is accounted for")
    assert rows[:3] == [
        ["ingest", "115", "110", "0", "5"],
        ["redact", "110", "100", "10", "0"],
        ["**all**", "115", "100", "10", "5"],
    ]
    assert ["removed", "`near_duplicate`", "10", "8.70 %"] in rows and [
        "rejected",
        "`not_json`",
        "5",
        "4.35 %",
    ] in rows


def test_the_language_table_has_a_row_for_each_language_and_adds_up():
    rows = table("Languages")
    assert len(rows) == 46 + 1 + 1 + 1  # natural, code, not stated, all
    assert rows[0] == [
        "English",
        "`en`",
        "Indo-European",
        "50",
        "5,000",
        "50.00 %",
        "484,953,009,124",
        "30.04 %",
    ]
    assert rows[-2] == ["Language not stated", "", "", "2", "200", "2.00 %", "", ""]
    assert rows[-1] == ["**all**", "", "", "100", "10,000", "100.00 %", "1,614,479,114,961", "100.00 %"]
    for column, total in ((3, 100), (4, 10_000), (6, languages.PUBLISHED_BYTES)):
        assert sum(int(row[column].replace(",", "") or 0) for row in rows[:-1]) == total


def test_the_tables_of_the_model_card_stand_beside_the_run():
    niger_congo, indic = table("Niger-Congo languages"), table("Indic languages")
    assert (len(niger_congo), len(indic)) == (22, 13)
    swahili = ["Swahili", "`nigercongo-sw`", "3,000", "30.00 %", "236,482,543", "0.015 %", "0.02 %"]
    hindi = ["Hindi", "`indic-hi`", "1,200", "12.00 %", "24,622,119,985", "1.53 %", "0.7 %"]
    assert (niger_congo[0], indic[0]) == (swahili, hindi)


def test_programming_languages_are_counted_by_extension():
    rows = table("Programming languages")
    assert len(rows) == 25 + 2 + 1
    assert ["Python", "`.py`", "3", "2,435,072"] in rows and ["C", "`.C`", "1", "134,537"] in rows
    assert ["C, C++", "`.h`", "1", "not asked for"] in rows and rows[-1][2] == "1"


def test_the_page_does_not_depend_on_the_order_of_the_runs():
    assert corpus_card.render(RUNS[::-1]) == PAGE


def test_a_corpus_of_nothing_has_no_plot():
    page = corpus_card.render([run("a", None, 0)])
    assert "![" not in page and hub.problems(hub.split(page)[0]) == []


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([], "corpus card: no run; expected at least one"),
        ([RUNS[0], RUNS[0]], "corpus card: two runs of lm_en_a; expected"),
    ],
)
def test_runs_that_make_no_corpus_are_refused(runs, message):
    with pytest.raises(ValueError, match=message):
        corpus_card.render(runs)
