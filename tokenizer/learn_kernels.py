"""The learner's machine: one array of symbols, an index of the frequent pairs in it, and a heap of those.

    text    int32 [n], the words in order of falling weight, each behind an EDGE, and one at the end. A token of L
            bytes at p has its id in text[p]; if L > 1, text[p + 1] and text[p + L - 1] hold -L. So the tokens before
            and behind it are found in one step, and a token may be of any length.
    EDGE    an id above all tokens: edge
    ends    int64 [classes]: words of one weight stand together, class c ends before text[ends[c]]
    weights int64 [classes], falling
    block   int32 [n / 64 + 2], the class of text[64 * i]

Learning goes in phases. A phase indexes the positions of those pairs that come at least `floor` times and merges until
no such pair is left. That is exact: the count of a pair only falls, and the count of a new pair, which holds the new
token, is known when the token is made. Ties are broken by the smaller left id, then the smaller right id.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from roots import kernel
from tokenizer import bpe

BLOCK_SHIFT = 6
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
HALF, LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
ONE, BYTE = np.uint64(1), np.uint64(8)
PACKED_BYTES = 8  # a token of up to so many bytes is also kept as one number, to compare it with special tokens

DONE, PAUSE, GROW_POOL, GROW_PAIRS = 0, 1, 2, 3  # why `merge` came back


class Vocabulary(NamedTuple):
    """What is known of each token by its id; arrays for all ids that may come."""

    size: np.ndarray  # int64 [ids], bytes
    packed: np.ndarray  # uint64 [ids], its bytes as a big-endian number if it has at most 8, else 0
    special: np.ndarray  # uint64 [specials], packed
    special_size: np.ndarray  # int64 [specials]


class Pairs(NamedTuple):
    """The pairs of a phase: an open-addressing table of numbers of entries, and the entries."""

    slots: np.ndarray  # int32 [power of two], entry + 1
    key: np.ndarray  # uint64 [entries], left id << 32 | right id
    times: np.ndarray  # int64 [entries], how often it comes
    start: np.ndarray  # int64 [entries], first of its positions in the pool
    size: np.ndarray  # int64 [entries], how many
    heap_count: np.ndarray  # int64 [entries], the count that the entry was put into the heap with
    heap: np.ndarray  # int32 [entries], numbers of entries


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
def compact(text, n, edge, ends):
    """Close the gaps that merges left and drop words of one token, in place; returns the new n. `ends` move along."""
    write, read, c = np.int64(0), np.int64(0), np.int64(0)
    while read < n - 1:
        while c < len(ends) and read >= ends[c]:
            ends[c] = write
            c += 1
        start = write
        text[write] = edge
        write += 1
        read += 1
        while text[read] != edge:
            token = text[read]
            step = 1 if text[read + 1] >= 0 else -text[read + 1]
            text[write] = token
            write += 1
            read += step
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


@kernel.inlined
def _key(left, right):
    return np.uint64(left) << HALF | np.uint64(right)


@kernel.inlined
def _slot(key, mask):
    h = key * GOLDEN
    return np.int64((h ^ (h >> HALF)) & mask)


@kernel.compiled
def may_merge(left, right, vocabulary, token_bytes_max, refuse):
    """Whether a pair may become a token: not too long, and (refuse) not the spelling of a special token."""
    size = vocabulary.size[left] + vocabulary.size[right]
    if size > 2 and size >= token_bytes_max:
        return False
    return not refuse or special_of(left, right, vocabulary) < 0


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
def count_byte_pairs(text, n, base, ends, weights):
    """As `count_pairs`, of text that nothing was merged in: every id is below `base`, but the edge."""
    table = np.zeros((base * base, 3), np.int64)
    c = 0
    for p in range(n - 1):
        while c < len(ends) - 1 and p >= ends[c]:
            c += 1
        left, right = text[p], text[p + 1]
        if left < base and right < base:
            row = table[left * base + right]
            row[0] = _key(left, right) + ONE
            row[1] += weights[c]
            row[2] += 1
    return table


@kernel.compiled
def count_pairs(text, n, edge, ends, weights, size):
    """All pairs of compacted text, in an open-addressing table that begins with `size` slots, a power of two.

    returns int64 [slots, 3]: left id << 32 | right id, plus 1 (0 = empty slot); how often it comes; in how many places
    """
    used, c = 0, 0
    table, mask = np.zeros((size, 3), np.int64), np.uint64(size - 1)
    for p in range(n - 1):
        while c < len(ends) - 1 and p >= ends[c]:
            c += 1
        left, right = text[p], text[p + 1]
        if left == edge or right == edge:
            continue
        key = np.int64(_key(left, right) + ONE)
        at = _slot(np.uint64(key), mask)
        while table[at, 0] != 0 and table[at, 0] != key:
            at = (at + 1) & (size - 1)
        if table[at, 0] == 0:
            table[at, 0] = key
            used += 1
        table[at, 1] += weights[c]
        table[at, 2] += 1
        if 2 * used > size:
            size *= 2
            mask = np.uint64(size - 1)
            wider = np.zeros((size, 3), np.int64)
            for old in range(len(table)):
                if table[old, 0] != 0:
                    at = _slot(np.uint64(table[old, 0]), mask)
                    while wider[at, 0] != 0:
                        at = (at + 1) & (size - 1)
                    for k in range(3):
                        wider[at, k] = table[old, k]
            table = wider
    return table


@kernel.compiled
def drop_unmergeable(table, vocabulary, token_bytes_max, refuse):
    """Set to 0 how often those pairs come that may not merge."""
    for i in range(len(table)):
        if table[i, 0] != 0:
            key = np.uint64(table[i, 0]) - ONE
            if not may_merge(np.int64(key >> HALF), np.int64(key & LOW), vocabulary, token_bytes_max, refuse):
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
def index_positions(text, n, edge, pairs, used, pool):
    """Fill the pool with the positions of each followed pair, rising; entries know their start and size already."""
    for entry in range(used):
        place(pairs.key[entry], entry, pairs.slots)
    for p in range(n - 1):
        left, right = text[p], text[p + 1]
        if left != edge and right != edge:
            entry = find(_key(left, right), pairs.slots, pairs.key)
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


@kernel.inlined
def _next(text, p):
    return p + 1 if text[p + 1] >= 0 else p - text[p + 1]


@kernel.inlined
def _previous(text, p):
    return p - 1 if text[p - 1] >= 0 else p + text[p - 1]


@kernel.compiled
def merge(
    text, edge, ends, weights, block, vocabulary, pairs, pool, near, state, merges, merge_counts, floor, ids_max,
    token_bytes_max, refuse, pause_after,
):  # fmt: skip
    """Merge the most frequent pair again and again, until none comes `floor` times or the vocabulary is full.

    near    int64 [4, edge + 1]: by neighbour, weight and number on the left, weight and number on the right; all 0
    state   int64 [5]: ids in use, merges made, entries, entries in the heap, places of the pool in use
    merges  int32 [ids_max, 3]: left, right, new id;  merge_counts int64 [ids_max]
    returns DONE; PAUSE after `pause_after` merges; GROW_POOL or GROW_PAIRS where there is no room for the next one
    """
    ids, made, used, held, filled = state[0], state[1], state[2], state[3], state[4]
    touched = np.empty(2 * (edge + 1), np.int32)
    stop = made + pause_after
    answer = DONE
    while ids < ids_max and held > 0:
        top = np.int64(pairs.heap[0])
        count = pairs.times[top]
        if count != pairs.heap_count[top] and count >= floor:
            pairs.heap_count[top] = count
            sink(pairs, held, top)
            continue
        # a new pair comes at least `floor` times, and those of one side at most `count` times together
        if count >= floor:
            if made == stop:
                answer = PAUSE
            elif used + 2 * (count // floor) > len(pairs.key):
                answer = GROW_PAIRS
            elif filled + 2 * pairs.size[top] > len(pool):
                answer = GROW_POOL
            if answer != DONE:
                break
        held -= 1
        if held > 0:
            sink(pairs, held, np.int64(pairs.heap[held]))
        if count < floor:
            continue
        left, right = np.int64(pairs.key[top] >> HALF), np.int64(pairs.key[top] & LOW)
        new = special_of(left, right, vocabulary)
        if new < 0:
            new = ids
            ids += 1
        spell(left, right, new, vocabulary)
        merges[made, 0], merges[made, 1], merges[made, 2] = left, right, new
        merge_counts[made] = count
        made += 1
        first, last = pairs.start[top], pairs.start[top] + pairs.size[top]
        met, double, doubles, lefts, rights = _apply(
            text, left, right, new, first, last, pool, ends, weights, block, near, touched, edge
        )
        born = used
        for k in range(lefts):
            other = np.int64(touched[k])
            _lower(pairs, _key(other, left), near[0, other])
            used, filled, near[1, other] = _bear(
                pairs,
                used,
                filled,
                other,
                new,
                near[0, other],
                near[1, other],
                floor,
                vocabulary,
                token_bytes_max,
                refuse,
            )
        for k in range(rights):
            other = np.int64(touched[edge + 1 + k])
            _lower(pairs, _key(right, other), near[2, other])
            # where the token behind was merged too, the pair is (new, new)
            weight, number = near[2, other], near[3, other]
            if other == left:
                weight, number = weight - double, number - doubles
            used, filled, near[3, other] = _bear(
                pairs, used, filled, new, other, weight, number, floor, vocabulary, token_bytes_max, refuse
            )
        used, filled, near[1, new] = _bear(
            pairs, used, filled, new, new, double, doubles, floor, vocabulary, token_bytes_max, refuse
        )
        if used > born:
            _positions(text, new, first, met, pool, near, edge)
            for entry in range(born, used):
                pairs.heap_count[entry] = pairs.times[entry]
                push(pairs, held, entry)
                held += 1
        for k in range(lefts):
            near[0, touched[k]] = near[1, touched[k]] = 0
        for k in range(rights):
            near[2, touched[edge + 1 + k]] = near[3, touched[edge + 1 + k]] = 0
        near[1, new] = 0
    state[0], state[1], state[2], state[3], state[4] = ids, made, used, held, filled
    return answer


@kernel.compiled
def spell(left, right, new, vocabulary):
    """Note the size and the bytes of a new token."""
    vocabulary.size[new] = vocabulary.size[left] + vocabulary.size[right]
    if vocabulary.size[new] <= PACKED_BYTES:
        shift = BYTE * np.uint64(vocabulary.size[right])
        vocabulary.packed[new] = vocabulary.packed[left] << shift | vocabulary.packed[right]


@kernel.compiled
def _apply(text, left, right, new, first, last, pool, ends, weights, block, near, touched, edge):
    """Merge every occurrence of a pair, from left to right, and add up what stands beside it.

    Positions that no longer hold the pair are dropped: the good ones are moved to the front of the list.
    returns their number; weight and number of (new, new); how many neighbours were met on the left, on the right
    """
    met = double = doubles = lefts = rights = 0
    for k in range(first, last):
        p = np.int64(pool[k])
        if text[p] != left:
            continue
        q = _next(text, p)
        if text[q] != right:
            continue
        c = block[p >> BLOCK_SHIFT]
        while p >= ends[c]:
            c += 1
        weight = weights[c]
        before = text[_previous(text, p)]
        r = _next(text, q)
        behind = text[r]
        text[q] = -1
        text[p + 1] = p - r
        text[r - 1] = p - r
        text[p] = new
        pool[first + met] = p
        met += 1
        if before == new:
            double += weight
            doubles += 1
        elif before != edge:
            if near[1, before] == 0:
                touched[lefts] = before
                lefts += 1
            near[0, before] += weight
            near[1, before] += 1
        if behind != edge:
            if near[3, behind] == 0:
                touched[edge + 1 + rights] = behind
                rights += 1
            near[2, behind] += weight
            near[3, behind] += 1
    return met, double, doubles, lefts, rights


@kernel.compiled
def _lower(pairs, key, weight):
    """Take `weight` from a pair's count, if it is followed."""
    entry = find(key, pairs.slots, pairs.key)
    if entry >= 0:
        pairs.times[entry] -= weight


@kernel.compiled
def _bear(pairs, used, filled, left, right, count, size, floor, vocabulary, token_bytes_max, refuse):
    """Follow a new pair if it comes often enough.

    returns the number of entries, the places in use, and where the pair's positions start, -1 if it is not followed
    """
    if count < floor or not may_merge(left, right, vocabulary, token_bytes_max, refuse):
        return used, filled, -1
    pairs.key[used] = _key(left, right)
    pairs.times[used] = count
    pairs.start[used] = filled
    pairs.size[used] = size
    place(pairs.key[used], used, pairs.slots)
    return used + 1, filled + size, filled


@kernel.compiled
def _positions(text, new, first, met, pool, near, edge):
    """Fill the positions of the pairs that a merge made, rising.

    near[1, left neighbour] and near[3, right neighbour] say where the next one goes, -1 for a pair not followed;
    those of (new, new) go by near[1, new].
    """
    for k in range(first, first + met):
        p = np.int64(pool[k])
        previous = _previous(text, p)
        before, behind = text[previous], text[_next(text, p)]
        if before != edge and near[1, before] >= 0:
            pool[near[1, before]] = previous
            near[1, before] += 1
        if behind != edge and behind != new and near[3, behind] >= 0:
            pool[near[3, behind]] = p
            near[3, behind] += 1


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
