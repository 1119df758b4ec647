"""roots/markdown.py: numbers and words as the cards show them."""

import jinja2
import pytest

from roots import languages, markdown


@pytest.mark.parametrize(
    ("part", "total", "expected"),
    [
        (1, 1, "100.00 %"),
        (0, 7, "0.00 %"),
        (1, 3, "33.33 %"),
        (1, 100, "1.00 %"),
        (1, 2_000, "0.050 %"),
        (43, 10**8, "0.000043 %"),
        (999_999, 10**6, "100.00 %"),
        (0, 0, "–"),
    ],
)
def test_a_share_keeps_two_digits_however_small(part, total, expected):
    assert markdown.percent(part, total) == expected


def test_no_language_of_the_corpus_has_a_share_of_nothing():
    shares = [markdown.percent(language.published_bytes, languages.PUBLISHED_BYTES) for language in languages.load()]
    assert "0.00 %" not in shares and shares[0] == "0.000043 %"


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ({"0": 1}, "0 bytes"),
        ({"1": 1}, "between 1 B and 2 B"),
        ({"9": 2, "10": 1, "11": 2}, "between 512 B and 1 KiB"),
        ({"9": 1, "11": 1}, "between 256 B and 512 B"),
        ({}, "–"),
    ],
)
def test_the_median_is_named_by_its_bin(lengths, expected):
    assert markdown.median(lengths) == expected


def test_words_from_outside_cannot_become_markup():
    assert markdown.text("a|b\n<i>*x*</i> [l](u) `c` \\") == r"a\|b \<i\>\*x\*\</i\> \[l\](u) \`c\` \\"
    assert markdown.code("a`b|\nc") == "`a'b\\| c`"
    assert markdown.url("a b|ç.md") == "a%20b%7C%C3%A7.md"


def test_a_value_that_a_template_misses_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="'entries' is undefined"):
        markdown.fill("index.md.j2")
