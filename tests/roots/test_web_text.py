"""The modification of web documents against published vectors and a plain reading of its definition."""

import random
import re

import pyarrow as pa
import pytest

from roots import clean, schema, step_kinds, stopwords, web_text

SPECIAL = "".join(stopwords.special_characters())
# Output of the public filtering.py with the English parameters (bigscience-workshop/data-preparation, 9d05884).
PUBLISHED = [
    ("the cat sat on the mat", "the cat sat on the mat"),
    ("aaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaa"),
    ("abcdefghijabcdefghijabcdefghij", ""),
    ("the quick brown fox jumps over the quick brown fox jumps",) * 2,
    ("Hello!!! 123 ... world", "Hello!!! 123 ... world"),
    ("a  b\t\tc\n\n\nd http://x.y (www.foo.org) averyveryveryveryveryverylongword end", "a b\tc\nd end"),
    ("ab", "ab"),
    ("To be or not to be, that is the question: whether 'tis nobler.",) * 2,
    ("¿Qué tal? 12:30 — bien…", "¿Qué tal? 12:30 — bien…"),
]


def modified(text: str, language: str = "en") -> str:
    return web_text.modified(pa.array([text]), pa.array([language])).to_pylist()[0]


def reference(text: str, limit: int) -> str:
    """The definition, word for word, on Python strings."""

    def stays(word: str) -> bool:
        plain = word.strip(SPECIAL)
        if any(mark in plain for mark in web_text.ADDRESS_MARKS):
            return False
        return len(word) <= limit or (plain != "" and len(plain) <= limit)

    text = re.sub(f"[{web_text.SPACES}]", " ", text.strip())
    if limit == web_text.NEVER:
        return text
    lines = []
    for line in text.split("\n"):
        fields = [" ".join(w for w in f.split(" ") if w and stays(w)) for f in line.split("\t")]
        lines.append("\t".join(f for f in fields if f))
    return "\n".join(line for line in lines if line)


@pytest.mark.parametrize(("text", "expected"), PUBLISHED, ids=[case[0][:20] for case in PUBLISHED])
def test_the_text_that_stays_is_that_of_the_published_code(text, expected):
    assert modified(text) == expected


@pytest.mark.parametrize("language", ["en", "pt", "indic-hi", "zhs", "nigercongo-sw"])
def test_on_random_text_the_kernel_equals_the_definition(language):
    rng = random.Random(4)
    parts = [" ", "\n", "\t", "\u3000", "\u00a0", "\ufffc", "http", "ww", "w", ".com", "href", "/", "...", "!", "𝒳",
             "ñ", "क", "漢字", "a", "word", "x" * 17, "\u2028", "\x1f", "\ue000", "é" * 6]  # fmt: skip
    texts = ["".join(rng.choices(parts, k=rng.randint(0, 40))) for _ in range(3000)]
    expected = [reference(text, web_text.word_chars_max(language)) for text in texts]
    assert web_text.modified(pa.array(texts), pa.array([language] * len(texts))).to_pylist() == expected


def test_each_document_has_the_longest_word_of_its_language():
    text = pa.array(["x" * 45, "x" * 45, "x" * 45, " 漢\u3000字 \n"])
    language = pa.array(["fr", "en", "nigercongo-tum", "zhs"])
    assert web_text.modified(text, language).to_pylist() == ["x" * 45, "", "x" * 45, "漢 字"]


def test_ten_thousand_empty_documents_stay_empty():
    assert web_text.modified(pa.array([""] * 10_000), pa.array(["en"] * 10_000)).to_pylist() == [""] * 10_000


def test_no_documents_and_slices_are_fine():
    assert web_text.modified(pa.array([], pa.string()), pa.array([], pa.string())).to_pylist() == []
    text, language = pa.array(["aa", " b\n\n c ", ""]), pa.array(["fr", "en", "ca"])
    assert web_text.modified(text[1:], language[1:]).to_pylist() == ["b\nc", ""]


def test_the_catalogue_s_name_of_the_step_does_it():
    docs = schema.documents(["s/1"], "s", "en", ["see http://x.y now"])
    assert step_kinds.run(clean.parse(["oscar_document_modification"]), docs)[0].column("text").to_pylist() == [
        "see now"
    ]
