"""Source code: shape, licence, language. Limits and measures by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines import readers
from roots import clean, code, languages, schema, step_kinds

GOOD = "def greet(name):\n    return f'Hello, {name}!'  # a comment that is long enough\n" * 3


def test_code_of_ordinary_shape_stays() -> None:
    assert code.has_shape_of_code(pa.array([GOOD])).tolist() == [True]


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD[:100],
        GOOD * 900,
        "a b c d e f " * 30,  # tokens all alike
        "word " * 20 + "alongerword another somethingelse\n" * 10,  # hardly a symbol
        "{}();" * 20 + "\n" + "()[]{};\n" * 20,  # hardly a letter
        "a = b\nfoo_bar_baz()\n" * 10,  # short lines
        GOOD + "x = " + "'a', " * 250,  # a long line
    ],
    ids=["empty", "small", "large", "tokens", "prose", "symbols", "short_lines", "long_line"],
)
def test_what_is_not_shaped_like_code_goes(text: str) -> None:
    assert code.has_shape_of_code(pa.array([text])).tolist() == [False]


def test_measures_are_those_of_plain_python() -> None:
    texts = [GOOD, "é语 \t\n_9 ½\x1fa\u2028b", " ", "abc", "\n\n", "a\n" + "b" * 9]
    chars, words, longest, deviation = code._measure(
        *code.utf8.view(pa.array(texts)), code.exact.classes(), code.utf8.kinds()
    )
    assert chars.tolist() == [len(text) for text in texts]
    assert words.tolist() == [len(re.findall(r"\w", text)) for text in texts]
    assert longest.tolist() == [max(map(len, text.split("\n"))) for text in texts]
    expected = [np.std([len(token) for token in text.split()]) if text.split() else 0.0 for text in texts]
    np.testing.assert_allclose(deviation, expected, atol=1e-9)


def test_a_line_of_a_thousand_characters_passes_the_first_test_only() -> None:
    assert code.has_no_overlong_line(pa.array(["a" * 1000, "a" * 1001, "é" * 1000])).tolist() == [True, False, True]


LICENCES = [
    "mit",
    "gpl-2.0",
    "gpl-3.0",
    "agpl-3.0",
    "lgpl-2.1",
    "lgpl-3.0",
    "GPL-2.0-or-later",
    "GNU GPLv3",
    None,
    "gplus",
]


def test_what_was_meant_drops_the_gpl_and_what_was_done_keeps_nothing_else() -> None:
    docs = schema.documents(
        list("abcdefghij"), "s", "code", [GOOD] * 10, [json.dumps({"license": licence}) for licence in LICENCES]
    )
    meant, _ = step_kinds.run(clean.parse(["filter_code_licence"]), docs)
    done, _ = step_kinds.run(clean.parse(["filter_code_licence_as_published"]), docs)
    assert "".join(meant.column("id").to_pylist()) == "ahij"
    assert "".join(done.column("id").to_pylist()) == "bcdef"


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("a/b.py", "", "Python"),
        ("a.c", "", "C"),
        ("a.h", "int f(void);", "C"),
        ("a.h", "#include <stdio.h>\nint f(void);", "C"),
        ("a.h", "namespace a {\n}", "C++"),
        ("a.h", "#include <vector>\n", "C++"),
        ("a.h", "  public:\n", "C++"),
        ("a.C", "std::string s;", "C++"),
        ("a.C", "int main() {}", "C"),
        ("a.H", "", "C++"),
        ("a.c++", "", "C++"),
        ("a.PY", "", None),
        ("a.py/README", "", None),
        ("Makefile", "", None),
        ("", "", None),
        ("a.tsx", "", "TypeScript"),
        ("a.d.ts", "", "TypeScript"),
    ],
)
def test_a_language_is_told_by_extension_and_for_c_by_content(path: str, text: str, expected: str | None) -> None:
    assert code.language(path, text) == expected


def test_every_published_extension_leads_to_its_language() -> None:
    for known in languages.programming():
        for extension, _ in known.files:
            if extension not in code.SHARED_EXTENSIONS:
                assert code.language(f"x.{extension}") == known.name


@pytest.mark.parametrize(
    ("folder", "name"),
    [("c", "C"), ("cpp", "C++"), ("csharp", "C#"), ("go", "Go"), ("java", "Java"), ("javascript", "JavaScript"),
     ("lua", "Lua"), ("php", "PHP"), ("python", "Python"), ("ruby", "Ruby"), ("rust", "Rust"), ("scala", "Scala"),
     ("typescript", "TypeScript")],
)  # fmt: skip
def test_the_13_languages_are_recognised_in_real_files(shared: Path, folder: str, name: str) -> None:
    found = []
    for path in (shared / "corpus" / f"lm_code_{folder}").iterdir():
        with readers.opened(path, path.name) as file:
            records = [json.loads(line) for line in file]
        found += [code.language(record["meta"]["path"], record["text"]) for record in records]
    assert found.count(name) >= 0.99 * len(found)
