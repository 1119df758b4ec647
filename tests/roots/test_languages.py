"""roots/languages.py: the table of languages, its published sums, and what its errors say."""

from decimal import Decimal

import pytest

from roots import languages

HEADER = ",".join(field for field in languages.Language.__slots__)
LATIN = "{code},{short},swh,sw,Swahili,Kiswahili,Bantoid,Niger-Congo,Africa,Latn,236482543,0.02,0.02,sw,no,1,"


def table(**changes: str) -> str:
    row = LATIN.format(**({"code": "nigercongo-sw", "short": "sw"} | changes))
    return f"{HEADER}\n{row}\n"


def test_there_are_46_natural_and_13_programming_languages():
    assert len(languages.load()) == languages.NATURAL_COUNT == 46
    assert len(languages.programming()) == languages.PROGRAMMING_COUNT == 13


def test_published_bytes_add_up_to_the_published_corpus():
    natural = sum(language.published_bytes for language in languages.load())
    assert natural + languages.code().published_bytes == languages.PUBLISHED_BYTES == 1_614_479_114_961
    assert languages.code().published_bytes == 174_700_245_772


def test_files_by_extension_add_up_to_the_published_table():
    files = [count for language in languages.programming() for _, count in language.files]
    assert (len(files), sum(files)) == (25, 21_484_915)
    assert {language.name: language.published_files for language in languages.programming()}["PHP"] == 4_952_893


def test_22_languages_are_filed_under_niger_congo_and_13_under_indic():
    groups = [language.group for language in languages.load()]
    assert (groups.count("nigercongo"), groups.count("indic"), groups.count("")) == (22, 13, 11)


def test_fasttext_knows_26_of_the_46():
    unknown = {language.short_code for language in languages.load() if not language.lid176_covers}
    assert " ".join(sorted(unknown)) == "ak bm fon ig ki lg ln nso ny rn rw sn st tn ts tum tw wo xh zu"


def test_percentages_keep_the_digits_that_were_printed():
    assert languages.find("ak").model_card_percent == Decimal("0.00007")
    assert languages.find("en").model_card_percent is None
    assert languages.find("en").readme_percent == Decimal("30.3")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("en", "en"),
        ("hi", "indic-hi"),
        ("indic-hi", "indic-hi"),
        ("sw", "nigercongo-sw"),
        ("zhs", "zhs"),
        ("code", "code"),
    ],
)
def test_a_language_is_found_by_its_roots_code_and_its_short_code(code, expected):
    assert languages.find(code).code == expected


@pytest.mark.parametrize(
    ("code", "expected"), [("nigercongo-yo", "yo"), ("ar", "ar"), ("zht", "zht"), ("code", "code")]
)
def test_a_short_code_has_no_family_prefix(code, expected):
    assert languages.short(code) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [("zh-cn", "zhs"), ("zh-tw", "zht"), ("swahili", "nigercongo-sw"), ("nigercongo-swa", "nigercongo-sw"),
     ("yor", "nigercongo-yo"), ("English", "en"), ("zh-Hant", "zht"), ("qqqqqq", None)],
)  # fmt: skip
def test_the_nearest_language_of_a_wrong_code(code, expected):
    assert languages.nearest(code) == expected


def test_an_unknown_code_names_the_nearest():
    with pytest.raises(ValueError, match=r"^language 'zh-cn' is not in languages.csv; did you mean 'zhs'\?$"):
        languages.find("zh-cn")


def test_a_code_that_is_near_nothing_says_where_to_look():
    with pytest.raises(ValueError, match=r"language 'qqqqqq' is not in languages.csv; `roots sources list` shows"):
        languages.short("qqqqqq")


def test_the_code_of_all_code_is_valid_but_no_natural_language():
    assert "code" in languages.codes() and len(languages.codes()) == 47
    assert "code" not in [language.code for language in languages.load()]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("nigercongo-sw,sw", "Swahili,sw", r"languages.csv line 2: code 'Swahili' does not have the form"),
        ("sw,swh", "sw,swahili", r"languages.csv line 2: iso639_3 'swahili' does not have the form"),
        ("Latn", "latin", r"languages.csv line 2: script 'latin' does not have the form"),
        (
            "nigercongo-sw,sw",
            "nigercongo-sw,yo",
            r"line 2: short_code 'yo' is not code 'nigercongo-sw' without",
        ),
        ("236482543", "236,482", r"languages.csv line 2: oscar '"),
        ("236482543", "many", r"languages.csv line 2: published_bytes is 'many', expected a number"),
        ("0.02,0.02", "0.02,about", r"languages.csv line 2: readme_percent is 'about', expected a number"),
    ],
)
def test_a_wrong_cell_is_named_with_its_line(old, new, message):
    with pytest.raises(ValueError, match=message):
        languages.parse(table().replace(old, new, 1))


def test_a_code_that_comes_twice_is_refused():
    with pytest.raises(ValueError, match=r"line 3: code '.*sw' was already used in line 2; codes are unique"):
        languages.parse(table() + table().splitlines()[1] + "\n")


def test_a_malformed_file_count_is_refused():
    with pytest.raises(ValueError, match=r"programming_languages.csv line 2: files_by_extension is 'py:3', expected"):
        languages.parse_programming("name,files_by_extension,note\nPython,py:3,\n")
