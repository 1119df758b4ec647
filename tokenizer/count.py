"""How often each piece of a text comes: all that learning merges needs to know of it.

A `Table` counts in one open-addressing table of exact bytes; `Counts` is its content in order of the bytes, so that
the same text gives the same file however it was cut into batches and tasks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from roots import utf8
from tokenizer import count_kernels, pieces

ROW_GROUP_PIECES = 2**20


@dataclass(frozen=True, slots=True)
class Counts:
    """Distinct pieces and how often each comes.

    pieces  [n] large_binary, in order of their bytes, none empty
    counts  int64 [n], at least 1
    """

    pieces: pa.LargeBinaryArray
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.counts)

    def digest(self) -> str:
        """sha256 (hex) of pieces and counts, whatever file they stand in."""
        data, bounds = buffers(self.pieces)
        found = hashlib.sha256((bounds - bounds[0]).astype("<i8").tobytes())
        found.update(data[bounds[0] : bounds[-1]].data)
        found.update(np.ascontiguousarray(self.counts, "<i8").data)
        return found.hexdigest()


class Table:
    """Counts pieces as texts come; grows by doubling. Holds 2^31 distinct pieces at most."""

    def __init__(self) -> None:
        # see count_kernels
        self._slots = np.zeros(2**12, np.uint64)
        self._entries = np.zeros((2**11, 2), np.int64)
        self._arena = np.empty(2**16, np.uint8)
        self._used = 0

    def add(self, text: pa.StringArray) -> None:
        """Count the pieces of documents: [docs] utf8, no nulls."""
        data, offsets = utf8.view(text)
        doc, at, wanted = 0, int(offsets[0]), 0
        while doc < len(text):
            self._grow(wanted)
            doc, at, self._used, wanted = count_kernels.count(
                data, offsets, doc, at, self._slots, self._entries, self._arena, self._used
            )

    def add_counts(self, other: Counts) -> None:
        """Add what was counted elsewhere."""
        data, bounds = buffers(other.pieces)
        done, wanted = 0, 0
        while done < len(other):
            self._grow(wanted)
            done, self._used, wanted = count_kernels.add(
                data, bounds, other.counts, done, self._slots, self._entries, self._arena, self._used
            )

    def counts(self) -> Counts:
        """The content, sorted."""
        bounds = self._entries[: self._used + 1, 0].copy()
        arena = self._arena[: bounds[-1]]
        found = pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), self._used, [None, pa.py_buffer(bounds), pa.py_buffer(arena)]
        )
        order = _order(arena, bounds)
        return Counts(found.take(pa.array(order)), self._entries[: self._used, 1][order])

    def _grow(self, wanted: int) -> None:
        """Make room for `wanted` more bytes and at least one more piece."""
        while self._entries[self._used, 0] + wanted > len(self._arena):
            self._arena = np.concatenate([self._arena, np.empty_like(self._arena)])
        if self._used + 1 >= len(self._entries):
            self._entries = np.concatenate([self._entries, np.zeros_like(self._entries)])
            narrow, self._slots = self._slots, np.zeros(2 * len(self._slots), np.uint64)
            count_kernels.spread(narrow, self._slots)


def _order(data: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """The numbers of pieces in order of their bytes: by their first bytes, then those that share them by the next."""
    order = np.arange(len(bounds) - 1)
    keys = np.empty(len(order), np.uint64)
    count_kernels.keys(data, bounds, 0, order, keys)
    order = np.argsort(keys)
    keys = keys[order]
    count_kernels.sort_ties(data, bounds, order, keys)
    return order


def of(texts: Iterable[pa.StringArray]) -> Counts:
    """The counts of some texts."""
    table = Table()
    for text in texts:
        table.add(text)
    return table.counts()


def total(parts: Iterable[Counts]) -> Counts:
    """The sum of several counts."""
    table = Table()
    for part in parts:
        table.add_counts(part)
    return table.counts()


def write(path: Path, found: Counts) -> None:
    """Write counts as Parquet with two columns, piece and count, in order; the split and the digest are in the file."""
    marks = {"split": pieces.digest(), "digest": found.digest()}
    schema = pa.schema([("piece", pa.large_binary()), ("count", pa.int64())], marks)
    table = pa.table([found.pieces, found.counts], schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        table,
        path,
        row_group_size=ROW_GROUP_PIECES,
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )


def read(path: Any) -> Counts:
    """Counts as `write` left them.

    path    a path, or a file object that pyarrow reads
    raises  FileNotFoundError; ValueError for a file that is no table of counts, was cut by another split, or is altered
    """
    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no table of counts here; count a corpus first") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: cannot be read as Parquet ({error}); count again") from error
    marks = table.schema.metadata or {}
    if b"split" not in marks or table.column_names != ["piece", "count"]:
        raise ValueError(f"{path}: no table of counts, its columns are {table.column_names}; count a corpus first")
    if marks[b"split"].decode() != pieces.digest():
        raise ValueError(
            f"{path}: its pieces were cut by the split {marks[b'split'].decode()[:12]}, this version cuts by "
            f"{pieces.digest()[:12]}; count again"
        )
    column = table["piece"].combine_chunks()
    found = Counts(column if len(table) else pa.array([], pa.large_binary()), table["count"].to_numpy())
    if found.digest() != marks[b"digest"].decode():
        raise ValueError(f"{path}: its content gives another digest than the one in the file; count again")
    return found


def buffers(found: pa.LargeBinaryArray) -> tuple[np.ndarray, np.ndarray]:
    """The bytes uint8 and bounds int64 [n + 1] of an array; bounds need not start at 0."""
    _, offsets, data = found.buffers()
    if len(found) == 0:
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    bounds = np.frombuffer(offsets, np.int64, count=len(found) + 1, offset=8 * found.offset)
    return np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8), bounds
