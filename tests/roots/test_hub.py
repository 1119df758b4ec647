"""roots/hub.py: what the hub accepts in front matter."""

import pytest

from roots import hub

GOOD = {"license": "mit", "pretty_name": "A", "task_categories": ["text-generation"], "tags": ["roots"]}


@pytest.mark.parametrize(
    ("documents", "expected"),
    [(0, "n<1K"), (999, "n<1K"), (1_000, "1K<n<10K"), (9_999, "1K<n<10K"), (10_000, "10K<n<100K"),
     (10**6, "1M<n<10M"), (10**9 - 1, "100M<n<1B"), (10**11, "100B<n<1T"), (10**12, "n>1T")],
)  # fmt: skip
def test_size_categories_meet_at_powers_of_ten(documents, expected):
    assert hub.size_category(documents) == expected


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("", (["unknown"], None)),
        ("unknown", (["unknown"], None)),
        ("mit", (["mit"], None)),
        ("CC BY-SA 4.0", (["cc-by-sa-4.0"], None)),
        ("cc-by-sa-3.0 apache-2.0", (["cc-by-sa-3.0", "apache-2.0"], None)),
        ("cc-by-sa-2.0", (["other"], "cc-by-sa-2.0")),
        ("W3C Document License (verbatim)", (["other"], "w3c-document-license-verbatim")),
        ("other", (["other"], "other")),
        ("(?)", (["other"], "unnamed")),
    ],
)
def test_a_stated_licence_becomes_tags_of_the_hub(stated, expected):
    assert hub.licence_tags(stated) == expected


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"language": ["zh-Hans"]}, "language 'zh-Hans' is not accepted"),
        ({"language": ["en", "en"]}, "language lists a value twice"),
        ({"language": [False]}, "language False is not accepted"),
        ({"language_bcp47": ["zh_Hans"]}, "language_bcp47 'zh_Hans' is not accepted"),
        ({"license": "cc-by-sa-2.0"}, "license 'cc-by-sa-2.0' is not accepted"),
        ({"license": "other"}, "license is 'other', so license_name must name it"),
        ({"license": "other", "license_name": "All rights"}, "license_name 'All rights' is not accepted"),
        ({"size_categories": ["1K-10K"]}, "size_categories '1K-10K' is not accepted"),
        ({"task_categories": ["language-modeling"]}, "task_categories 'language-modeling' is not accepted"),
        ({"pretty_name": ""}, "key 'pretty_name' is missing"),
        ({"licence": "mit"}, "key 'licence' is unknown"),
    ],
)
def test_each_problem_is_found(changes, problem):
    assert hub.problems(GOOD) == []
    assert problem in hub.problems(GOOD | changes)


@pytest.mark.parametrize("code", ["en", "tum", "code", "multilingual"])
def test_iso_codes_and_special_values_are_languages(code):
    assert hub.problems(GOOD | {"language": [code]}) == []


def test_words_that_yaml_would_read_as_another_type_stay_words():
    odd = {
        "language": ["no"],
        "pretty_name": "1.0",
        "license_name": "on",
        "tags": ["2020-01-01", "a: b", "你好"],
    }
    assert hub.split(f"---\n{hub.dump(odd)}---\nbody\n") == (odd, "body\n")


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("# title\n", "card: no front matter; it stands between two lines '---'"),
        ("---\na: [\n---\n", "card: front matter is not YAML: while parsing"),
        ("---\n- a\n---\n", "card: front matter is a list, expected a mapping"),
    ],
)
def test_a_card_without_front_matter_is_refused(card, message):
    with pytest.raises(ValueError, match=message):
        hub.split(card)
