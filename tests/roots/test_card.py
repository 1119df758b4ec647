"""roots/card.py and roots/statements.py: cards that the hub accepts and that agree with themselves."""

import re
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard, DatasetCardData

from roots import card, catalogue, facts, hub

CARDS = {source.name: card.render(source) for source in catalogue.load()}


def run(source: str = "lm_en_wikiquote_filtered", language: str | None = "en", **changes: object) -> facts.SourceRun:
    """1,000 records in, 800 documents kept; most numbers appear once, so that figures can be told apart."""
    stages = (
        facts.StageCounts(
            name="ingest", documents_in=1_000, kept=993, rejected={"invalid_utf8": 7},
            text_bytes_in=90_001, text_bytes_kept=90_000,
        ),
        facts.StageCounts(
            name="clean", documents_in=993, kept=900, removed={"filter_small_docs_bytes_1024": 93},
            text_bytes_in=90_000, text_bytes_kept=85_000,
        ),
        facts.StageCounts(
            name="redact", documents_in=900, kept=800, removed={"exact_duplicate": 41, "near_duplicate": 59},
            text_bytes_in=85_000, text_bytes_kept=80_123,
        ),
    )  # fmt: skip
    fields = {
        "source": source,
        "language": language,
        "stages": stages,
        "corpus": facts.Facts(
            documents=800, text_bytes=80_123, code_points=79_111, pii_documents=13, pii_spans=17,
            lengths={"6": 300, "7": 450, "9": 50}, lang_labels={"en": 789, "other": 11},
            pii_tags={"EMAIL": 12, "USER": 5},
        ),
        "duplicates": facts.Duplicates.of(41, 59, {"lm_en_book": 60, "lm_en_wikiquote_filtered": 40}),
        "steps": ("dedup_document", "filter_small_docs_bytes_1024"),
    }  # fmt: skip
    return facts.SourceRun(**(fields | changes))


def section(text: str, name: str) -> str:
    return re.split(r"^##+ ", text.split(f" {name}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def test_every_card_of_the_catalogue_is_valid():
    found = {name: card.validate(text) for name, text in CARDS.items()}
    assert len(found) == 498
    assert {name: problems for name, problems in found.items() if problems} == {}


def test_every_card_is_read_by_the_hubs_own_parser_as_we_wrote_it():
    for name, text in CARDS.items():
        ours, body = hub.split(text)
        theirs = DatasetCard(text, ignore_metadata_errors=False)
        assert theirs.data.to_dict() == ours, name
        assert theirs.text == body, name
        assert DatasetCardData(**ours).to_dict() == ours, name


def test_cards_stay_compact():
    lines = {name: len(text.splitlines()) for name, text in CARDS.items()}
    assert min(lines.values()) >= 40 and max(lines.values()) <= 90


def test_every_card_says_that_no_run_has_processed_it_and_has_no_plot():
    for name, text in CARDS.items():
        assert "No run of this project has processed this source." in text, name
        assert "![" not in text and "Processing by this project" not in text, name


def test_no_card_lists_a_mark_or_a_sentence_as_a_step():
    for name, text in CARDS.items():
        steps = re.findall(r"^\| \d+ \| `(.*?)` \|", text, re.MULTILINE)
        assert steps == list(catalogue.find(name).steps), name
        assert "KILL" not in text, name


def test_the_licence_tag_never_comes_from_an_inference():
    for source in catalogue.load():
        front_matter, _ = hub.split(CARDS[source.name])
        if not source.licence:
            assert front_matter["license"] == "unknown", source.name
            assert "No licence statement was found." in CARDS[source.name], source.name
        if source.licence_inferred:
            assert f"Inference, not a statement: it may be `{source.licence_inferred}`" in CARDS[source.name]


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("lm_id_indo4b_jw300", "cc-by-nc-sa-4.0", "mit"),
        ("lm_indic-bn_indic_nlp_corpus", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"),
        ("lm_ca_viquiquad", "cc-by-nc-sa-4.0", "cc-by-sa-4.0"),
    ],
)
def test_where_records_disagree_the_card_shows_both_and_tags_neither(name, one, other):
    front_matter, _ = hub.split(CARDS[name])
    assert (front_matter["license"], front_matter["license_name"]) == ("other", "conflicting-statements")
    licence = section(CARDS[name], "Licence")
    assert f"states `{one}`" in licence and f"states `{other}`" in licence


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lm_en_wikiquote_filtered", {"language": ["en"], "license": "unknown"}),
        ("lm_zh-tw_wikipedia",
         {"language": ["zh"], "language_bcp47": ["zh-Hant"], "license": "cc-by-sa-3.0"}),
        ("lm_code_github-no-gpl", {"language": ["code"], "license": "unknown"}),
        ("lm_nigercongo-tum_aggregated", {"language": ["tum"], "license": "unknown"}),
        ("lm_id_indonli", {"language": ["id"], "license": ["cc-by-sa-3.0", "cc-by-sa-4.0", "apache-2.0"]}),
        ("lm_eu_pseudocrawl-filtered_635_www_berria_eus",
         {"language": ["eu"], "license": "other", "license_name": "cc-by-sa-2.0"}),
        ("lm_es_pseudocrawl-filtered_20_www_clarin_com",
         {"language": ["es"], "license": "other", "license_name": "all-rights-reserved"}),
    ],
)  # fmt: skip
def test_front_matter_of_known_sources(name, expected):
    front_matter, _ = hub.split(CARDS[name])
    keys = ("language", "language_bcp47", "license", "license_name")
    assert {key: front_matter[key] for key in keys if key in front_matter} == expected


def test_a_card_names_who_states_its_licence():
    licence = section(CARDS["lm_fr_wikipedia"], "Licence")
    assert "`cc-by-sa-3.0`, stated by the licence tag of the hub's card of [roots_fr_wikipedia](https://" in licence
    words = section(CARDS["lm_en_pseudocrawl-filtered_510_timesofindia_indiatimes_com"], "Licence")
    assert "entry `the_times_of_india`" in words
    assert "The record's own words: “unknown; (copyright - all rights reserved)”." in words


def test_a_language_that_the_model_lacks_is_said_to_pass_on_provenance():
    said = "does not know the language: with that model its documents pass on provenance"
    assert said in CARDS["lm_nigercongo-tw_aggregated"]
    assert said not in CARDS["lm_nigercongo-sw_aggregated"]


def test_no_card_holds_an_address_of_a_person():
    for name, text in CARDS.items():
        assert not re.search(r"[\w.]+@[\w.]+\.\w", text), name


def test_a_card_with_a_run_is_valid_and_shows_every_count():
    text = card.render(catalogue.find("lm_en_wikiquote_filtered"), run())
    assert card.validate(text) == []
    stages = section(text, "Processing by this project")
    assert "| ingest | 1,000 | 993 | 0 | 7 | 90,001 | 90,000 |" in stages
    assert "| clean | 993 | 900 | 93 | 0 | 90,000 | 85,000 |" in stages
    assert "| redact | 900 | 800 | 100 | 0 | 85,000 | 80,123 |" in stages
    assert "| **all** | 1,000 | 800 | 193 | 7 | 90,001 | 80,123 |" in stages
    assert "| ingest | rejected | `invalid_utf8` | 7 | 0.70 % |" in stages
    assert (
        "| redact | removed | `near_duplicate` | 59 | 5.90 % |\n| redact | removed | `exact_duplicate` | 41 |" in stages
    )
    assert "41 exact and 59 near-duplicates" in text and "| `lm_en_book` | 60 |" in text
    assert "17 spans were redacted, in 13 of 800 documents." in text and "| `PI:EMAIL` | 12 |" in text
    kept = section(text, "Documents kept")
    assert "| Text | 80,123 bytes, 79,111 characters |" in kept
    assert "| Median size | between 64 B and 128 B |" in kept
    assert "| English (`en`) | 789 | 98.62 % |" in kept
    assert "![Documents by size in bytes](plots/lm_en_wikiquote_filtered.svg)" in kept
    assert "No run of this project" not in text
    assert hub.split(text)[0]["size_categories"] == ["n<1K"]


def test_a_card_tells_which_of_the_originals_steps_were_not_applied():
    text = card.render(catalogue.find("lm_en_wikiquote_filtered"), run())
    assert "applied, in order: `dedup_document`, `filter_small_docs_bytes_1024`." in text
    assert "not applied: `filter_wiki_user_titles`, `filter_wiki_non_text_type`, `filter_remove_empty_docs`," in text


def test_a_run_that_removed_nothing_says_so():
    empty = run(
        stages=(facts.StageCounts(name="ingest", documents_in=0, kept=0),),
        corpus=facts.Facts.zero(),
        duplicates=facts.Duplicates(),
        steps=(),
    )
    text = card.render(catalogue.find("lm_en_wikiquote_filtered"), empty)
    assert card.validate(text) == []
    assert "No document was removed or rejected." in text and "No cleaning step was applied." in text
    assert "![" not in text


def test_a_folder_source_shows_what_its_owner_states_and_no_more():
    own = catalogue.FolderSource(
        name="lm_nigercongo-tw_stories",
        language="nigercongo-tw",
        title="Stories | <b>Twi</b>",
        homepage="https://example.org/a story",
        licence="CC BY 4.0",
        licence_authority="the file `LICENSE`",
        origin="Stories told\nin Twi.",
    )
    note = "passed on provenance: the model does not know tw"
    text = card.render(own, run("lm_nigercongo-tw_stories", "nigercongo-tw", language_note=note))
    assert card.validate(text) == []
    assert "it is not one of the 498 sources of ROOTS" in text
    assert "| Title | Stories \\| \\<b\\>Twi\\</b\\> |" in text
    assert "<https://example.org/a%20story>" in text and "\nStories told in Twi.\n" in text
    assert hub.split(text)[0]["license"] == "cc-by-4.0"
    assert "`CC BY 4.0`, stated by the file \\`LICENSE\\`." in text
    assert f"This run: {note}." in text


def test_a_source_without_a_language_says_so_and_claims_none():
    text = card.render(catalogue.FolderSource(name="pages"), run("pages", None))
    assert card.validate(text) == []
    assert "The source does not state its language." in text and "language" not in hub.split(text)[0]


def test_labels_beyond_the_tenth_share_a_row():
    labels = {f"x{i:02}": 100 - i for i in range(12)}
    text = card.render(catalogue.FolderSource(name="pages"), run("pages", None, corpus=corpus_with(labels)))
    assert "| `x09` | 91 | 11.38 % |\n| 2 more labels | 179 | 22.38 % |" in text


def corpus_with(labels: dict[str, int]) -> facts.Facts:
    return facts.Facts(documents=800, text_bytes=80_123, lengths={"7": 800}, lang_labels=labels)


def test_a_run_of_another_source_is_refused():
    with pytest.raises(ValueError, match="card of lm_en_book_dash_books: the run is of lm_en_wikiquote_filtered"):
        card.render(catalogue.find("lm_en_book_dash_books"), run())


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("---\n", "", "card: no front matter"),
        ("license: unknown", "license: gpl-9", "license 'gpl-9' is not accepted"),
        ("license: unknown", "license: mit", "licence tag 'mit' is not named in the section Licence"),
        ("license: unknown\n", "", "key 'license' is missing"),
        ("## Licence\n", "## Rights\n", "section 'Licence' is missing"),
        ("# roots_en_wikiquote\n", "\n", "body has 0 titles, expected one"),
        ("`dedup_document` | dedup", "`KILL` | dedup", "'KILL' is listed as a step, but is none"),
        (
            "| clean | 993 | 900 | 93 |",
            "| clean | 993 | 900 | 92 |",
            "stage clean: 993 in is not 900 kept + 92 removed",
        ),
    ],
)
def test_validation_finds_what_is_wrong(old, new, problem):
    text = card.render(catalogue.find("lm_en_wikiquote_filtered"), run())
    assert any(problem in found for found in card.validate(text.replace(old, new, 1)))


def test_all_cards_are_written_with_an_index(tmp_path):
    written = card.write_all(tmp_path, {})
    assert {path.name for path in written} == {"README.md", *(f"{name}.md" for name in CARDS)}
    assert (tmp_path / "lm_en_wikiquote_filtered.md").read_text("utf-8") == CARDS["lm_en_wikiquote_filtered"]
    index = (tmp_path / "README.md").read_text("utf-8")
    links = re.findall(r"\]\((\S+?\.md)\)", index)
    assert sorted(links) == sorted(f"{name}.md" for name in CARDS)
    assert "[roots_en_wikiquote](lm_en_wikiquote_filtered.md) | catalogue | – | 403,936,398 |" in index


def test_runs_bring_their_counts_plots_and_the_corpus_page(tmp_path):
    runs = {"lm_en_wikiquote_filtered": run(), "lm_en_own": run("lm_en_own")}
    written = card.write_all(tmp_path, runs, [catalogue.find("lm_en_wikiquote_filtered")])
    assert sorted(path.relative_to(tmp_path).as_posix() for path in written) == [
        "README.md",
        "corpus.md",
        "facts/lm_en_own.json",
        "facts/lm_en_wikiquote_filtered.json",
        "lm_en_own.md",
        "lm_en_wikiquote_filtered.md",
        "plots/corpus.svg",
        "plots/lm_en_own.svg",
        "plots/lm_en_wikiquote_filtered.svg",
    ]
    assert facts.SourceRun.from_json((tmp_path / "facts/lm_en_own.json").read_text()) == run("lm_en_own")
    for text in (path.read_text("utf-8") for path in tmp_path.glob("*.md")):
        for target in re.findall(r"\]\(((?:plots|facts)/\S+?|\w+\.md)\)", text):
            assert (tmp_path / target).exists(), target


def test_the_same_runs_in_another_order_write_the_same_bytes(tmp_path):
    runs = {"lm_en_wikiquote_filtered": run(), "lm_en_own": run("lm_en_own")}
    sources = [
        catalogue.find("lm_en_wikiquote_filtered"),
        catalogue.FolderSource(name="lm_en_own", language="en"),
    ]
    first = card.write_all(tmp_path / "a", runs, sources)
    second = card.write_all(tmp_path / "b", dict(reversed(runs.items())), reversed(sources))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_the_committed_cards_are_those_that_the_tables_give():
    folder = Path(__file__).parents[2] / "data_cards"
    assert {name: (folder / f"{name}.md").read_text("utf-8") for name in CARDS} == CARDS
