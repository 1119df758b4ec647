"""Lines, spaces and fixed substrings in UTF-8 text, and keys that occur first or often: for the cleaning
steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from roots import exact, kernel, utf8

LINE_FEED, SPACE = 10, 32


def without(text: pa.StringArray, marks: Sequence[str]) -> pa.StringArray:
    """The documents without the lines that contain any of the marks; other lines as they are, joined by
    "\\n".

    text    [docs] utf8, no nulls;  marks  non-empty strings without a line feed
    """
    return utf8.strings(*_without(*utf8.view(text), *_packed(marks)))


def stripped_of(text: pa.StringArray, phrases: Sequence[str]) -> pa.StringArray:
    """The documents without the phrases: leftmost first, and of those that begin at one place the first
    listed.

    text    [docs] utf8, no nulls;  phrases  non-empty strings
    """
    return utf8.strings(*_stripped_of(*utf8.view(text), *_packed(phrases)))


def joined_by_spaces(text: pa.StringArray) -> pa.StringArray:
    """The documents with a space for each line feed."""
    data, offsets = utf8.view(text)
    body = data[offsets[0] : offsets[-1]]
    return utf8.strings(np.where(body == LINE_FEED, np.uint8(SPACE), body), offsets - offsets[0])


def has_text(text: pa.StringArray) -> np.ndarray:
    """bool [docs]: whether the document has anything but white space, as str.strip knows it."""
    return _has_text(*utf8.view(text))


def spaces(text: pa.StringArray) -> np.ndarray:
    """int64 [docs]: occurrences of U+0020."""
    return _spaces(*utf8.view(text))


def first_of_each(keys: np.ndarray, present: np.ndarray) -> np.ndarray:
    """bool [keys]: whether the key, uint64 [keys, 2], is absent or occurs here for the first time."""
    rows = np.flatnonzero(present)
    order, begins = _grouped(keys[rows])
    first = ~present
    first[rows[order[begins]]] = True
    return first


def first_in_document(keys: np.ndarray, line_offsets: np.ndarray) -> np.ndarray:
    """bool [lines]: whether the line is the first of its document with its key.

    keys  uint64 [lines, 2];  line_offsets  int64 [docs + 1], as exact.line_keys gives them
    """
    document = np.repeat(np.arange(len(line_offsets) - 1), np.diff(line_offsets))
    order = np.lexsort((keys[:, 1], keys[:, 0], document))
    ordered, of = keys[order], document[order]
    first = np.zeros(len(keys), bool)
    begins = np.ones(len(keys), bool)
    begins[1:] = np.any(ordered[1:] != ordered[:-1], axis=1) | (of[1:] != of[:-1])
    first[order[begins]] = True
    return first


def without_repeats(text: pa.StringArray) -> pa.StringArray:
    """The documents without the lines that stood in them before; empty lines stay, all lines are stripped."""
    keys, line_offsets, chars, spans = exact.line_keys(text)
    return exact.join_lines(text, spans, line_offsets, first_in_document(keys, line_offsets) | (chars == 0))


def frequent(keys: np.ndarray, count_min: int) -> np.ndarray:
    """uint64 [frequent, 2], sorted by column: the keys that occur at least `count_min` times."""
    order, begins = _grouped(keys)
    counts = np.diff(begins, append=len(keys))
    return keys[order[begins[counts >= count_min]]]


def _grouped(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order that sorts the keys, equal ones as given, and where in it each distinct key begins."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    ordered = keys[order]
    changed = np.any(ordered[1:] != ordered[:-1], axis=1)
    return order, np.flatnonzero(np.concatenate([[len(keys) > 0], changed]))


@kernel.compiled
def among(keys, wanted):
    """bool [keys]: whether the key, uint64 [keys, 2], is in `wanted`, uint64 [wanted, 2] sorted by column."""
    found = np.zeros(len(keys), np.bool_)
    for k in range(len(keys)):
        low, high = 0, len(wanted)
        while low < high:
            middle = (low + high) // 2
            above = wanted[middle, 0] > keys[k, 0]
            if above or (wanted[middle, 0] == keys[k, 0] and wanted[middle, 1] >= keys[k, 1]):
                high = middle
            else:
                low = middle + 1
        found[k] = low < len(wanted) and wanted[low, 0] == keys[k, 0] and wanted[low, 1] == keys[k, 1]
    return found


def packed(words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The words' bytes end to end, uint8, and where each begins, int64 [words + 1]."""
    encoded = [word.encode() for word in words]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(word) for word in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


def _packed(words: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`packed`, and which bytes begin a word (bool [256])."""
    begins = np.zeros(256, bool)
    begins[[word.encode()[0] for word in words]] = True
    return *packed(words), begins


@kernel.compiled
def listed(data, start, end, words, word_offsets):
    """Whether data[start:end] is one of the packed words."""
    for w in range(len(word_offsets) - 1):
        a, size = word_offsets[w], word_offsets[w + 1] - word_offsets[w]
        k = 0
        while size == end - start and k < size and data[start + k] == words[a + k]:
            k += 1
        if k == size and size == end - start:
            return True
    return False


@kernel.compiled
def _match(data, i, end, words, word_offsets):
    """Length of the first listed word that stands at byte i, 0 if none does."""
    for w in range(len(word_offsets) - 1):
        a, size = word_offsets[w], word_offsets[w + 1] - word_offsets[w]
        if i + size > end:
            continue
        k = 0
        while k < size and data[i + k] == words[a + k]:
            k += 1
        if k == size:
            return size
    return 0


@kernel.compiled
def _without(data, offsets, words, word_offsets, begins):
    docs = len(offsets) - 1
    out, out_offsets = np.empty(offsets[-1] - offsets[0], np.uint8), np.zeros(docs + 1, np.int32)
    n = 0
    for doc in range(docs):
        i, end = np.int64(offsets[doc]), np.int64(offsets[doc + 1])
        kept = False
        while i <= end:
            marked = False
            mark = n  # bytes are copied as they are read, and taken back where the line is marked
            if kept:
                out[n] = LINE_FEED
                n += 1
            while i < end and data[i] != LINE_FEED:
                if begins[data[i]] and _match(data, i, end, words, word_offsets):
                    marked = True
                    break
                out[n] = data[i]
                n += 1
                i += 1
            if marked:
                n = mark
                while i < end and data[i] != LINE_FEED:
                    i += 1
            else:
                kept = True
            i += 1
        out_offsets[doc + 1] = n
    return out[:n], out_offsets


@kernel.compiled
def _stripped_of(data, offsets, words, word_offsets, begins):
    docs = len(offsets) - 1
    out, out_offsets = np.empty(offsets[-1] - offsets[0], np.uint8), np.zeros(docs + 1, np.int32)
    n = 0
    for doc in range(docs):
        i, end = np.int64(offsets[doc]), np.int64(offsets[doc + 1])
        while i < end:
            size = _match(data, i, end, words, word_offsets) if begins[data[i]] else 0
            if size:
                i += size
                continue
            out[n] = data[i]
            n += 1
            i += 1
        out_offsets[doc + 1] = n
    return out[:n], out_offsets


@kernel.compiled
def _is_space(cp):
    """White space of str.strip: bidirectional class B, S or WS, or category Zs."""
    return (
        9 <= cp <= 13
        or 28 <= cp <= 32
        or cp == 0x85
        or cp == 0xA0
        or cp == 0x1680
        or 0x2000 <= cp <= 0x200A
        or cp == 0x2028
        or cp == 0x2029
        or cp == 0x202F
        or cp == 0x205F
        or cp == 0x3000
    )


@kernel.compiled
def _has_text(data, offsets):
    found = np.zeros(len(offsets) - 1, np.bool_)
    for doc in range(len(found)):
        i, end = np.int64(offsets[doc]), np.int64(offsets[doc + 1])
        while i < end:
            cp, width = utf8.decode(data, i)
            if not _is_space(cp):
                found[doc] = True
                break
            i += width
    return found


@kernel.compiled
def _spaces(data, offsets):
    count = np.zeros(len(offsets) - 1, np.int64)
    for doc in range(len(count)):
        for i in range(offsets[doc], offsets[doc + 1]):
            count[doc] += data[i] == SPACE
    return count
