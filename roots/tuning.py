"""What limits do to measured documents: the spread of each measure, what a limit removes, who stands at its border."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from roots import quality, schema

SHARES = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)  # of the documents that lie at or below a quantile
BINS = 60
COUNTED = ("word_count", "perplexity")  # from 0 to any number: bins on a logarithmic scale; the others are ratios


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """How one measure is spread over documents.

    measured   documents that have it;   quantiles  float64 [SHARES], of those
    edges      float64 [bins + 1];       documents  int64 [bins]: at least the lower edge, below the upper one; the
               last bin has its upper edge too
    """

    name: str
    measured: int
    quantiles: np.ndarray
    edges: np.ndarray
    documents: np.ndarray


@dataclass(frozen=True, slots=True)
class Cut:
    """What one limit does, alone.

    removed   documents beyond it;   first  those of them that no earlier limit removes
    border    row numbers of documents nearest to it: on the failing side, then on the passing side, nearest first
    """

    limit: str
    value: float
    removed: int
    first: int
    border: tuple[tuple[int, ...], tuple[int, ...]]


def spreads(measures: pa.Table) -> list[Spread]:
    """The spread of each measure that any document has.

    measures  [docs] the columns of schema.MEASURES
    """
    return [
        _spread(name, np.asarray(column.drop_null(), np.float64))
        for name in schema.MEASURES.names
        if (column := measures[name]).null_count < len(column)
    ]


def _spread(name: str, values: np.ndarray) -> Spread:
    if name in COUNTED:
        top = max(values.max(), 1.0) * (1 + 1e-9)
        edges = np.concatenate([[0.0], np.geomspace(1.0, max(top, 2.0), BINS)])
    else:
        edges = np.linspace(0.0, 1.0, BINS + 1)
    counts, _ = np.histogram(values, edges)
    return Spread(name, len(values), np.quantile(values, SHARES, method="lower"), edges, counts)


def cuts(measures: pa.Table, limits: quality.Limits, sample: int) -> list[Cut]:
    """What each limit removes, in the order of the checks.

    measures  [docs] id and the columns of schema.MEASURES;   sample  documents shown on each side of a border
    """
    language = "the one"
    columns = {"language": pa.repeat(pa.scalar(language), len(measures))}
    columns |= {name: measures[name].combine_chunks() for name in schema.MEASURES.names}
    docs = pa.record_batch(columns)
    first = quality.verdict(docs, {language: limits})
    found = []
    for name, reason in quality.REASONS.items():
        value = getattr(limits, name, None)
        if value is not None:
            beyond = quality.beyond(docs, name, value)
            earlier = pc.sum(pc.equal(first, reason)).as_py() or 0
            border = _border(measures, name, value, beyond, sample)
            found.append(Cut(name, value, int(beyond.sum()), earlier, border))
    return found


def _border(
    measures: pa.Table, name: str, value: float, beyond: np.ndarray, sample: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Row numbers nearest to a limit on both sides; of equals the lower id first."""
    column = measures[name.rsplit("_", 1)[0]]
    known = np.asarray(column.is_valid())
    distance = np.abs(np.asarray(column.fill_null(0), np.float64) - value)
    sides = []
    for side in (beyond, known & ~beyond):
        rows = np.flatnonzero(side)
        near = (
            rows[distance[rows] <= np.partition(distance[rows], sample - 1)[sample - 1]] if len(rows) > sample else rows
        )
        ids = measures["id"].take(pa.array(near)).to_pylist()
        order = sorted(range(len(near)), key=lambda i: (distance[near[i]], ids[i]))
        sides.append(tuple(int(near[i]) for i in order[:sample]))
    return sides[0], sides[1]
