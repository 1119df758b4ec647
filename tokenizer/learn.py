"""Learning the merges from counted pieces, and writing a tokenizer so that `transformers` loads it.

The result is that of the BPE trainer of Hugging Face `tokenizers`, bit for bit: the pair with the highest count is
merged first, of equal pairs the one with the smaller ids. It depends on the pieces and their counts alone. Departure:
that trainer counts pairs in 32 bits and wraps silently (huggingface/tokenizers#2058); counts here have 64.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.compute as pc
import tokenizers
from tokenizers import models

from roots import whole_file
from tokenizer import bpe, count, learn_kernels, learn_pairs, learn_text, spec

TOKENIZER = "tokenizer.json"
Collisions = Literal["refuse", "allow"]

BASE = len(spec.SPECIALS) + spec.ALPHABET_SIZE  # ids before the first merge
FALL = 16  # a phase follows the pairs down to a sixteenth of the most frequent one's count
SPARE = 0.75  # of the count at which there are as many pairs as merges to make: counts fall on the way
ROOM = 1.25  # of what a phase starts with, for the pairs and positions that merges make; grown where it is too little
SLOTS = 2**16  # of a phase's table of pairs at first
PAUSE_MERGES = 4096  # between two looks at the clock
CHECKPOINT_SECONDS = 60.0
TEXT_MAX = 2**32 - 1  # symbols: positions are kept in 32 bits

Progress = Callable[[int, int, int], None]  # merges made, merges wanted, count of the last one (0: none is made yet)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What came of the counts.

    merges  int32 [merges, 3]: left, right, new id, in order of rank
    counts  int64 [merges], how often each pair came when it was merged, not rising
    wanted  the vocabulary that was asked for; a text with too few pairs gives less
    """

    merges: np.ndarray
    counts: np.ndarray
    wanted: int

    @property
    def vocab_size(self) -> int:
        """Tokens, special ones included."""
        return max(BASE, int(self.merges[:, 2].max(initial=0)) + 1)

    def notes(self) -> list[str]:
        """What a user should know of this result; [] if there is nothing."""
        said = []
        if self.vocab_size < self.wanted:
            said.append(
                f"asked for a vocabulary of {self.wanted:,}, the text gave {self.vocab_size:,}: no further pair comes "
                "often enough; give more text or ask for less"
            )
        if wide := int((self.counts > 2**31 - 1).sum()):
            said.append(
                f"{wide:,} pairs come more than 2,147,483,647 times; the Hugging Face trainer, which counts in 32 "
                "bits, would have given other merges"
            )
        return said

    def lookup(self) -> bpe.Merges:
        """The merges, to encode with."""
        return bpe.merges(_byte_ids(), self.merges)

    def tokenizer(self) -> tokenizers.Tokenizer:
        """The tokenizer as Hugging Face's trainer would have made it."""
        letters = sorted(spec.bytes_of_characters())
        names = [*spec.SPECIALS, *letters, *[""] * (self.vocab_size - BASE)]
        pairs = []
        for left, right, new in self.merges.tolist():
            names[new] = names[left] + names[right]
            pairs.append((names[left], names[right]))
        built = spec.build_tokenizer()
        built.model = models.BPE({name: n for n, name in enumerate(names)}, pairs)
        built.add_special_tokens(list(spec.SPECIALS))
        return built


def learn(
    counts: count.Counts,
    vocab_size: int,
    *,
    special_collisions: Collisions = "refuse",
    pair_count_min: int = 1,
    token_bytes_max: int | None = None,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Learned:
    """Learn a vocabulary: the 4 special tokens, the 256 bytes, then merges.

    vocab_size          tokens wanted, special ones included
    special_collisions  "refuse": no merge may spell a special token, so text that holds `</s>` can never become id 2.
                        "allow": as Hugging Face does it, where such a merge takes the special token's id
    pair_count_min      pairs seen less often are not merged; 1 = no limit (min_frequency)
    token_bytes_max     as max_token_length: a new token of more than two bytes is shorter than this; None = no limit
    progress            is told how far it is, at first and then after every few thousand merges
    checkpoint          a file that the merges are put into once a minute; one that is there already is gone on from
    raises  ValueError for a vocabulary without room for the bytes, more text than 2^32 bytes of distinct pieces, or a
            checkpoint of other counts or other settings
    """
    if vocab_size < BASE:
        raise ValueError(
            f"learn.learn: vocab_size is {vocab_size}, but {len(spec.SPECIALS)} special tokens and "
            f"{spec.ALPHABET_SIZE} bytes take {BASE}; ask for at least that"
        )
    key = f"{counts.digest()} {special_collisions} {pair_count_min} {token_bytes_max}" if checkpoint else ""
    before = _read_checkpoint(checkpoint, key) if checkpoint and checkpoint.exists() else None
    run = _Run(counts, vocab_size, special_collisions == "refuse", max(1, pair_count_min), token_bytes_max, before)
    tell = progress or (lambda made, wanted, last: None)
    tell(run.made, vocab_size - BASE, run.last)
    saved = time.monotonic()
    while run.phase():
        while run.merge() == learn_kernels.PAUSE:
            tell(run.made, vocab_size - BASE, run.last)
            if checkpoint and time.monotonic() - saved > CHECKPOINT_SECONDS:
                _write_checkpoint(checkpoint, key, run)
                saved = time.monotonic()
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    return Learned(merges=run.merges[: run.made].copy(), counts=run.counts[: run.made].copy(), wanted=vocab_size)


class _Run:
    """The learner's arrays, see learn_text and learn_pairs."""

    def __init__(
        self,
        counts: count.Counts,
        vocab_size: int,
        refuse: bool,
        pair_count_min: int,
        token_bytes_max: int | None,
        before: tuple[np.ndarray, np.ndarray] | None,
    ):
        self._wanted, self._refuse, self._pair_count_min = vocab_size, refuse, pair_count_min
        self._token_bytes_max = token_bytes_max or np.iinfo(np.int64).max
        self._edge = vocab_size  # an id that no token has
        self._vocabulary = _vocabulary(vocab_size)
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
                self._pool, self._near, self._state, self.merges, self.counts, self._floor, self._wanted,
                self._token_bytes_max, self._refuse, PAUSE_MERGES,
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
        learn_pairs.drop_unmergeable(table, self._vocabulary, self._token_bytes_max, self._refuse)
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
    learn_text.fill(data, bounds, order, _byte_ids(), edge, text)
    weights = counts.counts[order]
    last = np.flatnonzero(np.diff(weights, append=0))  # of the words of one weight; none weighs 0
    return text, np.cumsum(np.diff(bounds)[order] + 1)[last], weights[last]


def _byte_ids() -> np.ndarray:
    """The id of each byte, int32 [256]: behind the special tokens, in the order of the visible characters."""
    ids = np.zeros(256, np.int32)
    for place, letter in enumerate(sorted(spec.bytes_of_characters())):
        ids[spec.bytes_of_characters()[letter]] = len(spec.SPECIALS) + place
    return ids


def _vocabulary(vocab_size: int) -> learn_pairs.Vocabulary:
    """Sizes and spellings of specials and bytes; the merges' follow."""
    size, packed = np.zeros(vocab_size + 1, np.int64), np.zeros(vocab_size + 1, np.uint64)
    letters = sorted(spec.bytes_of_characters())
    size[len(spec.SPECIALS) : BASE] = 1
    packed[len(spec.SPECIALS) : BASE] = [spec.bytes_of_characters()[letter] for letter in letters]
    special = np.array([int.from_bytes(token.encode(), "big") for token in spec.SPECIALS], np.uint64)
    return learn_pairs.Vocabulary(size, packed, special, np.array([len(token) for token in spec.SPECIALS], np.int64))


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


def _write_checkpoint(path: Path, key: str, run: _Run) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        np.savez(file, key=np.array(key), merges=run.merges[: run.made], counts=run.counts[: run.made])
    temporary.replace(path)


def _read_checkpoint(path: Path, key: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path) as found:
            stated, merges, counts = str(found["key"]), found["merges"], found["counts"]
    except (ValueError, OSError, KeyError, EOFError) as error:
        raise ValueError(f"{path}: no checkpoint of the learner ({error}); remove it and learn again") from error
    if stated != key:
        raise ValueError(f"{path}: a checkpoint of other counts or settings; remove it, or learn as before")
    return merges, counts


def collisions(found: dict[str, Any], specials: Sequence[str] = spec.SPECIALS) -> list[str]:
    """The special tokens that a merge of this tokenizer.json (parsed) spells; such text can become a special id."""
    # older files write a merge as "left right", newer ones as [left, right]
    spelled = {
        merge.replace(" ", "", 1) if isinstance(merge, str) else merge[0] + merge[1]
        for merge in found["model"].get("merges", [])
    }
    return [token for token in specials if token in spelled]


def save(learned: tokenizers.Tokenizer, folder: Path) -> dict[str, str]:
    """Write the files that `transformers.AutoTokenizer` loads as a fast tokenizer; sha256 (hex) by file name.

    Each file is whole or absent, and tokenizer.json comes last. The same tokenizer gives the same bytes.
    """
    names = {"bos_token": spec.BOS, "eos_token": spec.EOS, "pad_token": spec.PAD, "unk_token": spec.UNK}
    config = {
        **names,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": spec.SEQUENCE_TOKENS,
        "padding_side": "left",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    files = {
        "special_tokens_map.json": _json(names),
        "tokenizer_config.json": _json(config),
        TOKENIZER: learned.to_str(pretty=True).encode() + b"\n",
    }
    for name, data in files.items():
        whole_file.write(folder / name, data)
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def _json(value: dict[str, object] | dict[str, str]) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode() + b"\n"
