"""BLOOMZ: train further on pairs of a prompt and its answer, packed into full sequences.

    PREFIX_inputs.bin/.idx, PREFIX_targets.bin/.idx     the pairs, document for document; `write` makes them
    OUTPUT/log.csv  checkpoints/                         as of a training run

Pairs follow each other in a sequence without a gap and do not see each other; the loss is on the answers alone.
source  xP3 and BLOOMZ: Muennighoff et al. 2022 (arXiv 2211.01786); bigscience train/tr13-mtf; Megatron-DeepSpeed
        megatron/data/mtf_dataset.py, decoder_packed_mtf_dataset.py
"""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from model import bloom, checkpoint, optimizer, parallel
from roots import kernel
from tokenizer import encode, shards, spec

# bigscience train/tr13-mtf, scripts xp3capmixnewcodelonglossseq: a constant rate, a fresh optimizer
RATE = 2e-5
WEIGHT_DECAY = 1e-4
BATCH, BATCH_SMALL = 2048, 1024  # sequences; the smaller one for 560M and 1.1B
SAMPLES = 6_348_800  # 13.0 billion tokens; the gain levelled off after 1 to 6

PAD = spec.SPECIALS.index(spec.PAD)
PAIRS_AT_ONCE = 4096  # encoded in one call
NO_SEGMENT = -1  # of padding


def pairs(files: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Inputs and targets of JSON Lines files (plain or .gz) with these two fields, as xP3 has them.

    raises  ValueError for a line without them, or with an empty one
    """
    for path in files:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                row = json.loads(line)
                question, answer = (row.get("inputs"), row.get("targets")) if isinstance(row, dict) else (None, None)
                if not (isinstance(question, str) and isinstance(answer, str) and question.strip() and answer.strip()):
                    raise ValueError(f"{path} line {number}: expected texts 'inputs' and 'targets', got {line[:60]!r}")
                yield question, answer


def write(found: Iterable[tuple[str, str]], encoder: encode.Encoder, prefix: Path) -> int:
    """Write the two shards of some pairs; an answer begins with a space and ends with the end-of-document token.

    returns the number of pairs
    """
    places = [prefix.with_name(f"{prefix.name}_{side}") for side in ("inputs", "targets")]
    with (
        shards.Writer(places[0], encoder.vocab_size, encoder.eod) as inputs,
        shards.Writer(places[1], encoder.vocab_size, encoder.eod) as targets,
    ):
        group: list[tuple[str, str]] = []

        def flush() -> None:
            inputs.add(*encoder.encode(pa.array([pair[0] for pair in group], pa.string())))
            targets.add(*encoder.encode(pa.array([f" {pair[1].strip()}" for pair in group], pa.string())))
            group.clear()

        for pair in found:
            group.append(pair)
            if len(group) == PAIRS_AT_ONCE:
                flush()
        flush()
        count = inputs.close().documents
        targets.close()
    return count


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """Packed sequences, int64 [B, T] each.

    ids       pairs end to end, then PAD
    targets   the next token where it belongs to the answer of the same pair, else IGNORE
    segments  the number of the pair in its row, NO_SEGMENT for padding
    """

    ids: np.ndarray
    targets: np.ndarray
    segments: np.ndarray


class Packed:
    """The pairs of two shards, shuffled by a seed and packed one after the other; row i is always the same.

    numbers  which pairs, to hold some out; null = all
    Pairs longer than a sequence are left out and counted (`too_long`).
    raises   ValueError where the shards do not match, or no pair fits
    """

    def __init__(self, prefix: Path, length: int, seed: int, numbers: np.ndarray | None = None) -> None:
        self.inputs, self.targets = (
            shards.Shard(prefix.with_name(f"{prefix.name}_{side}")) for side in ("inputs", "targets")
        )
        if len(self.inputs) != len(self.targets):
            raise ValueError(
                f"{prefix}: {len(self.inputs)} inputs, {len(self.targets)} targets; write the two shards together"
            )
        order = np.arange(len(self.inputs)) if numbers is None else numbers
        sizes = self.inputs.lengths[order].astype(np.int64) - 1 + self.targets.lengths[order]  # inputs lose their end
        self.too_long = int((sizes > length).sum())
        order = order[sizes <= length]
        if not len(order):
            raise ValueError(f"{prefix}: no pair of {len(sizes)} fits in {length} tokens; use a longer --sequence")
        self.length = length
        self.order = np.random.RandomState(seed).permutation(order)
        lengths = self.inputs.lengths[self.order].astype(np.int64) - 1 + self.targets.lengths[self.order]
        self.first = _first_of_rows(lengths, length)

    def __len__(self) -> int:
        """Rows."""
        return len(self.first) - 1

    def rows(self, numbers: Iterable[int]) -> Rows:
        found = [self._row(number % len(self)) for number in numbers]  # after the last row the first one comes again
        return Rows(*(np.stack(part) for part in zip(*found, strict=True)))

    def _row(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        ids = np.full(self.length, PAD, np.int64)
        targets = np.full(self.length, bloom.IGNORE, np.int64)
        segments = np.full(self.length, NO_SEGMENT, np.int64)
        start = 0
        for segment, pair in enumerate(self.order[self.first[number] : self.first[number + 1]]):
            question, answer = self.inputs.document(pair)[:-1], self.targets.document(pair)
            middle, stop = start + len(question), start + len(question) + len(answer)
            ids[start:middle], ids[middle:stop], segments[start:stop] = question, answer, segment
            targets[middle - 1 : stop - 1] = answer  # the question's last token foretells the answer's first
            start = stop
        return ids, targets, segments


@kernel.compiled
def _first_of_rows(lengths, capacity):
    """The first pair of each row, and after the last row the number of pairs: int64 [rows + 1]."""
    first = np.empty(len(lengths) + 1, np.int64)
    rows, filled = 0, capacity + 1
    for i in range(len(lengths)):
        if filled + lengths[i] > capacity:
            first[rows] = i
            rows, filled = rows + 1, 0
        filled += lengths[i]
    first[rows] = len(lengths)
    return first[: rows + 1]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Figures of a run; `batch` and `micro` are sequences."""

    steps: int
    batch: int
    micro: int
    rate: float = RATE
    weight_decay: float = WEIGHT_DECAY
    checkpoint_every: int = 100


def train(
    model: bloom.Bloom, packed: Packed, options: Options, output: Path, where: parallel.World, say: Any = print
) -> list[float]:
    """Train on and write checkpoints below `output`; goes on from the newest one there. Nats per answer token.

    raises  like checkpoint.load
    """
    adamw = optimizer.adamw(model, options.rate, options.weight_decay)
    folder, done, losses = output / "checkpoints", 0, []
    checkpoint.clean(folder)
    if saved := checkpoint.found(folder):
        done = checkpoint.load(saved[-1], model, adamw, where).step
    for step in range(done, options.steps):
        losses.append(_step(model, adamw, packed, step, options, where.device))
        if (step + 1) % options.checkpoint_every == 0 or step + 1 == options.steps:
            place = checkpoint.Place(
                step=step + 1,
                samples=(step + 1) * options.batch,
                config=dataclasses.asdict(model.config),
                options=dataclasses.asdict(options),
                data={},
                machine={"torch": str(torch.__version__), "device": str(where.device)},
            )
            checkpoint.save(folder, place, model, adamw, 1, where)
            say(f"step {step + 1}/{options.steps}  loss {losses[-1]:.4f} nats per answer token")
    return losses


def _step(
    model: bloom.Bloom,
    adamw: torch.optim.AdamW,
    packed: Packed,
    step: int,
    options: Options,
    device: torch.device,
) -> float:
    """One batch: the mean over all its answer tokens, whatever pair they belong to."""
    rows = packed.rows(range(step * options.batch, (step + 1) * options.batch))
    count = int((rows.targets != bloom.IGNORE).sum())
    adamw.zero_grad()
    total = 0.0
    for start in range(0, options.batch, options.micro):
        ids, targets, segments = _tensors(rows, start, options.micro, device)
        loss = model(ids, targets, segments=segments) / count
        loss.backward()
        total += loss.item()
    optimizer.clip(model)
    adamw.step()
    return total


def _tensors(rows: Rows, start: int, count: int, device: torch.device) -> list[Tensor]:
    part = slice(start, start + count)
    return [torch.from_numpy(array[part]).to(device) for array in (rows.ids, rows.targets, rows.segments)]


@torch.no_grad()
def answer_loss(model: bloom.Bloom, packed: Packed, micro: int, rows_max: int) -> float:
    """Nats per answer token over the first rows."""
    total, count = 0.0, 0
    for start in range(0, min(rows_max, len(packed)), micro):
        rows = packed.rows(range(start, min(start + micro, len(packed))))
        ids, targets, segments = _tensors(rows, 0, micro, model.slopes.device)
        total += model(ids, targets, segments=segments).item()
        count += int((rows.targets != bloom.IGNORE).sum())
    return total / count
