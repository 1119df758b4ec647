"""128-bit keys of equal things: whole texts, texts less their digits and punctuation, and single lines.

A key is two XXH64 values with fixed seeds, equal to those of the `xxhash` package, computed on Arrow's own
bytes. Two different strings share a key with probability of about 2^-128; a billion make 5 * 10^17 pairs.
"""

from __future__ import annotations

import functools
import string

import numpy as np
import pyarrow as pa

from roots import kernel, utf8

SEEDS = (np.uint64(0), np.uint64(0x524F4F5453))  # the second is "ROOTS" in ASCII; stored keys depend on both

# XXH64's primes (Collet, xxHash fast digest algorithm, section "XXH64 algorithm description")
P1 = np.uint64(0x9E3779B185EBCA87)
P2 = np.uint64(0xC2B2AE3D27D4EB4F)
P3 = np.uint64(0x165667B19E3779F9)
P4 = np.uint64(0x85EBCA77C2B2AE63)
P5 = np.uint64(0x27D4EB2F165667C5)

ZERO, ONE, FOUR, EIGHT, STRIPE = (np.uint64(n) for n in (0, 1, 4, 8, 32))
LINE_FEED, TAIL, TAIL_MASK = np.uint8(0x0A), np.uint8(0x80), np.uint8(0xC0)

# Classes of a code point, see `classes`
WHITESPACE, DIGIT, PUNCTUATION = 1, 2, 3
WHITESPACES = (  # what str.isspace and the `\s` of Python's `re` accept; the same in Unicode 14 to 16
    *range(0x09, 0x0E), *range(0x1C, 0x21), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029,
    0x202F, 0x205F, 0x3000,
)  # fmt: skip
DIGIT_ZEROS = (  # the zero of each ten of general category Nd in Unicode 14, as the tables of utf8
    0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50,
    0xED0, 0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40,
    0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10, 0x104A0, 0x10D30, 0x11066,
    0x110F0, 0x11136, 0x111D0, 0x112F0, 0x11450, 0x114D0, 0x11650, 0x116C0, 0x11730, 0x118E0, 0x11950,
    0x11C50, 0x11D50, 0x11DA0, 0x16A60, 0x16AC0, 0x16B50, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6,
    0x1E140, 0x1E2F0, 0x1E950, 0x1FBF0,
)  # fmt: skip


@functools.cache
def classes() -> np.ndarray:
    """uint8 [0x110000]: WHITESPACE, DIGIT (general category Nd), PUNCTUATION (ASCII only), else 0."""
    table = np.zeros(0x110000, np.uint8)
    table[list(WHITESPACES)] = WHITESPACE
    for zero in DIGIT_ZEROS:
        table[zero : zero + 10] = DIGIT
    table[[ord(c) for c in string.punctuation]] = PUNCTUATION
    return table


@kernel.inlined
def _rotate(x, bits):
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


@kernel.inlined
def _read(data, i, size):
    """`size` bytes from byte i as a little-endian number; the compiler makes one load of it."""
    value = ZERO
    for k in range(size):
        value |= np.uint64(data[i + np.uint64(k)]) << np.uint64(8 * k)
    return value


@kernel.inlined
def _round(lane, value):
    return _rotate(lane + value * P2, 31) * P1


@kernel.compiled
def xxh64(data, start, end, seed):
    """XXH64 of data[start:end] (uint8), as uint64; seed uint64."""
    i, end = np.uint64(start), np.uint64(end)
    size = end - i
    h = seed + P5
    if size >= STRIPE:
        v1, v2, v3, v4 = seed + P1 + P2, seed + P2, seed, seed - P1
        while i + STRIPE <= end:
            v1 = _round(v1, _read(data, i, 8))
            v2 = _round(v2, _read(data, i + np.uint64(8), 8))
            v3 = _round(v3, _read(data, i + np.uint64(16), 8))
            v4 = _round(v4, _read(data, i + np.uint64(24), 8))
            i += STRIPE
        h = _rotate(v1, 1) + _rotate(v2, 7) + _rotate(v3, 12) + _rotate(v4, 18)
        for lane in (v1, v2, v3, v4):
            h = (h ^ _round(ZERO, lane)) * P1 + P4
    h += size
    while i + EIGHT <= end:
        h = _rotate(h ^ _round(ZERO, _read(data, i, 8)), 27) * P1 + P4
        i += EIGHT
    if i + FOUR <= end:
        h = _rotate(h ^ (_read(data, i, 4) * P1), 23) * P2 + P3
        i += FOUR
    while i < end:
        h = _rotate(h ^ (np.uint64(data[i]) * P5), 11) * P1
        i += ONE
    h = (h ^ (h >> np.uint64(33))) * P2
    h = (h ^ (h >> np.uint64(29))) * P3
    return h ^ (h >> np.uint64(32))


@kernel.compiled
def _key(data, start, end, out):
    out[0] = xxh64(data, start, end, SEEDS[0])
    out[1] = xxh64(data, start, end, SEEDS[1])


def text_keys(text: pa.StringArray) -> np.ndarray:
    """The key of each string's exact bytes: texts, ids, addresses.

    text    [docs] utf8, no nulls
    returns uint64 [docs, 2]
    """
    return _text_keys(*utf8.view(text))


@kernel.compiled
def _text_keys(data, offsets):
    out = np.empty((len(offsets) - 1, 2), np.uint64)
    for doc in range(len(out)):
        _key(data, offsets[doc], offsets[doc + 1], out[doc])
    return out


def document_keys(text: pa.StringArray) -> np.ndarray:
    """The key under which ROOTS called two documents of a source the same: letters count, layout does not.

    Deleted before hashing: Unicode whitespace; the decimal digits of every script (general category Nd, which
    is what `\\d` means in Python: a superscript two stays); the 32 ASCII punctuation characters (no others).
    Case is kept. A text of nothing else has the key of the empty string.

    text    [docs] utf8, no nulls
    returns uint64 [docs, 2]
    source  BigScience data-preparation, clean_helpers, dedup_document (there MD5; only equality matters)
    """
    return _document_keys(*utf8.view(text), classes())


def spaceless_keys(text: pa.StringArray) -> np.ndarray:
    """The key of each text less its white space.

    text    [docs] utf8, no nulls
    returns uint64 [docs, 2]
    source  BigScience data-preparation, sourcing/cc_pseudo_crawl (preprocess_dataset.py) and code_dataset
    """
    return _document_keys(*utf8.view(text), np.where(classes() == WHITESPACE, np.uint8(WHITESPACE), np.uint8(0)))


@kernel.compiled
def _document_keys(data, offsets, table):
    docs = len(offsets) - 1
    out = np.empty((docs, 2), np.uint64)
    longest = 0
    for doc in range(docs):
        longest = max(longest, offsets[doc + 1] - offsets[doc])
    left = np.empty(longest + 1, np.uint8)
    for doc in range(docs):
        size = _filter(data, np.int64(offsets[doc]), np.int64(offsets[doc + 1]), table, left)
        _key(left, 0, size, out[doc])
    return out


@kernel.compiled
def _filter(data, i, end, table, left):
    """Copy the code points of class 0 from data[i:end] to `left`, a byte longer; returns the bytes copied."""
    size = 0
    while i < end:
        if data[i] < TAIL:
            left[size] = data[i]  # without a branch: written always, counted if it stays
            size += table[data[i]] == 0
            i += 1
            continue
        point, width = utf8.decode(data, i)
        if table[point] == 0:
            for k in range(width):
                left[size + k] = data[i + k]
            size += width
        i += width
    return size


def shared(keys: np.ndarray) -> np.ndarray:
    """bool [n]: whether the key (uint64) may stand there more than once; of those that do not, one in nine may too.

    Most keys of a large table are unique. This leaves them out before the table is sorted, at a tenth of the cost.
    """
    return _shared(keys, np.uint64(64 - max(3 + len(keys).bit_length(), 1)))


@kernel.compiled
def _shared(keys, shift):
    counts = np.zeros(np.uint64(1) << (np.uint64(64) - shift), np.uint8)  # 8 to 16 for each key
    for k in range(len(keys)):
        place = (keys[k] * P1) >> shift
        counts[place] += counts[place] < 2
    out = np.empty(len(keys), np.bool_)
    for k in range(len(keys)):
        out[k] = counts[(keys[k] * P1) >> shift] == 2
    return out


def line_keys(text: pa.StringArray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The lines of each document, parted by "\\n" alone, stripped as str.strip does, and their keys.

    text    [docs] utf8, no nulls
    returns keys uint64 [lines, 2], of the stripped line;
            line_offsets int64 [docs + 1]; document i, even an empty one, has one or more lines,
            line_offsets[i]:line_offsets[i + 1];
            chars int32 [lines], length of the stripped line in code points;
            spans int64 [lines, 2], its first byte and the one behind it in the buffer of utf8.view(text)
    source  BigScience data-preparation, clean_helpers, dedup_template_soft
    """
    data, offsets = utf8.view(text)
    line_offsets = _count_lines(data, offsets)
    return _line_keys(data, offsets, line_offsets, classes())


@kernel.compiled
def _count_lines(data, offsets):
    line_offsets = np.zeros(len(offsets), np.int64)
    for doc in range(len(offsets) - 1):
        lines = 1
        for i in range(offsets[doc], offsets[doc + 1]):
            lines += data[i] == LINE_FEED
        line_offsets[doc + 1] = line_offsets[doc] + lines
    return line_offsets


@kernel.compiled
def _line_keys(data, offsets, line_offsets, table):
    lines = line_offsets[-1]
    keys = np.empty((lines, 2), np.uint64)
    chars = np.zeros(lines, np.int32)
    spans = np.empty((lines, 2), np.int64)
    line = 0
    for doc in range(len(offsets) - 1):
        start, end = np.int64(offsets[doc]), np.int64(offsets[doc + 1])
        while line < line_offsets[doc + 1]:
            stop = start
            while stop < end and data[stop] != LINE_FEED:
                stop += 1
            first, last = _strip(data, start, stop, table)
            _key(data, first, last, keys[line])
            for i in range(first, last):
                chars[line] += (data[i] & TAIL_MASK) != TAIL
            spans[line] = first, last
            start = stop + 1
            line += 1
    return keys, line_offsets, chars, spans


@kernel.compiled
def _strip(data, start, end, table):
    while start < end:
        point, width = utf8.decode(data, start)
        if table[point] != WHITESPACE:
            break
        start += width
    while start < end:
        back = end - 1
        while (data[back] & TAIL_MASK) == TAIL:
            back -= 1
        point, _ = utf8.decode(data, back)
        if table[point] != WHITESPACE:
            break
        end = back
    return start, end


def paragraph_keys(text: pa.StringArray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The paragraphs of each document, parted by lines of white space alone; the same shape as `line_keys`.

    A paragraph reaches from its first line that is not blank to its last, as it stands, stripped at both ends; a
    document of blank lines has one, which is empty.
    """
    data, _ = utf8.view(text)
    _, line_offsets, _, spans = line_keys(text)
    return _paragraph_keys(data, line_offsets, spans)


@kernel.compiled
def _paragraph_keys(data, line_offsets, lines):
    spans, offsets = np.empty_like(lines), np.zeros_like(line_offsets)
    n = 0
    for doc in range(len(line_offsets) - 1):
        inside = False
        for line in range(line_offsets[doc], line_offsets[doc + 1]):
            blank = lines[line, 0] == lines[line, 1]
            if not blank and inside:
                spans[n - 1, 1] = lines[line, 1]
            elif not blank:
                spans[n] = lines[line]
                n += 1
            inside = not blank
        if n == offsets[doc]:
            spans[n] = lines[line_offsets[doc]]
            n += 1
        offsets[doc + 1] = n
    keys, chars = np.empty((n, 2), np.uint64), np.zeros(n, np.int32)
    for k in range(n):
        _key(data, spans[k, 0], spans[k, 1], keys[k])
        for i in range(spans[k, 0], spans[k, 1]):
            chars[k] += (data[i] & TAIL_MASK) != TAIL
    return keys, offsets, chars, spans[:n].copy()


def join_lines(
    text: pa.StringArray, spans: np.ndarray, line_offsets: np.ndarray, keep: np.ndarray, feeds: int = 1
) -> pa.StringArray:
    """The kept lines of each document, stripped, joined by "\\n"; "" where none is kept.

    text, spans, line_offsets  as given to and returned by `line_keys`;  keep bool [lines]
    feeds   line feeds between two: 2 where they are paragraphs
    returns [docs] utf8
    raises  ValueError where `keep` does not have one value a line
    """
    if len(keep) != len(spans):
        raise ValueError(f"exact.join_lines: keep has {len(keep)} values for {len(spans)} lines")
    data, _ = utf8.view(text)
    return utf8.strings(*_join_lines(data, spans, line_offsets, keep, feeds))


@kernel.compiled
def _join_lines(data, spans, line_offsets, keep, feeds):
    docs = len(line_offsets) - 1
    out = np.empty(np.sum((spans[:, 1] - spans[:, 0] + feeds) * keep), np.uint8)
    offsets = np.zeros(docs + 1, np.int32)
    size = 0
    for doc in range(docs):
        follows = False  # not `size > offsets[doc]`: the first kept line may be empty
        for line in range(line_offsets[doc], line_offsets[doc + 1]):
            if not keep[line]:
                continue
            if follows:
                out[size : size + feeds] = LINE_FEED
                size += feeds
            follows = True
            width = spans[line, 1] - spans[line, 0]
            out[size : size + width] = data[spans[line, 0] : spans[line, 1]]
            size += width
        offsets[doc + 1] = size
    return out[:size], offsets
