"""The learner's loop: the most frequent pair, merged everywhere, again and again.

Learning goes in phases. A phase indexes the positions of those pairs that come at least `floor` times and merges until
no such pair is left. That is exact: the count of a pair only falls, and the count of a new pair, which holds the new
token, is known when the token is made. Ties are broken by the smaller left id, then the smaller right id. The arrays
are those of learn_text and learn_pairs.
"""

from __future__ import annotations

import numpy as np

from roots import kernel
from tokenizer import learn_pairs, learn_text

DONE, PAUSE, GROW_POOL, GROW_PAIRS = 0, 1, 2, 3  # why `merge` came back
AHEAD = 24  # positions between the one whose memory is asked for and the one that is worked on


@kernel.compiled
def merge(
    text, edge, ends, weights, block, vocabulary, pairs, pool, near, state, merges, merge_counts, floor, ids_max,
    pause_after,
):  # fmt: skip
    """Merge the most frequent pair again and again, until none comes `floor` times or the vocabulary is full.

    near    int64 [edge + 1, 4]: by neighbour, weight and number on the left, weight and number on the right; all 0
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
            learn_pairs.sink(pairs, held, top)
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
            learn_pairs.sink(pairs, held, np.int64(pairs.heap[held]))
        if count < floor:
            continue
        left, right = np.int64(pairs.key[top] >> learn_pairs.HALF), np.int64(pairs.key[top] & learn_pairs.LOW)
        new = learn_pairs.special_of(left, right, vocabulary)
        if new < 0:
            new = ids
            ids += 1
        learn_pairs.spell(left, right, new, vocabulary)
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
            _lower(pairs, learn_text.key_of(other, left), near[other, 0])
            used, filled, near[other, 1] = _bear(
                pairs, used, filled, other, new, near[other, 0], near[other, 1], floor, vocabulary
            )
        for k in range(rights):
            other = np.int64(touched[edge + 1 + k])
            _lower(pairs, learn_text.key_of(right, other), near[other, 2])
            # where the token behind was merged too, the pair is (new, new)
            weight, number = near[other, 2], near[other, 3]
            if other == left:
                weight, number = weight - double, number - doubles
            used, filled, near[other, 3] = _bear(pairs, used, filled, new, other, weight, number, floor, vocabulary)
        used, filled, near[new, 1] = _bear(pairs, used, filled, new, new, double, doubles, floor, vocabulary)
        if used > born:
            _positions(text, new, first, met, pool, near, edge)
            for entry in range(born, used):
                pairs.heap_count[entry] = pairs.times[entry]
                learn_pairs.push(pairs, held, entry)
                held += 1
        for k in range(lefts):
            near[touched[k], 0] = near[touched[k], 1] = 0
        for k in range(rights):
            near[touched[edge + 1 + k], 2] = near[touched[edge + 1 + k], 3] = 0
        near[new, 1] = 0
    state[0], state[1], state[2], state[3], state[4] = ids, made, used, held, filled
    return answer


@kernel.compiled
def _apply(text, left, right, new, first, last, pool, ends, weights, block, near, touched, edge):
    """Merge every occurrence of a pair, from left to right, and add up what stands beside it.

    Positions that no longer hold the pair are dropped: the good ones are moved to the front of the list.
    returns their number; weight and number of (new, new); how many neighbours were met on the left, on the right
    """
    met = double = doubles = lefts = rights = 0
    weight = class_end = 0
    for k in range(first, last):
        if k + AHEAD < last:
            kernel.prefetch(text, np.int64(pool[k + AHEAD]))
        p = np.int64(pool[k])
        if text[p] != left:
            continue
        q = learn_text.next_of(text, p)
        if text[q] != right:
            continue
        if p >= class_end:  # positions rise, so the class hardly ever changes
            c = np.int64(block[p >> learn_text.BLOCK_SHIFT])
            while p >= ends[c]:
                c += 1
            weight, class_end = weights[c], ends[c]
        before = text[learn_text.previous_of(text, p)]
        r = learn_text.next_of(text, q)
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
            if near[before, 1] == 0:
                touched[lefts] = before
                lefts += 1
            near[before, 0] += weight
            near[before, 1] += 1
        if behind != edge:
            if near[behind, 3] == 0:
                touched[edge + 1 + rights] = behind
                rights += 1
            near[behind, 2] += weight
            near[behind, 3] += 1
    return met, double, doubles, lefts, rights


@kernel.compiled
def _lower(pairs, key, weight):
    """Take `weight` from a pair's count, if it is followed."""
    entry = learn_pairs.find(key, pairs.slots, pairs.key)
    if entry >= 0:
        pairs.times[entry] -= weight


@kernel.compiled
def _bear(pairs, used, filled, left, right, count, size, floor, vocabulary):
    """Follow a new pair if it comes often enough.

    returns the number of entries, the places in use, and where the pair's positions start, -1 if it is not followed
    """
    if count < floor or not learn_pairs.may_merge(left, right, vocabulary):
        return used, filled, -1
    pairs.key[used] = learn_text.key_of(left, right)
    pairs.times[used] = count
    pairs.start[used] = filled
    pairs.size[used] = size
    learn_pairs.place(pairs.key[used], used, pairs.slots)
    return used + 1, filled + size, filled


@kernel.compiled
def _positions(text, new, first, met, pool, near, edge):
    """Fill the positions of the pairs that a merge made, rising.

    near[left neighbour, 1] and near[right neighbour, 3] say where the next one goes, -1 for a pair not followed;
    those of (new, new) go by near[new, 1].
    """
    for k in range(first, first + met):
        if k + AHEAD < first + met:
            kernel.prefetch(text, np.int64(pool[k + AHEAD]))
        p = np.int64(pool[k])
        previous = learn_text.previous_of(text, p)
        before, behind = text[previous], text[learn_text.next_of(text, p)]
        if before != edge and near[before, 1] >= 0:
            pool[near[before, 1]] = previous
            near[before, 1] += 1
        if behind != edge and behind != new and near[behind, 3] >= 0:
            pool[near[behind, 3]] = p
            near[behind, 3] += 1
