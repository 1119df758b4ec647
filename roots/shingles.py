"""Shingles: runs of consecutive words, hashed to 64 bits straight from UTF-8, and exact Jaccard similarity.

What a token is, is the unit:

    words   a maximal run of WORD code points, or one UNSPACED code point alone (see utf8.kinds), each as
            utf8.foldings compares it: without case, composed or not, full-width or not
    code    the same as it is written, and each of OPERATORS a token of its own; brackets, quotes, commas and colons
            part tokens only, as formatters move and change them (benchmarks/neardup.md)

A shingle is `ngram` consecutive tokens; a document of 1 to ngram - 1 tokens has one shingle of all of them, and
a document without a token has none. So two short documents have all their tokens in common, or nothing.
"""

from __future__ import annotations

import functools

import numpy as np
import pyarrow as pa

from roots import kernel, utf8

UNITS = ("words", "code")
OPERATORS = "!#$%&*+-./<=>?@\\^|~"
BLOCK = 512  # tokens hashed at a time: 4 KB, which stay in the first-level cache

# Odd 64-bit multipliers without structure: the fractional bits of the golden ratio; one of good spectrum
# (Steele and Vigna, "Computationally easy, spectrally good multipliers", 2021); the two of MurmurHash3's
# fmix64 (Appleby).
TOKEN_BASE = np.uint64(0x9E3779B97F4A7C15)
SHINGLE_BASE = np.uint64(0xD1342543DE82EF95)
FMIX_1 = np.uint64(0xFF51AFD7ED558CCD)
FMIX_2 = np.uint64(0xC4CEB9FE1A85EC53)

# These kernels compute in uint64, indices too: numba tests each signed index for being negative, a quarter of
# the run time here, and makes a float of the sum of a signed and an unsigned number.
ZERO, ONE, TWO, THREE, FOUR, SIX, TWELVE, EIGHTEEN = (np.uint64(n) for n in (0, 1, 2, 3, 4, 6, 12, 18))
ASCII_END, TWO_BYTES_END, THREE_BYTES_END, TAIL = (np.uint64(n) for n in (0x80, 0xE0, 0xF0, 0x3F))
UNSPACED_BIT, EXPANDED_BIT = np.uint64(1 << 21), np.uint64(1 << 22)  # above every code point; see `folded`


@functools.cache
def folded(unit: str) -> np.ndarray:
    """uint32 [0x110000 + n]: 0 for a separator, else the code point as it is compared.

    UNSPACED_BIT is set in addition where the code point is a token of its own. EXPANDED_BIT says that several or no
    code points are compared: the other bits are the place, behind 0x110000, of their number and of them.
    raises  ValueError for a unit that is not in UNITS
    """
    if unit not in UNITS:
        raise ValueError(f"shingles: unit must be one of {', '.join(UNITS)}, got {unit!r}")
    kinds = utf8.kinds().copy()
    points = np.arange(len(kinds), dtype=np.uint32)
    if unit == "code":
        kinds[[ord(mark) for mark in OPERATORS]] = utf8.UNSPACED
        return np.where(kinds == utf8.SEPARATOR, 0, points | UNSPACED_BIT * (kinds == utf8.UNSPACED)).astype(np.uint32)
    origin, length, result = utf8.foldings()
    single, several = length == 1, length[length != 1].astype(np.int64)
    points[origin[single]] = result[np.repeat(single, length)]
    table = np.where(kinds == utf8.SEPARATOR, 0, points | UNSPACED_BIT * (kinds[points] == utf8.UNSPACED))
    begins = np.cumsum(several) - several
    table[origin[~single]] = EXPANDED_BIT | (len(table) + begins + np.arange(len(begins))).astype(np.uint64)
    pieces = np.insert(result[np.repeat(~single, length)], begins, several)  # of each their number, then they
    return np.concatenate([table, pieces]).astype(np.uint32)


@kernel.inlined
def mix(x):
    """A bijection of uint64 in which each bit of x moves each bit of the result (fmix64 of MurmurHash3)."""
    x = (x ^ (x >> np.uint64(33))) * FMIX_1
    x = (x ^ (x >> np.uint64(33))) * FMIX_2
    return x ^ (x >> np.uint64(33))


@kernel.compiled
def mixed(values):
    """`mix` of each value of an array of uint64."""
    out = np.empty_like(values)
    for k in range(values.size):
        out.flat[k] = mix(values.flat[k])
    return out


@kernel.inlined
def _wide(data, i, lead):
    """The code point of two to four bytes at byte i, the first being `lead`, and its width (uint64)."""
    low = np.uint64(data[i + ONE]) & TAIL
    if lead < TWO_BYTES_END:
        return (lead & np.uint64(0x1F)) << SIX | low, TWO
    middle = np.uint64(data[i + TWO]) & TAIL
    if lead < THREE_BYTES_END:
        return (lead & np.uint64(0x0F)) << TWELVE | low << SIX | middle, THREE
    last = np.uint64(data[i + THREE]) & TAIL
    return (lead & np.uint64(0x07)) << EIGHTEEN | low << TWELVE | middle << SIX | last, FOUR


@kernel.compiled
def _tokens(data, i, end, table, pending, out, count):
    """Append unmixed token hashes to out[count:] from byte i on, until the text ends or `out` is nearly full.

    pending  hash of the token that goes on at byte i, 0 where none does
    returns  next byte, pending, tokens in `out`
    """
    full = np.uint64(len(out) - 1)
    while i < end and count < full:
        lead = np.uint64(data[i])
        if lead < ASCII_END:
            i += ONE
            code = np.uint64(table[lead])
            if code >= UNSPACED_BIT:
                out[count] = pending
                count += np.uint64(pending != ZERO)
                out[count] = code * TOKEN_BASE
                count += ONE
                pending = ZERO
                continue
            # No processor foresees where a word ends, so no branch: always write, and count at an end only.
            word = np.uint64(code != ZERO)
            out[count] = pending
            count += np.uint64(pending != ZERO) & (word ^ ONE)
            pending = ((pending ^ code) * TOKEN_BASE) & (ZERO - word)
            continue
        point, width = _wide(data, i, lead)
        i += width
        code = np.uint64(table[point])
        if ZERO < code < UNSPACED_BIT:
            pending = (pending ^ code) * TOKEN_BASE
            continue
        if code >= EXPANDED_BIT:
            place = code ^ EXPANDED_BIT
            for k in range(place + ONE, place + ONE + np.uint64(table[place])):
                pending = (pending ^ np.uint64(table[k])) * TOKEN_BASE
            continue
        if pending != ZERO:
            out[count] = pending
            count += ONE
            pending = ZERO
        if code != ZERO:
            out[count] = code * TOKEN_BASE
            count += ONE
    if i >= end and pending != ZERO:
        out[count] = pending
        count += ONE
    return i, pending, count


@kernel.compiled
def fill(data, i, end, table, tokens, ngram, seen, pending, out):
    """Hash the next shingles of a document, about a block of them; call again until the next byte is `end`.

    i, end   uint64, bytes of `data`;  table as `folded` returns it
    tokens   uint64 [ngram + BLOCK], left alone between the calls for one document
    seen     tokens before byte i, 0 at first;  pending uint64, see `_tokens`, 0 at first
    out      uint64 [BLOCK + 1 or more]
    returns  next byte, seen, pending, shingles written
    """
    carried = min(seen, ngram - 1)
    i, pending, total = _tokens(data, i, end, table, pending, tokens, np.uint64(carried))
    held = np.int64(total)
    for k in range(carried, held):
        tokens[k] = mix(tokens[k])
    seen += held - carried
    width = min(ngram, seen)  # less than ngram only where the document ends: `tokens` has room for more
    count = _combine(tokens[:held], width, out) if width else 0
    kept = min(held, ngram - 1)
    for k in range(kept):
        tokens[k] = tokens[held - kept + k]
    return i, seen, pending, count


@kernel.compiled
def _combine(tokens, width, out):
    """The hash of each `width` consecutive tokens: a polynomial in SHINGLE_BASE, rolled on, then mixed."""
    leaving = ONE
    rolling = ZERO
    for k in range(min(width, len(tokens))):
        leaving *= SHINGLE_BASE
        rolling = rolling * SHINGLE_BASE + tokens[k]
    count = max(len(tokens) - width + 1, 0)
    for k in range(count):
        out[k] = rolling
        if k + 1 < count:
            rolling = rolling * SHINGLE_BASE + tokens[k + width] - tokens[k] * leaving
    for k in range(count):
        out[k] = mix(out[k])
    return count


def check_ngram(ngram: int) -> None:
    """Raise ValueError unless a shingle has at least one token."""
    if ngram < 1:
        raise ValueError(f"shingles: ngram, the tokens in a shingle, must be at least 1, got {ngram}")


def hashes(text: pa.StringArray, ngram: int, unit: str = "words") -> tuple[np.ndarray, np.ndarray]:
    """Every shingle of every document, in order, repeats included.

    text    [docs] utf8, no nulls
    returns values uint64 [shingles];
            offsets int64 [docs + 1]; document i is values[offsets[i]:offsets[i + 1]]
    raises  ValueError if ngram < 1, or for a unit that is not in UNITS
    """
    check_ngram(ngram)
    data, offsets = utf8.view(text)
    return _hashes(data, offsets, folded(unit), ngram)


@kernel.compiled
def _hashes(data, offsets, table, ngram):
    docs = len(offsets) - 1
    # A token has a byte or more.
    values = np.empty(np.int64(offsets[docs]) - offsets[0] + docs + BLOCK + 1, np.uint64)
    bounds = np.zeros(docs + 1, np.int64)
    tokens = np.empty(ngram + BLOCK, np.uint64)
    n = 0
    for doc in range(docs):
        i, end = np.uint64(offsets[doc]), np.uint64(offsets[doc + 1])
        seen, pending = 0, ZERO
        while i < end:
            i, seen, pending, count = fill(data, i, end, table, tokens, ngram, seen, pending, values[n:])
            n += count
        bounds[doc + 1] = n
    return values[:n], bounds


def sets(text: pa.StringArray, ngram: int, unit: str = "words") -> tuple[np.ndarray, np.ndarray]:
    """The distinct shingles of each document in ascending order; same shape as `hashes`, no repeats."""
    values, offsets = hashes(text, ngram, unit)
    return _sorted_unique(values, offsets)


@kernel.compiled
def _sorted_unique(values, offsets):
    bounds = np.zeros_like(offsets)
    kept = 0
    for doc in range(len(offsets) - 1):
        first, last = offsets[doc], offsets[doc + 1]
        values[first:last].sort()
        for k in range(first, last):
            if k == first or values[k] != values[k - 1]:
                values[kept] = values[k]
                kept += 1
        bounds[doc + 1] = kept
    return values[:kept], bounds


@kernel.compiled
def jaccard(values_a, values_b):
    """Intersection over union of two ascending sets uint64; 0.0 where both are empty."""
    a = b = both = 0
    while a < len(values_a) and b < len(values_b):
        x, y = values_a[a], values_b[b]
        both += x == y
        a += x <= y
        b += y <= x
    union = len(values_a) + len(values_b) - both
    return both / union if union else 0.0


def pair_jaccard(values: np.ndarray, offsets: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The exact Jaccard similarity of each pair of documents.

    values, offsets  as `sets` returns them;  pairs int64 [n, 2], row numbers of documents
    returns float64 [n]
    raises  ValueError where a row number is that of no document
    """
    docs = len(offsets) - 1
    if len(pairs) and not 0 <= pairs.min() <= pairs.max() < docs:
        found = f"rows {pairs.min()} to {pairs.max()}"
        raise ValueError(f"shingles.pair_jaccard: pairs name {found}, but there are {docs} documents")
    return _pair_jaccard(values, offsets, pairs)


@kernel.compiled
def _pair_jaccard(values, offsets, pairs):
    out = np.empty(len(pairs), np.float64)
    for k in range(len(pairs)):
        a, b = pairs[k, 0], pairs[k, 1]
        out[k] = jaccard(values[offsets[a] : offsets[a + 1]], values[offsets[b] : offsets[b + 1]])
    return out
