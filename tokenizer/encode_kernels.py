"""Encoding documents of raw bytes: a cache of whole pieces before the merges.

A line of the cache is 64 bytes, one memory access: uint64 [8]
    0       the piece's hash, its lower 16 bits replaced by its bytes (8 bits) and its ids (8 bits); 0 = empty
    1 to 3  its bytes, little-endian, zeros behind
    4 to 7  its ids, two to a word
Longer pieces, and pieces of more ids, are merged each time. A newcomer takes the place of what stood in its line.
"""

from __future__ import annotations

import numpy as np

from roots import kernel
from tokenizer import bpe, pieces

LINES = 2**18  # 16 MiB: a larger one hits more often, most of all on text that comes again (benchmarks/LOG.md)
GROUP = 32  # pieces whose lines are asked for before the first is looked at
KEY_IDS = 8
HEAD = ~np.uint64(0xFFFF)
HALF, BYTE, EIGHT, ID_MASK = np.uint64(32), np.uint64(0xFF), np.uint64(8), np.uint64(0xFFFFFFFF)


@kernel.compiled
def encode(data, offsets, found, cache, ids, ends):
    """The ids of all documents, end to end in `ids`, which has room for an id a byte; returns how many.

    ends    int64 [docs + 1], where each document's ids end; ends[0] = 0
    """
    scratch = np.empty((3, bpe.SHORT_BYTES_MAX + 1), np.int32)
    bounds, keys = np.empty(GROUP + 1, np.int64), np.empty((GROUP, 4), np.uint64)
    mask, at = np.uint64(len(cache) - 1), np.int64(0)
    ends[0] = 0
    for doc in range(len(offsets) - 1):
        start, end = np.int64(offsets[doc]), np.int64(offsets[doc + 1])
        while start < end:
            n = _cut(data, start, end, cache, bounds, keys)
            start = bounds[n]
            for piece in range(n):
                first, size = bounds[piece], bounds[piece + 1] - bounds[piece]
                a, b, c, h = keys[piece, 0], keys[piece, 1], keys[piece, 2], keys[piece, 3]
                line = np.int64(h & mask)
                head = (h & HEAD) | np.uint64(size)
                if (
                    size <= pieces.PACKED_BYTES
                    and cache[line, 0] & ~(BYTE << EIGHT) == head
                    and cache[line, 1] == a
                    and cache[line, 2] == b
                    and cache[line, 3] == c
                ):
                    count = np.int64((cache[line, 0] >> EIGHT) & BYTE)
                    for k in range((count + 1) >> 1):
                        pair = cache[line, 4 + k]
                        ids[at + 2 * k] = np.int32(pair & ID_MASK)
                        if 2 * k + 1 < count:
                            ids[at + 2 * k + 1] = np.int32(pair >> HALF)
                else:  # the one place that calls it: with two the compiler makes slower code of both
                    count = bpe.merge_piece(data, first, first + size, found, ids, at, scratch)
                    if count <= KEY_IDS and size <= pieces.PACKED_BYTES:
                        cache[line, 0] = head | np.uint64(count) << EIGHT
                        cache[line, 1], cache[line, 2], cache[line, 3] = a, b, c
                        for k in range((count + 1) >> 1):
                            pair = np.uint64(ids[at + 2 * k])
                            if 2 * k + 1 < count:
                                pair |= np.uint64(ids[at + 2 * k + 1]) << HALF
                            cache[line, 4 + k] = pair
                at += count
        ends[doc + 1] = at
    return at


@kernel.inlined
def _cut(data, start, end, cache, bounds, keys):
    """Cut a group of pieces, hash each, and have its line of the cache brought near; returns how many."""
    n = 0
    while n < GROUP and start < end:
        bounds[n] = start
        stop = pieces.piece_end(data, start, end)
        keys[n, 0], keys[n, 1], keys[n, 2], keys[n, 3] = pieces.packed(data, start, stop)
        kernel.prefetch(cache, np.int64(keys[n, 3] & np.uint64(len(cache) - 1)))
        start = stop
        n += 1
    bounds[n] = start
    return n


@kernel.compiled
def encode_pieces(data, bounds, found, ids, ends):
    """The ids of pieces that are cut already, each by itself; bounds int64 [pieces + 1]."""
    scratch = np.empty((3, bpe.SHORT_BYTES_MAX + 1), np.int32)
    at = np.int64(0)
    for i in range(len(bounds) - 1):
        at += bpe.merge_piece(data, bounds[i], bounds[i + 1], found, ids, at, scratch)
        ends[i + 1] = at
