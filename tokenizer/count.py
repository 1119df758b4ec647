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
import pyarrow.compute as pc
import pyarrow.parquet as pq

from roots import kernel, utf8
from tokenizer import pieces

ROW_GROUP_PIECES = 2**20
LOAD_MAX = 0.5  # entries per slot

HALF = np.uint64(32)
ENTRY_MASK = np.uint64(0xFFFFFFFF)


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
    """Counts pieces as texts come; grows by doubling. Holds 2^32 - 1 distinct pieces at most.

    An entry's start and count lie side by side: what a piece that comes rarely costs is waiting for memory.
    """

    def __init__(self) -> None:
        self._slots = np.zeros(2**12, np.uint64)  # upper half of the hash << 32 | entry + 1
        self._entries = np.zeros((2**11, 2), np.int64)  # where its bytes start (they end at the next one's), its count
        self._arena = np.empty(2**16, np.uint8)
        self._used = 0

    def add(self, text: pa.StringArray) -> None:
        """Count the pieces of documents: [docs] utf8, no nulls."""
        data, offsets = utf8.view(text)
        doc, at, wanted = 0, int(offsets[0]), 0
        while doc < len(text):
            self._grow(wanted)
            doc, at, self._used, wanted = _count(
                data, offsets, doc, at, self._slots, self._entries, self._arena, self._used
            )

    def add_counts(self, other: Counts) -> None:
        """Add what was counted elsewhere."""
        data, bounds = buffers(other.pieces)
        done, wanted = 0, 0
        while done < len(other):
            self._grow(wanted)
            done, self._used, wanted = _sum(
                data, bounds, other.counts, done, self._slots, self._entries, self._arena, self._used
            )

    def counts(self) -> Counts:
        """The content, sorted."""
        bounds = self._entries[: self._used + 1, 0].copy()
        arena = self._arena[: bounds[-1]]
        found = pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), self._used, [None, pa.py_buffer(bounds), pa.py_buffer(arena)]
        )
        order = pc.sort_indices(found)
        return Counts(found.take(order), self._entries[: self._used, 1][order.to_numpy()])

    def _grow(self, wanted: int) -> None:
        """Make room for `wanted` more bytes and at least one more piece."""
        while self._entries[self._used, 0] + wanted > len(self._arena):
            self._arena = np.concatenate([self._arena, np.empty_like(self._arena)])
        if self._used + 1 >= len(self._entries):
            self._entries = np.concatenate([self._entries, np.zeros_like(self._entries)])
            self._slots = _spread(self._entries, self._arena, self._used, int(len(self._entries) / LOAD_MAX))


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


@kernel.compiled
def piece_hash(data, start, end):
    """A 64-bit hash of data[start:end], at least a byte; equality is always asked of the bytes themselves."""
    h = np.uint64(end - start) * pieces.MIX
    for i in range(start, end, 8):
        h = pieces.blend(h, pieces.word(data, i, end))
    h *= pieces.MIX
    return h ^ (h >> HALF)


@kernel.inlined
def _same(data, start, size, arena, place):
    i = 0
    while i < size and data[start + i] == arena[place + i]:
        i += 1
    return i == size


@kernel.compiled
def _tally(data, start, end, weight, slots, entries, arena, used):
    """Add `weight` to a piece's count; returns the number of entries, or -1 where there is no room for a new one."""
    h = piece_hash(data, start, end)
    mask = np.uint64(len(slots) - 1)
    tag = h >> HALF << HALF
    at = h & mask
    while slots[at] != 0:
        if slots[at] & ~ENTRY_MASK == tag:
            entry = np.int64(slots[at] & ENTRY_MASK) - 1
            place = entries[entry, 0]
            if entries[entry + 1, 0] - place == end - start and _same(data, start, end - start, arena, place):
                entries[entry, 1] += weight
                return used
        at = (at + np.uint64(1)) & mask
    place = entries[used, 0]
    if used + 1 >= len(entries) or place + end - start > len(arena):
        return -1
    for i in range(end - start):  # a slice would take five seconds to compile
        arena[place + i] = data[start + i]
    entries[used, 1] = weight
    entries[used + 1, 0] = place + end - start
    slots[at] = tag | np.uint64(used + 1)
    return used + 1


@kernel.compiled
def _count(data, offsets, doc, at, slots, entries, arena, used):
    """Count from byte `at` of document `doc` on; returns where it stopped, the entries, and the bytes it lacked."""
    while doc < len(offsets) - 1:
        end = np.int64(offsets[doc + 1])
        while at < end:
            stop = pieces.piece_end(data, at, end)
            now = _tally(data, at, stop, np.int64(1), slots, entries, arena, used)
            if now < 0:
                return doc, at, used, stop - at
            used = now
            at = stop
        doc += 1
    return doc, at, used, 0


@kernel.compiled
def _sum(data, found, weights, done, slots, entries, arena, used):
    """Add counted pieces from number `done` on; returns where it stopped, the entries, and the bytes it lacked."""
    while done < len(weights):
        start, stop = found[done], found[done + 1]
        now = _tally(data, start, stop, weights[done], slots, entries, arena, used)
        if now < 0:
            return done, used, stop - start
        used = now
        done += 1
    return done, used, 0


@kernel.compiled
def _spread(entries, arena, used, size):
    """Slots for the entries in a table of `size`, a power of two."""
    slots = np.zeros(size, np.uint64)
    mask = np.uint64(size - 1)
    for entry in range(used):
        h = piece_hash(arena, entries[entry, 0], entries[entry + 1, 0])
        at = h & mask
        while slots[at] != 0:
            at = (at + np.uint64(1)) & mask
        slots[at] = h >> HALF << HALF | np.uint64(entry + 1)
    return slots
