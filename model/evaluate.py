"""How well a model predicts text, in bits per byte: comparable across tokenizers and languages.

    bits per byte = nats of all tokens of the text / (ln 2 x UTF-8 bytes of the text)
    byte perplexity = 2 ^ bits per byte

Each text is scored by itself with the end-of-document token on its left, in windows that score every token
once; the end-of-document token after a text is not scored. Sums run over all texts of a language (no mean of
means).
source  EleutherAI lm-evaluation-harness (BigScience fork), lm_eval/utils.py get_rolling_token_windows,
        flores_101.py
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from model import bloom, parallel
from tokenizer import encode, mix, shards, spec


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Sums over the texts of one language; `nats` is -log p of all their tokens."""

    documents: int
    tokens: int
    bytes: int
    nats: float

    @property
    def bits_per_byte(self) -> float:
        return self.nats / (math.log(2) * self.bytes)

    @property
    def byte_perplexity(self) -> float:
        return math.exp(self.nats / self.bytes)


def token_lengths(encoder: encode.Encoder) -> np.ndarray:
    """Bytes that each id stands for, int64 [ids]; 0 for the special tokens."""
    lengths = np.fromiter(map(len, encoder.tokens()), np.int64)
    lengths[: len(spec.SPECIALS)] = 0
    return lengths


def windows(ids: np.ndarray, end: int, length: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Inputs and targets that score every token of one text once, at most `length` tokens each.

    The first token follows `end`. The last window reaches back to be full, and scores only what was not
    scored yet.
    """
    context = np.concatenate(([end], ids))
    for start in range(0, len(ids), length):
        stop = min(start + length, len(ids))
        back = max(0, stop - length) if start else 0
        targets = ids[back:stop].copy()
        targets[: start - back] = bloom.IGNORE
        yield context[back:stop], targets


def score(
    model: bloom.Bloom,
    texts: Iterable[np.ndarray],
    encoder: encode.Encoder,
    length: int,
    batch: int,
    where: parallel.World | None = None,
) -> Score:
    """Score texts given as ids (without end-of-document), `batch` windows of up to `length` tokens at a time.

    where  the processes that share the work, all of them calling; null = this one alone
    """
    texts = [ids for ids in texts if len(ids)]
    pairs = [pair for ids in texts for pair in windows(ids, encoder.eod, length)]
    pairs.sort(key=lambda pair: len(pair[0]))  # stable: little padding, and the same sums every time
    lengths = token_lengths(encoder)
    return Score(
        documents=len(texts),
        tokens=sum(map(len, texts)),
        bytes=sum(int(lengths[ids].sum()) for ids in texts),
        nats=_shared(model, [pairs[i : i + batch] for i in range(0, len(pairs), batch)], length, batch, where),
    )


def _shared(
    model: bloom.Bloom,
    groups: list[list[tuple[np.ndarray, np.ndarray]]],
    length: int,
    batch: int,
    where: parallel.World | None,
) -> float:
    """Nats of all groups of windows, each process taking every so many-th; all make the same number of calls."""
    size, rank = (where.size, where.rank) if where is not None else (1, 0)
    shape = (batch, length) if model.compiled else None  # compiled blocks know one shape
    total = 0.0
    for first in range(0, len(groups), size):
        mine = groups[first + rank] if first + rank < len(groups) else []
        total += _nats(model, mine, shape or _shape(groups[min(first + rank, len(groups) - 1)]))
    if where is None or size == 1:
        return total
    return where.total(torch.tensor(total, dtype=torch.float64, device=where.device)).item()


def _shape(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[int, int]:
    return len(pairs), max(len(ids) for ids, _ in pairs)


@torch.no_grad()
def _nats(model: bloom.Bloom, pairs: list[tuple[np.ndarray, np.ndarray]], shape: tuple[int, int]) -> float:
    ids = torch.zeros(shape, dtype=torch.int64)
    targets = torch.full(shape, bloom.IGNORE)
    for row, (left, right) in enumerate(pairs):
        ids[row, : len(left)] = torch.from_numpy(left)
        targets[row, : len(right)] = torch.from_numpy(right)
    device = model.slopes.device
    return model(ids.to(device), targets.to(device)).item()


def held_out(
    model: bloom.Bloom,
    groups: Mapping[str, Sequence[mix.Part]],
    encoder: encode.Encoder,
    length: int,
    batch: int,
    documents: int,
    where: parallel.World | None = None,
) -> dict[str, Score]:
    """Score the first `documents` documents of each group (language), by group, sorted; empty groups left
    out. `where` as in `score`."""
    texts = {group: _documents(parts, encoder.eod, documents) for group, parts in sorted(groups.items())}
    scores = {group: score(model, found, encoder, length, batch, where) for group, found in texts.items()}
    return {group: result for group, result in scores.items() if result.bytes}


def _documents(parts: Sequence[mix.Part], eod: int, count: int) -> list[np.ndarray]:
    """Ids of the first documents of some parts, without the end-of-document token."""
    found: list[np.ndarray] = []
    for part in parts:
        shard = shards.Shard(Path(part.prefix))
        for number in part.documents(len(shard))[: count - len(found)]:
            ids = shard.document(number).astype(np.int64)
            found.append(ids[:-1] if len(ids) and ids[-1] == eod else ids)
    return found


def labelled(model: bloom.Bloom, file: Path, encoder: encode.Encoder, length: int, batch: int) -> dict[str, Score]:
    """Score a UTF-8 file of lines `language<TAB>text`, by language, sorted. Empty lines are skipped.

    raises  ValueError for a line without a tab
    """
    texts: dict[str, list[str]] = {}
    for number, line in enumerate(file.read_text("utf-8").split("\n"), 1):
        language, tab, text = line.rstrip("\r").partition("\t")
        if not line.strip():
            continue
        if not tab:
            raise ValueError(f"{file} line {number}: no tab; expected 'language<TAB>text', got '{line[:60]}'")
        texts.setdefault(language, []).append(text)
    scores = {}
    for language in sorted(texts):
        ids, offsets = encoder.encode(pa.array(texts[language], pa.string()))
        split = np.split(ids.astype(np.int64), offsets[1:-1])
        scores[language] = score(model, split, encoder, length, batch)
    return scores
