"""Source code: the filters of the GitHub set of ROOTS, the licence test in two forms, the language of a file.

source  BigScience data-preparation, sourcing/code_dataset (query.sql, processing.py, README.md)
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from roots import exact, kernel, languages, utf8

# processing.py: a file stays if each measure lies between its two limits, both excluded
TOKEN_STD_MIN = 3.0  # standard deviation of the lengths of its tokens, which white space parts, in characters
CHARS_MIN, CHARS_MAX = 100, 200_000
SYMBOLS_MIN, SYMBOLS_MAX = 0.15, 0.65  # share of characters that belong to no word
LONGEST_LINE_MIN, LONGEST_LINE_MAX = 20, 1000

# processing.py: licences of the GPL family, as BigQuery's GitHub tables name them
GPL_PUBLISHED = ("agpl-3.0", "gpl-2.0", "gpl-3.0", "lgpl-2.1", "lgpl-3.0")
GPL_FAMILY = re.compile(r"(?<![a-z])[al]?gpl(?![a-z])", re.IGNORECASE)  # also GPL-2.0-only, LGPL-3.0+, "GNU GPL v3"

# What C++ has and C has not; decides for .h and .C, which both use
CPP = re.compile(
    r"^[ \t]*(?:class\s+\w+|namespace\b|template\s*<|using\s+\w|public:|private:|protected:|#\s*include\s*<\w+>)"
    r"|\w::\w|\bstd::|\b(?:nullptr|constexpr|static_cast|dynamic_cast)\b",
    re.MULTILINE,
)
SHARED_EXTENSIONS = ("h", "C")
LOWER_CASE_OF_C = ("c", "h")  # the published collection asked for .C and .H only, in upper case


def has_shape_of_code(text: pa.StringArray) -> np.ndarray:
    """bool [docs]: whether size, longest line, tokens and symbols lie within the limits."""
    chars, words, longest, deviation = _measure(*utf8.view(text), exact.classes(), utf8.kinds())
    symbols = 1 - words / np.maximum(chars, 1)
    return (
        (deviation > TOKEN_STD_MIN)
        & (chars > CHARS_MIN)
        & (chars < CHARS_MAX)
        & (symbols > SYMBOLS_MIN)
        & (symbols < SYMBOLS_MAX)
        & (longest > LONGEST_LINE_MIN)
        & (longest < LONGEST_LINE_MAX)
    )


def has_no_overlong_line(text: pa.StringArray) -> np.ndarray:
    """bool [docs]: whether the longest line has at most 1,000 characters."""
    return _measure(*utf8.view(text), exact.classes(), utf8.kinds())[2] <= LONGEST_LINE_MAX


def is_free_of_gpl(licences: Sequence[str | None]) -> np.ndarray:
    """bool [docs]: whether the licence, as stated, is none of the GPL family; an unstated one is none."""
    return np.array([licence is None or not GPL_FAMILY.search(licence) for licence in licences], bool)


def is_gpl_as_published(licences: Sequence[str | None]) -> np.ndarray:
    """bool [docs]: what the published code kept: only the GPL family. Its README calls this a bug."""
    return np.array([licence in GPL_PUBLISHED for licence in licences], bool)


def language(path: str, text: str = "") -> str | None:
    """The programming language of a file by its extension, one of the 13, None where it is none of theirs.

    path   with `/` between folders; text  decides between C and C++ for .h and .C
    Departure: .c and .h count; the published collection, whose match was by case, never asked for them.
    """
    extension = path.rpartition("/")[2].rpartition(".")[2] if "." in path.rpartition("/")[2] else ""
    if extension in SHARED_EXTENSIONS:
        return "C++" if CPP.search(text) else "C"
    return _by_extension().get(extension)


@functools.cache
def _by_extension() -> dict[str, str]:
    published = {extension: known.name for known in languages.programming() for extension, _ in known.files}
    return {**published, **dict.fromkeys(LOWER_CASE_OF_C, "C")}


@kernel.compiled
def _measure(data, offsets, classes, kinds):
    """Characters, word characters, characters of the longest line, standard deviation of token lengths."""
    docs = len(offsets) - 1
    chars, words, longest = np.zeros(docs, np.int64), np.zeros(docs, np.int64), np.zeros(docs, np.int64)
    deviation = np.zeros(docs)
    for doc in range(docs):
        i, end = np.int64(offsets[doc]), np.int64(offsets[doc + 1])
        line = token = tokens = total = squares = np.int64(0)
        while i < end:
            point, width = utf8.decode(data, i)
            i += width
            chars[doc] += 1
            words[doc] += kinds[point] != utf8.SEPARATOR
            line = np.int64(0) if point == exact.LINE_FEED else line + 1
            longest[doc] = max(longest[doc], line)
            space = classes[point] == exact.WHITESPACE
            token += not space
            if token and (space or i == end):
                tokens, total, squares = tokens + 1, total + token, squares + token * token
                token = np.int64(0)
        if tokens:
            deviation[doc] = np.sqrt(max(0.0, squares / tokens - (total / tokens) ** 2))
    return chars, words, longest, deviation
