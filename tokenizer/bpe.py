"""Applying merges to the bytes of one piece: the pair of the lowest rank first, of equal ones the leftmost.

A short piece is merged in small arrays, a long one with a heap over a linked list, so that no length is worse than
n log n. A character of two or three bytes that merges into one token before anything can reach over its edges is taken
as that token at once; `_chars` finds where that is certain.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from roots import kernel
from tokenizer import pieces

ID_BITS = np.uint64(21)  # ids and ranks are below 2^21, so that a pair and its rank fit into one number
IDS_MAX = 2**21 - 2
LOW = np.uint64(2**21 - 1)
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
    chars   int32 [0x10000, 3], of each character: its token (-1: take its bytes), and the ranks up to which no merge
            may reach over its left and its right edge for that
    over    int32 [2, 256, 256], least rank of the merges that reach over the edge between two bytes: [0] those whose
            right side is the second byte alone, [1] those whose left side is the first byte alone
    slots   uint64 [power of two], open addressing: left << 42 | right << 21 | rank + 1
    filter  uint8 [FILTER_BITS / 8], a bit for each pair's hash
    result  int32 [merges], the id that a merge gives, by rank
    """

    first: np.ndarray
    bytes: np.ndarray
    chars: np.ndarray
    over: np.ndarray
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
    found = Merges(
        first.astype(np.int32),
        np.full((256, 256), NEVER, np.int32),
        np.full((0x10000, 3), -1, np.int32),
        np.full((2, 256, 256), NEVER, np.int32),
        slots,
        bits,
        np.ascontiguousarray(table[:, 2], np.int32),
    )
    _rank_bytes(found)
    _chars(found, np.ascontiguousarray(table, np.int32), int(max(table.max(initial=0), first.max())) + 1)
    return found


@kernel.inlined
def _hash(key):
    h = key * pieces.GOLDEN
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
def _chars(found, table, ids):
    """Fill `over` and `chars`."""
    head, tail, alone = np.full(ids, -1, np.int64), np.full(ids, -1, np.int64), np.full(ids, -1, np.int64)
    as_left, as_right = np.full(ids, NEVER, np.int64), np.full(ids, NEVER, np.int64)
    for byte in range(256):
        if found.first[byte] >= 0:
            head[found.first[byte]] = tail[found.first[byte]] = alone[found.first[byte]] = byte
    for rank in range(len(table) - 1, -1, -1):
        as_left[table[rank, 0]] = as_right[table[rank, 1]] = rank
    for rank in range(len(table)):  # a token stands behind those that it is made of
        left, right, new = table[rank]
        head[new], tail[new] = head[left], tail[right]
        if tail[left] < 0 or head[right] < 0:
            return  # an order of merges that no training gives: every character by its bytes
        if alone[right] >= 0:
            found.over[0, tail[left], alone[right]] = min(found.over[0, tail[left], alone[right]], rank)
        if alone[left] >= 0:
            found.over[1, alone[left], head[right]] = min(found.over[1, alone[left], head[right]], rank)
    for byte in range(256):
        if found.first[byte] < 0:  # left out, so that the edge is another one
            found.over[:, byte, :] = -1
            found.over[:, :, byte] = -1
    for point in range(0x80, 0x800):
        rank = found.bytes[0xC0 | point >> 6, 0x80 | point & 0x3F]
        if rank < NEVER:
            _note(found.chars, point, found.result[rank], rank, rank)
    for point in range(0x800, 0x10000):
        a, b, c = 0xE0 | point >> 12, 0x80 | point >> 6 & 0x3F, 0x80 | point & 0x3F
        front, back = found.bytes[a, b], found.bytes[b, c]
        if front <= back and front < NEVER:
            half = found.result[front]
            whole = rank_of(half, found.first[c], found.slots, found.filter)
            if max(front, whole) < as_right[half]:
                _note(found.chars, point, found.result[whole], front, max(front, whole))
        elif back < NEVER:
            half = found.result[back]
            whole = rank_of(found.first[a], half, found.slots, found.filter)
            if max(back, whole) < as_left[half]:
                _note(found.chars, point, found.result[whole], max(back, whole), back)


@kernel.compiled
def _note(chars, point, token, left, right):
    chars[point, 0], chars[point, 1], chars[point, 2] = token, left, right


@kernel.compiled
def merge_piece(data, start, end, found, ids, at, scratch):
    """Write the ids of data[start:end] to ids[at:]; returns how many.

    ids     int32, with room for an id a byte
    scratch int32 [3, SHORT_BYTES_MAX + 1]
    """
    chars, over, slots, bits = found.chars, found.over, found.slots, found.filter
    n = np.int64(0)  # a literal 0 would have the callees compiled for it apart
    byte, i = np.int64(-1), start
    while i < end:
        previous, byte, width = byte, np.int64(data[i]), 1
        symbol = found.first[byte]
        if byte >= 0xC2:
            width = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 1
            if width > 1 and i + width <= end:
                point = (byte & 0x1F) << 6 | (np.int64(data[i + 1]) & 0x3F)
                if width == 3:
                    point = (point & 0x3FF) << 6 | (np.int64(data[i + 2]) & 0x3F)
                if (
                    chars[point, 0] < 0
                    or (i > start and over[0, data[i - 1], byte] <= chars[point, 1])
                    or (i + width < end and over[1, data[i + width - 1], data[i + width]] <= chars[point, 2])
                ):
                    width = 1
                else:
                    symbol = chars[point, 0]
            else:
                width = 1
        if width > 1:
            byte = np.int64(-1)
        if symbol >= 0:
            ids[at + n] = symbol
            if 0 < n < SHORT_BYTES_MAX:
                if byte >= 0 and previous >= 0:
                    rank = np.int64(found.bytes[previous, byte])
                else:
                    rank = rank_of(ids[at + n - 1], symbol, slots, bits)
                scratch[0, n - 1] = rank << PLACE | (n - 1)
            n += 1
        else:
            byte = previous
        i += width
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
