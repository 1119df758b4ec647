"""Training samples from token shards, as Megatron draws them: a pure function of (files, seed, sample
number).

A part is a range of one shard's documents. Its documents are repeated and shuffled into one long stream of
tokens; sample j is the L + 1 tokens from j L on, so that neighbours share one token; samples are shuffled
once more, and the parts are blended by weight. Nothing depends on the world size, the number of workers or
what was read before.
source  Megatron-DeepSpeed megatron/data/gpt_dataset.py, helpers.cpp, blendable_dataset.py
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from roots import kernel
from tokenizer import mix, shards

LAST_EPOCH_SHARE = 0.95  # of an epoch's samples: a last epoch below it is shuffled apart; gpt_dataset.py
SURPLUS = 1.005  # samples that are prepared for each sample wanted; megatron/data/dataset_utils.py
VALID = "valid_"  # start of a mix file's groups to evaluate, one per language


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Division:
    """What is trained on, and what is held out by language. Prefixes are whole paths."""

    train: tuple[mix.Part, ...]
    held_out: dict[str, tuple[mix.Part, ...]]


def find(folder: Path) -> list[str]:
    """Prefixes of all shards below a folder, relative to it, sorted.

    raises  FileNotFoundError where there is none
    """
    found = sorted(p.relative_to(folder).as_posix().removesuffix(".idx") for p in folder.rglob("[!.]*.idx"))
    if not found:
        raise FileNotFoundError(f"{folder}: no shards (.idx and .bin) here or below; name the folder of token shards")
    return found


def divide(folder: Path, held_out: float) -> Division:
    """All shards below `folder` (<language>/<source>-*), each but its last documents to train on, by their
    tokens.

    held_out  share of each shard's documents, in file order
    """
    tokens: dict[str, int] = {}
    groups: dict[str, tuple[mix.Part, ...]] = {}
    for name in find(folder):
        path = str(folder / name)
        train = mix.Part(weight=1.0, start=0.0, end=1.0 - held_out, prefix=path)
        tokens[path] = part_tokens(train, shards.Shard(Path(path)))
        rest = mix.Part(weight=1.0, start=1.0 - held_out, end=1.0, prefix=path)
        language = name.partition("/")[0] if "/" in name else "all"
        groups[language] = (*groups.get(language, ()), rest)
    return Division(train=mix.train(mix.weights(tokens), 1.0 - held_out)[0].parts, held_out=groups)


def divide_by(file: Path, folder: Path) -> Division:
    """The groups `train` and `valid_<language>` of a mix file whose prefixes are relative to `folder`.

    raises  ValueError without a group `train`, or for what `mix.read` refuses
    """
    groups = {
        group.name: tuple(dataclasses.replace(part, prefix=str(folder / part.prefix)) for part in group.parts)
        for group in mix.read(file)
    }
    if "train" not in groups:
        raise ValueError(f"{file}: no group 'train', only {', '.join(groups)}; see tokenizer/mix.py for the form")
    held_out = {name.removeprefix(VALID): parts for name, parts in groups.items() if name.startswith(VALID)}
    return Division(train=groups["train"], held_out=held_out)


def part_tokens(part: mix.Part, shard: shards.Shard) -> int:
    """Tokens of the documents of a part."""
    chosen = part.documents(len(shard.lengths))
    return int(shard.lengths[chosen.start : chosen.stop].sum(dtype=np.int64))


def fingerprint(prefix: Path) -> str:
    """A digest that changes when a shard is written anew: the whole .idx, the size of the .bin, 64 blocks of
    it.

    Cheap on a shard of any size; `roots verify` reads every byte.
    """
    digest = hashlib.sha256(shards.idx_path(prefix).read_bytes())
    size = shards.bin_path(prefix).stat().st_size
    digest.update(size.to_bytes(8, "little"))
    with shards.bin_path(prefix).open("rb") as file:
        for i in range(64):
            file.seek(size * i // 64)
            digest.update(file.read(4096))
    return digest.hexdigest()


def epochs_needed(tokens: int, length: int, samples: int) -> int:
    """The fewest repetitions of `tokens` tokens that hold `samples` samples, which overlap by one token."""
    return -(-(samples * length + 1) // tokens)


def document_order(documents: range, epochs: int, apart: bool, random: np.random.RandomState) -> np.ndarray:
    """int32 [epochs * documents]: all epochs shuffled together, or the last one by itself (`apart`)."""
    if apart and epochs > 1:
        head = document_order(documents, epochs - 1, False, random)
        return np.concatenate((head, document_order(documents, 1, False, random)))
    order = np.tile(np.arange(documents.start, documents.stop, dtype=np.int32), epochs)
    random.shuffle(order)
    return order


def sample_starts(lengths: np.ndarray, length: int) -> np.ndarray:
    """Where each sample starts: rows (position in the order, token in that document), int64 [samples + 1, 2].

    lengths  tokens of the documents in their shuffled order
    Row j stands at token j * length of the stream; the last row is where the last sample ends.
    """
    ends = np.cumsum(lengths, dtype=np.int64)
    at = np.arange((int(ends[-1]) - 1) // length + 1, dtype=np.int64) * length
    position = np.searchsorted(ends, at, side="right")
    return np.stack((position, at - (ends[position] - lengths[position])), 1)


def sample_order(first: int, total: int, random: np.random.RandomState) -> np.ndarray:
    """int64 [total]: a permutation of the first `first` samples, then one of the others."""
    head, tail = np.arange(first), np.arange(first, total)
    random.shuffle(head)
    if total > first:
        random.shuffle(tail)
    return np.concatenate((head, tail))


class Samples:
    """The samples of one part: `samples[i]` is int64 [length + 1], i below `len(samples)`.

    wanted  samples to prepare at least; it decides the number of epochs, so another number is another order
    raises  ValueError for a part without tokens
    """

    def __init__(self, part: mix.Part, wanted: int, length: int, seed: int) -> None:
        self.shard = shards.Shard(Path(part.prefix))
        documents = part.documents(len(self.shard.lengths))
        tokens = part_tokens(part, self.shard)
        if tokens == 0:
            raise ValueError(
                f"{part.prefix}: no tokens in documents {documents.start} to {documents.stop}; drop the part"
            )
        random = np.random.RandomState(seed)
        epochs = epochs_needed(tokens, length, wanted)
        before_last = ((epochs - 1) * tokens - 1) // length if epochs > 1 else 0
        # Departure: Megatron stops with an assertion where the last epoch gives more samples than a whole
        # one holds by itself (tiny shards); here such an epoch counts as full
        apart = epochs > 1 and wanted - before_last < int(LAST_EPOCH_SHARE * ((tokens - 1) // length))
        self.order = document_order(documents, epochs, apart, random)
        self.starts = sample_starts(self.shard.lengths[self.order], length)
        total = len(self.starts) - 1
        self.shuffle = sample_order(before_last if apart else total, total, random)

    def __len__(self) -> int:
        return len(self.shuffle)

    def __getitem__(self, number: int) -> np.ndarray:
        row = self.shuffle[number]
        (first, start), (last, stop) = self.starts[row], self.starts[row + 1]
        pieces = []
        for position in range(first, last + 1):
            document = self.order[position]
            begin = self.shard.offsets[document] // self.shard.dtype.itemsize
            low = start if position == first else 0
            high = stop + 1 if position == last else self.shard.lengths[document]
            pieces.append(self.shard.tokens[begin + low : begin + high])
        return np.concatenate(pieces).astype(np.int64)


@kernel.compiled
def blend(weights, size):
    """Which part gives sample i, and which of its samples: int32 [size] and int64 [size].

    weights  float64 [parts], sum 1
    The part that lags most behind weight * max(i, 1) is next; the first one on ties.
    """
    # Departure: Megatron numbers the parts in uint8 and so takes fewer than 255
    part = np.empty(size, np.int32)
    sample = np.empty(size, np.int64)
    taken = np.zeros(len(weights), np.int64)
    for i in range(size):
        best, most = 0, weights[0] * max(i, 1) - taken[0]
        for p in range(1, len(weights)):
            lag = weights[p] * max(i, 1) - taken[p]
            if lag > most:
                best, most = p, lag
        part[i], sample[i] = best, taken[best]
        taken[best] += 1
    return part, sample


class Mixture:
    """All samples of a run: `mixture[i]` is int64 [length + 1], i below `total`.

    vocab_size  of the tokenizer; a shard that holds another id raises ValueError when the sample is read
    """

    def __init__(self, parts: Sequence[mix.Part], total: int, length: int, seed: int, vocab_size: int) -> None:
        weights = np.array([part.weight for part in parts])
        weights /= weights.sum()
        self.parts, self.vocab_size = parts, vocab_size
        self.part, self.sample = blend(weights, total)
        self.samples = [
            Samples(part, math.ceil(total * weight * SURPLUS), length, seed)
            for part, weight in zip(parts, weights, strict=True)
        ]

    def __getitem__(self, number: int) -> np.ndarray:
        part = self.part[number]
        ids = self.samples[part][int(self.sample[number])]
        if not 0 <= ids.min() <= ids.max() < self.vocab_size:
            raise ValueError(
                f"{self.parts[part].prefix}: ids from {ids.min()} to {ids.max()} in sample {number}, but the "
                f"tokenizer has {self.vocab_size}; train with the tokenizer that wrote the shards"
            )
        return ids

    def batch(self, start: int, count: int) -> np.ndarray:
        """Samples start .. start + count, int64 [count, length + 1]."""
        return np.stack([self[i] for i in range(start, start + count)])
