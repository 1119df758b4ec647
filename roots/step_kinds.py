"""What a cleaning step may do, and steps done one after another.

    Map        changes each text                  Filter     removes documents one by one
    FirstKept  of equal documents the first stays RareLines  deletes lines that are frequent in the source
    Joined     makes one document of several      Later      is done by a later stage of the path

FirstKept and RareLines must see the keys of the whole source first (the exchange gathers them), Joined its documents.
`replay` does them all on a batch, given the answers of the exchange; `run` on a source held in memory.

Departure: where the original empties the text of a duplicate and leaves it to a later filter to drop the row,
we remove the document at once, with its reason. What stays is the same wherever an empty-document filter
follows, as it does in every recipe that has such a step. A Map or RareLines may still leave a text empty.

source  BigScience data-preparation, 01a_catalogue_cleaning_and_filtering, clean.py
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from roots import exact, lines


@dataclasses.dataclass(frozen=True, slots=True)
class Map:
    """A new text for each document, from the batch alone."""

    name: str
    text: Callable[[pa.RecordBatch], pa.StringArray]
    source: str  # where the original has it, and its constants


@dataclasses.dataclass(frozen=True, slots=True)
class Filter:
    """Which documents stay (`keep`: bool [docs]); `reason` names the defect of those that do not."""

    name: str
    keep: Callable[[pa.RecordBatch], np.ndarray]
    reason: str
    source: str


@dataclasses.dataclass(frozen=True, slots=True)
class FirstKept:
    """Of the documents of a source with one key the first stays, in the order of the source.

    keys    gives uint64 [docs, 2], and bool [docs]: whether there is a key; a document without one always
    stays
    """

    name: str
    keys: Callable[[pa.RecordBatch], tuple[np.ndarray, np.ndarray]]
    reason: str
    source: str


@dataclasses.dataclass(frozen=True, slots=True)
class RareLines:
    """Lines that are frequent in a source are deleted, every occurrence; the others are stripped.

    Counted are lines of at least `chars_min` code points when stripped; each occurrence, or one a document with
    `once_a_document`. Frequent is what is counted at least `count_min` times, and in more than `share_max` of the
    documents. `reason` names what is deleted, for the counts of lines. With `paragraphs` read paragraph for line.
    """

    name: str
    chars_min: int
    count_min: int
    reason: str
    source: str
    once_a_document: bool = False
    share_max: float = 0.0
    paragraphs: bool = False

    def _parts(self, text: pa.StringArray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return exact.paragraph_keys(text) if self.paragraphs else exact.line_keys(text)

    def keys(self, text: pa.StringArray) -> np.ndarray:
        """uint64 [lines, 2]: the key of each line that counts, as often as it counts."""
        keys, line_offsets, chars, _ = self._parts(text)
        counts = chars >= self.chars_min
        if self.once_a_document:
            counts &= lines.first_in_document(keys, line_offsets)
        return keys[counts]

    def frequent_from(self, documents: int) -> int:
        """The least count of a frequent line in a source of so many documents."""
        return max(self.count_min, int(self.share_max * documents) + 1 if self.share_max else 0)

    def drop(self, text: pa.StringArray, frequent: np.ndarray) -> pa.StringArray:
        """The documents without the lines whose key is in `frequent`, the other lines stripped, joined by
        "\\n".

        frequent  uint64 [keys, 2], sorted by its first column, then its second
        """
        keys, line_offsets, chars, spans = self._parts(text)
        keep = (chars < self.chars_min) | ~lines.among(keys, frequent)
        return exact.join_lines(text, spans, line_offsets, keep, feeds=2 if self.paragraphs else 1)


@dataclasses.dataclass(frozen=True, slots=True)
class Joined:
    """Pieces are joined into one document each; `join` takes the whole source as one batch.

    join    gives the batch with the joined texts and metadata in the rows that stay, and which stay, bool [docs];
            the others are removed with the reason
    """

    name: str
    join: Callable[[pa.RecordBatch], tuple[pa.RecordBatch, np.ndarray]]
    reason: str
    source: str


@dataclasses.dataclass(frozen=True, slots=True)
class Later:
    """A step that a later stage of the path does, by its own part of the recipe; cleaning leaves it out."""

    name: str
    stage: str
    source: str


Step = Map | Filter | FirstKept | RareLines | Joined | Later
Whole = FirstKept | RareLines  # must see the keys of the whole source first


def with_text(docs: pa.RecordBatch, text: pa.StringArray) -> pa.RecordBatch:
    """The batch with another text column."""
    place = docs.schema.get_field_index("text")
    return docs.set_column(place, docs.schema.field(place), text)


def replay(
    steps: Iterable[Step], docs: pa.RecordBatch, answer: Callable[[int, Whole, pa.RecordBatch, np.ndarray], np.ndarray]
) -> tuple[pa.RecordBatch, pa.StringArray]:
    """The steps on a batch, one after another.

    answer   of the exchange, to the n-th of the steps that must see the whole source: answer(n, step, left, rows)
             gives bool [left], which documents stay, to a FirstKept, and its sorted frequent keys to a RareLines.
             left are the documents that are left when the step comes, rows int64 [left] their places in the batch
    returns  every document as it was when it was removed, or at the end; and its reason, null = stays
    """
    reasons = np.full(docs.num_rows, None, object)
    left, rows = docs, np.arange(docs.num_rows)
    parts = []
    asked = 0
    for step in steps:
        if isinstance(step, Later):
            continue
        if isinstance(step, Map):
            left = with_text(left, step.text(left))
            continue
        given = answer(asked, step, left, rows) if isinstance(step, Whole) else np.empty(0)
        asked += isinstance(step, Whole)
        if isinstance(step, RareLines):
            left = with_text(left, step.drop(left.column("text"), given))
            continue
        if isinstance(step, Joined):
            left, keep = step.join(left)
        else:
            keep = step.keep(left) if isinstance(step, Filter) else given
        if not keep.all():
            reasons[rows[~keep]] = step.reason
            parts.append((rows[~keep], left.filter(pa.array(~keep))))
            left, rows = left.filter(pa.array(keep)), rows[keep]
    parts.append((rows, left))
    return _in_order(parts), pa.array(reasons, pa.string())


def _in_order(parts: Sequence[tuple[np.ndarray, pa.RecordBatch]]) -> pa.RecordBatch:
    """The documents of all parts by their row."""
    if len(parts) == 1:
        return parts[0][1]
    order = np.argsort(np.concatenate([rows for rows, _ in parts]))
    table = pa.Table.from_batches([docs for _, docs in parts]).combine_chunks().take(pa.array(order))
    return table.combine_chunks().to_batches()[0] if len(order) else parts[0][1]


def run(steps: Iterable[Step], docs: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.StringArray]:
    """All steps on one whole source.

    returns the documents that stay, in order, and for every document given its reason, null = stays
    """
    docs, reasons = replay(steps, docs, _own_answer)
    return docs.filter(pc.is_null(reasons)), reasons


def _own_answer(asked: int, step: Whole, left: pa.RecordBatch, rows: np.ndarray) -> np.ndarray:
    if isinstance(step, FirstKept):
        return lines.first_of_each(*step.keys(left))
    return lines.frequent(step.keys(left.column("text")), step.frequent_from(left.num_rows))
