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

LINES = 2**18  # 16 MiB: a larger one hits more often and waits longer for memory (benchmarks/LOG.md)
KEY_IDS = 8
HEAD = ~np.uint64(0xFFFF)
HALF, BYTE, EIGHT, ID_MASK = np.uint64(32), np.uint64(0xFF), np.uint64(8), np.uint64(0xFFFFFFFF)


@kernel.compiled
def encode(data, offsets, found, cache, ids, ends):
    """The ids of all documents, end to end in `ids`, which has room for an id a byte; returns how many.

    ends    int64 [docs + 1], where each document's ids end; ends[0] = 0
    """
    scratch = np.empty((3, bpe.SHORT_BYTES_MAX + 1), np.int32)
    mask = np.uint64(len(cache) - 1)
    at = np.int64(0)
    ends[0] = 0
    for doc in range(len(offsets) - 1):
        start, end = np.int64(offsets[doc]), np.int64(offsets[doc + 1])
        while start < end:
            stop = pieces.piece_end(data, start, end)
            size = stop - start
            if size > pieces.PACKED_BYTES:
                at += bpe.merge_piece(data, start, stop, found, ids, at, scratch)
                start = stop
                continue
            a, b, c, h = pieces.packed(data, start, stop)
            line = np.int64(h & mask)
            head = (h & HEAD) | np.uint64(size)
            if (
                cache[line, 0] & ~(BYTE << EIGHT) == head
                and cache[line, 1] == a
                and cache[line, 2] == b
                and cache[line, 3] == c
            ):
                n = np.int64((cache[line, 0] >> EIGHT) & BYTE)
                for k in range((n + 1) >> 1):
                    pair = cache[line, 4 + k]
                    ids[at + 2 * k] = np.int32(pair & ID_MASK)
                    if 2 * k + 1 < n:
                        ids[at + 2 * k + 1] = np.int32(pair >> HALF)
                at += n
            else:
                n = bpe.merge_piece(data, start, stop, found, ids, at, scratch)
                if n <= KEY_IDS:
                    cache[line, 0] = head | np.uint64(n) << EIGHT
                    cache[line, 1], cache[line, 2], cache[line, 3] = a, b, c
                    for k in range((n + 1) >> 1):
                        pair = np.uint64(ids[at + 2 * k])
                        if 2 * k + 1 < n:
                            pair |= np.uint64(ids[at + 2 * k + 1]) << HALF
                        cache[line, 4 + k] = pair
                at += n
            start = stop
        ends[doc + 1] = at
    return at


@kernel.compiled
def encode_pieces(data, bounds, found, ids, ends):
    """The ids of pieces that are cut already, each by itself; bounds int64 [pieces + 1]."""
    scratch = np.empty((3, bpe.SHORT_BYTES_MAX + 1), np.int32)
    at = np.int64(0)
    for i in range(len(bounds) - 1):
        at += bpe.merge_piece(data, bounds[i], bounds[i + 1], found, ids, at, scratch)
        ends[i + 1] = at
