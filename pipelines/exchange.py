"""The one exchange: fixed-width keys from every task to the reducer of their partition, and verdicts back.

Keys travel in files, not through a GroupByKey: a map task writes one `.seg` file with a segment for each partition,
a reduce task reads its own segment of every file and writes a `.seg` file with a segment for each task that the
verdicts concern. So a killed run resumes inside an exchange too, memory is bounded by a partition, and it is the same
code on every runner. Layout of a `.seg` file, little-endian:

    0      8 bytes              "ROOTSSEG"
    8      uint32               bytes of a record
    12     uint32               segments n
    16     int64 [n + 1]        number of the first record of each segment, and of all records
    ...    records, segment by segment
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from pipelines import pulse, storage
from roots import exact

MAGIC = b"ROOTSSEG"
PARTITION_BYTES = 2**26  # records of a partition, about; its reducer holds about four times as much

KEY = np.dtype([("high", "<u8"), ("low", "<u8"), ("doc", "<u8")])  # of a document: 128 bits, and which document
LINE = np.dtype([("high", "<u8"), ("low", "<u8"), ("count", "<i8")])  # of a line: 128 bits, and how often
BAND = np.dtype([("key", "<u8"), ("doc", "<u8")])  # of a signature's band
PAIR = np.dtype([("a", "<u8"), ("b", "<u8")])  # two candidate documents, a < b
VERDICT = np.dtype([("doc", "<u8"), ("witness", "<u8"), ("similarity", "<f8")])  # a document to remove, and why

SHARD_SHIFT = 32  # a document's number is (shard << 32 | row)


def number(shard: int, rows: np.ndarray) -> np.ndarray:
    """The numbers of documents: uint64 [docs], in order of shard and row."""
    return np.uint64(shard) << np.uint64(SHARD_SHIFT) | rows.astype(np.uint64)


def shard_of(docs: np.ndarray) -> np.ndarray:
    return (docs >> np.uint64(SHARD_SHIFT)).astype(np.int64)


def row_of(docs: np.ndarray) -> np.ndarray:
    return (docs & np.uint64((1 << SHARD_SHIFT) - 1)).astype(np.int64)


def partitions(records: int, dtype: np.dtype) -> int:
    """How many partitions keep a reducer's input near PARTITION_BYTES; a power of two, planned from counts alone."""
    wanted = max(1, -(-records * dtype.itemsize // PARTITION_BYTES))
    return 1 << (wanted - 1).bit_length()


def write(path: Path, records: np.ndarray, segment: np.ndarray, segments: int) -> None:
    """Write records by segment; within a segment they keep their order.

    records  structured [n]; segment  int [n] in 0..segments - 1
    """
    bounds = np.zeros(segments + 1, np.int64)
    np.cumsum(np.bincount(segment, minlength=segments), out=bounds[1:])
    if (segment[1:] < segment[:-1]).any():
        records = records[np.argsort(segment, kind="stable")]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(MAGIC)
        file.write(np.array([records.dtype.itemsize, segments], "<u4").tobytes())
        file.write(bounds.astype("<i8").tobytes())
        file.write(np.ascontiguousarray(records).data)


def read(path: storage.Place, segment: int, dtype: np.dtype) -> np.ndarray:
    """The records of one segment; only they are read.

    raises  ValueError for a file that is no `.seg` file of this record, or ends early
    """
    pulse.HERE.beat()
    with storage.named(path), storage.opened(path) as file:
        head = file.read(16)
        width, segments = np.frombuffer(head[8:], "<u4") if len(head) == 16 else (0, 0)
        if head[:8] != MAGIC or width != dtype.itemsize or segment >= segments:
            raise ValueError(
                f"{path}: expected segment {segment} of records of {dtype.itemsize} bytes, "
                f"got {int(segments)} segments of {int(width)}; remove the file and run again"
            )
        file.seek(8 * segment, 1)
        first, last = np.frombuffer(file.read(16), "<i8")
        file.seek(16 + 8 * (int(segments) + 1) + int(first) * dtype.itemsize)
        data = file.read(int(last - first) * dtype.itemsize)
    if len(data) != (last - first) * dtype.itemsize:
        raise ValueError(f"{path}: ends inside segment {segment}; remove the file and run again")
    return np.frombuffer(data, dtype)


def sizes(path: storage.Place) -> np.ndarray:
    """How many records each segment of a `.seg` file has: int64 [segments]."""
    with storage.opened(path) as file:
        segments = int(np.frombuffer(file.read(16)[12:], "<u4")[0])
        return np.diff(np.frombuffer(file.read(8 * (segments + 1)), "<i8"))


def gather(paths: Iterable[storage.Place], segment: int, dtype: np.dtype) -> np.ndarray:
    """One segment of several files, end to end in the order of the files."""
    found = list(paths)
    parts = storage.each(lambda path: read(path, segment, dtype), found, found[0]) if found else []
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def gathered_on_disk(paths: Iterable[storage.Place], segment: int, dtype: np.dtype, scratch: Path) -> np.ndarray:
    """As `gather`, but in a mapped file: pages that are not in use need no memory. Its name is gone on return."""
    with scratch.open("wb+") as file:
        for path in paths:
            file.write(read(path, segment, dtype).data)
        file.flush()
        scratch.unlink()
        return np.memmap(file, dtype, "r") if file.tell() else np.empty(0, dtype)


def keys(pairs: np.ndarray, docs: np.ndarray) -> np.ndarray:
    """KEY records of documents: pairs uint64 [n, 2], docs uint64 [n]."""
    records = np.empty(len(docs), KEY)
    records["high"], records["low"], records["doc"] = pairs[:, 0], pairs[:, 1], docs
    return records


def counted(pairs: np.ndarray) -> np.ndarray:
    """LINE records of distinct keys with their counts, sorted: pairs uint64 [n, 2]."""
    return _summed(pairs[:, 0], pairs[:, 1], np.ones(len(pairs), np.int64))


def _summed(high: np.ndarray, low: np.ndarray, count: np.ndarray) -> np.ndarray:
    order = np.lexsort((low, high))
    high, low, count = high[order], low[order], count[order]
    first = _starts(high, low)
    records = np.empty(int(first.sum()), LINE)
    records["high"], records["low"] = high[first], low[first]
    if len(records):
        records["count"] = np.add.reduceat(count, np.flatnonzero(first))
    return records


def _starts(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """bool [n]: where a run of equal keys begins."""
    first = np.ones(len(high), bool)
    first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    return first


def first_kept(records: np.ndarray) -> np.ndarray:
    """VERDICT for every document but the first (smallest number) of each key; the first is its witness."""
    records = records[exact.shared(records["high"])]
    order = np.lexsort((records["doc"], records["low"], records["high"]))
    records = records[order]
    first = _starts(records["high"], records["low"])
    head = records["doc"][np.flatnonzero(first)[np.cumsum(first) - 1]] if len(records) else records["doc"]
    return verdicts(records["doc"][~first], head[~first], np.ones(int((~first).sum())))


def frequent(records: np.ndarray, count_min: int) -> np.ndarray:
    """LINE records of the keys whose counts add up to at least `count_min`, sorted."""
    sums = _summed(records["high"], records["low"], records["count"])
    return sums[sums["count"] >= count_min]


def verdicts(docs: np.ndarray, witnesses: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    """VERDICT records in order of document."""
    records = np.empty(len(docs), VERDICT)
    records["doc"], records["witness"], records["similarity"] = docs, witnesses, similarity
    return records[np.argsort(docs, kind="stable")]


def partition_of(high: np.ndarray, count: int) -> np.ndarray:
    """The partition of each key: its top bits. count is a power of two."""
    bits = count.bit_length() - 1
    return (high >> np.uint64(64 - bits)).astype(np.int64) if bits else np.zeros(len(high), np.int64)


def by_shard(path: Path, records: np.ndarray, shards: int) -> None:
    """Write verdicts with a segment for each shard of documents."""
    write(path, records, shard_of(records["doc"]), shards)


def paths(folder: storage.Place, names: Sequence[str], ending: str = ".seg") -> list[storage.Place]:
    return [folder / f"{name}{ending}" for name in names]
