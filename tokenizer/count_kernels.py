"""Counting pieces: an open-addressing table of exact bytes, and the order of those bytes.

slots   uint64 [power of two], hash >> 32 << 32 | entry + 1; 0 = empty. A piece belongs at the upper bits of its hash,
        so that a wider table is filled from a narrower one in one walk through both
entries int64 [room, 2]: where a piece's bytes start in the arena (they end where the next one's start), its count
arena   uint8, the bytes of all pieces end to end

What a piece costs is waiting for memory: each of a group has its slot, then its entry, then its bytes asked for before
the first of them is looked at.
"""

from __future__ import annotations

import numpy as np

from roots import kernel
from tokenizer import pieces

HALF = np.uint64(32)
ENTRY_MASK = np.uint64(0xFFFFFFFF)
GROUP = 32  # pieces
KEY_BYTES = 7


@kernel.compiled
def piece_hash(data, start, end):
    """A 64-bit hash of data[start:end], at least a byte; equality is always asked of the bytes themselves."""
    h = np.uint64(end - start) * pieces.MIX
    for i in range(start, end, 8):
        h = pieces.blend(h, pieces.word(data, i, end))
    h *= pieces.MIX
    return h ^ (h >> HALF)


@kernel.inlined
def _home(h, slots):
    """Where a hash belongs; slots are at most 2^32."""
    return np.int64((h >> HALF) * np.uint64(len(slots)) >> HALF)


@kernel.inlined
def _same(data, start, size, arena, place):
    i = 0
    while i < size and data[start + i] == arena[place + i]:
        i += 1
    return i == size


@kernel.compiled
def _tally(data, start, end, h, weight, slots, entries, arena, used):
    """Add `weight` to a piece's count; returns the number of entries, or -1 where there is no room for a new one."""
    tag = h >> HALF << HALF
    at = _home(h, slots)
    while slots[at] != 0:
        if slots[at] & ~ENTRY_MASK == tag:
            entry = np.int64(slots[at] & ENTRY_MASK) - 1
            place = entries[entry, 0]
            if entries[entry + 1, 0] - place == end - start and _same(data, start, end - start, arena, place):
                entries[entry, 1] += weight
                return used
        at = (at + 1) & (len(slots) - 1)
    place = entries[used, 0]
    if used + 1 >= len(entries) or place + end - start > len(arena):
        return -1
    for i in range(end - start):  # a slice would take five seconds to compile
        arena[place + i] = data[start + i]
    entries[used, 1] = weight
    entries[used + 1, 0] = place + end - start
    slots[at] = tag | np.uint64(used + 1)
    return used + 1


@kernel.compiled
def _ask(hashes, n, slots, entries, arena):
    """Have the memory that n pieces will look at brought near; their slots were asked for already."""
    for k in range(n):
        slot = slots[_home(hashes[k], slots)]
        if slot != 0:
            kernel.prefetch(entries, np.int64(slot & ENTRY_MASK) - 1)
    for k in range(n):
        slot = slots[_home(hashes[k], slots)]
        if slot != 0:
            kernel.prefetch(arena, entries[np.int64(slot & ENTRY_MASK) - 1, 0])


@kernel.compiled
def count(data, offsets, doc, at, slots, entries, arena, used):
    """Count from byte `at` of document `doc` on; returns where it stopped, the entries, and the bytes it lacked."""
    docs, bounds, hashes = np.empty(GROUP, np.int64), np.empty((GROUP, 2), np.int64), np.empty(GROUP, np.uint64)
    while doc < len(offsets) - 1:
        n = 0
        while n < GROUP and doc < len(offsets) - 1:
            end = np.int64(offsets[doc + 1])
            while n < GROUP and at < end:
                stop = pieces.piece_end(data, at, end)
                h = piece_hash(data, at, stop)
                kernel.prefetch(slots, _home(h, slots))
                docs[n], bounds[n, 0], bounds[n, 1], hashes[n] = doc, at, stop, h
                at = stop
                n += 1
            if at == end:
                doc += 1
        _ask(hashes, n, slots, entries, arena)
        for k in range(n):
            start, stop = bounds[k, 0], bounds[k, 1]
            now = _tally(data, start, stop, hashes[k], np.int64(1), slots, entries, arena, used)
            if now < 0:
                return docs[k], start, used, stop - start
            used = now
    return doc, at, used, 0


@kernel.compiled
def add(data, found, weights, done, slots, entries, arena, used):
    """Add counted pieces from number `done` on; returns where it stopped, the entries, and the bytes it lacked."""
    hashes = np.empty(GROUP, np.uint64)
    while done < len(weights):
        n = min(GROUP, len(weights) - done)
        for k in range(n):
            hashes[k] = piece_hash(data, found[done + k], found[done + k + 1])
            kernel.prefetch(slots, _home(hashes[k], slots))
        _ask(hashes, n, slots, entries, arena)
        for k in range(n):
            start, stop = found[done], found[done + 1]
            now = _tally(data, start, stop, hashes[k], weights[done], slots, entries, arena, used)
            if now < 0:
                return done, used, stop - start
            used = now
            done += 1
    return done, used, 0


@kernel.compiled
def spread(slots, wider):
    """Fill a wider table, all 0, from a narrower one."""
    for slot in slots:
        if slot != 0:
            at = _home(slot, wider)
            while wider[at] != 0:
                at = (at + 1) & (len(wider) - 1)
            wider[at] = slot


@kernel.inlined
def _key(data, start, end, depth):
    """Seven bytes from `depth` on, and how many there are; of two pieces the one with the smaller key stands first."""
    key = np.uint64(min(end - start - depth, KEY_BYTES + 1))
    for i in range(min(end - start - depth, KEY_BYTES)):
        key |= np.uint64(data[start + depth + i]) << np.uint64(56 - 8 * i)
    return key


@kernel.compiled
def keys(data, bounds, depth, order, out):
    """The keys of pieces at a depth."""
    for i in range(len(order)):
        out[i] = _key(data, bounds[order[i]], bounds[order[i] + 1], depth)


@kernel.compiled
def sort_ties(data, bounds, order, found):
    """Put pieces in order that `found`, their keys at depth 0, have brought together."""
    stack = [(0, len(order), 0)]
    while len(stack) > 0:
        low, high, depth = stack.pop()
        start = low
        for i in range(low + 1, high + 1):
            if i < high and found[i] == found[start]:
                continue
            if i - start > 1:
                keys(data, bounds, depth + KEY_BYTES, order[start:i], found[start:i])
                _sort(found, order, start, i)
                stack.append((start, i, depth + KEY_BYTES))
            start = i


@kernel.compiled
def _sort(found, order, low, high):
    """Shell's sort of keys low..high, the order along with them: most runs are of a few pieces."""
    gap = 1
    while 3 * gap < high - low:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(low + gap, high):
            key, piece, j = found[i], order[i], i
            while j >= low + gap and found[j - gap] > key:
                found[j], order[j] = found[j - gap], order[j - gap]
                j -= gap
            found[j], order[j] = key, piece
        gap //= 3
