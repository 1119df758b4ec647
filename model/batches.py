"""Training samples from token shards, as Megatron draws them: a pure function of (files, seed, sample
number).

A part is a range of one shard's documents. Its documents are repeated and shuffled into one long stream of
tokens; sample j is the L + 1 tokens from j L on, so that neighbours share one token; samples are shuffled
once more, and the parts are blended by weight. Nothing depends on the world size, the number of workers or
what was read before.

At 350 billion tokens the index is 170 million samples: it is made once, piece by piece, into files that every
process maps. In memory are only what is being shuffled (4 bytes a document of one part, or a sample) and a
piece.
source  Megatron-DeepSpeed megatron/data/gpt_dataset.py, helpers.cpp, blendable_dataset.py
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from roots import kernel
from tokenizer import mix, shards

LAST_EPOCH_SHARE = 0.95  # of an epoch's samples: a last epoch below it is shuffled apart; gpt_dataset.py
SURPLUS = 1.005  # samples that are prepared for each sample wanted; megatron/data/dataset_utils.py
PIECE = 2**22  # entries of an index made at one time
MANIFEST = ".manifest.json"  # beside a shard that a run of the pipeline made
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


def identity(division: Division, folder: Path, tokenizer: str) -> dict[str, Any]:
    """What the samples depend on, by name: the tokenizer, every file's digest, which documents of which shard.

    Paths are relative to `folder`: it does not matter where the shards lie. Raises like `digests`.
    """
    groups = {"train": division.train, **{f"{VALID}{k}": v for k, v in division.held_out.items()}}
    found: dict[str, Any] = {"tokenizer": tokenizer}
    for prefix in sorted({part.prefix for parts in groups.values() for part in parts}):
        place = Path(os.path.relpath(prefix, folder)).parent
        found |= {(place / name).as_posix(): digest for name, digest in digests(Path(prefix), tokenizer).items()}
    rows = [
        [g, os.path.relpath(p.prefix, folder), p.weight, p.start, p.end] for g, parts in groups.items() for p in parts
    ]
    return found | {"--mix or --eval-share": hashlib.sha256(json.dumps(rows).encode()).hexdigest()}


def digests(prefix: Path, tokenizer: str) -> dict[str, str]:
    """sha256 (hex) of a shard's .bin and .idx by their names, once its manifest is seen to agree.

    tokenizer  sha256 of the run's tokenizer.json
    raises     ValueError for a file whose bytes are not those of the shard's manifest, or a shard that another
               tokenizer made; a shard without a manifest (`roots tokenizer encode`) is taken as it is
    """
    found = {path.name: _sha256(path) for path in (shards.idx_path(prefix), shards.bin_path(prefix))}
    manifest = prefix.with_name(prefix.name + MANIFEST)
    if not manifest.exists():
        return found
    stated = json.loads(manifest.read_text("utf-8"))
    if stated["facts"]["tokenizer"] != tokenizer:
        raise ValueError(
            f"{prefix}: was made with the tokenizer {stated['facts']['tokenizer'][:12]}, the run has "
            f"{tokenizer[:12]} (sha256); name the folder of the tokenizer that made the shards"
        )
    seals = {Path(path).name: seal["sha256"] for path, seal in stated["files"].items()}
    for name, digest in found.items():
        if seals.get(name) != digest:
            raise ValueError(
                f"{prefix.with_name(name)}: sha256 is {digest}, its manifest says {seals.get(name)}; the file is "
                "damaged, run the stage `shards` again"
            )
    return found


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found; a shard is a .bin and an .idx of one prefix")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def sample_starts(lengths: np.ndarray, order: np.ndarray, length: int, starts: np.ndarray) -> None:
    """Where each sample starts: rows (position in the order, token in that document), into `starts`.

    lengths  tokens of the documents;   order  the documents as they follow each other
    starts   integers [samples + 1, 2]: row j stands at token j * length of the stream, the last row where the
             last sample ends
    """
    row, before = 0, 0
    for first in range(0, len(order), PIECE):
        sizes = lengths[order[first : first + PIECE]].astype(np.int64)
        ends = np.cumsum(sizes)
        ends += before
        # the rows whose token lies in this piece: token row * length is before the piece's end
        stop = min(int((ends[-1] - 1) // length) + 1, len(starts)) if ends[-1] > before else row
        at = np.arange(row, stop, dtype=np.int64) * length
        position = np.searchsorted(ends, at, side="right")
        starts[row:stop, 0] = position + first
        starts[row:stop, 1] = at - (ends[position] - sizes[position])
        row, before = stop, int(ends[-1])


def sample_order(first: int, total: int, random: np.random.RandomState) -> np.ndarray:
    """A permutation of the first `first` samples, then one of the others; int32 [total] where that is enough."""
    order = np.arange(total, dtype=np.int32 if total < 2**31 else np.int64)
    random.shuffle(order[:first])
    if total > first:
        random.shuffle(order[first:])
    return order


class Samples:
    """The samples of one part: `samples[i]` is int64 [length + 1], i below `len(samples)`.

    wanted  samples to prepare at least; it decides the number of epochs, so another number is another order
    folder  where the index is kept; null = in memory
    raises  ValueError for a part without tokens
    """

    def __init__(self, part: mix.Part, wanted: int, length: int, seed: int, folder: Path | None = None) -> None:
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
        total = (epochs * tokens - 1) // length

        def starts(into: np.ndarray) -> None:
            sample_starts(self.shard.lengths, self.order, length, into)

        lengths = hashlib.sha256(self.shard.lengths.data).hexdigest()
        kept = _Kept(folder, [lengths, part.start, part.end, wanted, length, seed])
        kept.all_or_none("documents", "starts", "samples")  # two of them follow one state of `random`
        self.order = kept.array("documents", lambda: document_order(documents, epochs, apart, random))
        self.starts = kept.filled("starts", (total + 1, 2), starts)
        first = before_last if apart else total
        self.shuffle = kept.array("samples", lambda: sample_order(first, total, random))

    def __len__(self) -> int:
        return len(self.shuffle)

    def __getitem__(self, number: int) -> np.ndarray:
        row = self.shuffle[number]
        (first, start), (last, stop) = self.starts[row].tolist(), self.starts[row + 1].tolist()
        pieces = []
        for position in range(first, last + 1):
            document = self.order[position]
            begin = self.shard.offsets[document] // self.shard.dtype.itemsize
            low = start if position == first else 0
            high = stop + 1 if position == last else self.shard.lengths[document]
            pieces.append(self.shard.tokens[begin + low : begin + high])
        return np.concatenate(pieces).astype(np.int64)


class _Kept:
    """Arrays of an index in files named by a digest of what they depend on; in memory without a folder."""

    def __init__(self, folder: Path | None, depends: list) -> None:
        self.folder = folder
        self.name = hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:16]

    def all_or_none(self, *kinds: str) -> None:
        """Remove what a killed run left of some arrays that are made together."""
        paths = [self.folder / f"{self.name}-{kind}.npy" for kind in kinds] if self.folder else []
        if not all(path.exists() for path in paths):
            for path in paths:
                path.unlink(missing_ok=True)

    def array(self, kind: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array that `make` returns."""
        if self.folder is None:
            return make()
        path = self.folder / f"{self.name}-{kind}.npy"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            with temporary.open("wb") as file:
                np.save(file, make())
            temporary.replace(path)
        return np.load(path, mmap_mode="r")

    def filled(self, kind: str, shape: tuple[int, ...], fill: Callable[[np.ndarray], object]) -> np.ndarray:
        """An int64 array of a shape that `fill` writes into, piece by piece."""
        if self.folder is None:
            array = np.empty(shape, np.int64)
            fill(array)
            return array
        path = self.folder / f"{self.name}-{kind}.npy"
        if not path.exists():
            temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            target = np.lib.format.open_memmap(temporary, "w+", np.int64, shape)
            fill(target)
            target.flush()
            temporary.replace(path)
        return np.load(path, mmap_mode="r")


def blend(weights: np.ndarray, size: int, into: np.ndarray | None = None) -> np.ndarray:
    """Which part gives sample i, and which of its samples: int64 [size, 2].

    weights  float64 [parts], sum 1
    into     where the rows are written; null = a new array
    The part that lags most behind weight * max(i, 1) is next; the first one on ties.
    """
    rows = np.empty((size, 2), np.int64) if into is None else into
    taken = np.zeros(len(weights), np.int64)
    for first in range(0, size, PIECE):
        _blend(weights, taken, first, rows[first : first + PIECE])
    return rows


@kernel.compiled
def _blend(weights, taken, first, rows):
    """Fills rows, those of the samples from `first` on; `taken` int64 [parts] goes on counting."""
    # Departure: Megatron numbers the parts in uint8 and so takes fewer than 255
    for i in range(len(rows)):
        wanted = max(first + i, 1)
        best, most = 0, weights[0] * wanted - taken[0]
        for p in range(1, len(weights)):
            lag = weights[p] * wanted - taken[p]
            if lag > most:
                best, most = p, lag
        rows[i, 0], rows[i, 1] = best, taken[best]
        taken[best] += 1


class Mixture:
    """All samples of a run: `mixture[i]` is int64 [length + 1], i below `total`.

    vocab_size  of the tokenizer; a shard that holds another id raises ValueError when the sample is read
    folder      where the index is kept; null = in memory
    raises      ValueError where all parts together hold fewer tokens than one sample
    """

    def __init__(
        self,
        parts: Sequence[mix.Part],
        total: int,
        length: int,
        seed: int,
        vocab_size: int,
        folder: Path | None = None,
    ) -> None:
        tokens = sum(part_tokens(part, shards.Shard(Path(part.prefix))) for part in parts)
        if tokens < length + 1:
            raise ValueError(f"the shards hold {tokens:,} tokens to train on, a sample takes {length + 1:,}; use less")
        weights = np.array([part.weight for part in parts])
        weights /= weights.sum()
        self.parts, self.vocab_size = parts, vocab_size
        kept = _Kept(folder, [*weights.tolist(), total])
        self.samples = [
            Samples(part, math.ceil(total * weight * SURPLUS), length, seed, folder)
            for part, weight in zip(parts, weights, strict=True)
        ]
        self.rows = kept.filled("blend", (total, 2), lambda into: blend(weights, total, into))

    def __getitem__(self, number: int) -> np.ndarray:
        part, sample = self.rows[number].tolist()
        ids = self.samples[part][sample]
        if not 0 <= ids.min() <= ids.max() < self.vocab_size:
            raise ValueError(
                f"{self.parts[part].prefix}: ids from {ids.min()} to {ids.max()} in sample {number}, but the "
                f"tokenizer has {self.vocab_size}; train with the tokenizer that wrote the shards"
            )
        return ids

    def batch(self, start: int, count: int) -> np.ndarray:
        """Samples start .. start + count, int64 [count, length + 1]."""
        return np.stack([self[i] for i in range(start, start + count)])


class Ahead:
    """Reads in a thread what will be asked for next; what it gives depends on the numbers asked for alone."""

    def __init__(self, mixture: Mixture) -> None:
        self.mixture = mixture
        self.thread = concurrent.futures.ThreadPoolExecutor(1)
        self.waiting: dict[tuple[int, int], concurrent.futures.Future] = {}

    def expect(self, start: int, count: int) -> None:
        self.waiting[start, count] = self.thread.submit(self.mixture.batch, start, count)

    def batch(self, start: int, count: int) -> np.ndarray:
        """As Mixture.batch."""
        ready = self.waiting.pop((start, count), None)
        return ready.result() if ready is not None else self.mixture.batch(start, count)
