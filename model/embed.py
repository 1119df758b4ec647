"""SGPT-BLOOM: one vector per text for retrieval, from the states of a decoder.

A query stands in brackets [ ], a document in braces { }. The vector is the mean of the last states with weights that
grow with the position: a later token has read more. Trained so that a query's own document is nearer than all others
of the batch.
source  Muennighoff 2022, SGPT (arXiv 2202.08904); the repository's biencoder/nli_msmarco
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional

from model import bloom, optimizer
from tokenizer import encode, spec

# SGPT's biencoder/nli_msmarco, the 7.1B BLOOM on MS MARCO
RATE = 4e-4  # with BitFit: it trains biases only
BATCH = 32  # queries on each of 8 GPUs
SCALE = 20.0  # a cosine becomes a logit: temperature 1 / 20
TOKENS_MAX = 300
CHUNK = 8  # texts of which activations are held at a time

PAD = spec.SPECIALS.index(spec.PAD)
QUERY, DOCUMENT = ("[", "]"), ("{", "}")


@dataclasses.dataclass(frozen=True, slots=True)
class Texts:
    """Token ids int64 [B, T], padded on the right, and the tokens of each text, int64 [B]."""

    ids: Tensor
    lengths: Tensor

    def part(self, start: int, count: int) -> Texts:
        return Texts(self.ids[start : start + count], self.lengths[start : start + count])


def tokenize(texts: Sequence[str], brackets: tuple[str, str], encoder: encode.Encoder, device: torch.device) -> Texts:
    """Texts between their brackets, cut so that the closing one still stands within TOKENS_MAX."""
    marks = [encoder.encode(pa.array([mark], pa.string()))[0] for mark in brackets]
    ids, offsets = encoder.encode(pa.array(texts, pa.string()))
    room = TOKENS_MAX - len(marks[0]) - len(marks[1])
    rows = [np.concatenate((marks[0], ids[a:b][:room], marks[1])) for a, b in itertools.pairwise(offsets)]
    lengths = [len(row) for row in rows]
    padded = np.full((len(rows), max(lengths)), PAD, np.int64)
    for line, row in zip(padded, rows, strict=True):
        line[: len(row)] = row
    return Texts(torch.from_numpy(padded).to(device), torch.tensor(lengths, device=device))


def pool(states: Tensor, lengths: Tensor) -> Tensor:
    """Mean of states [B, T, C] with weight i for the i-th token (from 1), none for padding: float32 [B, C]."""
    position = torch.arange(1, states.shape[1] + 1, device=states.device)  # [T]
    weights = position * (position <= lengths[:, None])  # [B, T]
    weights = weights / weights.sum(1, keepdim=True)
    return (weights[:, None].float() @ states.float())[:, 0]


def vectors(model: bloom.Bloom, texts: Texts) -> Tensor:
    """float32 [B, C]; padding stands after a text, so no token of the text sees it."""
    return pool(model.states(texts.ids), texts.lengths)


def contrast(queries: Tensor, documents: Tensor) -> Tensor:
    """Mean cross-entropy of finding each query's own document among all of the batch.

    queries [B, C]; documents [B + negatives, C], of which row i belongs to query i and the rest are hard negatives
    """
    near = functional.normalize(queries, dim=1) @ functional.normalize(documents, dim=1).T  # cosines
    return functional.cross_entropy(SCALE * near, torch.arange(len(queries), device=near.device))


def bitfit(model: bloom.Bloom) -> bloom.Bloom:
    """Leave only biases to train, those of the LayerNorms too."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith("bias"))
    return model


def backward(model: bloom.Bloom, queries: Texts, documents: Texts, chunk: int = CHUNK) -> float:
    """The loss, and its gradient in the model, with the activations of `chunk` texts at a time.

    First all vectors without gradient, then the loss's gradient in the vectors, then each chunk again with it: the
    gradient of the whole batch at once.
    source  Gao et al. 2021, GradCache (arXiv 2101.06983)
    """
    with torch.no_grad():
        found = [_in_chunks(model, texts, chunk) for texts in (queries, documents)]
    leaves = [part.requires_grad_() for part in found]
    loss = contrast(*leaves)
    loss.backward()
    for texts, leaf in zip((queries, documents), leaves, strict=True):
        assert leaf.grad is not None
        for start in range(0, len(texts.ids), chunk):
            (vectors(model, texts.part(start, chunk)) * leaf.grad[start : start + chunk]).sum().backward()
    return loss.item()


def _in_chunks(model: bloom.Bloom, texts: Texts, chunk: int) -> Tensor:
    return torch.cat([vectors(model, texts.part(start, chunk)) for start in range(0, len(texts.ids), chunk)])


def train(
    model: bloom.Bloom,
    pairs: Sequence[tuple[str, str]],
    encoder: encode.Encoder,
    *,
    steps: int,
    batch: int = BATCH,
    rate: float = RATE,
    seed: int = 0,
    chunk: int = CHUNK,
) -> list[float]:
    """Train on pairs of a query and its document, shuffled anew each time they are through; the losses.

    raises  ValueError for fewer pairs than a batch
    """
    if len(pairs) < batch:
        raise ValueError(f"embed.train: {len(pairs)} pairs, a batch takes {batch}; use a smaller --batch")
    adamw, random = optimizer.adamw(model, rate, 0.0), np.random.RandomState(seed)
    losses: list[float] = []
    order = np.empty(0, np.int64)
    while len(losses) < steps:
        if len(order) < batch:
            order = random.permutation(len(pairs))
        chosen, order = [pairs[i] for i in order[:batch]], order[batch:]
        queries = tokenize([query for query, _ in chosen], QUERY, encoder, model.slopes.device)
        documents = tokenize([document for _, document in chosen], DOCUMENT, encoder, model.slopes.device)
        adamw.zero_grad()
        losses.append(backward(model, queries, documents, chunk))
        optimizer.clip(model)
        adamw.step()
    return losses


@torch.no_grad()
def retrieval(
    model: bloom.Bloom, pairs: Sequence[tuple[str, str]], encoder: encode.Encoder, chunk: int = CHUNK
) -> tuple[float, float]:
    """Share of queries whose own document is the nearest of all, and the mean of 1 / its rank."""
    device = model.slopes.device
    found = [
        functional.normalize(_in_chunks(model, tokenize([pair[side] for pair in pairs], marks, encoder, device), chunk))
        for side, marks in enumerate((QUERY, DOCUMENT))
    ]
    near = found[0] @ found[1].T  # [pairs, pairs]
    rank = 1 + (near > near.diagonal()[:, None]).sum(1)
    return (rank == 1).float().mean().item(), (1 / rank).mean().item()
