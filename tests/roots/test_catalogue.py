"""roots/catalogue.py: the 498 sources, how they are found, and what a wrong row is told."""

import collections
import csv
import io
from importlib import resources

import pytest

from roots import catalogue, hub, languages

ROWS = (resources.files("roots.tables") / "sources.csv").read_text(encoding="utf-8").splitlines()


def changed(name: str, **cells: str) -> str:
    """The table's head and one of its rows with other cells."""
    rows = csv.DictReader(io.StringIO("\n".join(ROWS)))
    row = next(row for row in rows if row["name"] == name) | cells
    out = io.StringIO()
    writer = csv.DictWriter(out, list(row), lineterminator="\n")
    writer.writeheader()
    writer.writerow(row)
    return out.getvalue()


def test_there_are_498_sources_of_four_kinds():
    assert len(catalogue.load()) == 498
    assert collections.Counter(source.kind for source in catalogue.load()) == catalogue.KINDS
    assert sum(catalogue.KINDS.values()) == 498


def test_every_language_of_the_corpus_has_the_published_number_of_sources():
    counted = collections.Counter(source.language for source in catalogue.load())
    stated = {language.code: language.published_sources for language in (*languages.load(), languages.code())}
    assert counted == stated


def test_the_families_of_sources_have_their_published_sizes():
    counted = collections.Counter(source.sub_kind for source in catalogue.load() if source.sub_kind)
    assert counted == {
        "wikimedia": 126, "nigercongo_aggregated": 22, "indo4b_component": 6, "the_pile_component": 5,
        "stackexchange": 2, "s2orc": 1,
    }  # fmt: skip


def test_only_three_sources_were_sampled_for_training():
    sampled = {s.name: s.training_sampling_ratio for s in catalogue.load() if s.training_sampling_ratio != 1}
    assert sampled == {
        "lm_en_the_pile_uspto": 0.5441176470588235,
        "lm_en_s2orc_ai2_pdf_parses": 0.5441176470588235,
        "lm_en_oscar": 0.13454545454545455,
    }


def test_an_inferred_licence_never_counts_as_stated():
    inferred = [source for source in catalogue.load() if source.licence_inferred]
    assert len(inferred) == 114
    assert {source.licences for source in inferred} == {("unknown",)}
    assert sum(bool(source.licence) for source in catalogue.load()) == 137


def test_every_stated_licence_has_an_authority_and_every_disagreement_another_licence():
    for source in catalogue.load():
        assert bool(source.licence) == bool(source.licence_authority), source.name
        if source.licence_disagreeing:
            assert source.licence_disagreeing != source.licence, source.name
    assert sum(bool(source.licence_disagreeing) for source in catalogue.load()) == 6


def test_no_step_is_a_mark_or_a_sentence():
    steps = {step for source in catalogue.load() for step in source.steps}
    assert steps == set(catalogue.steps())
    assert not steps & {"KILL", "kill"} and not any(" " in step for step in steps)


def test_479_recipes_deduplicate_documents_and_6_are_empty():
    used = collections.Counter(step for s in catalogue.load() for step in set(s.steps) if s.kind != "oscar")
    assert used["dedup_document"] == used["filter_remove_empty_docs"] == 479
    assert (used["dedup_template_soft"], used["dedup_pseudocrawl_newspapers"]) == (249, 147)
    assert sum(not source.steps for source in catalogue.load()) == 6


def test_every_file_that_facts_come_from_is_public_and_pinned():
    for file in catalogue.fact_sources().values():
        assert file.repository.startswith("bigscience-workshop/") and len(file.commit) == 7
        assert file.url == f"https://github.com/{file.repository}/blob/{file.commit}/{file.path}"


@pytest.mark.parametrize("name", ["lm_en_wikiquote_filtered", "roots_en_wikiquote"])
def test_a_source_is_found_by_its_name_and_its_published_name(name):
    assert catalogue.find(name).published_name == "roots_en_wikiquote"
    assert catalogue.get(name) is catalogue.find(name)


def test_an_unknown_source_names_the_nearest():
    with pytest.raises(
        ValueError, match=r"source 'roots_en_wikiquotes' is not in sources.csv; did you mean 'roots_en_wiki"
    ):
        catalogue.find("roots_en_wikiquotes")
    assert catalogue.get("roots_en_wikiquotes") is None


def test_a_name_that_is_near_nothing_says_where_to_look():
    with pytest.raises(ValueError, match=r"source '##' is not in sources.csv; `roots sources list` shows all names"):
        catalogue.find("##")


def test_nothing_asked_selects_everything():
    assert catalogue.select() == catalogue.load()


def test_criteria_narrow_each_other():
    basque = catalogue.select(languages=["eu"], kinds=["pseudo_crawl"])
    assert [source.seed_id for source in basque] == [506, 563, 635, 637]
    assert [s.seed_id for s in catalogue.select(languages=["eu"], kinds=["pseudo_crawl"], licences=["cc-by-4.0"])] == [
        637
    ]
    assert catalogue.select(languages=["eu"], names=["roots_en_wikiquote"]) == ()


def test_a_short_code_selects_like_the_roots_code():
    assert catalogue.select(languages=["hi"]) == catalogue.select(languages=["indic-hi"]) != ()


def test_a_source_with_several_licences_meets_each():
    for licence in ("cc-by-sa-3.0", "cc-by-sa-4.0", "apache-2.0"):
        assert "lm_id_indonli" in [source.name for source in catalogue.select(licences=[licence])]


@pytest.mark.parametrize(
    ("criteria", "message"),
    [
        ({"names": ["lm_en_wikiquote"]}, "source 'lm_en_wikiquote' is not in sources.csv; did you mean"),
        ({"languages": ["zh-cn"]}, "language 'zh-cn' is not in languages.csv; did you mean 'zhs'"),
        ({"kinds": ["pseudocrawl"]}, "kind 'pseudocrawl' is not of sources.csv; did you mean 'pseudo_crawl'"),
        ({"licences": ["cc-by-5.0"]}, "licence 'cc-by-5.0' is not of sources.csv; did you mean"),
        ({"kinds": ["###"]}, "kind '###' is not of sources.csv; known: catalogue, github_code"),
    ],
)
def test_a_criterion_that_nothing_has_is_an_error(criteria, message):
    with pytest.raises(ValueError, match=message):
        catalogue.select(**criteria)


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("lm_indic-hi_wikisource", "indic-hi"),
        ("lm_hi_wikisource", "indic-hi"),
        ("lm_zh_x", "zhs"),
        ("lm_zh-cn_x", "zhs"),
        ("lm_zhs_x", "zhs"),
        ("lm_zh-tw_x", "zht"),
        ("lm_zht_x_y", "zht"),
        ("cleaned_lm_en_x", "en"),
        ("lm_code_python", "code"),
        ("pseudo_crawl_w3c_international", None),
        ("lm_en", None),
        ("en_wiki", None),
    ],
)
def test_a_folder_name_states_its_language(folder, expected):
    assert catalogue.from_folder_name(folder) == expected


def test_the_name_of_every_source_states_its_language():
    assert {s.name for s in catalogue.load() if catalogue.from_folder_name(s.name) != s.language} == set()


@pytest.mark.parametrize("folder", ["lm_zh-hk_x", "lm_zhx_x"])
def test_any_other_chinese_is_an_error(folder):
    with pytest.raises(
        ValueError, match=rf"folder '{folder}': language 'zh.*' is not in languages.csv; did you mean 'zh"
    ):
        catalogue.from_folder_name(folder)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            {"language": "zh-cn"},
            "sources.csv line 2: language 'zh-cn' is not in languages.csv; did you mean 'zhs'?",
        ),
        ({"language": "hi"}, "line 2: language 'hi' is not in languages.csv; did you mean 'indic-hi'?"),
        ({"kind": "catalog"}, "line 2: kind 'catalog' is not a kind of source; did you mean 'catalogue'?"),
        ({"sub_kind": "wiki"}, "line 2: sub_kind 'wiki' is not a sub_kind; "),
        ({"steps": "dedup_document KILL"}, "line 2: step 'KILL' is not in cleaning_steps.csv; "),
        ({"pii_redaction": "maybe"}, "line 2: pii_redaction 'maybe' is not a pii_redaction; "),
        ({"fact_sources": "hearsay"}, "line 2: fact source 'hearsay' is not in fact_sources.csv; "),
        ({"raw_bytes": "4e8"}, "line 2: raw_bytes is '4e8', expected a whole number"),
        ({"tokenizer_ratio": "some"}, "line 2: tokenizer_ratio is 'some', expected a number"),
        ({"training_sampling_ratio": ""}, "line 2: training_sampling_ratio is '', expected a number"),
        (
            {"tokenizer_ratio": "1.5"},
            "line 2: tokenizer_ratio is 1.5, expected a share above 0 and at most 1",
        ),
        (
            {"licence": "mit"},
            "line 2: licence is 'mit' and licence_authority is ''; a fact and its ground go together",
        ),
        (
            {"licence_authority": "me"},
            "line 2: licence_authority 'me' is not a licence_authority; known: hub_tag",
        ),
    ],
)
def test_a_wrong_cell_is_named_with_its_line(cells, message):
    with pytest.raises(ValueError) as error:
        catalogue.parse(changed("lm_en_wikiquote_filtered", **cells))
    assert message in str(error.value)


def test_a_name_that_comes_twice_is_refused():
    row = changed("lm_en_wikiquote_filtered")
    with pytest.raises(
        ValueError, match="line 3: name 'lm_en_wikiquote_filtered' was already used in line 2; names are"
    ):
        catalogue.parse(row + row.splitlines()[1] + "\n")


def test_every_stated_licence_has_a_tag_of_the_hub():
    for source in catalogue.load():
        tags, name = hub.licence_tags(source.licence)
        assert set(tags) <= hub.licences() and (name is None or tags == ["other"]), source.name
