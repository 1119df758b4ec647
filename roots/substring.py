"""Text that stands elsewhere already: strings of at least `bytes_min` bytes that occur twice, within or across
documents.

A suffix array sorts all suffixes, and reads repeats off neighbours that agree in their first bytes. For repeats of a
given length only those first `bytes_min` bytes matter, a window; so here equal windows are brought together by a
128-bit key of each, which needs no sort of the whole and can be parted over tasks. A byte is repeated if it lies in a
window that has occurred before: the spans are those that a suffix array gives (docs/decisions/0006).

Nearly all windows occur once. They are left out by their anchor, the least hash of the GRAM bytes at any place of the
window: equal windows have equal anchors, so one whose anchor is nowhere else cannot be repeated. Neighbouring windows
mostly share their anchor; such a run is one record, one for about (bytes_min - GRAM + 2) / 2 bytes of text.

source  Lee et al. 2022, Deduplicating Training Data Makes Language Models Better, section 4.1; anchors: Schleimer,
        Wilkerson, Aiken 2003, Winnowing, section 3
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from roots import exact, kernel, shingles, utf8

GRAM = 16  # bytes of which an anchor is the hash: two words of the machine
TAIL, TAIL_MASK = np.uint8(0x80), np.uint8(0xC0)
HIGHEST = np.uint64(0xFFFFFFFFFFFFFFFF)


class Runs(NamedTuple):
    """Runs of consecutive windows of a document with one anchor.

    row      int64 [runs], of the document; ascending
    start    int64 [runs], byte of the document at which the first window begins; ascending within a document
    windows  int64 [runs], how many
    anchor   uint64 [runs]
    several  bool [runs], whether the anchor is at several places of the run: text that repeats itself at once
    """

    row: np.ndarray
    start: np.ndarray
    windows: np.ndarray
    anchor: np.ndarray
    several: np.ndarray


class Spans(NamedTuple):
    """Parts of documents: row int64 [spans], ascending, and the bytes start to end (int64), ascending in a row.

    first   int64 [spans], the number of the first repeated window of the span, of those given to `spans`
    """

    row: np.ndarray
    start: np.ndarray
    end: np.ndarray
    first: np.ndarray


def runs(text: pa.StringArray, bytes_min: int) -> Runs:
    """The anchors of all windows of the documents; one shorter than a window has none.

    text    [docs] utf8, no nulls
    raises  ValueError if bytes_min is below GRAM
    """
    if bytes_min < GRAM:
        raise ValueError(f"substring: bytes_min must be at least {GRAM}, got {bytes_min}")
    return Runs(*_runs(*utf8.view(text), bytes_min))


@kernel.compiled
def _runs(data, offsets, size):
    most = max(np.int64(offsets[-1]) - offsets[0], 1)  # memory that is not written to is not taken
    row, start, anchor = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.uint64)
    count, several = np.empty(most, np.int64), np.empty(most, np.bool_)
    grams = size - GRAM + 1  # of a window
    ring = np.empty(grams, np.uint64)
    n = 0
    for doc in range(len(offsets) - 1):
        begin, places = np.int64(offsets[doc]), np.int64(offsets[doc + 1]) - offsets[doc] - GRAM + 1
        best, at, slot, fresh = HIGHEST, -1, 0, True
        for place in range(places):
            ring[slot] = h = _gram(data, np.uint64(begin + place))
            slot = slot + 1 if slot + 1 < grams else 0
            moved = False
            if h <= best:
                moved, best, at = h == best, h, place
            elif at <= place - grams:
                last, best = best, HIGHEST
                for k in range(grams):  # from the oldest: `slot` is next to be written over
                    held = ring[slot + k if slot + k < grams else slot + k - grams]
                    if held <= best:
                        best, at = held, place - grams + 1 + k
                moved = best == last
            if place < grams - 1:
                continue
            if fresh or best != anchor[n - 1]:
                row[n], start[n], anchor[n], count[n], several[n] = doc, place - grams + 1, best, 0, False
                n += 1
                fresh = False
            count[n - 1] += 1
            several[n - 1] |= moved
    return row[:n].copy(), start[:n].copy(), count[:n].copy(), anchor[:n].copy(), several[:n].copy()


@kernel.inlined
def _gram(data, i):
    low, high = np.uint64(0), np.uint64(0)
    for k in range(8):
        low |= np.uint64(data[i + np.uint64(k)]) << np.uint64(8 * k)
        high |= np.uint64(data[i + np.uint64(8 + k)]) << np.uint64(8 * k)
    return shingles.mix(low * shingles.TOKEN_BASE + high)


def windows(text: pa.StringArray, of: Runs, bytes_min: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The windows of some runs of the documents.

    returns keys uint64 [windows, 2];  row int64 [windows];  start int64 [windows], byte of the document
    """
    data, offsets = utf8.view(text)
    return _windows(data, offsets, of.row, of.start, of.windows, bytes_min)


@kernel.compiled
def _windows(data, offsets, row, start, count, size):
    total = np.sum(count)
    keys, rows, starts = np.empty((total, 2), np.uint64), np.empty(total, np.int64), np.empty(total, np.int64)
    n = 0
    for run in range(len(row)):
        begin = np.int64(offsets[row[run]])
        for place in range(start[run], start[run] + count[run]):
            keys[n, 0] = exact.xxh64(data, begin + place, begin + place + size, exact.SEEDS[0])
            keys[n, 1] = exact.xxh64(data, begin + place, begin + place + size, exact.SEEDS[1])
            rows[n], starts[n] = row[run], place
            n += 1
    return keys, rows, starts


def spans(text: pa.StringArray, row: np.ndarray, start: np.ndarray, bytes_min: int) -> Spans:
    """What repeated windows cover, without the code points that they only have a part of.

    row, start  int64 [windows], ascending by both
    """
    return Spans(*_spans(*utf8.view(text), row, start, bytes_min))


@kernel.compiled
def _spans(data, offsets, row, start, size):
    rows, starts, ends = np.empty_like(row), np.empty_like(row), np.empty_like(row)
    first = np.empty_like(row)
    n = 0
    for k in range(len(row)):
        if k and row[k] == row[k - 1] and start[k] <= ends[n - 1]:
            ends[n - 1] = start[k] + size
            continue
        rows[n], starts[n], ends[n], first[n] = row[k], start[k], start[k] + size, k
        n += 1
    for k in range(n):
        begin, stop = np.int64(offsets[rows[k]]), np.int64(offsets[rows[k] + 1])
        while (data[begin + starts[k]] & TAIL_MASK) == TAIL:
            starts[k] += 1
        while begin + ends[k] < stop and (data[begin + ends[k]] & TAIL_MASK) == TAIL:
            ends[k] -= 1
    return rows[:n], starts[:n], ends[:n], first[:n]


def cut(text: pa.StringArray, row: np.ndarray, start: np.ndarray, end: np.ndarray) -> pa.StringArray:
    """The documents without some spans, which ascend and do not overlap."""
    return utf8.strings(*_cut(*utf8.view(text), row, start, end))


@kernel.compiled
def _cut(data, offsets, row, start, end):
    out = np.empty(np.int64(offsets[-1]) - offsets[0], np.uint8)
    bounds = np.zeros(len(offsets), np.int32)
    size, k = 0, 0
    for doc in range(len(offsets) - 1):
        place = np.int64(offsets[doc])
        while k < len(row) and row[k] == doc:
            width = offsets[doc] + start[k] - place
            out[size : size + width] = data[place : place + width]
            size += width
            place = offsets[doc] + end[k]
            k += 1
        width = offsets[doc + 1] - place
        out[size : size + width] = data[place : place + width]
        size += width
        bounds[doc + 1] = size
    return out[:size], bounds
