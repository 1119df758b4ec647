"""Applying merges to the bytes of one piece: the pair of the lowest rank first, of equal ones the leftmost.

A short piece is merged in two small arrays, a long one with a heap over a linked list, so that no length is worse than
n log n.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from roots import kernel

ID_BITS = np.uint64(21)  # ids and ranks are below 2^21, so that a pair and its rank fit into one number
IDS_MAX = 2**21 - 2
LOW = np.uint64(2**21 - 1)
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
SHIFT, HALF, ONE = np.uint64(20), np.uint64(32), np.uint64(1)
FILTER_BITS = 2**20  # 128 KiB: most pairs asked for do not merge, and this says so without leaving the near cache
FILTER_MASK = np.uint64(FILTER_BITS - 1)
NEVER = 2**22  # the rank of a pair that does not merge, above all ranks
PLACE = 7
PLACE_MASK = 2**PLACE - 1
SHORT_BYTES_MAX = 2**PLACE
STRIDE = 32
NOTHING = np.int32(NEVER << PLACE | PLACE_MASK)


class Merges(NamedTuple):
    """The merges of a tokenizer, to be looked up.

    first   int32 [256], the id of each byte; -1: the byte is left out
    bytes   int32 [256, 256], the rank of each pair of bytes as it stands in text
    slots   uint64 [power of two], open addressing: left << 42 | right << 21 | rank + 1
    filter  uint8 [FILTER_BITS / 8], a bit for each pair's hash
    result  int32 [merges], the id that a merge gives, by rank
    """

    first: np.ndarray
    bytes: np.ndarray
    slots: np.ndarray
    filter: np.ndarray
    result: np.ndarray


def merges(first: np.ndarray, table: np.ndarray) -> Merges:
    """Merges from rows (left, right, result) in order of rank: int32 [merges, 3]. A pair named twice has its last rank.

    raises  ValueError for more ids or merges than IDS_MAX
    """
    if len(table) > IDS_MAX or table.max(initial=0) > IDS_MAX:
        raise ValueError(f"bpe.merges: ids and merges must be at most {IDS_MAX}, got {len(table)} merges")
    size = 1 << max(8, int(2 * len(table)).bit_length())
    slots, bits = np.zeros(size, np.uint64), np.zeros(FILTER_BITS // 8, np.uint8)
    _build(np.ascontiguousarray(table, np.int32), slots, bits)
    first = first.astype(np.int32)
    found = Merges(
        first, np.full((256, 256), NEVER, np.int32), slots, bits, np.ascontiguousarray(table[:, 2], np.int32)
    )
    _rank_bytes(found)
    return found


@kernel.inlined
def _hash(key):
    h = key * GOLDEN
    return h ^ (h >> HALF)


@kernel.compiled
def _build(table, slots, bits):
    mask = np.uint64(len(slots) - 1)
    for rank in range(len(table)):
        key = (np.uint64(table[rank, 0]) << ID_BITS | np.uint64(table[rank, 1])) << ID_BITS
        h = _hash(key)
        bit = np.int64((h >> SHIFT) & FILTER_MASK)
        bits[bit >> 3] |= 1 << (bit & 7)
        at = np.int64(h & mask)
        while slots[at] != 0 and slots[at] & ~LOW != key:
            at = (at + 1) & (len(slots) - 1)
        slots[at] = key | np.uint64(rank + 1)


@kernel.compiled
def rank_of(left, right, slots, bits):
    """The rank of a pair, NEVER if it does not merge."""
    key = (np.uint64(left) << ID_BITS | np.uint64(right)) << ID_BITS
    h = _hash(key)
    bit = np.int64((h >> SHIFT) & FILTER_MASK)
    if not bits[bit >> 3] >> (bit & 7) & 1:
        return NEVER
    at = np.int64(h & np.uint64(len(slots) - 1))
    while slots[at] != 0:
        if slots[at] & ~LOW == key:
            return np.int64(slots[at] & LOW) - 1
        at = (at + 1) & (len(slots) - 1)
    return NEVER


@kernel.compiled
def _rank_bytes(found):
    for a in range(256):
        for b in range(256):
            if found.first[a] >= 0 and found.first[b] >= 0:
                found.bytes[a, b] = rank_of(found.first[a], found.first[b], found.slots, found.filter)


@kernel.compiled
def merge_piece(data, start, end, found, ids, at, scratch):
    """Write the ids of data[start:end] to ids[at:]; returns how many.

    ids     int32, with room for an id a byte
    scratch int32 [3, SHORT_BYTES_MAX + 1]
    """
    n, previous = np.int64(0), np.int64(0)  # a literal 0 would have the callees compiled for it apart
    for i in range(start, end):
        byte = np.int64(data[i])
        if found.first[byte] >= 0:
            ids[at + n] = found.first[byte]
            if 0 < n < SHORT_BYTES_MAX:
                scratch[0, n - 1] = found.bytes[previous, byte] << PLACE | (n - 1)
            previous = byte
            n += 1
    if n > SHORT_BYTES_MAX:
        return _merge_long(ids, at, n, found)
    return _merge_short(ids, at, n, found, scratch)


@kernel.compiled
def merge_ids(ids, at, n, found, scratch):
    """Merge the ids[at:at + n] of bytes in place; returns how many are left. scratch as for merge_piece."""
    if n > SHORT_BYTES_MAX:
        return _merge_long(ids, at, n, found)
    for i in range(n - 1):
        scratch[0, i] = rank_of(ids[at + i], ids[at + i + 1], found.slots, found.filter) << PLACE | i
    return _merge_short(ids, at, n, found, scratch)


@kernel.compiled
def _merge_short(ids, at, n, found, scratch):
    """The same for few symbols.

    scratch[0] holds each pair's rank, and behind it its place in PLACE bits; [1] and [2] link the places that are left.
    Loops have a fixed length, which the compiler makes vectors of: a branch foretold wrongly costs more than they do.
    """
    slots, bits, result = found.slots, found.filter, found.result
    ranks, after, before = scratch[0], scratch[1], scratch[2]
    full = (n + STRIDE - 1) // STRIDE * STRIDE
    for i in range(max(n - 1, 0), full):
        ranks[i] = NOTHING
    for i in range(full):
        after[i] = i + 1
        before[i + 1] = i
    while True:
        least = NOTHING
        for stride in range(0, full, STRIDE):
            for i in range(STRIDE):
                least = min(least, ranks[stride + i])
        if least >= NOTHING - PLACE_MASK:
            break
        p = np.int64(least) & PLACE_MASK
        q = np.int64(after[p])
        r = np.int64(after[q])
        ids[at + p] = result[least >> PLACE]
        ranks[q] = ranks[p] = NOTHING
        after[p] = r
        before[r] = p
        if r < n:
            ranks[p] = rank_of(ids[at + p], ids[at + r], slots, bits) << PLACE | p
        if p > 0:
            q = np.int64(before[p])
            ranks[q] = rank_of(ids[at + q], ids[at + p], slots, bits) << PLACE | q
    left, p = 0, 0
    while p < n:
        ids[at + left] = ids[at + p]
        left += 1
        p = np.int64(after[p])
    return left


@kernel.compiled
def _merge_long(ids, at, n, found):
    """The same for many symbols, ids[at:at + n], in place."""
    slots, bits, result = found.slots, found.filter, found.result
    after, before = np.arange(1, n + 1), np.arange(-1, n - 1)
    heap, held = np.empty(3 * n, np.uint64), np.int64(0)  # rank << 32 | position; a merge adds at most two
    for i in range(n - 1):
        held = _push(heap, held, rank_of(ids[at + i], ids[at + i + 1], found.slots, found.filter), i)
    while held > 0:
        top = heap[0]
        held -= 1
        _sink(heap, held, heap[held])
        p, rank = np.int64(top & np.uint64(0xFFFFFFFF)), np.int64(top >> HALF)
        q = after[p]
        if ids[at + p] < 0 or q >= n or rank_of(ids[at + p], ids[at + q], slots, bits) != rank:
            continue
        ids[at + p] = result[rank]
        ids[at + q] = -1
        after[p] = after[q]
        if after[p] < n:
            before[after[p]] = p
            held = _push(heap, held, rank_of(ids[at + p], ids[at + after[p]], slots, bits), p)
        if before[p] >= 0:
            held = _push(heap, held, rank_of(ids[at + before[p]], ids[at + p], slots, bits), before[p])
    left = 0
    for i in range(n):
        if ids[at + i] >= 0:
            ids[at + left] = ids[at + i]
            left += 1
    return left


@kernel.compiled
def _push(heap, held, rank, position):
    if rank == NEVER:
        return held
    value = np.uint64(rank) << HALF | np.uint64(position)
    i = held
    while i > 0 and heap[(i - 1) >> 1] > value:
        heap[i] = heap[(i - 1) >> 1]
        i = (i - 1) >> 1
    heap[i] = value
    return held + 1


@kernel.compiled
def _sink(heap, held, value):
    i = 0
    while 2 * i + 1 < held:
        child = 2 * i + 1
        if child + 1 < held and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[i] = heap[child]
        i = child
    heap[i] = value
