"""Sentences, one a line, by the marks that end them in each script. No model, no dictionary: marks, case, white space
and a short list of abbreviations per language.

    always     । ॥ (danda), ؟ ۔ (Arabic script), 。 ！ ？ ｡ (CJK) end a sentence, with the closing quotes and brackets
               after them, whether or not white space follows
    with space ! ? . … end one where white space follows, unless what comes next begins with a lower-case letter
    never      a single full stop after an initial (`J.`), an abbreviation with a stop inside (`e.g.`), one of the
               language's list (tables/abbreviations.tsv), or the number that begins a line (`3.`)

A line feed always ends a sentence and stays where it is; nothing but the white space between two sentences changes.

Departure: ROOTS used NLTK's punkt (en es fr pt), Stanza (ar ca eu id zhs zht), the Indic NLP library (nine languages
of India) and underthesea (vi). How far the rules agree with sentences marked by people: benchmarks/sentences.py.
"""

from __future__ import annotations

import functools
from importlib import resources

import numpy as np
import pyarrow as pa

from roots import exact, kernel, languages, lines, utf8

# Classes of a code point; the three kinds of terminator lie between OTHER and the rest
OTHER, STOP, MARK, FULL, CLOSER, OPENER, SPACE, LOWER, LETTER, DIGIT = range(10)
MEMBERS = {
    STOP: ".…",
    MARK: "!?‼⁇⁈⁉",
    FULL: "।॥؟۔。！？｡",
    CLOSER: ")]}\"'’”»›」』）】》〉",
    OPENER: "([{“‘«‹„‚「『（【《〈¿¡—–-",
    DIGIT: "0123456789",
}
GUILLEMET = ord("»")  # in French white space comes before it
LINE_FEED, FULL_STOP = np.uint8(10), np.uint8(ord("."))
TOKEN_BYTES_MAX = 24  # no abbreviation of the table is longer
INNER_CHARS_MAX = 2  # letters after an inner stop: `U.S`, `p.ex`, `d.C`, not `example.org`


def sentences(text: pa.StringArray, language: str) -> pa.StringArray:
    """Each document with a line feed for the white space between two of its sentences.

    text      [docs] utf8, no nulls;  language  ROOTS or short code
    returns   [docs] utf8; nothing is lost but white space, and splitting again changes nothing
    """
    words = abbreviations(languages.short(languages.find(language).code))
    return utf8.strings(*_sentences(*utf8.view(text), classes(), *words))


@functools.cache
def classes() -> np.ndarray:
    """uint8 [0x110000]: the class of each code point."""
    table = np.zeros(0x110000, np.uint8)
    table[utf8.kinds() != utf8.SEPARATOR] = LETTER
    lower = utf8.lowercase()
    table[lower[lower != np.arange(len(lower))]] = LOWER
    table[list(exact.WHITESPACES)] = SPACE
    for kind, members in MEMBERS.items():
        table[[ord(c) for c in members]] = kind
    return table


@functools.cache
def abbreviations(code: str) -> tuple[np.ndarray, np.ndarray]:
    """A language's abbreviations without their stop, as bytes end to end and where each begins; in capitals too."""
    table = (resources.files("roots.tables") / "abbreviations.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in table.splitlines() if not line.startswith("#")]
    found = sorted(
        {form for row in rows if row[0] == code for word in row[1:] for form in (word, word.capitalize(), word.upper())}
    )
    return lines.packed(found)


@kernel.compiled
def _sentences(data, offsets, classes, words, word_offsets):
    docs = len(offsets) - 1
    size = np.int64(offsets[-1]) - np.int64(offsets[0])
    out = np.empty(size + size // 2, np.uint8)  # a mark that needs no white space has two bytes or more
    out_offsets = np.zeros(docs + 1, np.int32)
    n = 0
    for doc in range(docs):
        i, end = np.int64(offsets[doc]), np.int64(offsets[doc + 1])
        begin = i  # of the sentence
        while i < end:
            point, width = utf8.decode(data, i)
            kind = classes[point]
            for k in range(width):
                out[n + k] = data[i + k]
            n, i = n + width, i + width
            if kind < STOP or kind > FULL:
                continue
            mark, marks = i - width, 1
            while True:  # further marks, closing quotes and brackets
                after, line_ends = _after_space(data, i, end, classes)
                if line_ends or after == end:
                    break
                point, width = utf8.decode(data, after)
                follows = classes[point]
                if after == i and STOP <= follows <= FULL:
                    kind, marks = max(kind, follows), marks + 1
                elif follows != CLOSER or (after > i and point != GUILLEMET):
                    break
                for k in range(i, after + width):
                    out[n] = data[k]
                    n += 1
                i = after + width
            if line_ends or after == end:
                continue
            if kind < FULL and (
                after == i
                or _begins_lower(data, after, end, classes)
                or (
                    marks == 1
                    and data[mark] == FULL_STOP
                    and _abbreviated(data, begin, mark, classes, words, word_offsets)
                )
            ):
                continue
            out[n] = LINE_FEED
            n += 1
            begin = i = after
        out_offsets[doc + 1] = n
    return out[:n], out_offsets


@kernel.compiled
def _after_space(data, i, end, classes):
    """The first byte from i on that is not white space, and whether a line feed lies before it."""
    line_ends = False
    while i < end:
        point, width = utf8.decode(data, i)
        if classes[point] != SPACE:
            break
        line_ends = line_ends or point == LINE_FEED
        i += width
    return i, line_ends


@kernel.compiled
def _begins_lower(data, i, end, classes):
    """Whether what begins at byte i, behind opening quotes and dashes, is a lower-case letter."""
    limit = i + TOKEN_BYTES_MAX
    while i < min(end, limit):
        point, width = utf8.decode(data, i)
        kind = classes[point]
        if kind == LOWER:
            return True
        if kind != OPENER and kind != CLOSER and kind != SPACE:
            return False
        i += width
    return False


@kernel.compiled
def _abbreviated(data, begin, stop, classes, words, word_offsets):
    """Whether the token before the full stop at byte `stop` does not end a sentence that began at byte `begin`."""
    first = stop
    inner = -1  # the last stop inside the token
    chars = 0  # code points after that stop, or of the whole token
    digits = True
    kind = np.uint8(OTHER)
    while first > begin and stop - first <= TOKEN_BYTES_MAX:
        back = first - 1
        while (data[back] & 0xC0) == 0x80:
            back -= 1
        point, _ = utf8.decode(data, back)
        if point == FULL_STOP:
            inner = back if inner < 0 else inner
        else:
            kind = classes[point]
            if kind < LOWER or point == LINE_FEED:
                break
            digits = digits and kind == DIGIT
            chars += inner < 0
        first = back
    if inner >= 0:
        return chars <= INNER_CHARS_MAX
    if digits:
        return chars > 0 and (first == begin or data[first - 1] == LINE_FEED)
    if chars == 1:
        point, _ = utf8.decode(data, first)
        return classes[point] == LETTER or lines.listed(data, first, stop, words, word_offsets)
    return lines.listed(data, first, stop, words, word_offsets)
