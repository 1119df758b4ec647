"""What ROOTS changed in the text of web documents (OSCAR) before it measured and filtered them.

The document is stripped, twelve kinds of white space become a space, and words that hold a web address or are overlong
are dropped, with the spaces, tabs and lines that this leaves empty.

Departure: a language that is not among the 13 of OSCAR has the longest word of the default parameters, 50 code points;
the original left such words, having no such language.

source  BigScience data-preparation, 01b_oscar_cleaning_and_filtering, filtering.py (modifying_documents)
"""

from __future__ import annotations

import functools
from importlib import resources

import numpy as np
import pyarrow as pa

from roots import kernel, quality, quality_kernels, utf8

ADDRESS_MARKS = ("http", "www", ".com", "href", "//")  # parameters; case-sensitive, as there
WORD_CHARS_MAX = 50  # parameters_filtering.py, default
SPACES = "\u0020\u0084\u00a0\u2002\u2003\u2005\u2008\u2009\u200a\u202f\u3000\ufffc"  # normalization.py, whitespace
NEVER = 0  # the longest word of a language that is not cut into words
# What a code point is, beside its traits of quality_kernels: one that str.strip() takes, one that becomes a space.
STRIPPED, SPACED = np.uint32(1 << 30), np.uint32(1 << 31)
_NEWLINE, _TAB, _SPACE = 10, 9, 32


def modified(text: pa.StringArray, language: pa.StringArray) -> pa.StringArray:
    """The documents as ROOTS kept them.

    text, language  [docs] utf8, no nulls; the language a ROOTS code
    returns         [docs] utf8, "" where nothing is left
    """
    data, offsets = utf8.view(text)
    encoded = language.dictionary_encode()
    longest = [word_chars_max(code) for code in encoded.dictionary.to_pylist()]
    limits = np.array(longest, np.int64)[encoded.indices.to_numpy()] if longest else np.zeros(0, np.int64)
    return utf8.strings(*_modify(data, offsets, limits, _traits(), _marks()))


def word_chars_max(language: str) -> int:
    """Code points of the longest word of a language that stays; NEVER where words are not looked at."""
    return _table().get(language, WORD_CHARS_MAX)


@functools.cache
def _table() -> dict[str, int]:
    lines = (resources.files("roots.tables") / "web_text.csv").read_text(encoding="utf-8").splitlines()
    rows = [line.split(",") for line in lines if not line.startswith("#")][1:]
    return {language: int(limit) for language, limit in rows}


@functools.cache
def _traits() -> np.ndarray:
    traits = quality.traits().copy()
    traits[[c for c in range(0x3001) if chr(c).isspace()]] |= STRIPPED
    traits[[ord(c) for c in SPACES]] |= SPACED
    return traits


@functools.cache
def _marks() -> tuple[np.ndarray, np.ndarray]:
    """The address marks end to end, and where each ends."""
    marks = [mark.encode() for mark in ADDRESS_MARKS]
    return np.frombuffer(b"".join(marks), np.uint8), np.cumsum([0, *map(len, marks)])


@kernel.compiled
def _holds_a_mark(data, start, end, marks, ends):
    for m in range(len(ends) - 1):
        size = ends[m + 1] - ends[m]
        for i in range(start, end - size + 1):
            same = 0
            while same < size and data[i + same] == marks[ends[m] + same]:
                same += 1
            if same == size:
                return True
    return False


@kernel.compiled
def _stripped(data, start, end, traits):
    """Where a document begins and ends without the white space around it."""
    first = end
    last = end
    i = start
    while i < end:
        c, width = utf8.decode(data, i)
        if not traits[c] & STRIPPED:
            first = min(first, i)
            last = i + width
        i += width
    return first, last


@kernel.compiled
def _copy(data, start, end, out, n):
    for i in range(start, end):
        out[n] = data[i]
        n += 1
    return n


@kernel.compiled
def _modify(data, offsets, limits, traits, marks):
    docs = len(offsets) - 1
    ends = np.zeros(docs + 1, np.int32)
    out = np.empty(np.int64(offsets[docs]) - offsets[0], np.uint8)
    n = 0
    for d in range(docs):
        i, end = _stripped(data, np.int64(offsets[d]), np.int64(offsets[d + 1]), traits)
        limit = limits[d]
        begun = n
        joint = 0  # the strongest separator since the last word that stays: a new line before a tab before a space
        # of the word: where it begins, its first and its end without special characters, and its code points
        word, inner, outer, chars, inner_at, outer_at = i, -1, -1, 0, 0, 0
        while i <= end:
            c, width = utf8.decode(data, i) if i < end else (_NEWLINE, 1)
            t = traits[c]
            if limit == NEVER and i < end:
                if t & SPACED:
                    out[n] = _SPACE
                    n += 1
                else:
                    n = _copy(data, i, i + width, out, n)
            elif limit != NEVER and (t & SPACED or c in (_NEWLINE, _TAB)):
                overlong = chars > limit and (inner < 0 or outer_at - inner_at > limit)
                if chars and not overlong and not (inner >= 0 and _holds_a_mark(data, inner, outer, *marks)):
                    if n > begun:
                        out[n] = _NEWLINE if joint == 3 else _TAB if joint == 2 else _SPACE
                        n += 1
                    n = _copy(data, word, i, out, n)
                    joint = 0
                joint = max(joint, 3 if c == _NEWLINE else 2 if c == _TAB else 1)
                word, inner, chars = i + width, -1, 0
            else:
                if not t & quality_kernels.SPECIAL:
                    if inner < 0:
                        inner, inner_at = i, chars
                    outer, outer_at = i + width, chars + 1
                chars += 1
            i += width
        ends[d + 1] = n
    return out[:n], ends
