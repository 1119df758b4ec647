"""The learner's state, and its phases.

A phase closes the gaps in the text, finds the pairs that come often now, notes where they stand, and merges them until
none of them comes often. The arrays are those of learn_text and learn_pairs.
"""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from tokenizer import bpe, count, learn_kernels, learn_pairs, learn_text, spec

BASE = len(spec.SPECIALS) + spec.ALPHABET_SIZE  # ids before the first merge
FALL = 16  # a phase follows the pairs down to a sixteenth of the most frequent one's count
SPARE = 0.75  # of the count at which there are as many pairs as merges to make: counts fall on the way
ROOM = 1.25  # of what a phase starts with, for the pairs and positions that merges make; grown where it is too little
SLOTS = 2**16  # of a phase's table of pairs at first
PAUSE_MERGES = 4096  # between two looks at the clock
TEXT_MAX = 2**32 - 1  # symbols: positions are kept in 32 bits


class Run:
    """What is merged so far: `merges` and `counts`, as in learn.Learned, the first `made` of them."""

    def __init__(
        self,
        counts: count.Counts,
        vocab_size: int,
        refuse: bool,
        pair_count_min: int,
        token_bytes_max: int | None,
        before: tuple[np.ndarray, np.ndarray] | None,
    ):
        self._wanted, self._pair_count_min = vocab_size, pair_count_min
        self._edge = vocab_size  # an id that no token has
        self._vocabulary = _vocabulary(vocab_size, token_bytes_max or np.iinfo(np.int64).max, refuse)
        self._near = np.zeros((vocab_size + 1, 4), np.int64)
        self.merges = np.zeros((vocab_size, 3), np.int32)
        self.counts = np.zeros(vocab_size, np.int64)
        self._state = np.array([BASE, 0, 0, 0, 0], np.int64)
        self._text, self._ends, self._weights = _text(counts, self._edge)
        self._size, self._longest = len(self._text), int(pc.max(pc.binary_length(counts.pieces)).as_py() or 1)
        self._sums = np.zeros(learn_text.BUCKETS, np.uint32)
        self._floor: int = np.iinfo(np.int64).max
        self._pairs, self._pool = _pairs(1), np.empty(1, np.uint32)
        if before is not None:
            self._replay(*before)

    @property
    def made(self) -> int:
        return int(self._state[1])

    @property
    def last(self) -> int:
        """The count of the last pair that was merged, 0 before the first."""
        return int(self.counts[self.made - 1]) if self.made else 0

    def phase(self) -> bool:
        """Index the pairs that are frequent now; False if nothing is left to merge."""
        ids = int(self._state[0])
        if ids >= self._wanted or self._floor == self._pair_count_min:
            return False
        self._sums[:] = 0
        self._size = learn_text.compact(self._text, self._size, self._edge, self._ends, self._weights, self._sums)
        self._text = self._text[: self._size]
        self._block = np.zeros((self._size >> learn_text.BLOCK_SHIFT) + 2, np.int32)
        learn_text.index_classes(self._ends, self._block)
        left, highest = self._wanted - ids, min(int(self._sums.max()), self._floor)
        self._floor = _floor(self._sums, left, max(highest // FALL, self._pair_count_min))
        while not self._index(left):
            if self._floor == self._pair_count_min:
                return False
            self._floor = max(self._floor // FALL, self._pair_count_min)
        return True

    def merge(self) -> int:
        """Merge until a pause or the end of the phase."""
        while True:
            answer = learn_kernels.merge(
                self._text, self._edge, self._ends, self._weights, self._block, self._vocabulary, self._pairs,
                self._pool, self._near, self._state, self.merges, self.counts, self._floor, self._wanted, PAUSE_MERGES,
            )  # fmt: skip
            if answer == learn_kernels.GROW_POOL:
                self._pool = np.concatenate([self._pool, np.empty_like(self._pool)])
            elif answer == learn_kernels.GROW_PAIRS:
                self._pairs = _wider(self._pairs, int(self._state[2]))
            else:
                return answer

    def _count(self) -> np.ndarray:
        """All pairs that come `floor` times, and some that do not: a table as of learn_pairs.count_pairs."""
        wanted = np.packbits(self._sums >= min(self._floor, learn_text.SUM_MAX), bitorder="little")
        table, state = np.zeros((SLOTS, 3), np.int64), np.zeros(3, np.int64)
        while not learn_pairs.count_pairs(
            self._text, self._size, self._edge, self._ends, self._weights, wanted, table, state
        ):
            narrow, table = table, np.zeros((4 * len(table), 3), np.int64)
            learn_pairs.spread(narrow, table)
        learn_pairs.drop_unmergeable(table, self._vocabulary)
        return table

    def _index(self, left: int) -> bool:
        """Follow the pairs that come `floor` times, which is raised where they are many; False if there are none."""
        table = self._count()
        self._floor = _floor(table[:, 1], left, self._floor)
        keys, counts, places = table[table[:, 1] >= self._floor].T
        used, total = len(keys), int(places.sum())
        self._pairs = _pairs(int(ROOM * used) + 1)
        self._pairs.key[:used], self._pairs.times[:used], self._pairs.size[:used] = keys - 1, counts, places
        self._pairs.start[:used] = np.cumsum(places) - places
        self._pool = np.empty(int(ROOM * total) + 1, np.uint32)
        wanted = np.zeros(learn_text.BUCKETS // 8, np.uint8)
        learn_pairs.index_positions(self._text, self._size, self._edge, self._pairs, used, self._pool, wanted)
        self._state[2:] = used, used, total
        return used > 0

    def _replay(self, merges: np.ndarray, counts: np.ndarray) -> None:
        """Bring the text to where these merges leave it."""
        made = len(merges)
        self.merges[:made], self.counts[:made] = merges, counts
        for left, right, new in merges.tolist():
            learn_pairs.spell(left, right, new, self._vocabulary)
        self._state[:2] = max(BASE, int(merges[:, 2].max(initial=0)) + 1), made
        found = bpe.merges(np.zeros(256, np.int32), merges)
        learn_text.replay(self._text, self._edge, found, self._vocabulary.size, self._longest)


def _text(counts: count.Counts, edge: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The words as symbols, most frequent first, and the ends and weights of the classes of equal counts."""
    data, bounds = count.buffers(counts.pieces)
    size = int(bounds[-1] - bounds[0]) + len(counts) + 1
    if size > TEXT_MAX:
        raise ValueError(
            f"learn.learn: {len(counts):,} distinct pieces of {size:,} symbols, and positions are kept in 32 bits; "
            "sample fewer documents"
        )
    order = np.argsort(-counts.counts, kind="stable")
    text = np.empty(size, np.int32)
    learn_text.fill(data, bounds, order, byte_ids(), edge, text)
    weights = counts.counts[order]
    last = np.flatnonzero(np.diff(weights, append=0))  # of the words of one weight; none weighs 0
    return text, np.cumsum(np.diff(bounds)[order] + 1)[last], weights[last]


def byte_ids() -> np.ndarray:
    """The id of each byte, int32 [256]: behind the special tokens, in the order of the visible characters."""
    ids = np.zeros(256, np.int32)
    for place, letter in enumerate(sorted(spec.bytes_of_characters())):
        ids[spec.bytes_of_characters()[letter]] = len(spec.SPECIALS) + place
    return ids


def _vocabulary(vocab_size: int, token_bytes_max: int, refuse: bool) -> learn_pairs.Vocabulary:
    """The bytes; the merges' tokens follow."""
    size, packed = np.zeros(vocab_size + 1, np.int64), np.zeros(vocab_size + 1, np.uint64)
    letters = sorted(spec.bytes_of_characters())
    size[len(spec.SPECIALS) : BASE] = 1
    packed[len(spec.SPECIALS) : BASE] = [spec.bytes_of_characters()[letter] for letter in letters]
    special = np.array([int.from_bytes(token.encode(), "big") for token in spec.SPECIALS], np.uint64)
    special_size = np.array([len(token) for token in spec.SPECIALS], np.int64)
    return learn_pairs.Vocabulary(size, packed, special, special_size, token_bytes_max, refuse)


def _floor(counts: np.ndarray, wanted: int, least: int) -> int:
    """The count down to which a phase follows pairs; any would be exact, this one keeps the index small."""
    if len(followed := counts[counts >= least]) > wanted:
        return max(least, int(SPARE * np.partition(followed, len(followed) - wanted)[len(followed) - wanted]))
    return least


def _pairs(room: int) -> learn_pairs.Pairs:
    slots = np.zeros(1 << (2 * room - 1).bit_length(), np.int32)
    times, start, size, heap_count = (np.zeros(room, np.int64) for _ in range(4))
    return learn_pairs.Pairs(slots, np.zeros(room, np.uint64), times, start, size, heap_count, np.zeros(room, np.int32))


def _wider(pairs: learn_pairs.Pairs, used: int) -> learn_pairs.Pairs:
    """The same pairs with twice the room."""
    wider = _pairs(2 * len(pairs.key))
    for old, new in zip(pairs[1:], wider[1:], strict=True):  # all but the slots
        new[: len(old)] = old
    for entry in range(used):
        learn_pairs.place(wider.key[entry], entry, wider.slots)
    return wider
