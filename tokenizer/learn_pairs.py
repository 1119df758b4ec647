"""The learner's pairs: counted in the text, and the frequent ones followed in a table and a heap."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from roots import kernel
from tokenizer import learn_text, pieces

HALF, LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
ONE, BYTE = np.uint64(1), np.uint64(8)
PACKED_BYTES = 8  # a token of up to so many bytes is also kept as one number, to compare it with special tokens


class Vocabulary(NamedTuple):
    """What is known of each token by its id, in arrays for all ids that may come; and what may become one."""

    size: np.ndarray  # int64 [ids], bytes
    packed: np.ndarray  # uint64 [ids], its bytes as a big-endian number if it has at most 8, else 0
    special: np.ndarray  # uint64 [specials], packed
    special_size: np.ndarray  # int64 [specials]
    token_bytes_max: int  # a new token of more than two bytes is shorter than this
    refuse: bool  # whether none may spell a special token


class Pairs(NamedTuple):
    """The pairs of a phase: an open-addressing table of numbers of entries, and the entries."""

    slots: np.ndarray  # int32 [power of two], entry + 1
    key: np.ndarray  # uint64 [entries], left id << 32 | right id
    times: np.ndarray  # int64 [entries], how often it comes
    start: np.ndarray  # int64 [entries], first of its positions in the pool
    size: np.ndarray  # int64 [entries], how many
    heap_count: np.ndarray  # int64 [entries], the count that the entry was put into the heap with
    heap: np.ndarray  # int32 [entries], numbers of entries


@kernel.inlined
def _slot(key, mask):
    h = key * pieces.GOLDEN
    return np.int64((h ^ (h >> HALF)) & mask)


@kernel.compiled
def may_merge(left, right, vocabulary):
    """Whether a pair may become a token."""
    size = vocabulary.size[left] + vocabulary.size[right]
    if size > 2 and size >= vocabulary.token_bytes_max:
        return False
    return not vocabulary.refuse or special_of(left, right, vocabulary) < 0


@kernel.compiled
def special_of(left, right, vocabulary):
    """The special token that a pair spells, -1 if none."""
    size = vocabulary.size[left] + vocabulary.size[right]
    if size <= PACKED_BYTES:
        packed = vocabulary.packed[left] << (BYTE * np.uint64(vocabulary.size[right])) | vocabulary.packed[right]
        for i in range(len(vocabulary.special)):
            if vocabulary.special_size[i] == size and vocabulary.special[i] == packed:
                return i
    return -1


@kernel.compiled
def spell(left, right, new, vocabulary):
    """Note the size and the bytes of a new token."""
    vocabulary.size[new] = vocabulary.size[left] + vocabulary.size[right]
    if vocabulary.size[new] <= PACKED_BYTES:
        shift = BYTE * np.uint64(vocabulary.size[right])
        vocabulary.packed[new] = vocabulary.packed[left] << shift | vocabulary.packed[right]


@kernel.compiled
def count_pairs(text, n, edge, ends, weights, wanted, table, state):
    """Count those pairs of compacted text whose bucket is wanted.

    wanted  uint8 [BUCKETS / 8], a bit for each bucket
    table   int64 [slots, 3], a power of two: left id << 32 | right id, plus 1 (0 = empty slot); how often it comes; in
            how many places
    state   int64 [3]: next position to look at, its class, slots in use; goes on from there
    returns whether it came to the end; else the table is half full
    """
    at, c, used = state[0], state[1], state[2]
    mask = np.uint64(len(table) - 1)
    while at < n - 1 and 2 * used <= len(table):
        while at >= ends[c]:
            c += 1
        left, right = text[at], text[at + 1]
        if left != edge and right != edge and is_wanted(left, right, wanted):
            key = np.int64(learn_text.key_of(left, right) + ONE)
            slot = _slot(np.uint64(key), mask)
            while table[slot, 0] != 0 and table[slot, 0] != key:
                slot = (slot + 1) & (len(table) - 1)
            used += table[slot, 0] == 0
            table[slot, 0] = key
            table[slot, 1] += weights[c]
            table[slot, 2] += 1
        at += 1
    state[0], state[1], state[2] = at, c, used
    return at == n - 1


@kernel.inlined
def is_wanted(left, right, wanted):
    bucket = learn_text.bucket_of(left, right)
    return wanted[bucket >> 3] >> (bucket & 7) & 1


@kernel.compiled
def spread(table, wider):
    """Move the rows of a table into a wider one."""
    mask = np.uint64(len(wider) - 1)
    for row in range(len(table)):
        if table[row, 0] != 0:
            slot = _slot(np.uint64(table[row, 0]), mask)
            while wider[slot, 0] != 0:
                slot = (slot + 1) & (len(wider) - 1)
            for k in range(3):
                wider[slot, k] = table[row, k]


@kernel.compiled
def drop_unmergeable(table, vocabulary):
    """Set to 0 how often those pairs come that may not merge."""
    for i in range(len(table)):
        if table[i, 0] != 0:
            key = np.uint64(table[i, 0]) - ONE
            if not may_merge(np.int64(key >> HALF), np.int64(key & LOW), vocabulary):
                table[i, 1] = 0


@kernel.compiled
def place(key, entry, slots):
    """Put an entry into the table; its key must not be there."""
    mask = np.uint64(len(slots) - 1)
    at = _slot(key, mask)
    while slots[at] != 0:
        at = (at + 1) & (len(slots) - 1)
    slots[at] = entry + 1


@kernel.compiled
def find(key, slots, keys):
    """The entry of a pair, -1 if it is not followed in this phase."""
    at = _slot(key, np.uint64(len(slots) - 1))
    while slots[at] != 0:
        entry = slots[at] - 1
        if keys[entry] == key:
            return entry
        at = (at + 1) & (len(slots) - 1)
    return -1


@kernel.compiled
def index_positions(text, n, edge, pairs, used, pool, wanted):
    """Fill the pool with the positions of each followed pair, rising; entries know their start and size already.

    wanted  uint8 [BUCKETS / 8], all 0
    """
    for entry in range(used):
        key = pairs.key[entry]
        place(key, entry, pairs.slots)
        bucket = learn_text.bucket_of(key >> HALF, key & LOW)
        wanted[bucket >> 3] |= 1 << (bucket & 7)
    for p in range(n - 1):
        left, right = text[p], text[p + 1]
        if left != edge and right != edge and is_wanted(left, right, wanted):
            entry = find(learn_text.key_of(left, right), pairs.slots, pairs.key)
            if entry >= 0:
                pool[pairs.start[entry]] = p
                pairs.start[entry] += 1
    for entry in range(used):
        pairs.start[entry] -= pairs.size[entry]
        pairs.heap_count[entry] = pairs.times[entry]
        push(pairs, entry, entry)


@kernel.inlined
def _before(pairs, a, b):
    """Whether entry a comes out of the heap before entry b."""
    if pairs.heap_count[a] != pairs.heap_count[b]:
        return pairs.heap_count[a] > pairs.heap_count[b]
    return pairs.key[a] < pairs.key[b]


@kernel.compiled
def push(pairs, held, entry):
    """Put an entry into the heap of `held` entries, by its heap_count."""
    at = held
    while at > 0:
        parent = (at - 1) >> 1
        if not _before(pairs, entry, pairs.heap[parent]):
            break
        pairs.heap[at] = pairs.heap[parent]
        at = parent
    pairs.heap[at] = entry


@kernel.compiled
def sink(pairs, held, entry):
    """Put an entry in place of the first of the heap of `held` entries, by its heap_count."""
    at = 0
    while 2 * at + 1 < held:
        child = 2 * at + 1
        if child + 1 < held and _before(pairs, pairs.heap[child + 1], pairs.heap[child]):
            child += 1
        if not _before(pairs, pairs.heap[child], entry):
            break
        pairs.heap[at] = pairs.heap[child]
        at = child
    pairs.heap[at] = entry
