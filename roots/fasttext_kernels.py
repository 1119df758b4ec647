"""Predicting with a fastText model straight from UTF-8 bytes: the most likely label of each document.

A document's vector is the mean of its features' rows: of each word that the dictionary has, of each word's character
n-grams (by hash), and of the end of the line. The rows of a word are summed on their own and remembered while a batch
lasts, because most words of a batch come again; a word remembered and a word summed anew give the same bits.

source  fastText 0.9.2: dictionary.cc (readWord, getLine, computeSubwords), matrix.cc, loss.cc (predict)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import extending, types

from roots import kernel

BLOCK = 16  # float32 of a row that are added at once: those of a cache line
REMEMBERED = 1 << 15  # words at most, a power of two; bounds memory, does not change a result
HASH_START, HASH_STEP, HASH_MASK = (
    np.uint64(2166136261),
    np.uint64(16777619),
    np.uint64(0xFFFFFFFF),
)  # FNV-1a, 32 bits
SIGN, SIGNED = np.uint32(0x80), np.uint32(0xFFFFFF00)  # fastText's bytes are signed, and widened as such
TAIL_BITS, TAIL = np.uint32(0xC0), np.uint32(0x80)  # of a byte that continues a code point
LOG_FLOOR = 1e-5  # fastText adds it to a probability before it takes the logarithm
ENDING = np.frombuffer(b"</s>", np.uint8)  # the word that stands for the end of a line
PREFIX = np.frombuffer(b"__label__", np.uint8)  # a word that begins so is a label, no feature


class Tables(NamedTuple):
    """A model for `predict`; fasttext_model.tables makes it.

    entries  uint8, the dictionary's words, then its labels, end to end; ends int64 [entries + 1]
    slots    int32, a hash table of entries, see `slots`;   words  how many entries are words
    ending   the number of the word that stands for the end of a line, -1 for none
    chars_min, chars_max  length of the character n-grams; none where chars_max is 0
    buckets  into which they are hashed;   pruned  int32 [buckets] row of a bucket, -1 for none; empty: its own
    inputs   float32 [words + rows, dim], dim filled up to whole blocks;   outputs float32 [dim, labels]
    children int32 [labels - 1, 2] of the inner nodes of the hierarchy, empty for plain softmax, see `tree`
    groups   int32 [labels]: with plain softmax, labels of one group are one answer, with the sum of their
             probabilities; its number is that of its last label
    """

    entries: np.ndarray
    ends: np.ndarray
    slots: np.ndarray
    words: int
    ending: int
    chars_min: int
    chars_max: int
    buckets: int
    pruned: np.ndarray
    inputs: np.ndarray
    outputs: np.ndarray
    children: np.ndarray
    groups: np.ndarray


@kernel.compiled
def _hash(data, start, end):
    h = HASH_START
    for i in range(start, end):
        h = _hashed(h, _widened(data[i]))
    return h


@kernel.inlined
def _widened(byte):
    wide = np.uint32(byte)
    if wide & SIGN:
        wide |= SIGNED
    return wide


@kernel.inlined
def _hashed(h, wide):
    return ((h ^ np.uint64(wide)) * HASH_STEP) & HASH_MASK


@kernel.compiled
def _same(data, start, others, first, size):
    for i in range(size):
        if data[start + i] != others[first + i]:
            return False
    return True


@kernel.compiled
def slots(entries, ends):
    """int32 [a power of two]: open-addressed hash table of the entries' numbers, -1 for a free place."""
    size = 16
    while size < 2 * len(ends):
        size *= 2
    table = np.full(size, -1, np.int32)
    for e in range(len(ends) - 1):
        place = np.int64(_hash(entries, ends[e], ends[e + 1])) & (size - 1)
        while table[place] >= 0:
            place = (place + 1) & (size - 1)
        table[place] = e
    return table


@kernel.compiled
def tree(counts):
    """int32 [labels - 1, 2]: the two children of each inner node of the Huffman tree over the labels.

    Node numbers below `labels` are labels; inner node i has the number labels + i, the last one is the root.
    counts  int64 [labels] in the training text, in falling order, as the file has them
    source  loss.cc, HierarchicalSoftmaxLoss::buildTree
    """
    labels = len(counts)
    weights = np.full(2 * labels, np.int64(10**15))
    weights[:labels] = counts
    children = np.zeros((max(labels - 1, 0), 2), np.int32)
    leaf, inner = labels - 1, labels
    for i in range(labels - 1):
        weight = 0
        for side in range(2):
            if leaf >= 0 and weights[leaf] < weights[inner]:
                child = leaf
                leaf -= 1
            else:
                child = inner
                inner += 1
            children[i, side] = child
            weight += weights[child]
        weights[labels + i] = weight
    return children


@kernel.compiled
def _find(data, start, end, h, entries, ends, slots):
    """The number of a word's entry, -1 for none."""
    mask = len(slots) - 1
    place = np.int64(h) & mask
    while slots[place] >= 0:
        e = slots[place]
        first = ends[e]
        if ends[e + 1] - first == end - start and _same(data, start, entries, first, end - start):
            return np.int64(e)
        place = (place + 1) & mask
    return np.int64(-1)


@extending.intrinsic
def _add_block(context, total, i, rows, j):
    """Adds BLOCK numbers of rows, from place j on, to those of total from place i on; both are C-contiguous.

    One vector addition, said to LLVM as such: from a loop it cannot tell that total and rows are different memory,
    and adds one number after the other, four times slower.
    """

    def generate(target, builder, signature, arguments):
        vector = ir.VectorType(ir.FloatType(), BLOCK)
        places = []
        for array, place in ((0, 1), (2, 3)):
            data = target.make_array(signature.args[array])(target, builder, arguments[array]).data
            places.append(builder.bitcast(builder.gep(data, [arguments[place]]), vector.as_pointer()))
        summed = builder.fadd(*(builder.load(place, align=4) for place in places))
        builder.store(summed, places[0], align=4)
        return target.get_dummy_value()

    return types.void(total, types.uint64, rows, types.uint64), generate


@kernel.compiled
def _add(total, t, rows, picked, count):
    """Adds the first `count` picked rows to row t of total; both matrices are float32 and C-contiguous."""
    dim = np.uint64(rows.shape[1])
    for i in range(count):
        for b in range(0, rows.shape[1], BLOCK):
            block = np.uint64(b)
            _add_block(total, np.uint64(t) * dim + block, rows, picked[i] * dim + block)


@kernel.compiled
def _bracket(data, start, end, scratch):
    """Writes <word>, its bytes widened, to scratch; returns its size."""
    scratch[0] = 60
    for i in range(start, end):
        scratch[i - start + 1] = _widened(data[i])
    scratch[end - start + 1] = 62
    return end - start + 2


@kernel.compiled
def _ngrams(word, size, shortest, longest, buckets, pruned, words, rows):
    """Writes the rows of a bracketed word's character n-grams to rows; returns how many they are."""
    found = 0
    share = 1.0 / buckets
    for i in range(size):
        if word[i] & TAIL_BITS == TAIL:
            continue
        h = HASH_START
        j = i
        for n in range(1, longest + 1):
            if j >= size:
                break
            h = _hashed(h, word[j])
            j += 1
            while j < size and word[j] & TAIL_BITS == TAIL:
                h = _hashed(h, word[j])
                j += 1
            if n < shortest or (n == 1 and (i == 0 or j == size)):
                continue
            bucket = np.int64(h) - np.int64(np.float64(h) * share) * buckets  # h % buckets, without a division
            if bucket < 0:
                bucket += buckets
            elif bucket >= buckets:
                bucket -= buckets
            if len(pruned):
                bucket = np.int64(pruned[bucket])
                if bucket < 0:
                    continue
            rows[found] = words + bucket
            found += 1
    return found


@kernel.compiled
def _softmax(hidden, outputs, groups, logits, shares):
    """The most likely group of labels, of equals the last, and its probability."""
    logits[:] = 0
    for k in range(len(hidden)):
        for label in range(len(logits)):
            logits[label] += hidden[k] * outputs[k, label]
    highest = logits[0]
    for label in range(len(logits)):
        highest = max(highest, logits[label])
        shares[label] = 0
    total = np.float32(0)
    for label in range(len(logits)):
        share = np.exp(logits[label] - highest)
        shares[groups[label]] += share
        total += share
    best = 0
    for group in range(len(logits)):
        if shares[group] >= shares[best]:
            best = group
    return best, shares[best] / total + LOG_FLOOR


@kernel.compiled
def _hierarchy(hidden, outputs, children, nodes, scores):
    """The most likely label down the tree, left before right, and its probability; -1 where all are below the floor."""
    labels = outputs.shape[1]
    best, best_score = -1, np.log(LOG_FLOOR)
    nodes[0], scores[0] = 2 * labels - 2, 0.0
    waiting = 1
    while waiting:
        waiting -= 1
        node, score = nodes[waiting], scores[waiting]
        if score < best_score:
            continue
        if node < labels:
            best, best_score = node, score
            continue
        logit = 0.0
        for k in range(len(hidden)):
            logit += hidden[k] * outputs[k, node - labels]
        right = 1 / (1 + np.exp(-logit))
        nodes[waiting] = children[node - labels, 1]
        scores[waiting] = score + np.log(right + LOG_FLOOR)
        nodes[waiting + 1] = children[node - labels, 0]
        scores[waiting + 1] = score + np.log(1 - right + LOG_FLOOR)
        waiting += 2
    return best, np.exp(best_score) if best >= 0 else 0.0


@kernel.inlined
def _is_space(byte):
    return byte == 32 or 9 <= byte <= 13 or byte == 0


@kernel.inlined
def _is_word(data, start, size, entry, words):
    """Whether a word is no label: known ones are in the dictionary, others have the prefix."""
    if entry >= 0:
        return entry < words
    return size < len(PREFIX) or not _same(data, start, PREFIX, np.int64(0), len(PREFIX))


@kernel.compiled
def predict(data, offsets, tables):
    """The most likely label of each document and its probability, as fastText's predict gives them for k = 1.

    A document ends at its first newline or word `</s>`, as a line does for fastText.
    data    uint8, offsets int [docs + 1]: UTF-8 documents, see utf8.view
    returns labels int32 [docs], numbers in the order of the file, -1 where there is no feature (a document has one
            more than its words', the end of the line, unless the model lacks it); scores float32 [docs], up to
            1.00001, 0.0 where there is no label
    """
    entries, ends, slots, words = tables.entries, tables.ends, tables.slots, tables.words
    inputs, outputs, children, pruned = tables.inputs, tables.outputs, tables.children, tables.pruned
    shortest, longest, buckets = tables.chars_min, tables.chars_max, tables.buckets
    docs, dim, labels = len(offsets) - 1, inputs.shape[1], outputs.shape[1]
    found, probabilities = np.full(docs, -1, np.int32), np.zeros(docs, np.float32)
    largest = 0
    for d in range(docs):
        largest = max(largest, np.int64(offsets[d + 1]) - offsets[d])
    remembered = 16
    while remembered < REMEMBERED and 16 * remembered < np.int64(offsets[docs]) - offsets[0]:
        remembered *= 2
    # of each remembered word: its place and size in data (size 0 for a free place), its features and their sum
    starts, sizes = np.zeros(remembered, np.int64), np.zeros(remembered, np.int64)
    features, sums = np.zeros(remembered, np.int64), np.empty((remembered, dim), np.float32)
    scratch = np.empty(largest + 2, np.uint32)
    rows = np.empty((largest + 2) * max(longest, 1) + 1, np.uint64)
    hidden = np.empty((1, dim), np.float32)
    # not literal numbers, for which numba would compile what they are given to once more
    start_of, one = np.int64(0), np.int64(1)
    logits, shares = np.empty(labels, np.float32), np.empty(labels, np.float32)
    nodes, scores = np.empty(2 * labels + 1, np.int64), np.empty(2 * labels + 1, np.float64)
    for d in range(docs):
        hidden[:] = 0
        count = 0
        i, stop = np.int64(offsets[d]), np.int64(offsets[d + 1])
        while i < stop and data[i] != 10:
            if _is_space(data[i]):
                i += 1
                continue
            start = i
            h = HASH_START
            while i < stop and not _is_space(data[i]):
                h = _hashed(h, _widened(data[i]))
                i += 1
            size = i - start
            if size == len(ENDING) and _same(data, start, ENDING, start_of, size):
                break
            place = np.int64(h) & (remembered - 1)
            if sizes[place] != size or not _same(data, start, data, starts[place], size):
                starts[place], sizes[place], picked = start, size, 0
                entry = _find(data, start, i, h, entries, ends, slots)
                if _is_word(data, start, size, entry, words):
                    if longest > 0 and buckets > 0:
                        wide = _bracket(data, start, i, scratch)
                        picked = _ngrams(scratch, wide, shortest, longest, buckets, pruned, words, rows)
                    if entry >= 0:
                        rows[picked] = entry
                        picked += 1
                features[place] = picked
                sums[place] = 0
                _add(sums, place, inputs, rows, picked)
            count += features[place]
            rows[0] = place
            _add(hidden, start_of, sums, rows, one)
        if tables.ending >= 0:
            rows[0] = tables.ending
            _add(hidden, start_of, inputs, rows, one)
            count += 1
        if count == 0 or labels == 0:
            continue
        for k in range(dim):  # as an array expression it would take five seconds more to compile
            hidden[0, k] /= np.float32(count)
        if len(children):
            found[d], probabilities[d] = _hierarchy(hidden[0], outputs, children, nodes, scores)
        else:
            found[d], probabilities[d] = _softmax(hidden[0], outputs, tables.groups, logits, shares)
    return found, probabilities
