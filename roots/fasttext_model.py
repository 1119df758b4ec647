"""fastText's binary models (.bin, .ftz) as numpy arrays, read strictly; fasttext_kernels predicts with them.

A file: magic number and version, the settings of the training, the dictionary (words, then labels), the matrix of
input vectors (a row each word, then a row each bucket of character n-grams) and that of output vectors. A matrix is
dense or, in a quantized model, coded; coded ones are decoded here, once, into float32.

source  fastText 0.9.2: args.cc, dictionary.cc, densematrix.cc, quantmatrix.cc, productquantizer.cc
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from roots import fasttext_kernels

MAGIC, VERSION = 793_712_314, 12
SETTINGS = ("dim", "ws", "epoch", "minCount", "neg", "wordNgrams", "loss", "model", "bucket", "minn", "maxn",
            "lrUpdateRate")  # int32 each, followed by t, float64  # fmt: skip
SUPERVISED = 3  # of `model`
HIERARCHICAL, SOFTMAX = 1, 3  # of `loss`; 2 is negative sampling, 4 one-vs-all
LINE = 64  # bytes of a cache line
ENDING = fasttext_kernels.ENDING.tobytes()
WORD, LABEL = 0, 1  # kinds of dictionary entries
CENTROIDS = 256  # of each piece of a coded vector: one byte says which


@dataclass(frozen=True, slots=True, eq=False)
class File:
    """What a model's file holds.

    settings  by the names of SETTINGS
    entries   bytes of the dictionary's words, then of its labels; counts int64 [entries], in the training text
    pruned    int32 [bucket], the row after the words' rows that a bucket has, -1 where it was cut off; None = all
              buckets have their own
    inputs    float32 [words + buckets kept, dim];   outputs float32 [labels, dim]
    """

    settings: dict[str, int]
    entries: tuple[bytes, ...]
    words: int
    counts: np.ndarray
    pruned: np.ndarray | None
    inputs: np.ndarray
    outputs: np.ndarray

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels with their prefix, in the order of `outputs`; raises UnicodeDecodeError."""
        return tuple(entry.decode("utf-8") for entry in self.entries[self.words :])


def read(path: Path | str) -> File:
    """Reads a model, each length checked and the end of the file demanded.

    raises  ValueError that says where another format, a damaged or a truncated file begins to differ
    """
    source = _Bytes(Path(path))
    magic, version = source.integers(2, "the magic number")
    if magic != MAGIC:
        raise ValueError(f"{path}: wrong file format: expected magic number {MAGIC}, got {magic}.")
    source.expect("version", version, VERSION)
    settings = dict(zip(SETTINGS, source.integers(len(SETTINGS), "the settings"), strict=True))
    source.array("<f8", 1, "the settings")
    entries, words, counts, pairs = _dictionary(source)
    coded = source.flag("quantized input")
    inputs = (_coded if coded else _dense)(source, "input vectors")
    coded_outputs = source.flag("quantized output") and coded  # as fastText reads it
    outputs = (_coded if coded_outputs else _dense)(source, "output vectors")
    if source.place != len(source.data):
        raise source.fault(f"expected the end of the file, got {len(source.data) - source.place} more bytes")
    pruned = None if pairs is None else _pruned(source, pairs, settings["bucket"])
    supervised = settings["model"] == SUPERVISED
    buckets = settings["bucket"] if pairs is None else len(pairs)
    source.expect("rows of input vectors", len(inputs), words + buckets)
    source.expect("rows of output vectors", len(outputs), len(entries) - words if supervised else words)
    for name, matrix in (("input", inputs), ("output", outputs)):
        source.expect(f"numbers in a row of {name} vectors", matrix.shape[1], settings["dim"])
    return File(settings, entries, words, counts, pruned, inputs, outputs)


def unsupported(file: File) -> str:
    """Why `tables` cannot take a model, "" where it can."""
    settings = file.settings
    if settings["model"] != SUPERVISED:
        return "it is no supervised model"
    if settings["loss"] not in (HIERARCHICAL, SOFTMAX):
        return "its loss is neither softmax nor hierarchical softmax"
    if settings["wordNgrams"] > 1:
        return "it has features of several words"
    return ""


def tables(file: File) -> fasttext_kernels.Tables:
    """A model as fasttext_kernels.predict takes it.

    raises  ValueError where `unsupported` has a reason
    """
    if reason := unsupported(file):
        raise ValueError(f"fasttext_model.tables: {reason}; predict with the fasttext library instead")
    data = np.frombuffer(b"".join(file.entries), np.uint8)
    ends = np.cumsum([0, *map(len, file.entries)], dtype=np.int64)
    hierarchical = file.settings["loss"] == HIERARCHICAL
    children = fasttext_kernels.tree(file.counts[file.words :]) if hierarchical else np.empty((0, 2), np.int32)
    return fasttext_kernels.Tables(
        entries=data,
        ends=ends,
        slots=fasttext_kernels.slots(data, ends),
        words=file.words,
        ending=file.entries.index(ENDING) if ENDING in file.entries[: file.words] else -1,
        chars_min=file.settings["minn"],
        chars_max=file.settings["maxn"],
        buckets=file.settings["bucket"],
        pruned=np.empty(0, np.int32) if file.pruned is None else file.pruned,
        inputs=_padded(file.inputs),
        outputs=np.ascontiguousarray(_padded(file.outputs).T),
        children=children,
        groups=np.arange(len(file.outputs), dtype=np.int32),
    )


def _padded(rows: np.ndarray) -> np.ndarray:
    """Rows filled with zeros to whole blocks, from the start of a cache line: 16 numbers then lie in one."""
    block = fasttext_kernels.BLOCK
    width = -(-rows.shape[1] // block) * block
    memory = np.zeros(4 * len(rows) * width + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    wide = memory[start : start + 4 * len(rows) * width].view(np.float32).reshape(len(rows), width)
    wide[:, : rows.shape[1]] = rows
    return wide


class _Bytes:
    """A file's bytes and how far they have been read."""

    def __init__(self, path: Path) -> None:
        self.path, self.data, self.place = path, path.read_bytes(), 0

    def fault(self, message: str) -> ValueError:
        return ValueError(f"{self.path} byte {self.place}: {message}; fetch the model again.")

    def expect(self, what: str, got: int, expected: int) -> None:
        if got != expected:
            raise self.fault(f"expected {what} {expected}, got {got}")

    def array(self, dtype: str, count: int, what: str) -> np.ndarray:
        size = np.dtype(dtype).itemsize * count
        if count < 0:
            raise self.fault(f"expected a size of {what} of at least 0, got {count}")
        if size > len(self.data) - self.place:
            raise self.fault(f"expected {size} bytes of {what}, got {len(self.data) - self.place}: truncated")
        self.place += size
        return np.frombuffer(self.data, dtype, count, self.place - size)

    def integers(self, count: int, what: str) -> list[int]:
        return self.array("<i4", count, what).tolist()

    def flag(self, what: str) -> bool:
        value = int(self.array("u1", 1, what)[0])
        if value > 1:
            raise self.fault(f"expected 0 or 1 for {what}, got {value}")
        return value == 1

    def shape(self, what: str) -> tuple[int, int]:
        rows, width = self.array("<i8", 2, what).tolist()
        if rows < 0 or width < 1:
            raise self.fault(f"expected rows and numbers of {what}, got {rows} x {width}")
        return rows, width


def _dictionary(source: _Bytes) -> tuple[tuple[bytes, ...], int, np.ndarray, np.ndarray | None]:
    """Entries, how many of them are words, counts, and pairs of bucket and row (None for no pruning)."""
    size, words, labels = source.integers(3, "the dictionary")
    _, pruned = source.array("<i8", 2, "the dictionary").tolist()
    if min(words, labels) < 0 or size != words + labels:
        raise source.fault(f"expected {size} entries, got {words} words and {labels} labels")
    entries, counts = [], []
    for i in range(size):
        end = source.data.find(b"\0", source.place)
        if end < 0:
            raise source.fault(f"expected dictionary entry {i} to end with a zero byte: truncated")
        entries.append(source.data[source.place : end])
        source.place = end + 1
        counts.append(int(source.array("<i8", 1, f"dictionary entry {i}")[0]))
        source.expect(f"kind of dictionary entry {i}", source.array("i1", 1, "a kind")[0], WORD if i < words else LABEL)
    pairs = None if pruned < 0 else source.array("<i4", 2 * pruned, "kept buckets").reshape(-1, 2)
    return tuple(entries), words, np.array(counts, np.int64), pairs


def _pruned(source: _Bytes, pairs: np.ndarray, buckets: int) -> np.ndarray:
    rows = np.full(max(buckets, 0), -1, np.int32)
    for name, column, end in (("bucket", pairs[:, 0], len(rows)), ("row", pairs[:, 1], len(pairs))):
        if len(pairs) and not (column.min() >= 0 and column.max() < end):
            raise source.fault(f"expected each kept {name} in 0..{end - 1}, got {column.min()}..{column.max()}")
    rows[pairs[:, 0]] = pairs[:, 1]
    return rows


def _dense(source: _Bytes, what: str) -> np.ndarray:
    rows, width = source.shape(what)
    return source.array("<f4", rows * width, what).reshape(rows, width)


def _coded(source: _Bytes, what: str) -> np.ndarray:
    """A coded matrix decoded: each piece of a row is a centroid, and with qnorm the row has a length of its own."""
    lengths = source.flag(f"lengths of {what}")
    rows, width = source.shape(what)
    (size,) = source.integers(1, what)
    codes = source.array("u1", size, f"codes of {what}")
    vectors = _decoded(source, codes, rows, width, what)
    if not lengths:
        return vectors
    codes = source.array("u1", rows, f"codes of lengths of {what}")
    return vectors * _decoded(source, codes, rows, 1, f"lengths of {what}")


def _decoded(source: _Bytes, codes: np.ndarray, rows: int, width: int, what: str) -> np.ndarray:
    """float32 [rows, width] of a product quantizer, which follows its codes in the file."""
    dim, pieces, size, last = source.integers(4, f"the quantizer of {what}")
    source.expect(f"numbers in a coded row of {what}", dim, width)
    if min(pieces, size, last) < 1 or (pieces - 1) * size + last != width:
        raise source.fault(
            f"expected pieces of {what} that make {width} numbers, got {pieces} of {size}, the last of {last}"
        )
    source.expect(f"codes of {what}", len(codes), rows * pieces)
    centroids = source.array("<f4", dim * CENTROIDS, f"centroids of {what}")
    vectors = np.empty((rows, width), np.float32)
    table: Any = codes.reshape(rows, pieces)
    for piece in range(pieces):
        start, wide = piece * size, last if piece == pieces - 1 else size
        block = centroids[start * CENTROIDS : (start + wide) * CENTROIDS].reshape(CENTROIDS, wide)
        vectors[:, start : start + wide] = block[table[:, piece]]
    return vectors
