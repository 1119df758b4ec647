"""The named cleaning steps, against the vectors of the original code and by hand."""

import ast
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from roots import catalogue, clean, lines, schema, step_kinds

VECTORS = Path(__file__).parents[2] / "../shared/reference/golden_vectors.json"


def documents(texts, metas=None):
    ids = [f"s/f:{i}" for i in range(len(texts))]
    return schema.documents(ids, "s", "en", texts, [json.dumps(meta) for meta in metas] if metas else None)


def texts(docs):
    return docs.column("text").to_pylist()


def run(names, texts_, metas=None):
    """Texts that stay, and the reasons of all."""
    kept, reasons = step_kinds.run(clean.parse(names), documents(texts_, metas))
    return texts(kept), reasons.to_pylist()


@pytest.fixture(scope="module")
def vectors():
    if not VECTORS.exists():
        pytest.skip("the reference vectors are not beside this checkout")
    return json.loads(VECTORS.read_text())["catalogue_cleaning"]["cases"]


def blanked(names, texts_, metas=None):
    """As the original shows it: a removed duplicate is an empty text."""
    kept, reasons = run(names, texts_, metas)
    rest = iter(kept)
    return [next(rest) if reason is None else "" for reason in reasons]


@pytest.mark.parametrize(
    "name",
    [
        "dedup_document",
        "dedup_pseudocrawl_newspapers",
        "remove_lines_with_code",
        "replace_newline_with_space",
    ],
)
def test_a_step_gives_what_the_original_gave(vectors, name):
    given, expected = vectors[name]["inp"], vectors[name]["out"]
    if isinstance(given, str):
        given, expected = [given], [expected]
    assert blanked([name], given) == expected


def test_wiktionary_notices_go_as_in_the_original(vectors):
    case = vectors["strip_substrings_en_wiktionary"]
    assert run(["strip_substrings_en_wiktionary"], [case["inp"]])[0] == [case["out"]]


@pytest.mark.parametrize("count", [9, 10])
def test_a_template_line_goes_when_ten_documents_have_it(vectors, count):
    case = vectors[f"dedup_template_soft_{count}docs_first"]
    given = [f"  Title {i} \nSubscribe to our newsletter\nshort\nbody {i}" for i in range(count)]
    assert given[0] == case["inp"]
    assert run(["dedup_template_soft"], given)[0][0] == case["out"]


def test_repeats_within_one_document_count_towards_a_template():
    line = "exactly fifteen"
    assert run(["dedup_template_soft"], [f"a\n{line}\n" * 10])[0] == ["\n".join(["a"] * 10) + "\n"]
    assert run(["dedup_template_soft"], [f"{line[1:]}\n" * 10])[0] == [f"{line[1:]}\n" * 10]


def test_of_documents_with_one_url_the_first_stays(vectors):
    case = vectors["dedup_document_on_url"]
    given = [f"t{i}" for i in range(5)]
    assert blanked(["dedup_document_on_url"], given, [{"url": url} for url in case["urls"]]) == case["out"]


def test_a_document_without_a_url_always_stays():
    metas = [{}, {"url": None}, {"url": "u?a"}, {}, {"url": "u?b"}]
    assert run(["dedup_document_on_url"], list("abcde"), metas) == (
        list("abcd"),
        [None] * 4 + ["duplicate_url"],
    )


def test_the_cointelegraph_key_also_ends_at_amp(vectors):
    case = vectors["url_key_cointelegraph"]
    name = "dedup_document_on_url_lm_es_pseudocrawl-filtered_341_es_cointelegraph_com"
    kept = {key: i for i, key in reversed(list(enumerate(case["keys"])))}
    given = [f"t{i}" for i in range(len(case["urls"]))]
    expected = [text if kept[key] == i else "" for i, (text, key) in enumerate(zip(given, case["keys"], strict=True))]
    assert blanked([name], given, [{"url": url} for url in case["urls"]]) == expected


def test_duplicates_are_removed_with_their_reason_at_once():
    assert run(["dedup_document"], ["A b 1", "Ab!", "ab"]) == (
        ["A b 1", "ab"],
        [None, "duplicate_document", None],
    )


def test_white_space_alone_is_no_text(vectors):
    case = vectors["filter_remove_empty_docs"]
    for given, keep in zip(case["inp"], case["keep"], strict=True):
        assert run(["filter_remove_empty_docs"], [given])[1] == [None if keep else "empty_text"]


def test_has_text_agrees_with_str_strip_on_every_code_point():
    every = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    assert np.array_equal(lines.has_text(pa.array(every)), [bool(c.strip()) for c in every])


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("filter_small_docs_bytes_300", "a" * 299, "too_few_bytes"),
        ("filter_small_docs_bytes_300", "a" * 300, None),
        ("filter_small_docs_bytes_300", "语" * 100, None),
        ("filter_small_docs_bytes_1024", "ع" * 511, "too_few_bytes"),
        ("filter_small_docs_bytes_1024", "ع" * 512, None),
        ("filter_small_docs", "a " * 13, "too_few_words"),
        ("filter_small_docs", "a " * 14, None),
        ("filter_small_docs", " " * 14, None),
        ("filter_small_docs", "a\n" * 20, "too_few_words"),
    ],
)
def test_a_small_document_is_removed(name, text, reason):
    assert run([name], [text])[1] == [reason]


def test_user_pages_and_what_is_no_text_are_removed_from_a_wiki():
    metas = [
        {"title": "User talk", "type": "text"},
        {"title": "Users", "type": "text"},
        {"title": "A User ", "type": "template"},
        {"title": 5},
        {},
    ]
    assert run(["filter_wiki_user_titles"], list("abcde"), metas)[1] == [
        "wiki_user_page",
        None,
        None,
        None,
        None,
    ]
    assert run(["filter_wiki_non_text_type"], list("abcde"), metas)[1] == [None, None] + ["wiki_non_text"] * 3


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("remove_lines_with_code", "{", ""),
        ("remove_lines_with_code", "{\n\n x \n}\n", "\n x \n"),
        ("remove_lines_with_code", "[i f\n[IF\n< script", "[i f\n[IF\n< script"),
        ("remove_html_spans", "a<br>\nb\n<div>\n<p>", "b\n<p>"),
        ("remove_html_spans_sanad", "var x\nvariable\nimg", "variable\nimg"),
        ("remove_wiki_mojibake", "àÀ À\nÀÀ\nملف", "ÀÀ\nملف"),
        ("replace_newline_with_space", "\n语\r\nb\n", " 语\r b "),
        ("strip_substrings_en_wiktionary", "x(+)(For audio required quickly, visit WT:APR)\ny", "x(+)\ny"),
    ],
)
def test_a_map_changes_the_text(name, given, expected):
    assert run([name], [given])[0] == [expected]


def test_the_first_listed_phrase_wins_where_two_begin_together():
    phrases = ["ab", "abc", "语"]
    assert lines.stripped_of(pa.array(["abcab语x", "a", ""]), phrases).to_pylist() == ["cx", "a", ""]


def test_the_commonest_recipe_removes_and_keeps_in_its_order():
    names = [
        "dedup_document_on_url",
        "dedup_document",
        "dedup_pseudocrawl_newspapers",
        "filter_remove_empty_docs",
    ]
    names += ["remove_lines_with_code", "filter_small_docs_bytes_1024"]
    body = ["語" * 400, "b" * 1100]
    given = ["x", f"menu\n{body[0]}\nf() {{", "y", f"menu\n{body[1]}", "menu", f"menu {body[1]}"]
    urls = ["u", "v", "u?page=2", "w", "z", "q"]
    kept, reasons = run(names, given, [{"url": url} for url in urls])
    assert kept == body
    assert reasons == ["too_few_bytes", None, "duplicate_url", None, "empty_text", "duplicate_document"]


MIXED = ["{\na", "", " \n", "User\nb } \nc", "語\n<script\nd", "e\nf" * 300, "<a\nÀ À\nvar x", "x" * 400]


@pytest.mark.parametrize("name", [name for name, step in clean.STEPS.items() if isinstance(step, step_kinds.Map)])
def test_a_map_does_not_depend_on_the_batches(name):
    step, docs = clean.STEPS[name], documents(MIXED)
    whole = step.text(docs).to_pylist()
    assert [step.text(docs.slice(i, 1)).to_pylist()[0] for i in range(len(MIXED))] == whole
    assert step.text(docs.slice(3, 4)).to_pylist() == whole[3:7]
    assert step.text(docs.slice(2, 0)).to_pylist() == []


@pytest.mark.parametrize("name", [name for name, step in clean.STEPS.items() if isinstance(step, step_kinds.Filter)])
def test_a_filter_does_not_depend_on_the_batches(name):
    step = clean.STEPS[name]
    docs = documents(MIXED, [{"title": "User x"} if i % 2 else {"type": "text"} for i in range(len(MIXED))])
    whole = step.keep(docs)
    assert whole.dtype == bool
    assert [bool(step.keep(docs.slice(i, 1))[0]) for i in range(len(MIXED))] == whole.tolist()


def test_frequent_lines_gathered_in_parts_give_what_the_whole_source_gives():
    step = clean.STEPS["dedup_pseudocrawl_newspapers"]
    docs = documents(MIXED)
    parts = [docs.slice(0, 3).column("text"), docs.slice(3).column("text")]
    frequent = lines.frequent(np.concatenate([step.keys(part) for part in parts]), step.count_min)
    assert [t for part in parts for t in step.drop(part, frequent).to_pylist()] == texts(
        step_kinds.run([step], docs)[0]
    )


def test_every_key_is_found_among_a_sorted_table_and_no_other():
    random = np.random.default_rng(7)
    keys = random.integers(0, 6, (500, 2), np.uint64)
    wanted = np.unique(random.integers(0, 6, (12, 2), np.uint64), axis=0)
    known = {tuple(key) for key in wanted.tolist()}
    assert lines.among(keys, wanted).tolist() == [tuple(key) in known for key in keys.tolist()]


def test_an_unknown_step_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match=r"step 2, 'dedup_documents', is not implemented; .*'dedup_document'"):
        clean.parse(["filter_small_docs", "dedup_documents"])


def test_the_table_has_each_step_under_its_own_name():
    assert all(name == step.name for name, step in clean.STEPS.items())


def test_every_step_that_a_source_names_exists():
    named = {step for source in catalogue.load() for step in source.steps}
    assert named - clean.STEPS.keys() == set()


def test_pieces_are_joined_as_in_the_original(vectors):
    case = vectors["concatenate_lm_fr_ester"]
    docs = documents(case["text"], [ast.literal_eval(meta) for meta in case["meta"]])
    kept, reasons = step_kinds.run(clean.parse(["concatenate_lm_fr_ester"]), docs)
    assert texts(kept) == case["out"]
    assert [json.loads(meta) for meta in kept.column("meta").to_pylist()] == case["out_meta"]
    assert kept.column("id").to_pylist() == ["s/f:2", "s/f:3"]
    assert reasons.to_pylist() == ["joined_to_its_recording"] * 2 + [None] * 2


def test_what_is_no_piece_stays_as_it_is():
    metas = [{"id": "A_id_x"}, {"id": 7}, {}, {"id": "A_id_1_id_2"}, {"id": "A_id_1_id_10"}]
    kept, _ = step_kinds.run(clean.parse(["concatenate_lm_fr_ester"]), documents(list("abcde"), metas))
    assert texts(kept) == ["a", "b", "c", "d\ne"]
    assert [json.loads(meta) for meta in kept.column("meta").to_pylist()] == [*metas[:3], {"id": "A_id_1"}]


def test_references_are_cut_as_in_the_original(vectors):
    case = vectors["remove_references_fr"]
    assert run(["remove_references_fr"], [case["inp"]])[0] == [case["out"]]


def test_a_text_without_a_line_of_running_text_becomes_empty():
    given = ["Dupont J. 2001\n\nMartin P. 1999", "", "le la\n\nx\nil est de la\nDupont"]
    assert run(["remove_references_fr"], given)[0] == ["", "", "le la\n\nx\nil est de la"]


def test_a_line_is_counted_once_a_document_where_the_step_says_so():
    step = step_kinds.RareLines("s", 0, 2, "template_line", "", once_a_document=True)
    kept, _ = step_kinds.run([step], documents(["a\na\nb", "b\nc", "c"]))
    assert texts(kept) == ["a\na", "", ""]


def test_a_line_of_a_large_source_is_frequent_above_a_share_of_its_documents():
    step = step_kinds.RareLines("s", 0, 11, "template_line", "", share_max=0.01)
    assert [step.frequent_from(n) for n in (0, 1099, 1100, 2000, 2099)] == [11, 11, 12, 21, 21]


def test_lines_that_a_site_repeats_go_from_ten_pages_on() -> None:
    pages = [f"menu\n page {i} \nmenu\n" for i in range(11)]
    assert run(["dedup_seed_lines"], pages)[0] == [f"page {i}" for i in range(11)]
    assert run(["dedup_seed_lines"], pages[:10])[0] == [f"menu\npage {i}\nmenu\n" for i in range(10)]


def test_of_the_lines_of_a_document_repeats_go_and_empty_lines_stay() -> None:
    assert run(["dedup_lines_in_document"], ["a\n\nb\n a \n\nb\nc", "a"])[0] == ["a\n\nb\n\nc", "a"]


def test_white_space_does_not_tell_texts_apart_but_digits_do() -> None:
    given = ["a b1", "ab 1", "a\u3000b\n1", "ab2", "ab1 "]
    assert run(["dedup_text_without_spaces"], given)[0] == ["a b1", "ab2"]
    assert run(["dedup_text"], given)[1] == [None] * 5


def test_a_page_of_32_characters_is_too_small() -> None:
    assert run(["filter_small_docs_chars_33"], ["语" * 32, "语" * 33])[1] == ["too_few_characters", None]


def test_a_file_without_a_known_extension_is_no_code() -> None:
    metas = [{"path": "a/b.py"}, {"path": "a/b.txt"}, {}]
    assert run(["filter_code_language"], list("abc"), metas)[1] == [None, "no_known_extension", "no_known_extension"]


def test_a_step_of_a_later_stage_changes_nothing_here():
    assert run(["simhash_near_dedup"], ["a", "a", ""]) == (["a", "a", ""], [None] * 3)


def test_constants_are_those_of_the_reference():
    path = VECTORS.parent / "cleaning_constants.json"
    if not path.exists():
        pytest.skip("the reference constants are not beside this checkout")
    constants = json.loads(path.read_text())
    assert list(clean.WIKTIONARY_NOTICES) == constants["strip_substrings_en_wiktionary"]
    for name in (
        "remove_lines_with_code",
        "remove_html_spans",
        "remove_html_spans_sanad",
        "remove_wiki_mojibake",
    ):
        for mark in constants[name]:
            assert run([name], [f"a\nx{mark}y\nb"])[0] == ["a\nb"]
        assert run([name], ["<p\n/a>"])[0] == ["<p\n/a>"]
    assert constants["remove_references_stopword_ratio"] == clean.REFERENCES_STOPWORD_RATIO
    splitters = {name: sorted(split) for name, split in constants["sentence_splitters"].items()}
    assert splitters == {name: sorted(split) for name, split in clean.SENTENCE_SPLITTERS.items()}


@pytest.mark.parametrize("name", [name for name, step in clean.STEPS.items() if not isinstance(step, step_kinds.Later)])
def test_ten_thousand_empty_documents_and_none_at_all_pass_through_every_step(name: str) -> None:
    if name == "extract_html_text":
        pytest.importorskip("resiliparse", reason="the extra `crawl` is not installed")
    step = clean.STEPS[name]
    empty = documents([""] * 10_000)
    kept, reasons = step_kinds.run([step], empty)
    stay = 10_000 if isinstance(step, step_kinds.Map | step_kinds.RareLines | step_kinds.Joined) else kept.num_rows
    assert kept.num_rows == stay == reasons.null_count
    assert set(texts(kept)) <= {""}
    assert isinstance(step, step_kinds.Filter) is False or kept.num_rows in (0, 10_000)
    assert step_kinds.run([step], empty.slice(0, 0))[0].num_rows == 0


def test_a_paragraph_of_ten_documents_is_a_template():
    notice = "This page was made\nfrom the register of the parish."
    texts = [f"own text {n}\n\n{notice}\n\nmore {n}" for n in range(9)]
    [step] = clean.parse(["dedup_template_paragraph"])
    assert step.drop(pa.array(texts), lines.frequent(step.keys(pa.array(texts)), 10)).to_pylist() == texts
    ten = pa.array([*texts, notice])
    left = step.drop(ten, lines.frequent(step.keys(ten), step.count_min)).to_pylist()
    assert left == [*(f"own text {n}\n\nmore {n}" for n in range(9)), ""]
