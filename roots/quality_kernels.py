"""Compiled counting for `roots.quality`: words, special characters, repeated n-grams, hits in word lists.

n-grams are counted by 64-bit hashes in an open-addressing table: 31 bits of the hash are kept in the slot, 8
to 25 further bits are the slot's place. Two different n-grams of a document are taken for one with a chance
of about 2 ** -45 a pair where the table has 16,384 slots: in one of some four million documents of 4 KB,
always the same.
"""

from __future__ import annotations

import numpy as np

from roots import kernel, utf8

# A trait of a code point is a uint32: its lower case in the low 21 bits, and these.
LOWER = np.uint32((1 << 21) - 1)
SPECIAL = np.uint32(1 << 21)  # it is a special character
LOWER_SPECIAL = np.uint32(1 << 22)  # its lower case is one
UNSPACED = np.uint32(1 << 23)  # it belongs to a script without spaces between words
SPACE = np.uint32(1 << 24)  # it separates words

# A table has at most 2 ** 25 slots (128 MiB, and as much for counts). A document with more n-grams than half
# of that is read several times, each time counting one part of the hashes: bounded memory, exact counts, a document of
# 100 MB (the recipes' largest record) in six readings.
MAX_SLOTS = 1 << 25
COUNT_BINS = 1 << 14  # counts from here on are kept one by one; a document has few of them
CHUNK = 2048  # code points decoded at a time: 8 KiB of them and 16 KiB of hashes stay in the nearest cache
MAX_CHAR_NGRAM = 64  # code points; far below CHUNK, which must hold several n-grams

_BASE = np.uint64(0x9E3779B97F4A7C15)  # 2 ** 64 / golden ratio, odd; _MIX is a multiplier of splitmix64
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_SEED = np.uint64(0x243F6A8885A308D3)  # fractional digits of pi
_0, _1, _10, _29, _32, _54 = (np.uint64(n) for n in (0, 1, 10, 29, 32, 54))
_ONCE = np.uint32(1)  # lowest bit of a slot: its n-gram was seen once; the bits above are of the hash


@kernel.inlined
def _mixed(h):
    h = (h ^ (h >> _32)) * _MIX
    return h ^ (h >> _29)


@kernel.inlined
def _word(h):
    """The hash of a finished word; odd, because 0 marks a free place in a set."""
    return _mixed(h) | _1


@kernel.compiled
def word_hashes(data, offsets, traits):
    """uint64 [strings]: the hash that each string, in lower case already, has as a word of a document."""
    hashes = np.empty(len(offsets) - 1, np.uint64)
    for w in range(len(hashes)):
        h = _SEED
        i = np.int64(offsets[w])
        while i < offsets[w + 1]:
            c, width = utf8.decode(data, i)
            h = h * _BASE + np.uint64(traits[c] & LOWER)
            i += width
        hashes[w] = _word(h)
    return hashes


@kernel.compiled
def pair_hashes(first, second):
    """uint64 [pairs]: the hash of two neighbouring words."""
    hashes = np.empty(len(first), np.uint64)
    for i in range(len(first)):
        hashes[i] = _word(first[i] * _BASE + second[i])
    return hashes


@kernel.compiled
def hash_set(hashes):
    """An open-addressing set: uint64 [power of two], a quarter full at most, 0 = free; [1] for no hashes."""
    size = 1
    while size < 4 * len(hashes):
        size *= 2
    table = np.zeros(size, np.uint64)
    for h in hashes:
        slot = np.int64(h >> _32) & (size - 1)
        while table[slot] != _0 and table[slot] != h:
            slot = (slot + 1) & (size - 1)
        table[slot] = h
    return table


@kernel.inlined
def _holds(table, h):
    mask = np.uint64(len(table) - 1)
    slot = (h >> _32) & mask
    while table[slot] != _0:
        if table[slot] == h:
            return 1
        slot = (slot + _1) & mask
    return 0


@kernel.compiled
def _hits(words, n, single, pairs):
    """How many of the n words, and of the pairs of neighbours, are in the list."""
    hits = 0
    if len(single) > 1:
        for i in range(n):
            hits += _holds(single, words[i])
    if len(pairs) > 1:
        for i in range(n - 1):
            hits += _holds(pairs, _word(words[i] * _BASE + words[i + 1]))
    return hits


@kernel.compiled
def _slots(n):
    """Slots of a table for n n-grams, a third full if possible, the parts in which they are counted."""
    size = 256
    while size < 3 * n and size < MAX_SLOTS:
        size *= 2
    return size, max(1, -(-2 * n // MAX_SLOTS))


@kernel.inlined
def _elsewhere(h, part, parts):
    return parts > 1 and np.int64((h >> _54) * np.uint64(parts) >> _10) != part


@kernel.inlined
def _find(slots, mask, h):
    """The slot of a hash, taken or free, and the tag that it holds when seen once."""
    tag = np.uint32(h) | _ONCE
    slot = (h >> _32) & mask
    while slots[slot] != 0 and slots[slot] | _ONCE != tag:
        slot = (slot + _1) & mask
    return slot, tag


@kernel.compiled
def _power(n):
    power = _1
    for _ in range(n):
        power *= _BASE
    return power


@kernel.compiled
def _word_repetition(words, count, n, slots):
    """Share of the word n-grams that occur more than once; 0.0 where there is none."""
    total = count - n + 1
    if total < 1:
        return 0.0
    size, parts = _slots(total)
    power, mask = _power(n), np.uint64(size - 1)
    repeated = 0
    for part in range(parts):
        slots[:size] = 0
        rolling = _0
        for i in range(count):
            gone = words[i - n] if i >= n else _0
            rolling = rolling * _BASE + (words[i] - gone * power)
            h = _mixed(rolling)
            if i < n - 1 or _elsewhere(h, part, parts):
                continue
            slot, tag = _find(slots, mask, h)
            if slots[slot] == 0:
                slots[slot] = tag
            else:
                repeated += 2 if slots[slot] == tag else 1
                slots[slot] = tag ^ _ONCE
    return repeated / total


@kernel.compiled
def _decode(data, i, end, chunk, m):
    """Fills the chunk from its place m on; returns the next byte and how much of the chunk is filled."""
    while i < end and m < CHUNK:
        if data[i] < 0x80:
            chunk[m] = data[i]
            i += 1
        else:
            c, width = utf8.decode(data, i)
            chunk[m] = c
            i += width
        m += 1
    return i, m


@kernel.compiled
def _char_hashes(chunk, m, n, power, hashes):
    """Hashes of the n-grams of the first m code points of a chunk; m - n + 1 of them."""
    rolling = _0
    for i in range(n):
        rolling = rolling * _BASE + np.uint64(chunk[i])
    hashes[0] = _mixed(rolling)
    for i in range(m - n):
        rolling = rolling * _BASE + (np.uint64(chunk[n + i]) - np.uint64(chunk[i]) * power)
        hashes[i + 1] = _mixed(rolling)


@kernel.compiled
def _count(hashes, m, slots, counts, size, part, parts, bins):
    """Counts m hashes; bins[c] follows how many n-grams have been seen c times, 2 <= c < COUNT_BINS.

    returns how many were new, and the highest count (1 where none repeats)
    """
    new, highest = 0, np.int64(1)
    mask = np.uint64(size - 1)
    for i in range(m):
        h = hashes[i]
        if _elsewhere(h, part, parts):
            continue
        slot, tag = _find(slots, mask, h)
        if slots[slot] == 0:
            slots[slot] = tag
            new += 1
            continue
        if slots[slot] == tag:
            slots[slot] = tag ^ _ONCE
            counts[slot] = 1
        seen = np.int64(counts[slot]) + 1
        counts[slot] = seen
        if seen > highest:
            highest = seen
        if 2 < seen <= COUNT_BINS:
            bins[seen - 1] -= 1
        if seen < COUNT_BINS:
            bins[seen] += 1
    return new, highest


@kernel.compiled
def _split(chunk, first, m, traits, by_code_point, words, state):
    """Adds the words of a chunk's code points first..m to words; the state is that of `_read`."""
    breaks = SPACE | UNSPACED if by_code_point else SPACE
    found, written, special, h, kept, opened, raw = state
    for c in chunk[first:m]:
        t = traits[np.uint32(c)]
        is_special = np.int64(t & SPECIAL != 0)
        special += is_special
        if t & breaks:
            if opened:
                words[found] = _word(kept)
                found += 1
            written += raw
            h = kept = _SEED
            opened = raw = 0
            if t & UNSPACED and by_code_point and not is_special:
                words[found] = _word(_SEED * _BASE + np.uint64(t & LOWER))
                found += 1
                written += 1
            continue
        raw |= 1 - is_special
        longer = h * _BASE + np.uint64(t & LOWER)
        plain = t & LOWER_SPECIAL == 0
        opened |= np.int64(plain)
        h = longer if opened else h
        kept = longer if plain else kept
    return found, written, special, h, kept, opened, raw


@kernel.compiled
def _read(data, start, end, traits, by_code_point, n, words, slots, counts, bins, size, parts, chunk, hashes, large):
    """Reads a document: its words, and the counts of its character n-grams into bins.

    words   uint64 scratch, a place for each word that there can be;   large  int64 scratch for counts of COUNT_BINS
            or more
    returns number of words in lower case and of words as written (they differ where lower-casing takes a
            character out of the special ones), special code points, different n-grams, highest count, how many
            large counts there are
    """
    different, highest, many = 0, 1, 0
    # words found and written, special characters; hash of the word so far, and up to its last character that
    # is not special; whether there was such a character in lower case, and as written
    none = np.int64(0)  # not the literal 0, for which numba would compile what it is given to once more
    state = (none, none, none, _SEED, _SEED, none, none)
    power = _power(n)
    for part in range(parts):
        slots[:size] = 0
        i, m = start, none
        while i < end:
            first = m
            i, m = _decode(data, i, end, chunk, m)
            if part == 0:
                state = _split(chunk, first, m, traits, by_code_point, words, state)
            if m >= n:
                _char_hashes(chunk, m, n, power, hashes)
                new, seen = _count(hashes, m - n + 1, slots, counts, size, part, parts, bins)
                different += new
                highest = max(highest, seen)
                for c in range(n - 1):
                    chunk[c] = chunk[m - n + 1 + c]  # the next n-grams begin with these
                m = n - 1
        if highest >= COUNT_BINS:
            for slot in range(size):
                if slots[slot] != 0 and slots[slot] & _ONCE == 0 and counts[slot] >= COUNT_BINS:
                    large[many] = counts[slot]
                    many += 1
    found, written, special, _, kept, opened, raw = state
    if opened:
        words[found] = _word(kept)
    return found + opened, written + raw, special, different, highest, many


@kernel.compiled
def _char_repetition(total, different, highest, large, many, bins):
    """Share of the n-grams taken by the most repeated ones; 0.0 where there is no n-gram.

    These are the k with the highest counts, k = min(floor(sqrt(different)), those that occur more than once).
    """
    left, taken = np.int64(np.sqrt(different)), np.int64(0)
    for rank in range(min(left, many)):  # they are few: of a million n-grams at most 61 can be large
        best = rank
        for other in range(rank + 1, many):
            if large[other] > large[best]:
                best = other
        large[rank], large[best] = large[best], large[rank]
        taken += large[rank]
    left -= min(left, many)
    for count in range(min(highest, COUNT_BINS - 1), 1, -1):
        here = min(left, bins[count])
        taken += here * count
        left -= here
    return taken / max(total, 1)


@kernel.compiled
def _code_points(data, start, end):
    count = np.int64(0)
    for byte in data[start:end]:
        count += np.int8(byte) >= -64  # not a continuation byte, 0x80 to 0xBF
    return count


@kernel.compiled
def measure(
    data, offsets, rows, traits, char_ngram, word_ngram, by_code_point,
    stop_words, stop_pairs, flagged_words, flagged_pairs, word_counts, ratios,
):  # fmt: skip
    """Measures the documents of `rows` and writes their words into word_counts and their ratios into ratios.

    word_counts int32 [docs]; ratios float32 [docs, 5], in the order of quality.MEASURED after word_count
    """
    words = np.empty(1 << 10, np.uint64)
    slots, counts = np.empty(1 << 8, np.uint32), np.empty(1 << 8, np.uint32)
    bins = np.zeros(COUNT_BINS, np.int64)
    chunk, hashes = np.empty(CHUNK, np.int32), np.empty(CHUNK, np.uint64)
    large = np.empty(1 << 8, np.int64)
    for row in rows:
        start, end = np.int64(offsets[row]), np.int64(offsets[row + 1])
        chars = _code_points(data, start, end)
        size, parts = _slots(chars)  # enough for the words too: there are no more of them
        if size > len(slots):
            slots, counts = np.empty(size, np.uint32), np.empty(size, np.uint32)
        if chars + 1 > len(words):
            words = np.empty(chars + 1, np.uint64)  # only the pages that words reach are ever touched
        if chars // COUNT_BINS > len(large):
            large = np.empty(chars // COUNT_BINS, np.int64)
        found, written, special, different, highest, many = _read(
            data, start, end, traits, by_code_point, char_ngram, words, slots, counts, bins, size, parts,
            chunk, hashes, large,
        )  # fmt: skip
        total = chars - char_ngram + 1
        word_counts[row] = written
        ratios[row, 0] = _char_repetition(total, different, highest, large, many, bins)
        ratios[row, 1] = _word_repetition(words, found, word_ngram, slots)
        ratios[row, 2] = special / max(chars, 1)
        ratios[row, 3] = min(1.0, _hits(words, found, stop_words, stop_pairs) / max(found, 1))
        ratios[row, 4] = min(1.0, _hits(words, found, flagged_words, flagged_pairs) / max(found, 1))
        bins[: min(highest, COUNT_BINS - 1) + 1] = 0
