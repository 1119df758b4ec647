"""How often each piece of a text comes: all that learning merges needs to know of it.

A `Table` counts in one open-addressing table of exact bytes; `Counts` is its content in order of the bytes, so that
the same text gives the same file however it was cut into batches and tasks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from roots import kernel, utf8
from tokenizer import pieces

ROW_GROUP_PIECES = 2**20
LOAD_MAX = 0.5  # entries per slot

PRIME = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio, odd: multiplicative hashing (Knuth, 6.4)
MIX = np.uint64(0xD6E8FEB86659FD93)  # an odd constant with no pattern of bits
HALF, BYTE = np.uint64(32), np.uint64(8)
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
    """Counts pieces as texts come; grows by doubling. Holds 2^32 - 1 distinct pieces at most."""

    def __init__(self) -> None:
        self._slots = np.zeros(2**12, np.uint64)  # upper half of the hash << 32 | entry + 1
        self._bounds = np.zeros(2**11, np.int64)  # where each entry's bytes start, and the last ones end
        self._counts = np.zeros(2**11, np.int64)
        self._arena = np.empty(2**16, np.uint8)
        self._used = 0

    def __len__(self) -> int:
        """Distinct pieces so far."""
        return self._used

    def add(self, text: pa.StringArray) -> None:
        """Count the pieces of documents: [docs] utf8, no nulls."""
        data, offsets = utf8.view(text)
        doc, at, wanted = 0, int(offsets[0]), 0
        while doc < len(text):
            self._grow(wanted)
            doc, at, self._used, wanted = _count(
                data, offsets, doc, at, self._slots, self._bounds, self._counts, self._arena, self._used
            )

    def add_counts(self, other: Counts) -> None:
        """Add what was counted elsewhere."""
        data, bounds = buffers(other.pieces)
        done, wanted = 0, 0
        while done < len(other):
            self._grow(wanted)
            done, self._used, wanted = _sum(
                data, bounds, other.counts, done, self._slots, self._bounds, self._counts, self._arena, self._used
            )

    def counts(self) -> Counts:
        """The content, sorted."""
        bounds = self._bounds[: self._used + 1].copy()
        arena = self._arena[: bounds[-1]]
        found = pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), self._used, [None, pa.py_buffer(bounds), pa.py_buffer(arena)]
        )
        order = pc.sort_indices(found)
        return Counts(found.take(order), self._counts[: self._used][order.to_numpy()])

    def _grow(self, wanted: int) -> None:
        """Make room for `wanted` more bytes and at least one more piece."""
        while self._bounds[self._used] + wanted > len(self._arena):
            self._arena = np.concatenate([self._arena, np.empty_like(self._arena)])
        if self._used + 1 >= len(self._counts):
            self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
            self._bounds = np.concatenate([self._bounds, np.zeros_like(self._bounds)])
            self._slots = _spread(self._bounds, self._arena, self._used, int(len(self._counts) / LOAD_MAX))


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


def read(path: Path) -> Counts:
    """Counts as `write` left them.

    raises  FileNotFoundError; ValueError for a file that is no table of counts, was cut by another split, or is altered
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no table of counts here; count a corpus first (stage tokenizer)")
    try:
        table = pq.read_table(path, page_checksum_verification=True)
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


@kernel.inlined
def _word(data, i):
    """Eight bytes from byte i, little-endian; the compiler makes one load of it."""
    value = np.uint64(0)
    for k in range(8):
        value |= np.uint64(data[i + k]) << np.uint64(8 * k)
    return value


@kernel.inlined
def _blend(h, value):
    h = (h ^ value) * PRIME
    return h ^ (h >> HALF)


@kernel.compiled
def piece_hash(data, start, end):
    """A 64-bit hash of data[start:end], at least a byte; equality is always asked of the bytes themselves."""
    h = np.uint64(end - start) * MIX
    i = start
    while i + 8 <= end:
        h = _blend(h, _word(data, i))
        i += 8
    if i < end:
        if end - start >= 8:
            h = _blend(h, _word(data, end - 8))
        else:
            tail = np.uint64(0)
            while i < end:
                tail = tail << BYTE | np.uint64(data[i])
                i += 1
            h = _blend(h, tail)
    h *= MIX
    return h ^ (h >> HALF)


@kernel.inlined
def _same(data, start, size, arena, place):
    i = 0
    while i < size and data[start + i] == arena[place + i]:
        i += 1
    return i == size


@kernel.compiled
def _tally(data, start, end, weight, slots, bounds, counts, arena, used):
    """Add `weight` to a piece's count; returns the number of entries, or -1 where there is no room for a new one."""
    h = piece_hash(data, start, end)
    mask = np.uint64(len(slots) - 1)
    tag = h >> HALF << HALF
    at = h & mask
    while slots[at] != 0:
        if slots[at] & ~ENTRY_MASK == tag:
            entry = np.int64(slots[at] & ENTRY_MASK) - 1
            place = bounds[entry]
            if bounds[entry + 1] - place == end - start and _same(data, start, end - start, arena, place):
                counts[entry] += weight
                return used
        at = (at + np.uint64(1)) & mask
    place = bounds[used]
    if used + 1 >= len(counts) or place + end - start > len(arena):
        return -1
    for i in range(end - start):  # a slice would take five seconds to compile
        arena[place + i] = data[start + i]
    bounds[used + 1] = place + end - start
    counts[used] = weight
    slots[at] = tag | np.uint64(used + 1)
    return used + 1


@kernel.compiled
def _count(data, offsets, doc, at, slots, bounds, counts, arena, used):
    """Count from byte `at` of document `doc` on; returns where it stopped, the entries, and the bytes it lacked."""
    while doc < len(offsets) - 1:
        end = np.int64(offsets[doc + 1])
        while at < end:
            stop = pieces.piece_end(data, at, end)
            now = _tally(data, at, stop, 1, slots, bounds, counts, arena, used)
            if now < 0:
                return doc, at, used, stop - at
            used = now
            at = stop
        doc += 1
    return doc, at, used, 0


@kernel.compiled
def _sum(data, found, weights, done, slots, bounds, counts, arena, used):
    """Add counted pieces from number `done` on; returns where it stopped, the entries, and the bytes it lacked."""
    while done < len(weights):
        start, stop = found[done], found[done + 1]
        now = _tally(data, start, stop, weights[done], slots, bounds, counts, arena, used)
        if now < 0:
            return done, used, stop - start
        used = now
        done += 1
    return done, used, 0


@kernel.compiled
def _spread(bounds, arena, used, size):
    """Slots for the entries in a table of `size`, a power of two."""
    slots = np.zeros(size, np.uint64)
    mask = np.uint64(size - 1)
    for entry in range(used):
        h = piece_hash(arena, bounds[entry], bounds[entry + 1])
        at = h & mask
        while slots[at] != 0:
            at = (at + np.uint64(1)) & mask
        slots[at] = h >> HALF << HALF | np.uint64(entry + 1)
    return slots
