"""The learner's text: one array of symbols, in which tokens grow.

text    int32 [n], the words in order of falling weight, each behind an EDGE, and one at the end. A token of L
        bytes at p has its id in text[p]; if L > 1, text[p + 1] and text[p + L - 1] hold -L. So the tokens before
        and behind it are found in one step, and a token may be of any length.
EDGE    an id above all tokens: edge
ends    int64 [classes]: words of one weight stand together, class c ends before text[ends[c]]
weights int64 [classes], falling
block   int32 [n / 64 + 2], the class of text[64 * i]
sums    uint32 [BUCKETS], the weights of all pairs of a bucket, up to SUM_MAX: a pair comes no more often than that, so
        most of the rare ones are passed over without a table of them all
"""

from __future__ import annotations

import numpy as np

from roots import kernel
from tokenizer import bpe, pieces

BLOCK_SHIFT = 6
BUCKET_BITS = 22
BUCKETS = 2**BUCKET_BITS  # 16 MiB of sums, 512 KiB of bits
SUM_MAX = 2**32 - 1
HALF, SHIFT = np.uint64(32), np.uint64(64 - BUCKET_BITS)


@kernel.inlined
def key_of(left, right):
    return np.uint64(left) << HALF | np.uint64(right)


@kernel.inlined
def bucket_of(left, right):
    """The bucket that a pair of tokens falls into."""
    return np.int64((key_of(left, right) * pieces.GOLDEN) >> SHIFT)


@kernel.compiled
def fill(data, bounds, order, ids, edge, text):
    """Write words into `text` in the order given; ids int32 [256] of the bytes."""
    at = 0
    for word in order:
        text[at] = edge
        at += 1
        for i in range(bounds[word], bounds[word + 1]):
            text[at] = ids[data[i]]
            at += 1
    text[at] = edge


@kernel.compiled
def compact(text, n, edge, ends, weights, sums):
    """Close the gaps that merges left and drop words of one token, in place; returns the new n. `ends` move along.

    The weight of every pair is added to `sums`, all 0 before.
    """
    write, read, c = np.int64(0), np.int64(0), np.int64(0)
    while read < n - 1:
        while c < len(ends) and read >= ends[c]:
            ends[c] = write
            c += 1
        weight = weights[c]
        start = write
        text[write] = edge
        write += 1
        read += 1
        before, token = np.int32(edge), text[read]
        while token != edge:
            step = 1 if text[read + 1] >= 0 else -text[read + 1]
            text[write] = token
            write += 1
            if before != edge:
                bucket = bucket_of(before, token)
                sums[bucket] = min(np.int64(sums[bucket]) + weight, SUM_MAX)
            read += step
            before, token = token, text[read]
        if write - start <= 2:
            write = start
    while c < len(ends):
        ends[c] = write
        c += 1
    text[write] = edge
    return write + 1


@kernel.compiled
def index_classes(ends, block):
    """Fill `block`: the class of the first symbol of each 64."""
    c = 0
    for i in range(len(block)):
        while c < len(ends) - 1 and (i << BLOCK_SHIFT) >= ends[c]:
            c += 1
        block[i] = c


@kernel.compiled
def replay(text, edge, found, size, longest):
    """Merge each word of fresh text as `found` (bpe.Merges) says; size int64 [ids] of tokens, longest of words."""
    ranks, ids = np.empty((3, bpe.SHORT_BYTES_MAX + 1), np.int32), np.empty(longest, np.int32)
    at = np.int64(1)
    while at < len(text):
        n = np.int64(0)
        while text[at + n] != edge:
            ids[n] = text[at + n]
            n += 1
        start = at
        for k in range(bpe.merge_ids(ids, np.int64(0), n, found, ranks)):
            width = size[ids[k]]
            text[at] = ids[k]
            if width > 1:
                text[at + 1] = text[at + width - 1] = -width
            at += width
        at = start + n + 1


@kernel.inlined
def next_of(text, p):
    return p + 1 if text[p + 1] >= 0 else p - text[p + 1]


@kernel.inlined
def previous_of(text, p):
    return p - 1 if text[p - 1] >= 0 else p + text[p - 1]
